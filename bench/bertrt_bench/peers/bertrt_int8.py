"""bertrt itself, from an artifact that export-model wrote with `--precision fp32,int8`."""

from pathlib import Path

import numpy as np
from bertrt import Classifier
from bertrt.packing import PackedBatch

from bertrt_bench.peers.model import Model

__all__ = ["load", "prepare"]


def prepare(checkpoint: Path, folder: Path, calibration: Path) -> None:
    """Nothing: the artifact is given."""


def load(folder: Path, checkpoint: Path, threads: int) -> Model:
    """Load the artifact in `folder`. Its batches are always of like length."""
    classifier = Classifier(folder, "cpu", threads=threads, precision="int8")

    def session(input_ids: np.ndarray) -> np.ndarray:
        rows, tokens = input_ids.shape
        ids = input_ids.reshape(-1)
        lengths = np.full(rows, tokens, dtype=np.int32)
        return classifier._session.run(PackedBatch(ids, np.zeros_like(ids), lengths))

    return Model(lambda texts, by_length: classifier.logits(texts), session)
