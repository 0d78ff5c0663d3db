"""A peer in another process, with the methods of its worker."""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from bertrt_bench.peers.registry import MAIN, Peer
from bertrt_bench.peers.wire import decode_array, encode_array, receive, send

__all__ = ["PeerError", "RemotePeer", "environment_python", "skip_reason"]

_BENCH = Path(__file__).resolve().parents[2]
_LAST_LINES = 15
_QUIT_SECONDS = 20
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "RAYON_NUM_THREADS",
)


class PeerError(Exception):
    """A worker failed or died; the message ends with the last lines of its stderr."""


def environment_python(name: str, root: Path) -> Path:
    """The Python of an environment under `root`, or this one for `main`."""
    return Path(sys.executable) if name == MAIN else root / name / "bin" / "python"


def skip_reason(peer: Peer, root: Path) -> str | None:
    """Why a peer cannot run here; None if it can."""
    if environment_python(peer.environment, root).exists():
        return None
    return (
        f"{root} has no environment {peer.environment!r}: make it with "
        f"`python -m bertrt_bench.peers.environments {peer.environment} --root {root}`"
    )


class RemotePeer:
    """The worker of one peer. It computes only while one of these methods waits for it.

    All raise PeerError if the worker fails. Use as a context, which ends the process.
    """

    def __init__(
        self, python: Path, module: str, threads: int, import_paths: Sequence[Path] = ()
    ) -> None:
        self._module = module
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the worker)
        self._process = subprocess.Popen(
            [str(python), "-m", "bertrt_bench.peers.worker", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
            encoding="utf-8",
            env=_environment(threads, import_paths),
        )

    def __enter__(self) -> "RemotePeer":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.quit()

    def prepare(self, checkpoint: Path, folder: Path, calibration: Path) -> None:
        """Convert the checkpoint into a folder."""
        self._ask(
            "prepare",
            checkpoint=str(checkpoint),
            folder=str(folder),
            calibration=str(calibration),
        )

    def load(self, folder: Path, checkpoint: Path, threads: int) -> dict[str, str]:
        """Load the model; returns the versions of the packages that matter."""
        answer = self._ask("load", folder=str(folder), checkpoint=str(checkpoint), threads=threads)
        versions: dict[str, str] = answer["versions"]
        return versions

    def classify(self, texts: list[str], *, by_length: bool = False) -> tuple[float, np.ndarray]:
        """The seconds that the worker took, and the logits, float32 [texts, labels]."""
        answer = self._ask("classify", texts=texts, by_length=by_length)
        return answer["seconds"], decode_array(answer["logits"])

    def session(self, input_ids: np.ndarray, repeats: int) -> tuple[list[float], np.ndarray]:
        """The seconds of each of `repeats` runs on int64 [rows, tokens], and the logits."""
        answer = self._ask("session", input_ids=encode_array(input_ids), repeats=repeats)
        return answer["seconds"], decode_array(answer["logits"])

    def rss(self) -> dict[str, float]:
        """Resident memory in MB (10^6 bytes): `rss_mb` now, `peak_mb` the highest so far."""
        return self._ask("rss")

    def quit(self) -> None:
        """End the process, by force if it does not end by itself."""
        assert self._process.stdin is not None and self._process.stdout is not None
        if not self._process.stdin.closed:
            with contextlib.suppress(OSError):  # the worker is dead already
                send(self._process.stdin, {"command": "quit"})
        with contextlib.suppress(OSError):  # flushes what it could not send
            self._process.stdin.close()
        try:
            self._process.wait(_QUIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._stderr.close()

    def _ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            send(self._process.stdin, {"command": command, **arguments})
            answer = receive(self._process.stdout)
        except OSError:  # a pipe that nobody reads
            answer = None
        if answer is None:
            status = self._process.wait()
            raise PeerError(
                f"{self._module} died during `{command}` (exit status {status}):\n"
                f"{self._last_lines()}"
            )
        if "error" in answer:
            raise PeerError(
                f"{self._module} failed in `{command}`: {answer['error']}\n{self._last_lines()}"
            )
        return answer

    def _last_lines(self) -> str:
        self._stderr.seek(0)
        lines = self._stderr.read().decode("utf-8", errors="replace").splitlines()
        return "\n".join(lines[-_LAST_LINES:])


def _environment(threads: int, import_paths: Sequence[Path]) -> dict[str, str]:
    return {
        **os.environ,
        **dict.fromkeys(_THREAD_VARIABLES, str(threads)),
        "PYTHONPATH": os.pathsep.join(str(path) for path in (_BENCH, *import_paths)),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "true",
    }
