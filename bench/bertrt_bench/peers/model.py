"""What every peer's module has."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

__all__ = ["PeerModule"]


class PeerModule(Protocol):
    """The three functions of a peer's module."""

    def prepare(self, checkpoint: Path, folder: Path, calibration: Sequence[str]) -> None:
        """Convert a checkpoint once, into an empty folder.

        calibration: texts like those that are classified later, none of them the same.
        """

    def load(self, folder: Path, checkpoint: Path, threads: int) -> Any:
        """Load what `prepare` wrote: whatever `run` wants of it."""

    def run(self, model: Any, texts: list[str]) -> np.ndarray:
        """Texts, in one call, to logits, float32 [texts, labels]; tokenization included."""
