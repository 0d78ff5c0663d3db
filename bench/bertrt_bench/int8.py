"""int8 engines side by side on a model of BERT-base's size: speed, memory, agreement, targets."""

import argparse
import contextlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from bertrt.cpus import available_cpus
from rich.console import Console
from rich.progress import Progress

from bertrt_bench.int8_tables import print_tables
from bertrt_bench.machine import describe_machine
from bertrt_bench.models import bert_base
from bertrt_bench.peers.padded import load_tokenizer
from bertrt_bench.peers.registry import PEERS
from bertrt_bench.peers.remote import RemotePeer, environment_python, skip_reason
from bertrt_bench.startup import ANSWER_WITH_BERTRT, seconds_to_answer
from bertrt_bench.workloads import EXAMPLES, mixed_set, read_labelled

__all__ = ["main", "measure"]

_SST2 = EXAMPLES / "data" / "sst2"
_LENGTHS = (16, 32, 128)
_REPEATS = 20  # of one text through the session, in each round

# After a peer's turn, so that its threads have stopped spinning when the next one starts.
_PAUSE_SECONDS = 0.3

Step = Callable[[str], None]


def main() -> int:
    """Prepare the peers (once), measure them by turns, print the tables and keep the figures."""
    arguments = _arguments()
    work: Path = arguments.work
    console = Console(width=None if sys.stdout.isatty() else 150)
    checkpoint = arguments.checkpoint or bert_base(work / "bert-base")
    names = _present(arguments, console)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None)

        def step(what: str) -> None:
            progress.update(task, description=what, advance=1)

        folders = {name: _prepared(name, checkpoint, arguments, step) for name in names}
        if arguments.prepare_only:
            return 0
        results: dict[str, Any] = {
            "machine": describe_machine(),
            "commit": _commit(),
            "rounds": arguments.rounds,
            "checkpoint": str(arguments.checkpoint or "BERT-base, random weights"),
            **_measured(folders, checkpoint, arguments, step),
        }
    file = work / "int8.json"
    file.write_text(json.dumps(results, indent=1), encoding="utf-8")
    print_tables(console, results)
    console.print(f"All figures: {file}")
    return 0


def _present(arguments: argparse.Namespace, console: Console) -> list[str]:
    """The peers that can run here; says why of those that cannot."""
    names = []
    for name in arguments.peers or PEERS:
        reason = skip_reason(PEERS[name], arguments.envs)
        if reason is None:
            names.append(name)
        else:
            console.print(f"{PEERS[name].title}: left out, because {reason}")
    return names


def _measured(
    folders: Mapping[str, Path], checkpoint: Path, arguments: argparse.Namespace, step: Step
) -> dict[str, Any]:
    """Load the peers, each in its process, and measure them all."""
    sentences, _ = read_labelled(_SST2 / "dev.tsv")
    tokenizer = load_tokenizer(checkpoint)
    tokenizer.no_truncation()
    workloads = {
        "dev": sentences[: arguments.texts],
        "mixed": mixed_set(sentences[: arguments.mixed_texts], tokenizer),
    }
    facts: dict[str, dict[str, Any]] = {}
    peers: dict[str, RemotePeer] = {}
    with contextlib.ExitStack() as stack:
        for name, folder in folders.items():
            step(f"{PEERS[name].title}: loading")
            peers[name] = peer = stack.enter_context(_worker(name, arguments))
            versions = peer.load(folder, checkpoint, arguments.threads)
            peer.classify(sentences[:1])
            facts[name] = {
                "versions": versions,
                "disk_mb": _disk_mb(folder) or _disk_mb(checkpoint),
                "memory": {"loaded": peer.rss()},
            }
        for name, figures in measure(peers, workloads, arguments.rounds, step).items():
            facts[name] |= figures
            facts[name]["memory"]["after"] = peers[name].rss()
    found: dict[str, Any] = {
        "workloads": {name: _lengths(texts, checkpoint) for name, texts in workloads.items()},
        "peers": facts,
    }
    if "bertrt" in folders:
        artifact = folders["bertrt"] / "artifact"
        step("starting processes")
        found["start_seconds"] = [
            seconds_to_answer(arguments.serving_python, ANSWER_WITH_BERTRT, artifact)
            for _ in range(arguments.starts)
        ]
    return found


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--checkpoint", type=Path, help="a classifier (default BERT-base, random weights)"
    )
    parser.add_argument("--peers", nargs="+", choices=PEERS, help="(default all)")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds (default 5)")
    parser.add_argument(
        "--texts", type=int, default=872, help="sentences of SST-2 dev (default all 872)"
    )
    parser.add_argument(
        "--mixed-texts", type=int, default=160, help="texts of the mixed set (default 160)"
    )
    parser.add_argument("--starts", type=int, default=7, help="process starts (default 7)")
    parser.add_argument("--threads", type=int, default=available_cpus())
    parser.add_argument("--work", type=Path, default=Path("build/bench"), help="where models go")
    parser.add_argument(
        "--envs", type=Path, default=Path("build/bench/envs"), help="the peers' environments"
    )
    parser.add_argument("--serving-python", default=sys.executable, help="for the process starts")
    parser.add_argument("--prepare-only", action="store_true", help="convert models, and stop")
    return parser.parse_args()


