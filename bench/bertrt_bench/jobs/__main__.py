"""`python -m bertrt_bench.jobs`: measure a bulk job, and write a report."""

import argparse
import sys
from pathlib import Path

from rich.console import Console

from bertrt_bench.int8_artifact import int8_artifact
from bertrt_bench.jobs.measure import measure_jobs
from bertrt_bench.jobs.report import table, write_report
from bertrt_bench.machine import machine_facts
from bertrt_bench.models import find_model
from bertrt_bench.workloads import sst2_sentences

__all__ = ["main"]


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m bertrt_bench.jobs", description=__doc__)
    parser.add_argument("--model", default="minilm-sst2", help="as of `bertrt bench`")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path("build/bench"), help="where models go")
    parser.add_argument("--output", type=Path, default=Path("build/bench/reports/jobs"))
    arguments = parser.parse_args()
    console = Console(stderr=True)
    with console.status("exporting") as status:
        model = find_model(arguments.model, arguments.work)
        result = measure_jobs(
            f"{model.description}, int8",
            int8_artifact(model, arguments.work),
            sst2_sentences(),
            arguments.rows,
            arguments.rounds,
            arguments.kills,
            arguments.work / "jobs",
            status.update,
        )
    write_report(machine_facts(), result, arguments.output)
    Console(width=None if sys.stdout.isatty() else 150).print(table(result).to_rich())
    console.print(f"report: {arguments.output / 'report.md'}")
    return 0 if result.identical else 1


if __name__ == "__main__":
    sys.exit(main())
