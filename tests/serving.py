"""A server in a process of its own: `bertrt serve` for tests that speak HTTP to it."""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Server", "ServerFailedError", "serving"]

_READY_WITHIN = 60.0  # seconds; a tiny model takes less than one on an idle machine
_STOPPED_WITHIN = 20.0

_ADDRESS = re.compile(r"listening at (http://\S+)")
_READY = "ready after"


class ServerFailedError(Exception):
    """The server did not get ready, or did not stop; the message has its log."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that is ready.

    url: where it listens, without a slash at the end. log: the file its standard error goes to.
    """

    url: str
    process: subprocess.Popen[bytes]
    log: Path


@contextmanager
def serving(
    *models: str | Path,
    options: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    wait: bool = True,
) -> Iterator[Server]:
    """Serve models (`FOLDER` or `NAME=FOLDER`) at a free port; stop when the block ends.

    options: further flags of `bertrt serve`. env: variables on top of this process's own.
    wait: until the models are loaded; else only until the port is known.
    The block may end the process by itself. Raises ServerFailedError.
    """
    command = [sys.executable, "-m", "bertrt", "serve", *map(str, models), "--port", "0", *options]
    with tempfile.TemporaryDirectory(prefix="bertrt-serve-") as folder:
        log = Path(folder) / "stderr"
        with log.open("wb") as stderr:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                env={**os.environ, **(env or {})},
            )
        try:
            yield Server(_wait_for_url(process, log, wait=wait), process, log)
        finally:
            _stop(process, log)


def _wait_for_url(process: subprocess.Popen[bytes], log: Path, *, wait: bool) -> str:
    """The address from the log, once the server is ready."""
    deadline = time.monotonic() + _READY_WITHIN
    while True:
        running = process.poll() is None  # before reading, so that the last lines are read too
        written = _written(log)
        address = _ADDRESS.search(written)
        if address and (not wait or _READY in written):
            return address[1]
        if not running:
            raise ServerFailedError(f"the server ended with {process.returncode}:\n{written}")
        if time.monotonic() > deadline:
            raise ServerFailedError(f"not ready within {_READY_WITHIN:g} s:\n{written}")
        time.sleep(0.02)


def _stop(process: subprocess.Popen[bytes], log: Path) -> None:
    """Ask the server to stop, and wait; kill one that does not."""
    process.terminate()  # nothing happens if it has ended
    try:
        process.wait(_STOPPED_WITHIN)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise ServerFailedError(
            f"still running {_STOPPED_WITHIN:g} s after a SIGTERM:\n{_written(log)}"
        ) from None


def _written(log: Path) -> str:
    """The whole lines of the log: one that is being written may end within the port."""
    text = log.read_text(encoding="utf-8", errors="replace")
    return text[: text.rfind("\n") + 1]
