"""What a peer's module gives to its worker."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

__all__ = ["Model", "PeerModule"]


@dataclass(frozen=True, slots=True)
class Model:
    """A loaded peer, ready to answer.

    classify: texts to logits, float32 [texts, labels], in the order of the texts, tokenization
        included. Its second argument asks for batches of like length, where the peer does not
        make them anyway.
    session: input_ids, int64 [rows, tokens], all rows full, to logits, float32 [rows, labels].
    """

    classify: Callable[[list[str], bool], np.ndarray]
    session: Callable[[np.ndarray], np.ndarray]


class PeerModule(Protocol):
    """The functions that every peer's module has."""

    def prepare(self, checkpoint: Path, folder: Path, calibration: Path) -> None:
        """Convert a checkpoint once, into an empty folder.

        calibration: a file of `sentence<TAB>label` lines.
        """

    def load(self, folder: Path, checkpoint: Path, threads: int) -> Model:
        """Load what `prepare` wrote. One model in memory answers both ways."""
