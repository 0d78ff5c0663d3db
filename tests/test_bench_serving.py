"""The generator of HTTP load, and the report of a run."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from bertrt_bench.serving.load import Load, LoadResult, generate
from bertrt_bench.serving.measure import BATCHES, IN_PROCESS, PIPELINE, SERVER
from bertrt_bench.serving.report import grids, summary, write_report
from bertrt_bench.serving.results import LoadPoint, ModelResults, Results


class _Fake:
    """A server that answers after a while, with a status, and may close the connection."""

    def __init__(self, status: int, seconds: float, close_after: int | None) -> None:
        self._status, self._seconds, self._close_after = status, seconds, close_after
        self.port = 0
        self.bodies: list[str] = []
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "_Fake":
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self) -> None:
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answered = 0
        while True:
            try:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
            except asyncio.IncompleteReadError:
                writer.close()
                return
            length = int(head.lower().split("content-length: ")[1].split("\r\n")[0])
            self.bodies.append((await reader.readexactly(length)).decode())
            if answered == self._close_after:
                writer.close()
                return
            await asyncio.sleep(self._seconds)
            writer.write(b"HTTP/1.1 %d X\r\nContent-Length: 2\r\n\r\n" % self._status)
            await asyncio.sleep(0)
            writer.write(b"ok")
            answered += 1


@contextmanager
def _fake(
    status: int = 200, seconds: float = 0.0, close_after: int | None = None
) -> Iterator[_Fake]:
    with _Fake(status, seconds, close_after) as server:
        yield server


def _load(server: _Fake, **options: object) -> LoadResult:
    values = {"bodies": ["a", "b", "c"], "connections": 4, "seconds": 20.0, **options}
    return generate(Load(port=server.port, path="/", **values))  # type: ignore[arg-type]


def test_a_closed_loop_sends_what_it_is_told_in_turn() -> None:
    with _fake(seconds=0.01) as server:
        result = _load(server, requests=30)
        assert result.statuses == {"200": 30} and len(result.latencies) == 30
        assert [server.bodies.count(body) for body in "abc"] == [10, 10, 10]
        assert min(result.latencies) >= 0.01
        assert result.rate == pytest.approx(30 / result.seconds)


def test_a_closed_loop_ends_with_its_time() -> None:
    with _fake(seconds=0.01) as server:
        result = _load(server, seconds=0.5)
        assert 0.5 <= result.seconds < 1.0 and 40 < result.answered < 4 * 50 + 4


def test_an_open_loop_keeps_its_rate_and_counts_waiting_from_when_it_was_due() -> None:
    with _fake(seconds=0.05) as server:
        result = _load(server, seconds=1.5, rate=40.0, connections=20)
        assert result.answered == pytest.approx(60, abs=25)
        slow = _load(server, seconds=1.0, rate=200.0, connections=2)
        assert slow.statuses["unsent"] > 100 and slow.answered < 50


def test_what_fails_is_counted_and_has_no_latency() -> None:
    with _fake(status=503) as server:
        result = _load(server, requests=10)
        assert result.statuses == {"503": 10} and result.latencies == [] and result.answered == 0


def test_a_connection_that_closes_loses_its_request_and_is_replaced() -> None:
    with _fake(close_after=3, seconds=0.001) as server:
        result = _load(server, requests=40, connections=2)
        assert result.statuses["lost"] > 0
        assert result.statuses["200"] + result.statuses["lost"] == 40


def _point(server: str, rate: float | None, answered: float, p99: float) -> LoadPoint:
    percentiles = {"p50": 5.0, "p90": 8.0, "p95": 9.0, "p99": p99, "max": 30.0}
    return LoadPoint(server, rate, answered, percentiles, {"200": 100, "429": 3})


@pytest.fixture
def results() -> Results:
    """A run of two rounds with round figures."""
    model = ModelResults(
        "made-up",
        "no model",
        alone={IN_PROCESS: [2.0, 4.0], SERVER: [2.5, 4.7]},
        texts_per_second={
            IN_PROCESS: [100.0, 200.0],
            SERVER: [90.0, 170.0],
            BATCHES: [98.0, 190.0],
        },
        closed={
            SERVER: [_point(SERVER, None, 80.0, 10.0), _point(SERVER, None, 90.0, 12.0)],
            PIPELINE: [_point(PIPELINE, None, 20.0, 50.0), _point(PIPELINE, None, 30.0, 48.0)],
        },
        open=[_point(SERVER, 10.0, 10.0, 9.0), _point(PIPELINE, 3.0, 3.0, 40.0)],
        overload=_point(SERVER, 300.0, 95.0, 900.0),
        queue_timeout=2.0,
        resident_mb={"10000": 150.0, "100000": 151.5},
    )
    return Results({"cpu": "none", "cpus": 2}, 2, [model])


def test_ratios_are_taken_round_by_round(results: Results) -> None:
    (row,) = summary(results).rows
    cells = dict(zip(summary(results).columns, row, strict=True))
    assert cells["serve, 1 text a request"].startswith("87.5%")  # of 90 and 85
    assert cells["8 texts"].startswith("96.5%")
    assert cells["added at p50, ms"].startswith("0.60")  # of 0.5 and 0.7
    assert cells["texts/s over FastAPI + pipeline"].startswith("3.50x")
    assert cells["its p99 over ours"].startswith("4.50x")


def test_a_run_is_a_file_and_a_report(results: Results, tmp_path: Path) -> None:
    write_report(results, tmp_path / "report")
    assert Results.load(tmp_path / "report" / "results.json") == results
    page = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    for grid in (summary(results), *grids(results)):
        assert grid.to_markdown() in page
    assert "429: 3" in page and "151.5" in page
    for picture in ("throughput.png", "latency.png"):
        assert (tmp_path / "report" / picture).stat().st_size > 5_000
        assert f"({picture})" in page
    assert json.loads((tmp_path / "report" / "results.json").read_text())["rounds"] == 2
