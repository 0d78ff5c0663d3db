"""bertrt itself, with int8 as `export-model --precision int8` makes it."""

from pathlib import Path

import numpy as np
from bertrt import Classifier
from bertrt.packing import PackedBatch

from bertrt_bench.peers.model import Model

__all__ = ["load", "prepare"]


def prepare(checkpoint: Path, folder: Path, calibration: Path) -> None:
    """Export in int8, calibrated with the labelled sentences."""
    # Imported here: serving does without, and its memory is measured.
    from bertrt_export import CalibrationFile, export_model

    export_model(
        str(checkpoint),
        folder / "artifact",
        precision="int8",
        calibration=CalibrationFile(calibration, text_column="1", label_column="2"),
    )


def load(folder: Path, checkpoint: Path, threads: int) -> Model:
    """Load the artifact. Its batches are always of like length."""
    classifier = Classifier(folder / "artifact", "cpu", threads=threads)
    session = classifier._session

    def run(input_ids: np.ndarray) -> np.ndarray:
        rows, tokens = input_ids.shape
        ids = input_ids.reshape(-1)
        lengths = np.full(rows, tokens, dtype=np.int32)
        return session.run(PackedBatch(ids, np.zeros_like(ids), lengths))

    return Model(lambda texts, by_length: classifier.logits(texts), run)
