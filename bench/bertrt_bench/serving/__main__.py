"""`python -m bertrt_bench.serving`: measure, and write a report."""

import argparse
import sys
from functools import partial
from pathlib import Path

from bertrt.cpus import available_cpus
from rich.console import Console
from rich.status import Status

from bertrt_bench.int8_artifact import int8_artifact
from bertrt_bench.machine import machine_facts
from bertrt_bench.models import find_model
from bertrt_bench.serving.measure import Plan, measure_model
from bertrt_bench.serving.report import grids, summary, write_report
from bertrt_bench.serving.results import Results
from bertrt_bench.workloads import EXAMPLES, read_labelled

_SST2 = EXAMPLES / "data" / "sst2"


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m bertrt_bench.serving", description=__doc__)
    parser.add_argument("--models", default="bert-base,minilm-sst2", help="as of `bertrt bench`")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each load")
    parser.add_argument("--soak", type=int, default=100_000, help="requests to the last model")
    parser.add_argument("--work", type=Path, default=Path("build/bench"), help="where models go")
    parser.add_argument("--output", type=Path, default=Path("build/bench/reports/serving"))
    arguments = parser.parse_args()
    console = Console(stderr=True)
    texts, _ = read_labelled(_SST2 / "dev.tsv")
    names = arguments.models.split(",")
    results = Results(machine_facts(), arguments.rounds)
    for name in names:
        with console.status(name) as status:
            status.update(f"{name}: exporting")
            model = find_model(name, arguments.work)
            plan = Plan(
                texts=texts,
                rounds=arguments.rounds,
                seconds=arguments.seconds,
                threads=available_cpus(),
                soak=arguments.soak if name == names[-1] else 0,
            )
            found = measure_model(
                name,
                model.description,
                int8_artifact(model, arguments.work),
                model.path,
                plan,
                partial(_show, status, name),
            )
        results.models.append(found)
        write_report(results, arguments.output)
    for grid in (summary(results), *grids(results)):
        Console(width=None if sys.stdout.isatty() else 150).print(grid.to_rich())
    console.print(f"report: {arguments.output / 'report.md'}")
    return 0


def _show(status: Status, model: str, step: str) -> None:
    status.update(f"{model}: {step}")


if __name__ == "__main__":
    sys.exit(main())
