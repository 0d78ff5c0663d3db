"""The `bertrt bench` command: bertrt side by side with PyTorch and its peers."""

import argparse
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bertrt.commands.arguments import positive
from bertrt.cpus import available_cpus
from rich.console import Console

from bertrt_bench.benchmark import run_benchmark
from bertrt_bench.compare import compare, require_like
from bertrt_bench.live import Board
from bertrt_bench.models import BUILT_IN
from bertrt_bench.peers import environments
from bertrt_bench.peers.registry import PEERS
from bertrt_bench.plan import Plan, Turn
from bertrt_bench.planning import CHECKED_TEXTS, make_plan
from bertrt_bench.report import write_report
from bertrt_bench.results import Results
from bertrt_bench.tables import failures, summary

__all__ = ["main"]

_WIDTH = 200  # of tables where there is no terminal to ask


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code: 0, 1 for an error or a regression, 2 for wrong usage."""
    words = sys.argv[1:] if argv is None else list(argv)
    arguments = _parser().parse_args(words)
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    try:
        if arguments.create_environments is not None:
            chosen = arguments.create_environments or environments.names()
            environments.create(
                chosen, arguments.environments, lambda text: print(text, flush=True)
            )
            return 0
        return _bench(arguments, words, console)
    except (ValueError, OSError, RuntimeError, subprocess.CalledProcessError) as error:
        print(f"bertrt bench: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bertrt bench: interrupted; nothing was written", file=sys.stderr)
        return 130


def _bench(arguments: argparse.Namespace, words: Sequence[str], console: Console) -> int:
    old = Results.load(arguments.compare) if arguments.compare else None
    if arguments.results:
        results = Results.load(arguments.results)
    else:
        plan = make_plan(arguments, lambda text: console.print(text, highlight=False))
        if old is not None:  # better now than when all is measured
            require_like(old, plan.model.name, {w.key: w.facts for w in plan.workloads})
        results = _measured(plan, shlex.join(["bertrt", "bench", *words]), arguments.work)
    console.print(summary(results).to_rich())
    if failures(results).rows:
        console.print(failures(results).to_rich())
    output = arguments.output
    if output is None and not arguments.results:
        output = arguments.work / "reports" / results.model["name"]
    comparison = None if old is None else compare(old, results)
    if output is not None:
        write_report(results, output, comparison)
        console.print(f"Report: {output / 'report.html'}; all figures: {output / 'results.json'}")
    if comparison is None:
        return 0
    changes = comparison.to_grid()
    console.print(changes.to_rich() if changes.rows else changes.note)
    return 1 if comparison.regressions else 0


def _measured(plan: Plan, command: str, work: Path) -> Results:
    """Run the benchmark; each round that is over is kept in a file until all are."""
    unfinished, saved = work / f"unfinished-{plan.model.name}.json", 0
    with Board(Console(stderr=True)) as board:

        def on_turn(turn: Turn, results: Results) -> None:
            nonlocal saved
            if results.rounds > saved:
                results.settings["command"] = command
                results.save(unfinished)
                saved = results.rounds
            board.show(turn, results)

        results = run_benchmark(plan, on_turn)
    unfinished.unlink(missing_ok=True)
    results.settings["command"] = command
    return results


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bertrt bench",
        description="Measure bertrt side by side with PyTorch and other engines, each in a process "
        "of its own, by turns; and check that each gives the right answers.",
    )
    parser.add_argument(
        "--quick", action="store_true", help="the example model, in less than 3 minutes"
    )
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help=f"{', '.join(BUILT_IN)} (sizes have random weights); a folder or hub id "
        "(default bert-base)",
    )
    parser.add_argument(
        "--capacity",
        metavar="MODEL",
        help="plan a cluster for MODEL instead, without PyTorch; it has options of its own: "
        "bertrt bench --capacity --help",
    )
    parser.add_argument("--peers", nargs="+", choices=PEERS, metavar="PEER", help=", ".join(PEERS))
    parser.add_argument(
        "--texts", type=Path, metavar="FILE", help="one text a line (default SST-2's dev set)"
    )
    parser.add_argument(
        "--labelled", action="store_true", help="FILE's lines are TEXT<TAB>LABEL-ID"
    )
    parser.add_argument(
        "--calibration", type=Path, metavar="FILE", help="one text a line (default SST-2's train)"
    )
    parser.add_argument("--max-texts", type=positive, metavar="N", help="timed of FILE")
    parser.add_argument("--mixed-texts", type=positive, metavar="N", help="1 in 10 a document")
    parser.add_argument(
        "--checked-texts",
        type=positive,
        metavar="N",
        help=f"to compare answers on (default {CHECKED_TEXTS})",
    )
    parser.add_argument(
        "--lengths",
        type=positive,
        nargs="*",
        metavar="TOKENS",
        help="of one text (default 8 .. 512)",
    )
    parser.add_argument(
        "--batch-sizes", type=_batch_size, nargs="*", metavar="N|all", help="(default 1 8 32 all)"
    )
    parser.add_argument("--rounds", type=positive, metavar="N", help="(default 3)")
    parser.add_argument("--threads", type=positive, default=available_cpus(), metavar="N")
    parser.add_argument(
        "--timeout", type=positive, default=600, metavar="SECONDS", help="of a turn (default 600)"
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="of the report")
    parser.add_argument(
        "--compare",
        type=Path,
        metavar="OLD.json",
        help="results to compare with; exit with 1 if a ratio got worse beyond the noise",
    )
    parser.add_argument(
        "--results", type=Path, metavar="FILE.json", help="report on these, measure nothing"
    )
    parser.add_argument(
        "--create-environments",
        nargs="*",
        metavar="NAME",
        help=f"make those of the peers that need one, and stop: {', '.join(environments.names())}",
    )
    parser.add_argument("--work", type=Path, default=Path("build/bench"), help="for models")
    parser.add_argument("--environments", type=Path, default=Path("build/bench/envs"))
    return parser


def _batch_size(text: str) -> int:
    return 0 if text == "all" else positive(text)


if __name__ == "__main__":
    sys.exit(main())
