"""bertrt itself, in float32."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from bertrt import Classifier

__all__ = ["load", "prepare", "run"]


def prepare(checkpoint: Path, folder: Path, calibration: Sequence[str]) -> None:
    """Export; float32 needs no calibration."""
    # Imported here: serving does without, and its memory is measured.
    from bertrt_export import export_model

    export_model(str(checkpoint), folder / "artifact")


def load(folder: Path, checkpoint: Path, threads: int) -> Classifier:
    """Load the artifact on the CPU."""
    return Classifier(folder / "artifact", "cpu", threads=threads)


def run(model: Classifier, texts: list[str]) -> np.ndarray:
    """Classify; bertrt makes its own batches of what it is given."""
    return model.logits(texts)
