"""Which precision is the fastest on this machine."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bertrt.cpus import available_cpus
from bertrt.session import Session
from bertrt.tokenizer import Encoding

from bertrt_export.quantization.graph_session import batches

__all__ = ["Timing", "fastest", "time_candidates"]

_ROUNDS = 7

# Texts that are run one at a time, and those that are run in batches.
_ALONE, _BATCHED = 16, 256


@dataclass(frozen=True, slots=True)
class Timing:
    """One graph's speed on this machine: a figure of each round.

    alone: milliseconds of a text by itself. batched: texts a second, in batches.
    """

    alone: tuple[float, ...]
    batched: tuple[float, ...]


def time_candidates(
    graphs: Mapping[str, Path],
    texts: Sequence[Encoding],
    on_progress: Callable[[int, int], None],
) -> dict[str, Timing]:
    """Time the graphs by turns (A B A B), on the CPUs that this process may use."""
    sessions = {
        name: Session(file, device="cpu", threads=available_cpus()) for name, file in graphs.items()
    }
    alone = [batch for text in texts[:_ALONE] for _, batch in batches([text])]
    together = [batch for _, batch in batches(texts[:_BATCHED])]
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in graphs}
    for number in range(_ROUNDS + 1):  # the first is a warm-up
        on_progress(number, _ROUNDS + 1)
        for name, session in sessions.items():
            started = time.perf_counter()
            for batch in alone:
                session.run(batch)
            between = time.perf_counter()
            session.run_all(together)
            seconds[name].append((between - started, time.perf_counter() - between))
    return {
        name: Timing(
            tuple(1000 * by_one / len(alone) for by_one, _ in rounds[1:]),
            tuple(len(texts[:_BATCHED]) / batched for _, batched in rounds[1:]),
        )
        for name, rounds in seconds.items()
    }


def fastest(timings: Mapping[str, Timing]) -> str:
    """The graph with the least time a text, alone and in batches counting alike (geometrically)."""

    def cost(name: str) -> float:
        timing = timings[name]
        return statistics.median(timing.alone) / statistics.median(timing.batched)

    return min(timings, key=cost)
