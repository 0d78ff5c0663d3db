"""How faithful int8 is: bertrt and onnxruntime's quantize_dynamic against PyTorch, on real text.

On a MiniLM-L6 classifier for SST-2, and on the same function with activations 40 times as large in
a few channels. Each text is compared with itself as well: alone, in random batches, shuffled.
"""

import argparse
import dataclasses
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from bertrt.packing import pack
from bertrt.tokenizer import Encoding, TextTokenizer
from bertrt_export.artifact_writer import write_tokenizer
from bertrt_export.calibration import read_calibration
from bertrt_export.checkpoint import Checkpoint, load_checkpoint
from bertrt_export.packed import packed_graph
from bertrt_export.quantization.fidelity import Fidelity, Limits
from bertrt_export.quantization.graph_session import GraphSession
from bertrt_export.quantization.int8 import quantize
from bertrt_export.verify import pytorch_logits, reference_logits
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bertrt_bench.machine import describe_machine
from bertrt_bench.models import minilm_sst2
from bertrt_bench.outliers import with_outliers
from bertrt_bench.peers.ort_dynamic_int8 import export_padded, load_padded, quantize_per_tensor
from bertrt_bench.workloads import EXAMPLES, read_labelled

__all__ = ["Independence", "independence", "main"]

_SST2 = EXAMPLES / "data" / "sst2"
_OUTLIERS = 40.0
_BATCH_SIZE = 32
_RANDOM_BATCHES = 50

# A text whose two best logits are closer than this may change its label with the batch.
_MARGIN = 0.01

# One batch of texts to logits, float32 [texts, labels].
Run = Callable[[Sequence[Encoding]], np.ndarray]


@dataclasses.dataclass(frozen=True, slots=True)
class Independence:
    """Logits of texts in company against those of the same texts alone.

    flips: texts whose label changed at least once, of those that PyTorch decides by `_MARGIN`.
    """

    mean_abs_diff: float
    max_abs_diff: float
    flips: int


