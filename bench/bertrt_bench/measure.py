"""Timings and what they amount to: medians with their spread, ratios taken round by round."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Classify", "Spread", "interleaved", "percent", "ratio"]

# From texts to logits, float32 [texts, labels], tokenization included.
Classify = Callable[[list[str]], np.ndarray]


@dataclass(frozen=True, slots=True)
class Spread:
    """A median, the quartiles around it, and the lowest and highest of the values."""

    median: float
    first_quartile: float
    third_quartile: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """The spread of at least one value; quartiles by linear interpolation."""
        first, third = np.percentile(values, (25, 75))
        return cls(statistics.median(values), float(first), float(third), min(values), max(values))

    def format(self, digits: int = 1, unit: str = "") -> str:
        """The median with the interquartile range: `12.3x (11.9–12.8)`."""
        quartiles = f"{self.first_quartile:.{digits}f}–{self.third_quartile:.{digits}f}"
        return f"{self.median:.{digits}f}{unit} ({quartiles})"


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


def ratio(slow: Sequence[float], fast: Sequence[float]) -> Spread:
    """How many times faster `fast` is, round by round."""
    return Spread.of([a / b for a, b in zip(slow, fast, strict=True)])


def percent(values: Sequence[float], whole: Sequence[float]) -> str:
    """The share that values are of others, round by round: `97.0% (95.0–103.8)`."""
    return Spread.of([100 * a / b for a, b in zip(values, whole, strict=True)]).format(1, "%")
