"""OpenVINO in bfloat16, which it takes by itself where the CPU multiplies it.

https://docs.openvino.ai/2025/openvino-workflow/running-inference/optimize-inference/precision-control.html
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import openvino

from bertrt_bench.peers.padded import INPUTS, PaddedModel, run

__all__ = ["MODEL", "compiled", "converted", "load", "prepare", "run"]

MODEL = "model.xml"


def prepare(checkpoint: Path, folder: Path, calibration: Sequence[str]) -> None:
    """Convert the PyTorch model; weights are kept in float16, which is the default."""
    openvino.save_model(converted(checkpoint), folder / MODEL)


def converted(checkpoint: Path) -> openvino.Model:
    """The checkpoint as an OpenVINO model of padded batches of any shape."""
    # Imported here: serving needs neither, and its memory is measured.
    import torch
    from transformers import AutoModelForSequenceClassification

    module = AutoModelForSequenceClassification.from_pretrained(checkpoint, dtype=torch.float32)
    return openvino.convert_model(
        module.eval(),
        example_input={name: torch.ones(2, 8, dtype=torch.int64) for name in INPUTS},
        input=[(name, openvino.PartialShape([-1, -1]), np.int64) for name in INPUTS],
    )


def load(folder: Path, checkpoint: Path, threads: int) -> PaddedModel:
    """Compile with the bf16 hint."""
    return compiled(folder, checkpoint, threads, {"INFERENCE_PRECISION_HINT": "bf16"})


def compiled(
    folder: Path, checkpoint: Path, threads: int, hints: dict[str, str] | None = None
) -> PaddedModel:
    """Compile for the CPU with the latency hint, which gives one stream all threads."""
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, **(hints or {})}
    request = openvino.Core().compile_model(folder / MODEL, "CPU", settings).create_infer_request()

    def engine(inputs: dict[str, np.ndarray]) -> np.ndarray:
        logits: np.ndarray = request.infer(inputs, share_inputs=True)[0]
        return logits

    return PaddedModel.of(engine, checkpoint)
