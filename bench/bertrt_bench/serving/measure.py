"""bertrt's server under load: beside the model in process, and beside FastAPI with a pipeline."""

import contextlib
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bertrt import Classifier

from bertrt_bench.pause import PAUSE
from bertrt_bench.serving.load import LoadResult, load_predict
from bertrt_bench.serving.results import LoadPoint, ModelResults, percentiles
from bertrt_bench.serving.servers import Server, bertrt_server, pipeline_server

__all__ = ["Plan", "measure_model"]

IN_PROCESS, SERVER, BATCHES, PIPELINE = (
    "in process",
    "bertrt serve",
    "8 texts a request",
    "pipeline",
)

_CONNECTIONS = 128
_CLOSED_CONNECTIONS = 32
_QUEUE_TIMEOUT = 2.0
_RATES = (0.1, 0.25, 0.5, 0.7, 0.8, 0.9, 0.95)
_OVERLOAD = 3.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of everything. seconds: of each load. soak: requests of the memory test, or 0."""

    texts: Sequence[str]
    rounds: int
    seconds: float
    threads: int
    soak: int
    with_pipeline: bool = True


def measure_model(
    name: str,
    description: str,
    artifact: Path,
    checkpoint: Path,
    plan: Plan,
    progress: Callable[[str], None],
) -> ModelResults:
    """All measurements of one model. `progress` is told what comes next."""
    results = ModelResults(name, description, queue_timeout=_QUEUE_TIMEOUT)
    classify = Classifier(artifact, "cpu", threads=plan.threads)
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(bertrt_server(artifact, plan.threads))
        run = _Run(plan, results, classify, ours, progress)
        run.alone()
        run.saturation()
        theirs = None
        if plan.with_pipeline:
            theirs = stack.enter_context(pipeline_server(checkpoint, plan.threads))
            run.closed_loops(theirs)
        run.open_loops(theirs)
    options = ("--queue-timeout", str(_QUEUE_TIMEOUT))
    with bertrt_server(artifact, plan.threads, options) as server:
        run.overload(server)
    if plan.soak:
        with bertrt_server(artifact, plan.threads) as server:
            run.soak(server)
    return results


class _Run:
    """The measurements of one model, in turn."""

    def __init__(
        self,
        plan: Plan,
        results: ModelResults,
        classify: Classifier,
        server: Server,
        progress: Callable[[str], None],
    ) -> None:
        self._plan, self._results, self._classify = plan, results, classify
        self._server, self._progress = server, progress
        self._single = [json.dumps({"inputs": text}) for text in plan.texts]
        self._eights = [
            json.dumps({"inputs": [[text] for text in plan.texts[at : at + 8]]})
            for at in range(0, len(plan.texts) - 7, 8)
        ]
        classify(list(plan.texts)[:64])
        self._load(server, self._single, 8, 1.0)

    def alone(self) -> None:
        """One text at a time, in process and over HTTP, by turns."""
        for number in range(self._plan.rounds):
            self._progress(f"one at a time, round {number + 1}")
            time.sleep(PAUSE)
            for name, latencies in (
                (IN_PROCESS, self._alone_in_process()),
                (SERVER, self._load(self._server, self._single, 1).latencies),
            ):
                self._results.alone.setdefault(name, []).append(percentiles(latencies)["p50"])

    def _alone_in_process(self) -> list[float]:
        """Seconds of each call, for as long as a load lasts."""
        ends = time.perf_counter() + self._plan.seconds
        found = []
        at = 0
        while (began := time.perf_counter()) < ends:
            self._classify(self._plan.texts[at % len(self._plan.texts)])
            found.append(time.perf_counter() - began)
            at += 1
        return found

    def saturation(self) -> None:
        """As many texts as there can be, in process and over HTTP, by turns."""
        found = self._results.texts_per_second
        for number in range(self._plan.rounds):
            self._progress(f"saturation, round {number + 1}")
            time.sleep(PAUSE)
            for name, rate in (
                (IN_PROCESS, self._list_in_process()),
                (SERVER, self._load(self._server, self._single, _CONNECTIONS).rate),
                (BATCHES, 8 * self._load(self._server, self._eights, _CONNECTIONS // 4).rate),
            ):
                found.setdefault(name, []).append(rate)

    def _list_in_process(self) -> float:
        """Texts a second of `clf(list)`, called again and again for as long as a load lasts."""
        texts = list(self._plan.texts)
        began = time.perf_counter()
        done = 0
        while time.perf_counter() - began < self._plan.seconds:
            self._classify(texts)
            done += len(texts)
        return done / (time.perf_counter() - began)

    def closed_loops(self, pipeline: Server) -> None:
        """As many connections to each server, by turns."""
        for number in range(self._plan.rounds):
            for name, server in ((SERVER, self._server), (PIPELINE, pipeline)):
                self._progress(f"{_CLOSED_CONNECTIONS} connections, round {number + 1}: {name}")
                result = self._load(server, self._single, _CLOSED_CONNECTIONS)
                points = self._results.closed.setdefault(name, [])
                points.append(LoadPoint.of(name, None, result))

    def open_loops(self, pipeline: Server | None) -> None:
        """Rising rates, as shares of the most that each server answered."""
        capacities = {SERVER: statistics.median(self._results.texts_per_second[SERVER])}
        servers = {SERVER: self._server}
        if pipeline is not None:
            closed = self._results.closed[PIPELINE]
            capacities[PIPELINE] = statistics.median(point.answered for point in closed)
            servers[PIPELINE] = pipeline
        for name, capacity in capacities.items():
            for share in _RATES:
                rate = share * capacity
                self._progress(f"{rate:.3g} requests a second: {name}")
                result = self._load(servers[name], self._single, 512, 2 * self._plan.seconds, rate)
                self._results.open.append(LoadPoint.of(name, rate, result))

    def overload(self, server: Server) -> None:
        """Three times what the model can do, with a short queue time-out."""
        self._progress("overload")
        rate = _OVERLOAD * statistics.median(self._results.texts_per_second[IN_PROCESS])
        result = self._load(server, self._single, 2048, 2 * self._plan.seconds, rate)
        self._results.overload = LoadPoint.of(SERVER, rate, result)

    def soak(self, server: Server) -> None:
        """Resident memory after a tenth of the requests and after all."""
        done = 0
        for total in (self._plan.soak // 10, self._plan.soak):
            self._progress(f"memory: up to {total} requests")
            self._load(server, self._single, _CONNECTIONS, 3600.0, requests=total - done)
            done = total
            self._results.resident_mb[str(total)] = server.resident_mb()

    def _load(
        self,
        server: Server,
        bodies: list[str],
        connections: int,
        seconds: float | None = None,
        rate: float | None = None,
        requests: int | None = None,
    ) -> LoadResult:
        chosen = seconds or self._plan.seconds
        return load_predict(server.port, bodies, connections, chosen, rate, requests)
