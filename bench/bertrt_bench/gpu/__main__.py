"""`python -m bertrt_bench.gpu`: measure everything on an NVIDIA GPU, and write a report.

It ends with 1 where a step failed or a goal was missed, with 3 where something is unmeasured.
"""

import argparse
import dataclasses
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from bertrt_bench.gpu.goals import GOALS, table
from bertrt_bench.gpu.report import write_report
from bertrt_bench.gpu.results import Results
from bertrt_bench.gpu.run import run_steps
from bertrt_bench.gpu.settings import Settings
from bertrt_bench.gpu.steps import STEPS
from bertrt_bench.machine import machine_facts

__all__ = ["main"]

_FAILED, _UNMEASURED = 1, 3
_SECONDS = 1_150.0


def main() -> int:
    """Run the command."""
    arguments = _parser().parse_args()
    folder = Path("build/bench/gpu-trial" if arguments.trial else "build/bench")
    arguments.work = arguments.work or folder
    arguments.output = arguments.output or folder / "reports" / "gpu"
    if arguments.results is not None:
        return _report(Results.load_or_empty(arguments.results), arguments.output)
    settings = _settings(arguments)
    settings.work.mkdir(parents=True, exist_ok=True)
    os.environ.update(settings.environment())  # the engines' processes inherit it
    # Kept with the models too, so that a run that was cut off goes on, whatever became of --output.
    kept = settings.work / "gpu" / "results.json"
    results = Results() if arguments.fresh else Results.load_or_empty(kept)
    if results.settings != _comparable(settings):
        if kept.exists():  # figures of other settings, which cost a GPU's time
            kept.replace(kept.with_name("results-before.json"))
        results = Results(machine_facts(), _comparable(settings))
        results.started = datetime.now(UTC).isoformat(timespec="seconds")
    begin = time.perf_counter()

    def save(found: Results) -> None:
        for file in (kept, arguments.output / "results.json"):
            found.save(file)

    def say(words: str) -> None:
        print(f"[{time.perf_counter() - begin:5.0f} s] {words}", flush=True)

    save(results)
    chosen = arguments.steps.split(",")
    steps = [step for step in STEPS if step.name in chosen]
    run_steps(steps, settings, results, seconds=arguments.seconds, on_step=say, save=save)
    status = _report(results, arguments.output)
    return (_FAILED if results.errors() else 0) if arguments.trial else status


def _report(results: Results, output: Path) -> int:
    write_report(results, output)
    Console(width=None if sys.stdout.isatty() else 150).print(table(results).to_rich())
    print(f"report: {output / 'report.md'}", flush=True)
    reached = [goal.reached(results) for goal in GOALS]
    if results.errors() or False in reached:
        return _FAILED
    everything = all(step.name in results.steps for step in STEPS)
    return 0 if everything and None not in reached else _UNMEASURED


def _settings(arguments: argparse.Namespace) -> Settings:
    changes = {
        name: value
        for name in ("rounds", "max_batch_tokens", "threads")
        if (value := getattr(arguments, name)) is not None
    }
    if arguments.trial:
        return Settings.trial(arguments.work, **changes)
    if arguments.quick:
        return Settings.quick(arguments.work, **changes)
    return Settings(arguments.work, **changes)


def _comparable(settings: Settings) -> dict[str, object]:
    """The settings that figures depend on."""
    return {**dataclasses.replace(settings, work=Path()).to_json(), "work": ""}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bertrt_bench.gpu", description=__doc__)
    parser.add_argument("--rounds", type=int, help="(default 7)")
    parser.add_argument("--threads", type=int, help="of each engine on the CPU (default: all)")
    parser.add_argument("--max-batch-tokens", type=int, help="places of bertrt's batches")
    parser.add_argument("--work", type=Path, help="where models go (default build/bench)")
    parser.add_argument("--output", type=Path, help="(default build/bench/reports/gpu)")
    parser.add_argument("--quick", action="store_true", help="a first look, few rounds")
    parser.add_argument("--trial", action="store_true", help="all code, on the CPU, tiny sizes")
    parser.add_argument("--fresh", action="store_true", help="measure again what has been measured")
    parser.add_argument(
        "--seconds", type=float, default=1_150.0, help="of the whole run (default 1150)"
    )
    names = ",".join(step.name for step in STEPS)
    parser.add_argument("--steps", default=names, help="separated by commas (default: all)")
    parser.add_argument("--results", type=Path, help="only make the report of such a file")
    return parser


if __name__ == "__main__":
    sys.exit(main())
