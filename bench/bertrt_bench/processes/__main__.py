"""`python -m bertrt_bench.processes`: processes against threads, and the memory they share."""

import argparse
import sys
from functools import partial
from pathlib import Path

from bertrt.cpus import available_cpus
from rich.console import Console
from rich.status import Status

from bertrt_bench.int8_artifact import artifact
from bertrt_bench.machine import machine_facts
from bertrt_bench.models import find_model
from bertrt_bench.peers.registry import OURS
from bertrt_bench.processes.measure import (
    Plan,
    measure_memory,
    measure_rates,
    prepacked_artifact,
)
from bertrt_bench.processes.report import memory_table, rates_table, write_report
from bertrt_bench.processes.results import ModelResults, Results
from bertrt_bench.workloads import EXAMPLES, read_labelled

__all__ = ["main"]

_PEERS = {"int8": OURS, "fp32": "bertrt_fp32"}


def main() -> int:
    """Run the command; 1 where prepacked artifacts answer otherwise."""
    parser = argparse.ArgumentParser(prog="python -m bertrt_bench.processes", description=__doc__)
    parser.add_argument("--models", default="bert-base,minilm-sst2", help="as of `bertrt bench`")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each round, about")
    parser.add_argument("--work", type=Path, default=Path("build/bench"), help="where models go")
    parser.add_argument("--output", type=Path, default=Path("build/bench/reports/processes"))
    arguments = parser.parse_args()
    console = Console(stderr=True)
    texts, _ = read_labelled(EXAMPLES / "data" / "sst2" / "dev.tsv")
    plan = Plan(texts, available_cpus(), arguments.rounds, arguments.seconds)
    results = Results(machine_facts(), arguments.rounds)
    for name in arguments.models.split(","):
        with console.status(f"{name}: exporting") as status:
            results.models.append(_measured(name, plan, arguments.work, status))
        write_report(results, arguments.output)
    for grid in (rates_table(results), memory_table(results)):
        Console(width=None if sys.stdout.isatty() else 150).print(grid.to_rich())
    console.print(f"report: {arguments.output / 'report.md'}")
    return 0 if all(model.identical for model in results.models) else 1


def _measured(name: str, plan: Plan, work: Path, status: Status) -> ModelResults:
    show = partial(_show, status, name)
    model = find_model(name, work)
    exported = {precision: artifact(model, work, peer) for precision, peer in _PEERS.items()}
    show("packing weights")
    packed = {
        precision: prepacked_artifact(folder, work / "processes" / name)
        for precision, folder in exported.items()
    }
    results = ModelResults(name, model.description)
    measure_rates(results, exported["int8"], packed["int8"], plan, show)
    forms = {False: exported, True: packed}
    artifacts = {
        (precision, prepacked): forms[prepacked][precision]
        for precision in _PEERS
        for prepacked in forms
    }
    measure_memory(results, artifacts, plan, show)
    return results


def _show(status: Status, model: str, step: str) -> None:
    status.update(f"{model}: {step}")


if __name__ == "__main__":
    sys.exit(main())
