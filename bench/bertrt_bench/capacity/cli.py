"""`bertrt bench --capacity MODEL`: the cores that a load takes, and what a million texts cost."""

import argparse
import os
import random
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from bertrt import Classifier
from bertrt.commands.arguments import positive
from bertrt.cpus import available_cpus
from bertrt.errors import BertrtError
from bertrt.precision import PRECISIONS
from rich.console import Console

from bertrt_bench.capacity.arithmetic import Wishes
from bertrt_bench.capacity.measure import (
    Plan,
    measure_bulk,
    measure_online,
    require_server,
    token_counts,
)
from bertrt_bench.capacity.report import loads_table, plan_table, verdict, write_report
from bertrt_bench.capacity.results import Results, TextFacts
from bertrt_bench.machine import machine_facts
from bertrt_bench.workloads import EXAMPLES, read_labelled, read_texts

__all__ = ["main"]

_FLAG = "--capacity"
_WIDTH = 150  # of tables where there is no terminal to ask
_SST2 = EXAMPLES / "data" / "sst2" / "dev.tsv"
_MOST_TEXTS = 10_000
# Options that a run from before has had already.
_MEASURING = ("texts", "threads", "precision", "quick")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code: 0, 1 for an error or a latency out of reach, 2, or 130."""
    words = sys.argv[1:] if argv is None else list(argv)
    arguments = _parser().parse_args(_without_flag(words))
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    try:
        return _run(arguments, console)
    except (BertrtError, ValueError, OSError, RuntimeError) as error:
        print(f"bertrt bench: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bertrt bench: interrupted; nothing was written", file=sys.stderr)
        return 130


def _without_flag(words: Sequence[str]) -> list[str]:
    """The words without --capacity, whose value is the model: `--capacity=M` is `M`."""
    return [word.removeprefix(f"{_FLAG}=") for word in words if word != _FLAG]


def _run(arguments: argparse.Namespace, console: Console) -> int:
    if (arguments.model is None) == (arguments.results is None):
        raise ValueError("give a MODEL to measure, or --results FILE.json of a run before")
    measuring = [f"--{name}" for name in _MEASURING if getattr(arguments, name)]
    if measuring and arguments.results is not None:
        raise ValueError(
            f"{measuring[0]} is for measuring, and --results measures nothing: leave one out"
        )
    output = arguments.output
    if output is None and arguments.results is None:
        output = Path("build/bench/reports/capacity") / Path(arguments.model).name
    if output is not None:
        _check_writable(output)
    if arguments.results is None:
        results = _measured(arguments, _wishes(arguments, Wishes()))
    else:
        results = Results.load(arguments.results)
        results.wishes = _wishes(arguments, results.wishes)
    for table in (plan_table(results), loads_table(results)):
        if table is not None:
            console.print(table.to_rich())
    for sentence in verdict(results):
        console.print(sentence, highlight=False)
    if output is not None:
        write_report(results, output)
        console.print(f"Report: {output / 'report.md'}", highlight=False)
    out_of_reach = results.online is not None and results.chosen is None
    return 1 if out_of_reach else 0


def _check_writable(folder: Path) -> None:
    """ValueError for a folder that cannot be made, before minutes are spent on what goes there."""
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        why = "no permission" if there.is_dir() else "it is a file"
        raise ValueError(
            f"the report cannot be written to {folder} ({there}: {why}): give --output"
        )


def _wishes(arguments: argparse.Namespace, before: Wishes) -> Wishes:
    """Those of the command line, the others as before."""
    given = {name: getattr(arguments, name) for name in asdict(before)}
    return Wishes(**{**asdict(before), **{name: v for name, v in given.items() if v is not None}})


def _measured(arguments: argparse.Namespace, wishes: Wishes) -> Results:
    threads = arguments.threads or available_cpus()
    if threads > available_cpus():
        raise ValueError(
            f"--threads is {threads} and this process may use {available_cpus()} CPUs: "
            "each thread of a replica is taken to have a core"
        )
    if wishes.latency_ms is not None:
        require_server()
    source, texts = _texts(arguments.texts)
    plan = Plan(threads=threads, precision=arguments.precision or "auto")
    if arguments.quick:
        plan = replace(plan, rounds=2, seconds=0.5, requests=100, shares=(0.25, 0.5, 0.75, 1.0))
    with Console(stderr=True).status("loading") as status:
        classifier = Classifier(
            arguments.model, "cpu", threads=plan.threads, precision=plan.precision
        )
        tokens = token_counts(classifier, texts)
        results = Results(
            machine=machine_facts(),
            model=Path(arguments.model).name,
            precision=classifier.precision,
            cores=plan.threads,
            texts=TextFacts(
                source, len(texts), float(tokens.mean()), float(np.percentile(tokens, 95))
            ),
            wishes=wishes,
            bulk=measure_bulk(classifier, texts, plan, status.update),
        )
        del classifier  # its threads and memory are not the server's
        if wishes.latency_ms is not None:
            results.online = measure_online(
                arguments.model, texts, wishes.latency_ms, plan, status.update
            )
    return results


def _texts(file: Path | None) -> tuple[str, list[str]]:
    """What the texts are, and the texts in random order, since a file may be sorted."""
    if file is not None:
        source, texts = str(file), read_texts(file)
    elif _SST2.is_file():
        source, texts = "SST-2's dev set", read_labelled(_SST2)[0]
    else:
        raise ValueError("SST-2 comes with a checkout alone: give --texts FILE, one text a line")
    if not texts:
        raise ValueError(f"{source} has no text: give a file with one text a line")
    order = random.Random(0)  # noqa: S311 (no secret)
    return source, order.sample(texts, min(len(texts), _MOST_TEXTS))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bertrt bench --capacity",
        description="Measure a model on this machine, and plan a cluster of machines like it: "
        "texts a second per core, cores for a load, cost per million texts. Lists are classified "
        "in process; with --latency-ms, a server gets rising loads of requests until their p99 "
        "passes it. All runs on the CPU.",
    )
    parser.add_argument(
        "model", metavar="MODEL", nargs="?", help="a folder of export-model's, or a hub id"
    )
    parser.add_argument("--load", type=float, metavar="N", help="texts a second, of the cluster")
    parser.add_argument(
        "--latency-ms", type=float, metavar="MS", help="the p99 that a request may have"
    )
    parser.add_argument(
        "--price-per-core-hour", type=float, metavar="X", help="what a core costs an hour"
    )
    parser.add_argument("--currency", metavar="WORD", help="of the price (default USD)")
    parser.add_argument(
        "--headroom",
        type=float,
        metavar="SHARE",
        help="of what a replica can do, to keep free (default 0.3)",
    )
    parser.add_argument(
        "--texts", type=Path, metavar="FILE", help="one text a line (default SST-2's dev set)"
    )
    parser.add_argument(
        "--threads",
        type=positive,
        metavar="N",
        help="of a replica, each on a core (default: the CPUs this process may use)",
    )
    parser.add_argument("--precision", choices=PRECISIONS, help="default auto")
    parser.add_argument("--quick", action="store_true", help="a first look, in some seconds")
    parser.add_argument(
        "--results", type=Path, metavar="FILE.json", help="plan with a run before, measure nothing"
    )
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="of the report")
    return parser


if __name__ == "__main__":
    sys.exit(main())
