"""The `bertrt bench` command: bertrt side by side with PyTorch and its peers."""

import argparse
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bertrt.cpus import available_cpus
from rich.console import Console

from bertrt_bench.benchmark import Plan, run_benchmark
from bertrt_bench.compare import compare
from bertrt_bench.live import Board
from bertrt_bench.models import BUILT_IN, BenchModel, find_model
from bertrt_bench.peers import environments
from bertrt_bench.peers.padded import load_tokenizer, max_tokens
from bertrt_bench.peers.registry import PEERS, QUICK, Peer, skip_reason
from bertrt_bench.report import write_report
from bertrt_bench.results import Results
from bertrt_bench.tables import failures, summary
from bertrt_bench.workloads import (
    EXAMPLES,
    TextSet,
    Workload,
    mixed_set,
    read_labelled,
    read_texts,
    text_of,
    throughput_workloads,
)

__all__ = ["main"]

_SST2 = EXAMPLES / "data" / "sst2"
_LENGTHS = (8, 16, 32, 64, 128, 256, 512)
_BATCH_SIZES = (1, 8, 32, 0)
_CALIBRATION_TEXTS = 1024
_CHECKED_TEXTS = 512
_WIDTH = 200  # of tables where there is no terminal to ask

# Texts by default: as many as BERT-base (85 million products a token) gets through in good time.
_TEXTS, _MIXED_TEXTS, _PRODUCTS = 96, 40, 85_000_000
_MOST_TEXTS, _MOST_MIXED = 512, 160


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
        plan = _plan(arguments, console)
        with Board(Console(stderr=True)) as board:
            results = run_benchmark(plan, board.show)
        results.settings["command"] = shlex.join(["bertrt", "bench", *words])
    console.print(summary(results).to_rich())
    if failures(results).rows:
        console.print(failures(results).to_rich())
    output = arguments.output
    if output is None and not arguments.results:
        output = arguments.work / "reports" / results.model["name"]
    if output is not None:
        write_report(results, output)
        console.print(f"Report: {output / 'report.html'}; all figures: {output / 'results.json'}")
    if old is None:
        return 0
    comparison = compare(old, results)
    console.print(comparison.to_grid().to_rich())
    return 1 if comparison.regressions else 0


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
    parser.add_argument("--max-texts", type=_count, metavar="N", help="timed of FILE")
    parser.add_argument("--mixed-texts", type=_count, metavar="N", help="1 in 10 a document")
    parser.add_argument(
        "--checked-texts",
        type=_count,
        metavar="N",
        help=f"to compare answers on (default {_CHECKED_TEXTS})",
    )
    parser.add_argument(
        "--lengths", type=_count, nargs="*", metavar="TOKENS", help="of one text (default 8 .. 512)"
    )
    parser.add_argument(
        "--batch-sizes", type=_batch_size, nargs="*", metavar="N|all", help="(default 1 8 32 all)"
    )
    parser.add_argument("--rounds", type=_count, metavar="N", help="(default 4, quick 3)")
    parser.add_argument("--threads", type=_count, default=available_cpus(), metavar="N")
    parser.add_argument(
        "--timeout", type=_count, default=600, metavar="SECONDS", help="of a turn (default 600)"
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


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def _batch_size(text: str) -> int:
    return 0 if text == "all" else _count(text)


def _plan(arguments: argparse.Namespace, console: Console) -> Plan:
    """All that the options ask for, read and checked."""
    quick = arguments.quick
    if not _SST2.is_dir():
        raise ValueError(
            "the benchmark's texts are not here: run it from a checkout, installed with "
            "`pip install --editable '.[cpu,export,bench]'`"
        )
    model = find_model(arguments.model or ("example" if quick else "bert-base"), arguments.work)
    sets, checked = _texts(arguments, model)
    singles = _singles(arguments, model, checked)
    sizes = arguments.batch_sizes
    if sizes is None:
        sizes = (32, 0) if quick else _BATCH_SIZES
    throughput = [workload for texts in sets for workload in throughput_workloads(texts, sizes)]
    if not singles and not throughput:
        raise ValueError("nothing to measure: give --lengths or --batch-sizes")
    peers, left_out = _peers(arguments, model)
    for title, reason in left_out.items():
        console.print(f"{title}: left out, {reason}", highlight=False)
    return Plan(
        model=model,
        peers=peers,
        checked=checked,
        sets=sets if throughput else [],
        workloads=[*singles, *throughput],
        calibration=_calibration(arguments),
        threads=arguments.threads,
        rounds=arguments.rounds or (3 if quick else 4),
        starts=1 if quick else 3,
        turn_seconds=0.2 if quick else 0.5,
        work=arguments.work,
        environments=arguments.environments,
        left_out=left_out,
        timeout=arguments.timeout,
    )


def _texts(arguments: argparse.Namespace, model: BenchModel) -> tuple[list[TextSet], TextSet]:
    """The ragged and the mixed set, and the texts that answers are checked on."""
    labels: list[int] | None = None
    if arguments.texts is None:
        texts, labels = read_labelled(_SST2 / "dev.tsv")
        labels = labels if model.knows_sst2 else None
        description = "SST-2 dev sentences"
    elif arguments.labelled:
        texts, labels = read_labelled(arguments.texts)
        description = arguments.texts.name
    else:
        texts, description = read_texts(arguments.texts), arguments.texts.name
    if not texts:
        raise ValueError(f"{arguments.texts} has no text")
    tokenizer = load_tokenizer(model.path)
    ragged = TextSet.of("ragged", description, texts, tokenizer, labels)
    tokenizer.no_truncation()
    count, mixed_count = _counts(arguments, model)
    mixed_texts = mixed_set(texts[:mixed_count], tokenizer)
    mixed = TextSet.of(
        "mixed",
        f"{description}, 1 in 10 replaced by a document of 200 to 512 tokens",
        mixed_texts,
        load_tokenizer(model.path),
    )
    checked = ragged.head(arguments.checked_texts or _CHECKED_TEXTS)
    return [ragged.head(count), mixed], checked


def _counts(arguments: argparse.Namespace, model: BenchModel) -> tuple[int, int]:
    """How many texts are timed, ragged and mixed: fewer the larger the model is."""
    scale = _PRODUCTS / model.products
    most, most_mixed = (128, 40) if arguments.quick else (_MOST_TEXTS, _MOST_MIXED)
    count = min(most, max(32, int(_TEXTS * scale)))
    mixed = min(most_mixed, max(10, 10 * int(_MIXED_TEXTS * scale / 10)))
    return arguments.max_texts or count, arguments.mixed_texts or mixed


def _singles(arguments: argparse.Namespace, model: BenchModel, texts: TextSet) -> list[Workload]:
    lengths, limit = arguments.lengths, max_tokens(model.path)
    if lengths is None:
        lengths = (16, 128) if arguments.quick else _LENGTHS
        lengths = [tokens for tokens in lengths if tokens <= limit]
    if any(tokens > limit for tokens in lengths):
        raise ValueError(f"--lengths {max(lengths)}: {model.name} takes at most {limit} tokens")
    tokenizer = load_tokenizer(model.path)
    return [Workload.single(text_of(n, texts.texts, tokenizer), n) for n in sorted(set(lengths))]


def _peers(
    arguments: argparse.Namespace, model: BenchModel
) -> tuple[dict[str, Peer], dict[str, str]]:
    """The peers that can run here, and why the others cannot."""
    peers, left_out = {}, {}
    for name in PEERS:
        peer = PEERS[name]
        if name not in (arguments.peers or (QUICK if arguments.quick else PEERS)):
            continue
        if peer.random_weights and not model.random_weights and arguments.peers is None:
            continue
        reason = skip_reason(peer, arguments.environments)
        if reason is None:
            peers[name] = peer
        else:
            left_out[peer.title] = reason
    if not peers:
        raise ValueError("no peer can run here: " + "; ".join(left_out.values()))
    return peers, left_out


def _calibration(arguments: argparse.Namespace) -> list[str]:
    """Distinct texts, evenly out of the file."""
    if arguments.calibration is None:
        texts, _ = read_labelled(_SST2 / "train.tsv")
    else:
        texts = read_texts(arguments.calibration)
    distinct = list(dict.fromkeys(texts))
    return distinct[:: max(1, len(distinct) // _CALIBRATION_TEXTS)][:_CALIBRATION_TEXTS]


if __name__ == "__main__":
    sys.exit(main())
