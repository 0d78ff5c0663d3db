"""sentence-transformers' CrossEncoder with its ONNX backend, int8 as its documentation advises.

https://sbert.net/docs/cross_encoder/usage/efficiency.html. `predict` takes pairs of texts only, so
single texts go through the methods that it is made of, in batches that are cut as it cuts them.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from sentence_transformers import CrossEncoder, export_dynamic_quantized_onnx_model

__all__ = ["load", "prepare", "run"]

_FILE = "onnx/model_qint8_avx512_vnni.onnx"
_BATCH_SIZE = 32  # predict's default


def prepare(checkpoint: Path, folder: Path, calibration: Sequence[str]) -> None:
    """Export, and quantize dynamically."""
    model = CrossEncoder(
        str(checkpoint), backend="onnx", model_kwargs={"export": True}, local_files_only=True
    )
    model.save_pretrained(str(folder))
    export_dynamic_quantized_onnx_model(model, "avx512_vnni", str(folder))
    for file in (folder / "onnx").glob("model.onnx*"):
        file.unlink()


def load(folder: Path, checkpoint: Path, threads: int) -> CrossEncoder:
    """Load the quantized model."""
    torch.set_num_threads(threads)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return CrossEncoder(
        str(folder),
        backend="onnx",
        model_kwargs={"file_name": _FILE, "session_options": options},
        local_files_only=True,
    )


@torch.inference_mode()
def run(model: CrossEncoder, texts: list[str]) -> np.ndarray:
    """The longest first, 32 at a time, as `predict` does."""
    order = sorted(range(len(texts)), key=lambda position: -len(texts[position]))
    scores = []
    for start in range(0, len(order), _BATCH_SIZE):
        batch = [texts[position] for position in order[start : start + _BATCH_SIZE]]
        scores.append(model(model.preprocess(batch))["scores"])
    logits = np.empty((len(texts), scores[0].shape[1]), dtype=np.float32)
    logits[order] = torch.cat(scores).numpy()
    return logits
