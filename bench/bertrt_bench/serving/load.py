"""A generator of HTTP load, in a process of its own: `python -m bertrt_bench.serving.load`.

Reads a Load as JSON from standard input and writes its LoadResult as JSON to standard output.
Requests are built once, and answers are parsed no further than their status and length: the two
cores are the server's, and a generator should cost little. It only ever calls this machine.
"""

import asyncio
import json
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import cast

from bertrt_bench.pause import PAUSE

__all__ = ["Load", "LoadResult", "generate", "load_predict"]

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What to send: bodies in turn, to a path of a server at this machine's loopback address.

    connections: requests on their way at a time in a closed loop; in an open loop (`rate` is not
    None: requests a second, at random intervals) the most that there may be.
    seconds, requests: when to stop; whichever comes first.
    """

    port: int
    path: str
    bodies: list[str]
    connections: int
    seconds: float
    rate: float | None = None
    requests: int | None = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What came of it.

    latencies: seconds of each request that was answered with 200, in the order of their ends; in an
    open loop they count from the moment at which the request was due. statuses: answers by status;
    "unsent" are those that found no connection free (open loop), "lost" those that a closed
    connection left without an answer. seconds: from the first request to the last answer.
    """

    latencies: list[float]
    statuses: dict[str, int]
    seconds: float

    @property
    def answered(self) -> int:
        """Requests that got a 200."""
        return self.statuses.get("200", 0)

    @property
    def rate(self) -> float:
        """Answered requests a second."""
        return self.answered / self.seconds


def generate(load: Load, python: str = sys.executable) -> LoadResult:
    """Run a load in a process of its own."""
    done = subprocess.run(
        [python, "-m", "bertrt_bench.serving.load"],
        input=json.dumps(asdict(load)),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return LoadResult(**json.loads(done.stdout))


def load_predict(
    port: int,
    bodies: list[str],
    connections: int,
    seconds: float,
    rate: float | None = None,
    requests: int | None = None,
) -> LoadResult:
    """Run a load of `POST /predict`, after a pause; the arguments are those of Load."""
    time.sleep(PAUSE)
    return generate(
        Load(
            port=port,
            path="/predict",
            bodies=bodies,
            connections=connections,
            seconds=seconds,
            rate=rate,
            requests=requests,
        )
    )


class _Connection(asyncio.Protocol):
    """One connection, with one request on its way at a time."""

    def __init__(self, finished: "Callable[[_Connection, str], None]") -> None:
        self._finished = finished
        self._received = b""
        self._expected = -1
        self._transport: asyncio.Transport | None = None
        self.busy = False
        self.due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no asyncio.Transport, but have all of its methods.
        self._transport = cast(asyncio.Transport, transport)

    def send(self, request: bytes, due: float) -> None:
        """Send a request that was due at that time."""
        assert self._transport is not None
        self.busy, self.due, self._expected, self._received = True, due, -1, b""
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._expected < 0:
            end = self._received.find(b"\r\n\r\n")
            if end < 0:
                return
            length = _LENGTH.search(self._received, 0, end)
            assert length is not None, "every answer has a Content-Length"
            self._expected = end + 4 + int(length[1])
        if len(self._received) >= self._expected:
            self.busy = False
            self._finished(self, self._received[9:12].decode())

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self.busy:
            self.busy = False
            self._finished(self, "lost")

    @property
    def is_open(self) -> bool:
        """Whether a request can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()


class _Run:
    """One load on its way."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._requests = [_request(load, body.encode()) for body in load.bodies]
        self._statuses: Counter[str] = Counter()
        self._latencies: list[float] = []
        self._sent = 0
        self._connections: list[_Connection] = []
        self._free: list[_Connection] = []
        self._opening: set[asyncio.Task[None]] = set()
        self._ends = self._last_answer = 0.0

    async def run(self) -> LoadResult:
        """Open the connections, send, wait for the last answers."""
        for _ in range(self._load.connections):
            await self._open()
        began = time.perf_counter()
        self._ends = began + self._load.seconds
        if self._load.rate is None:
            while self._free and self._may_send():
                self._send(self._free.pop(), time.perf_counter())
        else:
            await self._open_loop(self._load.rate)
        await self._last_answers()
        for connection in self._connections:
            connection.close()
        return LoadResult(self._latencies, dict(self._statuses), self._last_answer - began)

    async def _open_loop(self, rate: float) -> None:
        """Send at random intervals, whatever the server does (a Poisson process)."""
        intervals = random.Random(0)  # noqa: S311
        due = time.perf_counter()
        while self._may_send():
            due += intervals.expovariate(rate)
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            connection = self._free_connection()
            if connection is not None:
                self._send(connection, due)
            else:
                self._sent += 1
                self._statuses["unsent"] += 1

    def _free_connection(self) -> _Connection | None:
        """One that has no request on its way; those that the server has closed are replaced."""
        while self._free:
            connection = self._free.pop()
            if connection.is_open:
                return connection
            self._connections.remove(connection)
            self._reopen()
        return None

    async def _last_answers(self) -> None:
        while self._opening or any(connection.busy for connection in self._connections):
            await asyncio.sleep(0.01)

    def _may_send(self) -> bool:
        limit = self._load.requests
        return time.perf_counter() < self._ends and (limit is None or self._sent < limit)

    def _send(self, connection: _Connection, due: float) -> None:
        request = self._requests[self._sent % len(self._requests)]
        self._sent += 1
        connection.send(request, due)

    def _finished(self, connection: _Connection, status: str) -> None:
        """A request has its answer: the next one, in a closed loop."""
        now = self._last_answer = time.perf_counter()
        self._statuses[status] += 1
        if status == "200":
            self._latencies.append(now - connection.due)
        if not connection.is_open:
            self._connections.remove(connection)
            self._reopen()
        elif self._load.rate is None and self._may_send():
            self._send(connection, now)
        else:
            self._free.append(connection)

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: _Connection(self._finished), "127.0.0.1", self._load.port
        )
        self._connections.append(connection)
        self._free.append(connection)

    def _reopen(self) -> None:
        """Replace a connection that the server has closed, if the server is still there."""

        async def open_again() -> None:
            try:
                await self._open()
            except OSError:
                self._statuses["refused"] += 1
                return
            if self._load.rate is None and self._may_send():
                self._send(self._free.pop(), time.perf_counter())

        if self._may_send():
            task = asyncio.get_running_loop().create_task(open_again())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)


def _request(load: Load, body: bytes) -> bytes:
    headers = {
        "host": f"127.0.0.1:{load.port}",
        "content-type": "application/json",
        "content-length": str(len(body)),
        **load.headers,
    }
    lines = [f"POST {load.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _main() -> None:
    import uvloop  # here, so that Load and LoadResult are to be had without it

    load = Load(**json.load(sys.stdin))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        result = runner.run(_Run(load).run())
    json.dump(asdict(result), sys.stdout)


if __name__ == "__main__":
    _main()
