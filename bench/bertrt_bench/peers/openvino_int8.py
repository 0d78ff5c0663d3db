"""OpenVINO with NNCF's post-training quantization, as their documentation shows.

https://docs.openvino.ai/2025/openvino-workflow/model-optimization-guide/quantizing-models-post-training/basic-quantization-flow.html
"""

from pathlib import Path

import numpy as np
import openvino

from bertrt_bench.peers.model import Model
from bertrt_bench.peers.padded import load_tokenizer, padded, padded_model
from bertrt_bench.workloads import read_labelled

__all__ = ["load", "prepare"]

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_CALIBRATION_TEXTS = 300  # NNCF's default, and the documentation's example


def prepare(checkpoint: Path, folder: Path, calibration: Path) -> None:
    """Convert the PyTorch model and quantize it, calibrated with 300 texts one by one."""
    # Imported here: serving needs none of them, and its memory is measured.
    import nncf
    import torch
    from transformers import AutoModelForSequenceClassification

    module = AutoModelForSequenceClassification.from_pretrained(checkpoint, dtype=torch.float32)
    example = {name: torch.ones(2, 8, dtype=torch.int64) for name in _INPUTS}
    model = openvino.convert_model(
        module.eval(),
        example_input=example,
        input=[(name, openvino.PartialShape([-1, -1]), np.int64) for name in _INPUTS],
    )
    texts, _ = read_labelled(calibration)
    encodings = load_tokenizer(checkpoint).encode_batch_fast(texts[:_CALIBRATION_TEXTS])
    quantized = nncf.quantize(
        model,
        nncf.Dataset(encodings, lambda e: padded([e.ids], [e.type_ids])),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(encodings),
    )
    openvino.save_model(quantized, folder / "model.xml")


def load(folder: Path, checkpoint: Path, threads: int) -> Model:
    """Compile for the CPU with the latency hint, which gives one stream all threads."""
    compiled = openvino.Core().compile_model(
        folder / "model.xml",
        "CPU",
        {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads},
    )
    request = compiled.create_infer_request()

    def run(inputs: dict[str, np.ndarray]) -> np.ndarray:
        results = request.infer(inputs, share_inputs=True)
        logits: np.ndarray = results[0]
        return logits

    return padded_model(run, checkpoint)
