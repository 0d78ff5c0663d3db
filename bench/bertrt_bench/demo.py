"""The whole way on the example model: export it, classify with it, compare with PyTorch."""

import argparse
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from bertrt import Classifier
from bertrt.cpus import available_cpus
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bertrt_bench.installed import installed_mb
from bertrt_bench.machine import describe_machine
from bertrt_bench.measure import Spread, interleaved, ratio
from bertrt_bench.pytorch import load_pytorch
from bertrt_bench.startup import ANSWER_WITH_BERTRT, ANSWER_WITH_PYTORCH, seconds_to_answer
from bertrt_bench.workloads import EXAMPLES, read_labelled

__all__ = ["main"]

_CHECKPOINT = EXAMPLES / "sentiment"
_CALIBRATION = EXAMPLES / "data" / "sst2" / "train.tsv"
_TEXTS = ("A gorgeous, witty, seductive movie.", "A dull, lifeless waste of time.")
_ROUNDS = 5
_STARTS = 3


def main() -> int:
    """Export, classify, and print one table of bertrt beside PyTorch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--serving-python",
        default=sys.executable,
        help="the Python of an environment with bertrt[cpu] alone",
    )
    parser.add_argument("--output", type=Path, default=Path("build/demo/sentiment"))
    arguments = parser.parse_args()
    artifact: Path = arguments.output
    _show_and_run(
        *("export-model", str(_CHECKPOINT), str(artifact), "--precision", "fp32,int8"),
        *("--calibration", str(_CALIBRATION), "--text-column", "1", "--label-column", "2"),
        "--overwrite",
    )
    _show_and_run("bertrt", "classify", str(artifact), *_TEXTS)
    table = Table("SST-2 dev", "PyTorch fp32", "bertrt fp32", "bertrt int8")
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("comparing", total=3 * _ROUNDS + 2 * _STARTS)
        for row in _answers_and_speed(artifact, lambda: progress.advance(task)):
            table.add_row(*row)
        table.add_row(
            *_start_up(artifact, arguments.serving_python, lambda: progress.advance(task))
        )
    sizes = installed_mb("torch", "transformers"), installed_mb("onnxruntime", "tokenizers")
    table.add_row("environment, MB", *(f"{size:.0f}" for size in sizes), f"{sizes[1]:.0f}")
    print()
    Console().print(table)
    print(
        f"The 872 sentences of SST-2 dev. {describe_machine()}.\n"
        f"texts/s: median of {_ROUNDS} interleaved rounds (interquartile range), tokenization "
        "included; PyTorch pads batches of 32. Ratios to PyTorch, round by round.\n"
        f"start-up: a new process to its first answer, median of {_STARTS}; bertrt takes int8 by "
        "itself where the CPU is fast at it.\n"
        "environment: what the packages and all that they require take on disk."
    )
    return 0


def _show_and_run(command: str, *arguments: str) -> None:
    """Run a console script of this environment, showing what a user would type."""
    shown = [repr(word) if " " in word else word for word in (command, *arguments)]
    print(f"\n$ {' '.join(shown)}", flush=True)
    subprocess.run([str(Path(sys.executable).parent / command), *arguments], check=True)


def _answers_and_speed(artifact: Path, step: Callable[[], None]) -> list[list[str]]:
    """The table's rows on the dev set: accuracy, agreement, difference, texts per second."""
    texts, labels = read_labelled(EXAMPLES / "data" / "sst2" / "dev.tsv")
    threads = available_cpus()
    ours = [
        Classifier(artifact, "cpu", threads=threads, precision=name) for name in ("fp32", "int8")
    ]
    peers = {
        "PyTorch": load_pytorch(_CHECKPOINT, threads),
        **{classifier.precision: classifier.logits for classifier in ours},
    }
    seconds, logits = interleaved(peers, texts, _ROUNDS, lambda peer, done: step())
    answers = {name: values.argmax(axis=-1) for name, values in logits.items()}
    accuracy = ["accuracy", *(f"{(answer == labels).mean():.1%}" for answer in answers.values())]
    agreement, difference = ["same label", ""], ["mean, max |Δlogit|", ""]
    speed = ["texts/s", ""]
    for name in peers:
        texts_a_second = Spread.of([len(texts) / run for run in seconds[name]])
        if name == "PyTorch":
            speed[1] = texts_a_second.format(0)
            continue
        apart = np.abs(logits[name] - logits["PyTorch"])
        agreement.append(f"{(answers[name] == answers['PyTorch']).mean():.1%}")
        difference.append(f"{apart.mean():.1e}, {apart.max():.1e}")
        faster = ratio(seconds["PyTorch"], seconds[name])
        speed.append(f"{texts_a_second.format(0)}: {faster.format(1, 'x')}")
    return [accuracy, agreement, difference, speed]


def _start_up(artifact: Path, serving_python: str, step: Callable[[], None]) -> list[str]:
    """The table's row of seconds from a new process to its first answer."""
    peers = (
        (sys.executable, ANSWER_WITH_PYTORCH, _CHECKPOINT),
        (serving_python, ANSWER_WITH_BERTRT, artifact),
    )
    seconds: list[list[float]] = [[], []]
    for _ in range(_STARTS):
        for peer, values in zip(peers, seconds, strict=True):
            values.append(seconds_to_answer(*peer))
            step()
    medians = [statistics.median(values) for values in seconds]
    return ["start-up, s", f"{medians[0]:.2f}", "", f"{medians[1]:.2f}"]


if __name__ == "__main__":
    sys.exit(main())
