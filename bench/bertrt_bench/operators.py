"""Where the time of one artifact goes: milliseconds by operator, from onnxruntime's profiler."""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from bertrt.artifact import load_artifact
from bertrt.backend import create_session
from bertrt.cpus import available_cpus
from bertrt.devices import Device
from bertrt.packing import PackedBatch
from bertrt.precision import choose_precision
from bertrt.session import feeds
from rich.console import Console
from rich.table import Table

from bertrt_bench.machine import describe_machine

__all__ = ["OperatorTime", "main", "operator_times"]

_WARM_UP = 5


@dataclass(frozen=True, slots=True)
class OperatorTime:
    """One operator in one run of a graph: how many nodes of it ran, and their milliseconds."""

    name: str
    nodes: int
    milliseconds: float


def main() -> int:
    """Print the table of one batch shape."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifact", metavar="ARTIFACT", help="a folder that export-model wrote")
    parser.add_argument("--precision", choices=("auto", "fp32", "int8"), default="auto")
    parser.add_argument("--tokens", type=int, default=128, help="tokens of a text (default 128)")
    parser.add_argument("--texts", type=int, default=1, help="texts of the batch (default 1)")
    parser.add_argument("--runs", type=int, default=100, help="profiled runs (default 100)")
    parser.add_argument("--threads", type=int, default=available_cpus())
    parser.add_argument(
        "--nodes", action="store_true", help="a line for each node, as onnxruntime names them"
    )
    arguments = parser.parse_args()
    artifact = load_artifact(arguments.artifact)
    if min(arguments.tokens, arguments.texts, arguments.runs, arguments.threads) < 1:
        parser.error("--tokens, --texts, --runs and --threads are 1 or more")
    if arguments.tokens > artifact.max_length:
        parser.error(f"--tokens {arguments.tokens}: the model takes {artifact.max_length}")
    precision = choose_precision(artifact, arguments.precision, Device("cpu"))
    batch = random_batch(arguments.texts, arguments.tokens)
    times, plain = operator_times(
        artifact.graphs[precision],
        batch,
        runs=arguments.runs,
        threads=arguments.threads,
        by_node=arguments.nodes,
    )
    total = sum(time.milliseconds for time in times)
    table = Table("node" if arguments.nodes else "operator", "nodes", "ms", "µs a node", "share")
    for row in times:
        table.add_row(
            row.name,
            str(row.nodes),
            f"{row.milliseconds:.3f}",
            f"{1000 * row.milliseconds / row.nodes:.1f}",
            f"{row.milliseconds / total:.1%}",
        )
    nodes = sum(row.nodes for row in times)
    table.add_row("all", str(nodes), f"{total:.3f}", f"{1000 * total / nodes:.1f}", "")
    console = Console(width=None if sys.stdout.isatty() else 100)
    console.print(f"{artifact.path}, {precision}: {arguments.texts} x {arguments.tokens} tokens")
    console.print(table)
    console.print(f"Without the profiler: {plain:.3f} ms (medians of {arguments.runs} runs)")
    console.print(describe_machine())
    return 0


def random_batch(texts: int, tokens: int) -> PackedBatch:
    """Texts of equal length, of tokens that every BERT vocabulary has."""
    ids = np.random.default_rng(0).integers(0, 1000, texts * tokens)
    return PackedBatch(ids, np.zeros_like(ids), np.full(texts, tokens, dtype=np.int32))


def operator_times(
    graph: Path, batch: PackedBatch, *, runs: int, threads: int, by_node: bool = False
) -> tuple[list[OperatorTime], float]:
    """The operators of one run, the slowest first, and the milliseconds of a run unprofiled.

    Both are medians: of an operator's summed time in each run, and of whole runs.
    """
    with tempfile.TemporaryDirectory() as folder:
        session = create_session(
            graph, ["CPUExecutionProvider"], threads, profile=Path(folder) / "profile"
        )
        values = feeds(session, batch)
        for _ in range(_WARM_UP + runs):
            session.run(None, values)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    session = create_session(graph, ["CPUExecutionProvider"], threads)
    seconds = []
    for _ in range(_WARM_UP + runs):
        start = time.perf_counter()
        session.run(None, values)
        seconds.append(time.perf_counter() - start)
    return _summed(events, by_node=by_node), 1000 * statistics.median(seconds[_WARM_UP:])


def _summed(events: list[dict[str, Any]], *, by_node: bool) -> list[OperatorTime]:
    runs: list[defaultdict[str, list[float]]] = []
    finished = False  # the profiler writes a run's nodes in front of the run
    for event in events:
        if event.get("name") == "model_run":
            finished = True
        elif event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            if finished or not runs:
                runs.append(defaultdict(list))
                finished = False
            name = event["name"].removesuffix("_kernel_time")
            runs[-1][name if by_node else event["args"]["op_name"]].append(event["dur"] / 1000)
    measured = runs[_WARM_UP:]
    rows = [
        OperatorTime(name, len(times), statistics.median(sum(run[name]) for run in measured))
        for name, times in measured[0].items()
    ]
    return sorted(rows, key=lambda row: -row.milliseconds)


if __name__ == "__main__":
    sys.exit(main())
