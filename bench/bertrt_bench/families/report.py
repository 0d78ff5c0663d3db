"""The families as a table."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bertrt_bench.families.measure import FamilyResult
from bertrt_bench.grid import Grid
from bertrt_bench.machine import describe_facts
from bertrt_bench.measure import ratio

__all__ = ["load_results", "table", "write_report"]

_PYTORCH, _FP32, _INT8 = "PyTorch fp32", "bertrt fp32", "bertrt int8"


def table(results: Sequence[FamilyResult]) -> Grid:
    """One row a family."""
    rows = [
        (
            r.family,
            f"{r.sizes_of}, {r.layers} layers",
            f"{r.max_abs_diff:.1e}",
            f"{r.agreement:.1%}",
            f"{r.mean_abs_diff:.3f}",
            ratio(r.seconds[_PYTORCH], r.seconds[_FP32]).format(1, "x"),
            ratio(r.seconds[_PYTORCH], r.seconds[_INT8]).format(1, "x"),
        )
        for r in results
    ]
    first = results[0]
    return Grid(
        "Families",
        f"Against PyTorch float32: the logits of {first.texts} sentences; the time of "
        f"{first.timed} sentences, which PyTorch gets sorted by length, 8 a call.",
        (
            "family",
            "model",
            "fp32, max |Δlogit|",
            "int8, same label",
            "int8, mean |Δlogit|",
            "fp32, times as fast",
            "int8, times as fast",
        ),
        tuple(rows),
    )


def write_report(machine: dict[str, Any], results: Sequence[FamilyResult], folder: Path) -> None:
    """Write results.json and report.md."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"machine": machine, "families": [result.to_json() for result in results]}
    (folder / "results.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    lines = ["# Model families", "", *describe_facts(machine), "", table(results).to_markdown()]
    (folder / "report.md").write_text("\n".join(lines), encoding="utf-8")


def load_results(file: Path) -> list[FamilyResult]:
    """Read what `write_report` wrote."""
    content = json.loads(file.read_text(encoding="utf-8"))
    return [FamilyResult(**entry) for entry in content["families"]]
