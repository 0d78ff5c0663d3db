"""`python -m bertrt_bench.serving`: measure, and write a report."""

import argparse
import shutil
import sys
from functools import partial
from pathlib import Path

from bertrt.cpus import available_cpus
from rich.console import Console
from rich.status import Status

from bertrt_bench import prepared
from bertrt_bench.machine import machine_facts
from bertrt_bench.models import BenchModel, find_model
from bertrt_bench.peers import bertrt_int8
from bertrt_bench.peers.registry import OURS, PEERS
from bertrt_bench.serving.measure import Plan, measure_model
from bertrt_bench.serving.report import grids, summary, write_report
from bertrt_bench.serving.results import Results
from bertrt_bench.workloads import EXAMPLES, read_labelled

_SST2 = EXAMPLES / "data" / "sst2"
_CALIBRATION_TEXTS = 512


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
                _artifact(model, arguments.work),
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


def _artifact(model: BenchModel, work: Path) -> Path:
    """The int8 artifact of a checkpoint, calibrated with SST-2's training sentences; made once."""
    texts, _ = read_labelled(_SST2 / "train.tsv")
    calibration = texts[:_CALIBRATION_TEXTS]
    sources = prepared.digests(model.path, calibration)
    folder = prepared.folder_of(OURS, PEERS[OURS], sources, work / "prepared" / model.name)
    if not folder.exists():
        unfinished = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        bertrt_int8.prepare(model.path, unfinished, calibration)
        unfinished.rename(folder)
    return folder / "artifact"


if __name__ == "__main__":
    sys.exit(main())
