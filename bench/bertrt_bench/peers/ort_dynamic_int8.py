"""onnxruntime's own quantize_dynamic, with its defaults, on a padded export of the checkpoint."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
from bertrt.cpus import available_cpus
from bertrt.tokenizer import Encoding

from bertrt_bench.peers.padded import INPUTS, PaddedModel, Run, padded, run

if TYPE_CHECKING:
    import torch

__all__ = [
    "export_padded",
    "load",
    "load_padded",
    "prepare",
    "quantize_per_tensor",
    "run",
]


def prepare(checkpoint: Path, folder: Path, calibration: Sequence[str]) -> None:
    """Export with torch.onnx and quantize, per tensor."""
    # Imported here: serving needs neither this nor torch, and its memory is measured.
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(checkpoint, dtype="float32")
    export_padded(model.eval(), folder / "fp32.onnx")
    quantize_per_tensor(folder / "fp32.onnx", folder / "int8.onnx")
    (folder / "fp32.onnx").unlink()


def export_padded(model: "torch.nn.Module", file: Path) -> None:
    """A BERT as a graph of padded batches: int64 [texts, tokens], three inputs by name."""
    import torch
    from bertrt_export.tracing import quiet_exporter

    texts, tokens = torch.export.Dim("texts"), torch.export.Dim("tokens", max=512)
    example = {name: torch.ones(2, 8, dtype=torch.int64) for name in INPUTS}
    with quiet_exporter():
        torch.onnx.export(
            model,
            kwargs=example,
            f=file,
            input_names=list(INPUTS),
            output_names=["logits"],
            dynamic_shapes={name: {0: texts, 1: tokens} for name in INPUTS},
            dynamo=True,
            external_data=False,
            verbose=False,
        )


def quantize_per_tensor(graph: Path, output: Path) -> None:
    """quantize_dynamic with its defaults."""
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(graph, output)


def load(folder: Path, checkpoint: Path, threads: int) -> PaddedModel:
    """Load the quantized graph with onnxruntime's default options."""
    return PaddedModel.of(_session(folder / "int8.onnx", threads), checkpoint)


def load_padded(graph: Path) -> Callable[[Sequence[Encoding]], np.ndarray]:
    """Load a padded graph; one batch of tokenized texts to logits, float32 [texts, labels]."""
    engine = _session(graph, available_cpus())
    return lambda texts: engine(
        padded([text.input_ids for text in texts], [text.token_type_ids for text in texts])
    )


def _session(graph: Path, threads: int) -> Run:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def run(inputs: dict[str, np.ndarray]) -> np.ndarray:
        logits: np.ndarray = session.run(["logits"], inputs)[0]
        return logits

    return run
