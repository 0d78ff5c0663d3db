"""Actions by turns within one process: A B C, A B C, ..."""

import time
from collections.abc import Callable, Mapping

import numpy as np

__all__ = ["by_turns"]

_WARM_UP = 5


def by_turns(
    actions: Mapping[str, Callable[[], object]], rounds: int, runs: int
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """The median seconds of `runs` runs, by action and round; and why some failed.

    An action returns when its result is there: bertrt's do, for they return NumPy arrays. One that
    fails takes no further turns; a batch may be too large for the GPU's memory, say.
    """
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    failures: dict[str, str] = {}

    def turn(name: str, count: int) -> list[float]:
        taken: list[float] = []
        try:
            for _ in range(count):
                start = time.perf_counter()
                actions[name]()
                taken.append(time.perf_counter() - start)
        except Exception as error:  # the backend's errors share no base class
            failures[name] = f"{type(error).__name__}: {error}"
        return taken

    for name in actions:
        turn(name, _WARM_UP)
    for _ in range(rounds):
        for name in actions:
            if name not in failures and len(taken := turn(name, runs)) == runs:
                seconds[name].append(float(np.median(taken)))
    return {name: found for name, found in seconds.items() if found}, failures
