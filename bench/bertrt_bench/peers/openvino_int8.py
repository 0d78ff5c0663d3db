"""OpenVINO with NNCF's post-training quantization, as their documentation shows.

https://docs.openvino.ai/2025/openvino-workflow/model-optimization-guide/quantizing-models-post-training/basic-quantization-flow.html
"""

from collections.abc import Sequence
from pathlib import Path

import openvino

from bertrt_bench.peers.openvino_bf16 import MODEL, compiled, converted, run
from bertrt_bench.peers.padded import PaddedModel, load_tokenizer, padded

__all__ = ["load", "prepare", "run"]

_CALIBRATION_TEXTS = 300  # NNCF's default, and the documentation's example


def prepare(checkpoint: Path, folder: Path, calibration: Sequence[str]) -> None:
    """Convert the PyTorch model and quantize it, calibrated with 300 texts one by one."""
    import nncf

    encodings = load_tokenizer(checkpoint).encode_batch_fast(calibration[:_CALIBRATION_TEXTS])
    quantized = nncf.quantize(
        converted(checkpoint),
        nncf.Dataset(encodings, lambda e: padded([e.ids], [e.type_ids])),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(encodings),
    )
    openvino.save_model(quantized, folder / MODEL)


def load(folder: Path, checkpoint: Path, threads: int) -> PaddedModel:
    """Compile for the CPU; what is not int8 runs in the CPU's default precision."""
    return compiled(folder, checkpoint, threads)
