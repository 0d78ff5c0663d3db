"""CTranslate2: its BERT encoder in int8, with the classifier's last layer in NumPy.

It has no classification head of its own. It takes ragged batches and removes the padding itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import ctranslate2
import numpy as np
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from bertrt_bench.peers.padded import load_tokenizer

__all__ = ["load", "prepare", "run"]


@dataclass(frozen=True, slots=True)
class _Model:
    """The encoder with its pooler, and the classifier: float32 [hidden, labels] and [labels]."""

    tokenizer: Tokenizer
    encoder: ctranslate2.Encoder
    weight: np.ndarray
    bias: np.ndarray


def prepare(checkpoint: Path, folder: Path, calibration: Sequence[str]) -> None:
    """Convert the encoder and the pooler with int8 weights; needs no calibration."""
    converter = ctranslate2.converters.TransformersConverter(str(checkpoint))
    converter.convert(str(folder / "model"), quantization="int8")


def load(folder: Path, checkpoint: Path, threads: int) -> _Model:
    """Load the encoder as one worker that has all threads."""
    encoder = ctranslate2.Encoder(
        str(folder / "model"),
        device="cpu",
        compute_type="int8",
        inter_threads=1,
        intra_threads=threads,
    )
    weights = load_file(checkpoint / "model.safetensors")
    weight, bias = weights["classifier.weight"], weights["classifier.bias"]
    return _Model(
        load_tokenizer(checkpoint),
        encoder,
        weight.T.astype(np.float32),
        bias.astype(np.float32),
    )


def run(model: _Model, texts: list[str]) -> np.ndarray:
    """One ragged batch, and the last layer."""
    ids = [encoding.ids for encoding in model.tokenizer.encode_batch_fast(texts)]
    output = model.encoder.forward_batch(ids)
    pooled = np.array(output.pooler_output, dtype=np.float32)
    logits: np.ndarray = pooled @ model.weight + model.bias
    return logits
