"""`python -m bertrt_bench.families`: measure every family, and write a report."""

import argparse
import sys
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.status import Status

from bertrt_bench.families.measure import measure_family
from bertrt_bench.families.models import FAMILY_MODELS
from bertrt_bench.families.report import table, write_report
from bertrt_bench.machine import machine_facts

__all__ = ["main"]


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m bertrt_bench.families", description=__doc__)
    parser.add_argument("--families", default=",".join(FAMILY_MODELS), help="separated by commas")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--work", type=Path, default=Path("build/bench/families"))
    parser.add_argument("--output", type=Path, default=Path("build/bench/reports/families"))
    arguments = parser.parse_args()
    names = arguments.families.split(",")
    unknown = sorted(set(names) - FAMILY_MODELS.keys())
    if unknown:
        parser.error(f"{', '.join(unknown)}: choose from {', '.join(FAMILY_MODELS)}")
    console = Console(stderr=True)
    machine, results = machine_facts(), []
    for name in names:
        with console.status(name) as status:
            show = partial(_show, status, name)
            results.append(measure_family(name, arguments.work, arguments.rounds, show))
        write_report(machine, results, arguments.output)
    Console(width=None if sys.stdout.isatty() else 150).print(table(results).to_rich())
    console.print(f"report: {arguments.output / 'report.md'}")
    return 0


def _show(status: Status, family: str, step: str) -> None:
    status.update(f"{family}: {step}")


if __name__ == "__main__":
    sys.exit(main())