def main() -> int:
    """Measure both models, print the tables, keep figures and picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, help="(default: trained, about 10 minutes)")
    parser.add_argument("--work", type=Path, default=Path("build/bench"), help="where models go")
    parser.add_argument("--texts", type=int, help="of SST-2 dev + test (default all 2,693)")
    arguments = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 120)
    arguments.work.mkdir(parents=True, exist_ok=True)
    folder = arguments.checkpoint or minilm_sst2(arguments.work / "minilm-sst2")
    checkpoint = load_checkpoint(str(folder))
    hard = dataclasses.replace(checkpoint, model=with_outliers(checkpoint.model, factor=_OUTLIERS))
    rows = [read_labelled(_SST2 / f"{part}.tsv") for part in ("dev", "test")]
    texts = [text for part, _ in rows for text in part][: arguments.texts]
    labels = [label for _, part in rows for label in part][: arguments.texts]
    results: dict[str, Any] = {}
    errors: dict[str, dict[str, np.ndarray]] = {}
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None)

        def step(what: str, done: int = 0, total: int = 0) -> None:
            progress.update(task, description=what, completed=done, total=total or None)

        for name, model in (("MiniLM", checkpoint), (f"MiniLM, {_OUTLIERS:g}x outliers", hard)):
            results[name], errors[name] = _measure(model, texts, labels, step)
    for name, engines in results.items():
        console.print(_table(name, len(texts), engines))
    console.print(describe_machine())
    (arguments.work / "fidelity.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    _plot(errors, arguments.work / "fidelity.png")
    console.print(f"Figures and picture: {arguments.work}/fidelity.json, fidelity.png")
    return 0


def _measure(
    checkpoint: Checkpoint, texts: list[str], labels: list[int], step: Callable[..., None]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Figures and logit errors of every engine on one model."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_tokenizer(checkpoint, folder, checkpoint.max_length)
        tokenizer = TextTokenizer(folder, checkpoint.max_length)
        calibration = read_calibration(
            _SST2 / "train.tsv",
            text_column="1",
            label_column="2",
            label2id=dict(checkpoint.config.label2id),
        )
        answers = reference_logits(checkpoint, tokenizer.encode(calibration.verification), step)
        graph = packed_graph(checkpoint)
        int8 = quantize(checkpoint, graph, tokenizer, calibration, answers, Limits(), step)
        packed = GraphSession(int8.graph)
        step("exporting with padding")
        export_padded(checkpoint.model, folder / "fp32.onnx")
        quantize_per_tensor(folder / "fp32.onnx", folder / "int8.onnx")
        engines: dict[str, Run] = {
            "bertrt int8": lambda batch: packed.run(pack(batch))[0],
            "quantize_dynamic": load_padded(folder / "int8.onnx"),
            "onnxruntime fp32": load_padded(folder / "fp32.onnx"),
        }
        encodings = tokenizer.encode(texts)
        reference = np.concatenate(
            pytorch_logits(checkpoint, encodings, lambda *done: step("asking PyTorch", *done))
        )
        results: dict[str, Any] = {}
        errors: dict[str, np.ndarray] = {}
        for name, run in engines.items():
            step(f"{name} on {len(texts)} texts")
            alone = np.concatenate([run([encoding]) for encoding in encodings])
            errors[name] = (alone - reference).reshape(-1)
            results[name] = {
                "fidelity": dataclasses.asdict(
                    Fidelity.measure(alone, reference, labels, single_label=True)
                ),
                **{
                    order: dataclasses.asdict(found)
                    for order, found in independence(run, encodings, alone, reference).items()
                },
            }
        forms = [choice.name for choice in int8.choice.values()]
        results["bertrt int8"]["forms"] = {form: forms.count(form) for form in set(forms)}
    return results, errors


def independence(
    run: Run, encodings: Sequence[Encoding], alone: np.ndarray, reference: np.ndarray
) -> dict[str, Independence]:
    """Texts in 50 random batches of 32, and all of them in shuffled order, against each alone."""
    random = np.random.default_rng(0)
    size = min(_BATCH_SIZE, len(encodings))
    drawn = [random.choice(len(encodings), size, replace=False) for _ in range(_RANDOM_BATCHES)]
    shuffled = random.permutation(len(encodings))
    runs = [shuffled[start : start + size] for start in range(0, len(shuffled), size)]
    ordered = np.sort(reference, axis=1)
    decided = ordered[:, -1] - ordered[:, -2] >= _MARGIN
    return {
        name: _compare(run, encodings, alone, decided, batches)
        for name, batches in (("random_batches", drawn), ("shuffled", runs))
    }


def _compare(
    run: Run,
    encodings: Sequence[Encoding],
    alone: np.ndarray,
    decided: np.ndarray,
    batches: Sequence[np.ndarray],
) -> Independence:
    differences, flipped = [], set()
    for positions in batches:
        logits = run([encodings[position] for position in positions])
        differences.append(np.abs(logits - alone[positions]).reshape(-1))
        changed = logits.argmax(axis=1) != alone[positions].argmax(axis=1)
        flipped |= set(positions[changed & decided[positions]].tolist())
    every = np.concatenate(differences)
    return Independence(float(every.mean()), float(every.max()), len(flipped))


def _table(name: str, texts: int, engines: dict[str, Any]) -> Table:
    table = Table(f"{name}: {texts} texts of SST-2 dev + test", *engines)
    columns = [_cells(facts) for facts in engines.values()]
    for title in columns[0]:
        table.add_row(title, *(column[title] for column in columns))
    forms = ", ".join(f"{n} {form}" for form, n in engines["bertrt int8"]["forms"].items())
    table.caption = f"bertrt int8 chose: {forms}"
    return table


def _cells(facts: dict[str, Any]) -> dict[str, str]:
    """The table's column of one engine, by the rows' titles."""
    fidelity = facts["fidelity"]
    cells = {
        "same label as PyTorch float32": f"{fidelity['agreement']:.2%}",
        "mean |Δlogit|": f"{fidelity['mean_abs_diff']:.4f}",
        "max |Δlogit|": f"{fidelity['max_abs_diff']:.3f}",
        "accuracy (PyTorch's)": (
            f"{fidelity['accuracy']:.2%} ({fidelity['reference_accuracy']:.2%})"
        ),
    }
    for order, title in (
        ("random_batches", "in 50 random batches"),
        ("shuffled", "in shuffled order"),
    ):
        found = facts[order]
        cells |= {
            f"alone against {title}: mean, max |Δlogit|": (
                f"{found['mean_abs_diff']:.1e}, {found['max_abs_diff']:.1e}"
            ),
            f"labels changed {title} (margin over {_MARGIN})": str(found["flips"]),
        }
    return cells


def _plot(errors: dict[str, dict[str, np.ndarray]], file: Path) -> None:
    """The share of logits within each error, for every model and engine."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    for axes, (name, engines) in zip(
        figure.subplots(1, len(errors), sharey=True), errors.items(), strict=True
    ):
        for engine, values in engines.items():
            if engine != "onnxruntime fp32":
                sizes = np.sort(np.abs(values))
                axes.plot(sizes, np.arange(1, len(sizes) + 1) / len(sizes), label=engine)
        axes.set_xscale("log")
        axes.set_xlabel("|Δlogit| against PyTorch float32")
        axes.set_title(name)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.axes[0].set_ylabel("share of logits within it")
    figure.savefig(file, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    sys.exit(main())
