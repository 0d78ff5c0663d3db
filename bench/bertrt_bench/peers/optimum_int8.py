"""Hugging Face Optimum: its ONNX export, quantized dynamically as its documentation shows.

https://huggingface.co/docs/optimum-onnx/onnxruntime/usage_guides/quantization
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from optimum.onnxruntime import ORTQuantizer
from optimum.onnxruntime.configuration import AutoQuantizationConfig

from bertrt_bench.peers import optimum_fp32
from bertrt_bench.peers.optimum_fp32 import load_file, run
from bertrt_bench.peers.padded import PaddedModel

__all__ = ["load", "prepare", "run"]


def prepare(checkpoint: Path, folder: Path, calibration: Sequence[str]) -> None:
    """Export and quantize; per tensor, which is the documentation's choice."""
    exported = folder / "fp32"
    exported.mkdir()
    optimum_fp32.prepare(checkpoint, exported, calibration)
    settings = AutoQuantizationConfig.avx512_vnni(is_static=False, per_channel=False)
    ORTQuantizer.from_pretrained(exported).quantize(
        save_dir=folder / "int8", quantization_config=settings
    )
    shutil.rmtree(exported)


def load(folder: Path, checkpoint: Path, threads: int) -> PaddedModel:
    """Load the quantized model."""
    return load_file(folder / "int8", "model_quantized.onnx", checkpoint, threads)
