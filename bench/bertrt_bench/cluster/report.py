"""A measured cluster as a table."""

import json
from pathlib import Path
from typing import Any

from bertrt_bench.cluster.measure import ClusterResult
from bertrt_bench.grid import Grid
from bertrt_bench.machine import describe_facts
from bertrt_bench.measure import Spread, percent

__all__ = ["load_results", "table", "write_report"]


def table(result: ClusterResult) -> Grid:
    """The actors beside the process."""
    rows = [
        (f"one process, {result.actors} threads", _rate(result, result.call_seconds), "–"),
        *(
            (name, _rate(result, seconds), percent(result.call_seconds, seconds))
            for name, seconds in (
                (f"Ray Data, {result.actors} actors of one CPU", result.ray_seconds),
                ("with their start, and loading the model", result.ray_with_start),
            )
        ),
    ]
    labels = "the same labels" if result.same_labels else "OTHER LABELS"
    return Grid(
        "Ray Data",
        f"{result.model}, {result.texts:,} different texts, {len(result.call_seconds)} rounds by "
        "turns. The process is timed in its one call. Ray is timed from the first batch that an "
        "actor begins to the last result in the driver; and from the start of the execution, when "
        f"no actor is there yet. Both give {labels}; the largest difference of a logit is "
        f"{result.max_difference:.1g}.",
        ("", "texts/s", "of the process"),
        tuple(rows),
    )


def write_report(machine: dict[str, Any], result: ClusterResult, folder: Path) -> None:
    """Write results.json and report.md."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"machine": machine, "cluster": result.to_json()}
    (folder / "results.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    lines = ["# Ray Data", "", *describe_facts(machine), "", table(result).to_markdown()]
    (folder / "report.md").write_text("\n".join(lines), encoding="utf-8")


def load_results(file: Path) -> ClusterResult:
    """Read what `write_report` wrote."""
    return ClusterResult.from_json(json.loads(file.read_text(encoding="utf-8"))["cluster"])


def _rate(result: ClusterResult, seconds: list[float]) -> str:
    return Spread.of([result.texts / each for each in seconds]).format(0)
