"""`python -m bertrt_bench.cluster`: measure Ray Data, and write a report."""

import argparse
import sys
from importlib import metadata
from pathlib import Path

from rich.console import Console

from bertrt_bench.cluster.measure import measure_cluster
from bertrt_bench.cluster.report import table, write_report
from bertrt_bench.int8_artifact import int8_artifact
from bertrt_bench.machine import machine_facts
from bertrt_bench.models import find_model
from bertrt_bench.workloads import sst2_sentences

__all__ = ["main"]


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m bertrt_bench.cluster", description=__doc__)
    parser.add_argument("--model", default="minilm-sst2", help="as of `bertrt bench`")
    parser.add_argument("--texts", type=int, default=40_960)
    parser.add_argument("--actors", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--work", type=Path, default=Path("build/bench"), help="where models go")
    parser.add_argument("--output", type=Path, default=Path("build/bench/reports/cluster"))
    arguments = parser.parse_args()
    console = Console(stderr=True)
    with console.status("exporting") as status:
        model = find_model(arguments.model, arguments.work)
        result = measure_cluster(
            f"{model.description}, int8",
            int8_artifact(model, arguments.work),
            sst2_sentences(),
            arguments.texts,
            arguments.actors,
            arguments.rounds,
            arguments.work / "cluster",
            status.update,
        )
    write_report({**machine_facts(), "ray": metadata.version("ray")}, result, arguments.output)
    Console(width=None if sys.stdout.isatty() else 150).print(table(result).to_rich())
    console.print(f"report: {arguments.output / 'report.md'}")
    return 0 if result.same_labels else 1


if __name__ == "__main__":
    sys.exit(main())
