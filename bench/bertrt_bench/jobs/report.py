"""A measured job as tables and a plot."""

import json
from pathlib import Path
from typing import Any

from matplotlib import pyplot as plt

from bertrt_bench.grid import Grid
from bertrt_bench.jobs.measure import JobsResult
from bertrt_bench.machine import describe_facts
from bertrt_bench.measure import Spread, percent

__all__ = ["load_results", "table", "write_report"]


def table(result: JobsResult) -> Grid:
    """The job beside the call."""
    rows = [
        (
            name,
            _rate(result.rows, seconds),
            shown,
            f"{_at(memory, 0.25):.0f}",
            f"{_at(memory, 1.0):.0f}",
        )
        for name, seconds, shown, memory in (
            ("`classifier(texts)`, in memory", result.call_seconds, "–", result.call_memory),
            (
                "`bertrt classify --input`",
                result.job_seconds,
                percent(result.call_seconds, result.job_seconds),
                result.job_memory,
            ),
        )
    ]
    killed = ", ".join(f"{kill.seconds:.0f} s" for kill in result.kills)
    times = f"{len(result.kills)} times, at random moments ({killed} after each start)"
    same = "the same file, byte for byte" if result.identical else "ANOTHER FILE"
    return Grid(
        "A bulk job",
        f"{result.model}, {result.rows:,} rows of different texts in a CSV file of "
        f"{result.input_mb:.0f} MB, {len(result.job_seconds)} rounds by turns. The call is timed "
        "by itself; the job as a whole process: start, reading, writing. A job that was killed "
        f"with SIGKILL {times}, and resumed, wrote {same}.",
        ("", "rows/s", "of the call", "RSS at a quarter, MB", "at the end, MB"),
        tuple(rows),
    )


def write_report(machine: dict[str, Any], result: JobsResult, folder: Path) -> None:
    """Write results.json, report.md and memory.png."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"machine": machine, "jobs": result.to_json()}
    (folder / "results.json").write_text(json.dumps(content), encoding="utf-8")
    facts = describe_facts(machine)
    lines = ["# Bulk jobs", "", *facts, "", table(result).to_markdown(), "![Memory](memory.png)"]
    (folder / "report.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    figure, axes = plt.subplots(figsize=(8, 4))
    for name, memory in (
        ("classifier(texts), in memory", result.call_memory),
        ("bertrt classify --input", result.job_memory),
    ):
        axes.plot(*zip(*memory, strict=True), label=name)
    axes.set(xlabel="seconds", ylabel="resident memory, MB", ylim=(0, None))
    axes.set_title(f"{result.rows:,} texts")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(folder / "memory.png", dpi=120, bbox_inches="tight")
    plt.close(figure)


def load_results(file: Path) -> JobsResult:
    """Read what `write_report` wrote."""
    return JobsResult.from_json(json.loads(file.read_text(encoding="utf-8"))["jobs"])


def _rate(rows: int, seconds: list[float]) -> str:
    return Spread.of([rows / each for each in seconds]).format(0)


def _at(memory: list[tuple[float, float]], share: float) -> float:
    """The memory when a share of the samples had been taken."""
    return memory[max(0, round(share * len(memory)) - 1)][1]
