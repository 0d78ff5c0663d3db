"""Hugging Face Optimum: its ONNX export, run through its own class.

https://huggingface.co/docs/optimum-onnx/onnxruntime/usage_guides/models
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from optimum.onnxruntime import ORTModelForSequenceClassification

from bertrt_bench.peers.padded import PaddedModel, run

__all__ = ["load", "load_file", "prepare", "run"]


def prepare(checkpoint: Path, folder: Path, calibration: Sequence[str]) -> None:
    """Export."""
    ORTModelForSequenceClassification.from_pretrained(checkpoint, export=True).save_pretrained(
        folder
    )


def load(folder: Path, checkpoint: Path, threads: int) -> PaddedModel:
    """Load the export."""
    return load_file(folder, "model.onnx", checkpoint, threads)


def load_file(folder: Path, file_name: str, checkpoint: Path, threads: int) -> PaddedModel:
    """Load a graph of a folder through Optimum's class, with NumPy in and out."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    model = ORTModelForSequenceClassification.from_pretrained(
        folder, file_name=file_name, session_options=options
    )

    def engine(inputs: dict[str, np.ndarray]) -> np.ndarray:
        logits: np.ndarray = model(**inputs).logits
        return logits

    return PaddedModel.of(engine, checkpoint)
