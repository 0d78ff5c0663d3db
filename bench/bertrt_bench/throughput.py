"""BERT-base in float32 against PyTorch: real sentences, and sentences mixed with documents."""

import argparse
import sys
from pathlib import Path

import numpy as np
import transformers
from bertrt import Classifier
from bertrt.cpus import available_cpus
from bertrt_export import export_model
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from tokenizers import Tokenizer

from bertrt_bench.machine import describe_machine
from bertrt_bench.measure import Classify, Spread, interleaved, ratio
from bertrt_bench.models import bert_base
from bertrt_bench.pytorch import load_pytorch
from bertrt_bench.workloads import EXAMPLES, mixed_set, read_labelled

__all__ = ["main"]


def main() -> int:
    """Print a table of texts per second and ratios, with their spread."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="timed rounds (default 3)")
    parser.add_argument(
        "--texts", type=int, default=872, help="sentences of SST-2 dev (default all 872)"
    )
    parser.add_argument(
        "--mixed-texts", type=int, default=160, help="texts of the mixed set (default 160)"
    )
    parser.add_argument("--work", type=Path, default=Path("build/bench"), help="where models go")
    arguments = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 110)
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    checkpoint, artifact = _bert_base(arguments.work)
    sentences, _ = read_labelled(EXAMPLES / "data" / "sst2" / "dev.tsv")
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    workloads = {
        "SST-2 dev": sentences[: arguments.texts],
        "mixed": mixed_set(sentences[: arguments.mixed_texts], tokenizer),
    }
    threads = available_cpus()
    peers = {
        "PyTorch fp32": load_pytorch(checkpoint, threads),
        "bertrt fp32": Classifier(artifact, "cpu", threads=threads).logits,
    }
    table = Table("texts", "padding", *(f"{peer}, texts/s" for peer in peers), "ratio", "|Δlogit|")
    for name, texts in workloads.items():
        padding = f"{_padding(texts, tokenizer):.2f}x"
        row = _measure(name, texts, peers, arguments.rounds)
        table.add_row(f"{name} ({len(texts)})", padding, *row)
    console.print(table)
    console.print(f"BERT-base, random weights. {describe_machine()}.")
    console.print(
        f"Median of {arguments.rounds} rounds (lowest to highest), peers interleaved, "
        "tokenization included; PyTorch pads batches of 32 in the order the texts come."
    )
    return 0


def _bert_base(work: Path) -> tuple[Path, Path]:
    """The BERT-base checkpoint and its artifact; made once."""
    checkpoint, artifact = bert_base(work / "bert-base"), work / "bert-base-fp32"
    if not (artifact / "bertrt.json").exists():
        export_model(str(checkpoint), artifact, overwrite=True)
    return checkpoint, artifact


def _measure(name: str, texts: list[str], peers: dict[str, Classify], rounds: int) -> list[str]:
    """A table row: texts per second of each peer, the last one's ratio to the first, max |Δ|."""
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(f"{name}: warm-up", total=rounds * len(peers))
        seconds, logits = interleaved(
            peers,
            texts,
            rounds,
            lambda peer, done: progress.update(task, completed=done, description=f"{name}: {peer}"),
        )
    baseline, ours = peers
    speeds = [Spread.of([len(texts) / run for run in runs]) for runs in seconds.values()]
    return [
        *(speed.format() for speed in speeds),
        ratio(seconds[baseline], seconds[ours]).format(2, "x"),
        f"{np.abs(logits[ours] - logits[baseline]).max():.1e}",
    ]


def _padding(texts: list[str], tokenizer: Tokenizer, batch_size: int = 32) -> float:
    """Padded tokens for each true token, in batches as they come."""
    lengths = [min(len(encoding.ids), 512) for encoding in tokenizer.encode_batch(texts)]
    batches = [lengths[start : start + batch_size] for start in range(0, len(texts), batch_size)]
    return sum(max(batch) * len(batch) for batch in batches) / sum(lengths)


if __name__ == "__main__":
    sys.exit(main())
