"""Hugging Face Optimum: its ONNX export, quantized dynamically as its documentation shows.

https://huggingface.co/docs/optimum-onnx/onnxruntime/usage_guides/quantization
"""

import shutil
from pathlib import Path

import numpy as np
import onnxruntime
from optimum.onnxruntime import ORTModelForSequenceClassification, ORTQuantizer
from optimum.onnxruntime.configuration import AutoQuantizationConfig

from bertrt_bench.peers.model import Model
from bertrt_bench.peers.padded import padded_model

__all__ = ["load", "prepare"]


def prepare(checkpoint: Path, folder: Path, calibration: Path) -> None:
    """Export and quantize; per tensor, which is the documentation's choice."""
    model = ORTModelForSequenceClassification.from_pretrained(checkpoint, export=True)
    exported = folder / "fp32"
    model.save_pretrained(exported)
    settings = AutoQuantizationConfig.avx512_vnni(is_static=False, per_channel=False)
    ORTQuantizer.from_pretrained(exported).quantize(
        save_dir=folder / "int8", quantization_config=settings
    )
    shutil.rmtree(exported)


def load(folder: Path, checkpoint: Path, threads: int) -> Model:
    """Load the quantized model through Optimum's own class."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    model = ORTModelForSequenceClassification.from_pretrained(
        folder / "int8", file_name="model_quantized.onnx", session_options=options
    )

    def run(inputs: dict[str, np.ndarray]) -> np.ndarray:
        logits: np.ndarray = model(**inputs).logits
        return logits

    return padded_model(run, checkpoint)
