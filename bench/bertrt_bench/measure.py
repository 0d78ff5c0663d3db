"""Interleaved timing: every round runs each peer once, so that all meet the same noise."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

__all__ = ["Classify", "Spread", "interleaved", "ratio"]

# From texts to logits, float32 [texts, labels], tokenization included.
Classify = Callable[[list[str]], np.ndarray]


@dataclass(frozen=True, slots=True)
class Spread:
    """A median with the lowest and highest of the values it stands for."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> "Spread":
        """The spread of at least one value."""
        return cls(statistics.median(values), min(values), max(values))

    def format(self, digits: int = 1, unit: str = "") -> str:
        """`12.3x (11.9–12.8)`."""
        return f"{self.median:.{digits}f}{unit} ({self.low:.{digits}f}–{self.high:.{digits}f})"


def interleaved(
    peers: Mapping[str, Classify],
    texts: list[str],
    rounds: int,
    on_progress: Callable[[str, int], None] = lambda peer, done: None,
) -> tuple[dict[str, list[float]], dict[str, np.ndarray]]:
    """Run the peers A B C, A B C, ..., `rounds` times, after a warm-up on 32 of the texts.

    Returns the seconds of each run of each peer, and each peer's logits. on_progress gets the peer
    that runs next and the runs done so far.
    """
    seconds: dict[str, list[float]] = {name: [] for name in peers}
    logits: dict[str, np.ndarray] = {}
    for classify in peers.values():
        classify(texts[:32])
    for number in range(rounds):
        for position, (name, classify) in enumerate(peers.items()):
            on_progress(name, number * len(peers) + position)
            start = time.perf_counter()
            logits[name] = classify(texts)
            seconds[name].append(time.perf_counter() - start)
    return seconds, logits


def ratio(slow: list[float], fast: list[float]) -> Spread:
    """How many times faster `fast` is, round by round."""
    return Spread.of([a / b for a, b in zip(slow, fast, strict=True)])
