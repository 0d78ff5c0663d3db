"""Tokenization alone, as bertrt does it, which on a GPU is no longer a small part of the whole."""

from pathlib import Path

import numpy as np
from bertrt.artifact import load_artifact
from bertrt.tokenizer import TextTokenizer

from bertrt_bench.peers.bertrt_cuda import prepare

__all__ = ["load", "prepare", "run"]


def load(folder: Path, checkpoint: Path, threads: int) -> TextTokenizer:
    """Load the artifact's tokenizer."""
    artifact = load_artifact(folder / "artifact")
    return TextTokenizer(artifact.path, artifact.max_length)


def run(model: TextTokenizer, texts: list[str]) -> np.ndarray:
    """Tokenize; float32 zeros [texts, 1]."""
    model.encode(texts)
    return np.zeros((len(texts), 1), np.float32)
