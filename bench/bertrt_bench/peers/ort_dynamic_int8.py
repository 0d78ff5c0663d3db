"""onnxruntime's own quantize_dynamic, with its defaults, on a padded export of the checkpoint."""

from pathlib import Path

import numpy as np
import onnxruntime

from bertrt_bench.peers.model import Model
from bertrt_bench.peers.padded import padded_model

__all__ = ["export_padded", "load", "prepare"]

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def prepare(checkpoint: Path, folder: Path, calibration: Path) -> None:
    """Export with torch.onnx and quantize, per tensor."""
    from onnxruntime.quantization import quantize_dynamic

    export_padded(checkpoint, folder / "fp32.onnx")
    quantize_dynamic(folder / "fp32.onnx", folder / "int8.onnx")


def export_padded(checkpoint: Path, file: Path) -> None:
    """The checkpoint as a graph of padded batches: int64 [texts, tokens], three inputs by name."""
    # Imported here: serving needs neither, and its memory is measured.
    import torch
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(checkpoint, dtype=torch.float32)
    texts, tokens = torch.export.Dim("texts"), torch.export.Dim("tokens", max=512)
    example = {name: torch.ones(2, 8, dtype=torch.int64) for name in _INPUTS}
    torch.onnx.export(
        model.eval(),
        kwargs=example,
        f=file,
        input_names=list(_INPUTS),
        output_names=["logits"],
        dynamic_shapes={name: {0: texts, 1: tokens} for name in _INPUTS},
        dynamo=True,
        external_data=False,
    )


def load(folder: Path, checkpoint: Path, threads: int) -> Model:
    """Load the quantized graph with onnxruntime's default options."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        folder / "int8.onnx", options, providers=["CPUExecutionProvider"]
    )

    def run(inputs: dict[str, np.ndarray]) -> np.ndarray:
        logits: np.ndarray = session.run(["logits"], inputs)[0]
        return logits

    return padded_model(run, checkpoint)
