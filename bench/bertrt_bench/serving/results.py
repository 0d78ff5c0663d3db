"""What a run under load found, as a file."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bertrt_bench.serving.load import LoadResult

__all__ = ["LoadPoint", "ModelResults", "Results"]


@dataclass(slots=True)
class LoadPoint:
    """One load on one server.

    offered: requests a second that were sent, None for a closed loop. answered: those that got a
    200, a second. percentiles: milliseconds at 50, 90, 95, 99 %; and the longest.
    """

    server: str
    offered: float | None
    answered: float
    percentiles: dict[str, float]
    statuses: dict[str, int]

    @classmethod
    def of(cls, server: str, offered: float | None, result: LoadResult) -> "LoadPoint":
        """The point that a load gave."""
        return cls(server, offered, result.rate, percentiles(result.latencies), result.statuses)


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """Milliseconds at 50, 90, 95 and 99 %, and the longest; nothing where there is no value."""
    if not seconds:
        return {}
    values = np.percentile(np.asarray(seconds) * 1000, (50, 90, 95, 99, 100))
    return dict(zip(("p50", "p90", "p95", "p99", "max"), map(float, values), strict=True))


@dataclass(slots=True)
class ModelResults:
    """What one model did. Lists have one entry a round; texts are SST-2's dev sentences.

    alone: p50 in milliseconds of one text at a time, by where it ran. texts_per_second: at
    saturation, by way. closed: the same number of connections to both servers. open: latency at
    rising rates. overload: three times what the model can do in process.
    """

    name: str
    description: str
    alone: dict[str, list[float]] = field(default_factory=dict)
    texts_per_second: dict[str, list[float]] = field(default_factory=dict)
    closed: dict[str, list[LoadPoint]] = field(default_factory=dict)
    open: list[LoadPoint] = field(default_factory=list)
    overload: LoadPoint | None = None
    queue_timeout: float = 0.0
    resident_mb: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Results:
    """A run: the machine's facts, and each model's results."""

    machine: dict[str, Any]
    rounds: int
    models: list[ModelResults] = field(default_factory=list)

    def save(self, file: Path) -> None:
        """Write as JSON."""
        file.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")

    @classmethod
    def load(cls, file: Path) -> "Results":
        """Read what `save` wrote."""
        content = json.loads(file.read_text(encoding="utf-8"))
        models = [_model(entry) for entry in content.pop("models")]
        return cls(**content, models=models)


def _model(entry: dict[str, Any]) -> ModelResults:
    closed = {
        name: [LoadPoint(**point) for point in points]
        for name, points in entry.pop("closed").items()
    }
    opened = [LoadPoint(**point) for point in entry.pop("open")]
    overload = entry.pop("overload")
    return ModelResults(
        **entry, closed=closed, open=opened, overload=LoadPoint(**overload) if overload else None
    )
