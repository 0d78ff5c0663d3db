"""Which load a server still answers in time: rising loads, one measured after another."""

from collections.abc import Callable, Sequence

from bertrt_bench.serving.results import LoadPoint

__all__ = ["highest_that_holds", "holds", "rising_loads"]

# One that misses between others that hold may be the machine's doing; two in a row are not.
_MISSES = 2


def holds(point: LoadPoint, latency_ms: float) -> bool:
    """Whether every request was answered with 200, and 99% of them in time."""
    return set(point.statuses) == {"200"} and point.percentiles["p99"] <= latency_ms


def highest_that_holds(points: Sequence[LoadPoint], latency_ms: float) -> LoadPoint | None:
    """Of the loads that were answered in time, the highest; None if there is none."""
    held = [point for point in points if holds(point, latency_ms)]
    return max(held, key=lambda point: point.offered or 0.0, default=None)


def rising_loads(
    probe: Callable[[float], LoadPoint],
    rates: Sequence[float],
    latency_ms: float,
    refinements: int,
) -> list[LoadPoint]:
    """Measure rising loads until two in a row are not answered in time; then between, or below.

    probe: measures a load of so many requests a second. rates: the loads, rising.
    refinements: how many more loads to measure, each half way between the highest that holds and
    the lowest above it that does not; where none holds, each half of the lowest.
    Returns all points in the order in which they were measured.
    """
    points: list[LoadPoint] = []
    misses = 0
    for rate in rates:
        points.append(probe(rate))
        misses = 0 if holds(points[-1], latency_ms) else misses + 1
        if misses == _MISSES:
            break
    for _ in range(refinements):
        best = highest_that_holds(points, latency_ms)
        floor = 0.0 if best is None else best.offered or 0.0
        above = [point.offered for point in points if point.offered and point.offered > floor]
        if not above:
            break
        points.append(probe((floor + min(above)) / 2))
    return points
