"""Measure one model: lists in process, and requests to one server."""

import importlib.util
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from bertrt import Classifier
from bertrt.errors import MissingDependencyError

from bertrt_bench.capacity.loads import rising_loads
from bertrt_bench.capacity.results import Online
from bertrt_bench.pause import PAUSE
from bertrt_bench.serving.load import LoadResult, load_predict
from bertrt_bench.serving.results import LoadPoint, percentiles
from bertrt_bench.serving.servers import Server, bertrt_server

__all__ = ["Plan", "measure_bulk", "measure_online", "require_server", "token_counts"]

_SERVER = "bertrt serve"
_WARM_UP = 64  # texts
_CONNECTIONS = 64  # of the closed loop
_MOST_CONNECTIONS = 512  # of an open loop, as many as the server takes at a time by default
_MOST_SECONDS = 60.0  # of one load


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much of everything.

    seconds: of a round of the list, about, and of each load at least; requests: of each load at
    least, since the 99th percentile of few says little, unless that takes over a minute.
    shares: of the most that the server answers, as loads to try, rising. refinements: loads to try
    between two of those.
    """

    threads: int
    precision: str = "auto"
    rounds: int = 5
    seconds: float = 5.0
    requests: int = 500
    shares: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1)
    refinements: int = 2


def token_counts(classifier: Classifier, texts: Sequence[str]) -> np.ndarray:
    """The tokens of each text, as the model cuts them."""
    return np.array([len(encoding) for encoding in classifier.tokenizer.encode(list(texts))])


def measure_bulk(
    classifier: Classifier,
    texts: Sequence[str],
    plan: Plan,
    on_progress: Callable[[str], None],
) -> list[float]:
    """Texts a second of `classifier(list)`, by round; each round has the same texts.

    Where the texts are many, the first of them, so that a round is as long as it shall be.
    """
    on_progress("lists: warming up")
    classifier(list(texts[:_WARM_UP]))
    began = time.perf_counter()
    classifier(list(texts[:_WARM_UP]))
    wanted = plan.seconds * len(texts[:_WARM_UP]) / (time.perf_counter() - began)
    part = list(texts[: max(_WARM_UP, round(wanted))])
    rates = []
    for number in range(plan.rounds):
        on_progress(f"lists: round {number + 1} of {plan.rounds}")
        time.sleep(PAUSE)
        began, done = time.perf_counter(), 0
        while time.perf_counter() - began < plan.seconds or not done:
            classifier(part)
            done += len(part)
        rates.append(done / (time.perf_counter() - began))
    return rates


def require_server() -> None:
    """Raise MissingDependencyError unless what `bertrt serve` needs is installed."""
    for package in ("uvicorn", "starlette", "uvloop"):
        if importlib.util.find_spec(package) is None:
            raise MissingDependencyError(
                f"the latency of a server cannot be measured without {package}: install it with "
                "`pip install 'bertrt[cpu,serve,bench]'`, or leave --latency-ms out"
            )


def measure_online(
    model: str,
    texts: Sequence[str],
    latency_ms: float,
    plan: Plan,
    on_progress: Callable[[str], None],
) -> Online:
    """One request at a time, as many as there can be, and rising loads until they take too long.

    Raises RuntimeError where the server does not start, or refuses texts.
    """
    options = ("--device", "cpu", "--precision", plan.precision)
    bodies = [json.dumps({"inputs": text}) for text in texts]
    on_progress("server: starting")
    with bertrt_server(f"model={model}", plan.threads, options) as server:
        _load(server, bodies, plan, 8, requests=_WARM_UP)
        on_progress("server: one request at a time")
        alone = _load(server, bodies, plan, 1)
        if set(alone.statuses) != {"200"}:
            raise RuntimeError(
                f"the server answered {_counts(alone)} to one request at a time: leave out texts "
                "that it refuses (over 100,000 characters, empty, ..)"
            )
        online = Online(percentiles(alone.latencies))
        if online.alone["p99"] > latency_ms:
            return online
        on_progress("server: as many requests as it answers")
        online.saturation = _load(server, bodies, plan, _CONNECTIONS).rate

        def probe(rate: float) -> LoadPoint:
            on_progress(f"server: {rate:.3g} requests a second")
            seconds = min(_MOST_SECONDS, max(plan.seconds, plan.requests / rate))
            result = _load(server, bodies, plan, _MOST_CONNECTIONS, seconds, rate)
            return LoadPoint.of(_SERVER, rate, result)

        rates = [share * online.saturation for share in plan.shares]
        online.points = rising_loads(probe, rates, latency_ms, plan.refinements)
    return online


def _load(
    server: Server,
    bodies: list[str],
    plan: Plan,
    connections: int,
    seconds: float | None = None,
    rate: float | None = None,
    requests: int | None = None,
) -> LoadResult:
    chosen = plan.seconds if seconds is None else seconds
    return load_predict(server.port, bodies, connections, chosen, rate, requests)


def _counts(result: LoadResult) -> str:
    return ", ".join(f"{status}: {count}" for status, count in sorted(result.statuses.items()))
