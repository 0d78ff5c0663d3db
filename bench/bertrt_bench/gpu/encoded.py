"""bertrt on the GPU with texts that have been tokenized before: the model's share of the time."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from bertrt import Classifier
from bertrt.tokenizer import Encoding

from bertrt_bench.peers.bertrt_cuda import load as load_classifier
from bertrt_bench.peers.bertrt_cuda import prepare

__all__ = ["load", "prepare", "run"]


@dataclass(frozen=True, slots=True)
class _Model:
    """`known` holds the encodings of texts that came before."""

    classifier: Classifier
    known: dict[tuple[str, ...], list[Encoding]] = field(default_factory=dict)


def load(folder: Path, checkpoint: Path, threads: int) -> _Model:
    """Load the artifact on the GPU."""
    return _Model(load_classifier(folder, checkpoint, threads))


def run(model: _Model, texts: list[str]) -> np.ndarray:
    """Texts are tokenized at their first coming, which does not count after that."""
    encodings = model.known.get(tuple(texts))
    if encodings is None:
        encodings = model.known[tuple(texts)] = model.classifier.tokenizer.encode(texts)
    return model.classifier.run(encodings)