def _worker(name: str, arguments: argparse.Namespace) -> RemotePeer:
    peer = PEERS[name]
    python = environment_python(peer.environment, arguments.envs)
    return RemotePeer(python, peer.module, arguments.threads)


def _prepared(name: str, checkpoint: Path, arguments: argparse.Namespace, step: Step) -> Path:
    """The folder of a converted model; converted now unless it is there."""
    step(f"{PEERS[name].title}: converting")
    folder: Path = arguments.work / "peers" / checkpoint.name / name
    if not folder.exists():
        partial = folder.with_name(f"{name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        with _worker(name, arguments) as worker:
            worker.prepare(checkpoint.resolve(), partial.resolve(), _SST2 / "train.tsv")
        partial.rename(folder)
    return folder


def measure(
    peers: Mapping[str, RemotePeer],
    workloads: Mapping[str, list[str]],
    rounds: int,
    on_progress: Step,
) -> dict[str, dict[str, Any]]:
    """Every workload by turns (A B C A B C), after a round that is not counted.

    For each peer `seconds`: by workload, one figure a round (of one text by length: the median of
    a round's runs), and by workload `agreement` and `mean_abs_diff` against PyTorch's logits.
    """
    found: dict[str, dict[str, Any]] = {name: {"seconds": {}} for name in peers}
    reference = peers.get("pytorch_fp32")
    ids = {length: _random_ids(length) for length in _LENGTHS}

    def turns(what: str) -> Iterator[tuple[bool, str, RemotePeer]]:
        for number in range(rounds + 1):
            for name, peer in peers.items():
                on_progress(f"{what}, round {number} of {rounds}: {PEERS[name].title}")
                time.sleep(_PAUSE_SECONDS)
                yield number > 0, name, peer

    for length in _LENGTHS:
        for counts, name, peer in turns(f"one text of {length} tokens"):
            runs, _ = peer.session(ids[length], _REPEATS)
            if counts:
                _add(found, name, str(length), float(np.median(runs)))
    for workload, texts in workloads.items():
        logits: dict[str, np.ndarray] = {}
        for counts, name, peer in turns(workload):
            seconds, logits[name] = peer.classify(texts)
            if counts:
                _add(found, name, workload, seconds)
            if PEERS[name].also_by_length:
                sorted_seconds, _ = peer.classify(texts, by_length=True)
                if counts:
                    _add(found, name, f"{workload} by length", sorted_seconds)
        if reference is not None:
            _compare(found, workload, logits)
    return found


def _add(found: dict[str, dict[str, Any]], name: str, workload: str, seconds: float) -> None:
    found[name]["seconds"].setdefault(workload, []).append(seconds)


def _compare(
    found: dict[str, dict[str, Any]], workload: str, logits: Mapping[str, np.ndarray]
) -> None:
    right = logits["pytorch_fp32"]
    for name, values in logits.items():
        if PEERS[name].answers:
            found[name].setdefault("agreement", {})[workload] = float(
                (values.argmax(axis=1) == right.argmax(axis=1)).mean()
            )
            found[name].setdefault("mean_abs_diff", {})[workload] = float(
                np.abs(values - right).mean()
            )


def _random_ids(tokens: int) -> np.ndarray:
    """One text of tokens that every BERT vocabulary has, int64 [1, tokens]."""
    return np.random.default_rng(0).integers(1000, 2000, (1, tokens))


def _lengths(texts: list[str], checkpoint: Path) -> dict[str, float]:
    """How many texts and tokens a workload has, and the padding of batches as they come."""
    lengths = [len(e.ids) for e in load_tokenizer(checkpoint).encode_batch_fast(texts)]
    batches = [lengths[start : start + 32] for start in range(0, len(lengths), 32)]
    padded = sum(max(batch) * len(batch) for batch in batches)
    return {"texts": len(texts), "tokens": sum(lengths), "padding": padded / sum(lengths)}


def _disk_mb(folder: Path) -> float:
    """What a peer's converted model takes, in MB (10^6 bytes)."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    result = subprocess.run(
        command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return result.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main())
