"""CTranslate2: its BERT encoder in int8, with the classifier's last layer in NumPy.

It has no classification head of its own. It takes ragged batches and removes the padding itself.
"""

from pathlib import Path

import ctranslate2
import numpy as np
from safetensors.numpy import load_file

from bertrt_bench.peers.model import Model
from bertrt_bench.peers.padded import in_batches, load_tokenizer

__all__ = ["load", "prepare"]


def prepare(checkpoint: Path, folder: Path, calibration: Path) -> None:
    """Convert the encoder and the pooler with int8 weights; needs no calibration."""
    converter = ctranslate2.converters.TransformersConverter(str(checkpoint))
    converter.convert(str(folder / "model"), quantization="int8")


def load(folder: Path, checkpoint: Path, threads: int) -> Model:
    """Load the encoder as one worker that has all threads."""
    encoder = ctranslate2.Encoder(
        str(folder / "model"),
        device="cpu",
        compute_type="int8",
        inter_threads=1,
        intra_threads=threads,
    )
    weights = load_file(checkpoint / "model.safetensors")
    weight, bias = weights["classifier.weight"].T.copy(), weights["classifier.bias"]

    def run(ids: list[list[int]]) -> np.ndarray:
        pooled = np.array(encoder.forward_batch(ids).pooler_output, dtype=np.float32)
        logits: np.ndarray = pooled @ weight + bias
        return logits

    classify = in_batches(
        load_tokenizer(checkpoint), lambda encodings: run([encoding.ids for encoding in encodings])
    )
    return Model(classify, lambda input_ids: run(input_ids.tolist()))
