"""The servers that are measured, each in a process of its own."""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Server", "bertrt_server", "pipeline_server"]

_START_TIMEOUT = 120.0


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers at a port of this machine."""

    port: int
    process: subprocess.Popen[bytes]

    def resident_mb(self) -> float:
        """Its resident memory in MB (10^6 bytes)."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextlib.contextmanager
def bertrt_server(model: Path | str, threads: int, options: Sequence[str] = ()) -> Iterator[Server]:
    """`bertrt serve`, as it is by default. model: as its command line takes it."""
    words = ["-m", "bertrt", "serve", str(model), "--threads", str(threads), *options]
    port = _free_port()
    with _running([*words, "--port", str(port)], port) as server:
        yield server


@contextlib.contextmanager
def pipeline_server(checkpoint: Path, threads: int) -> Iterator[Server]:
    """FastAPI and Transformers' pipeline."""
    port = _free_port()
    module = "bertrt_bench.serving.pipeline_server"
    with _running(["-m", module, str(checkpoint), str(port), str(threads)], port) as server:
        yield server


@contextlib.contextmanager
def _running(words: Sequence[str], port: int) -> Iterator[Server]:
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen([sys.executable, *words], stdout=output, stderr=output)
        try:
            deadline = time.monotonic() + _START_TIMEOUT
            while not _is_ready(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    output.seek(0)
                    said = output.read().decode(errors="replace")
                    raise RuntimeError(f"{' '.join(words)} did not start:\n{said}")
                time.sleep(0.05)
            yield Server(port, process)
        finally:
            process.terminate()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
