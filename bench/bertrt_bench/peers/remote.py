"""A peer in another process, with the methods of its worker."""

import contextlib
import os
import select
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from bertrt_bench.peers.wire import decode_array, receive, send

__all__ = ["PeerError", "RemotePeer"]

_PACKAGE = Path(__file__).resolve().parents[1]
_LAST_LINES = 15
_QUIT_SECONDS = 20
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "RAYON_NUM_THREADS",
)


class PeerError(Exception):
    """A worker failed, died, or gave no answer in time.

    The message's first line says which; the last lines of the worker's stderr follow.
    """


class RemotePeer:
    """The worker of one peer. It computes only while one of these methods waits for it.

    All raise PeerError if the worker fails, and if it takes longer than `timeout` seconds: then it
    is killed. Use as a context, which ends the process.
    """

    def __init__(
        self,
        python: Path,
        module: str,
        threads: int,
        timeout: float,
        import_paths: Sequence[Path] = (),
    ) -> None:
        self._module = module
        self._timeout = timeout
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the worker)
        self._imports = tempfile.TemporaryDirectory()
        # The benchmark's package by itself: what lies beside it is not for other environments.
        (Path(self._imports.name) / _PACKAGE.name).symlink_to(_PACKAGE)
        self._process = subprocess.Popen(
            [str(python), "-m", "bertrt_bench.peers.worker", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
            encoding="utf-8",
            env=_environment(threads, (Path(self._imports.name), *import_paths)),
            start_new_session=True,  # so that its own children end with it
        )

    def __enter__(self) -> "RemotePeer":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:  # it may be in the middle of something long
            self._kill()
        self.quit()

    @property
    def alive(self) -> bool:
        """Whether the process is there still."""
        return self._process.poll() is None

    def prepare(self, checkpoint: Path, folder: Path, calibration: Sequence[str]) -> None:
        """Convert the checkpoint into a folder."""
        self._ask(
            "prepare",
            checkpoint=str(checkpoint),
            folder=str(folder),
            calibration=list(calibration),
        )

    def load(self, folder: Path, checkpoint: Path, threads: int) -> dict[str, str]:
        """Load the model; returns the versions of the packages that matter."""
        answer = self._ask("load", folder=str(folder), checkpoint=str(checkpoint), threads=threads)
        versions: dict[str, str] = answer["versions"]
        return versions

    def classify(
        self, texts: Sequence[str], batch_size: int, least_seconds: float = 0.0
    ) -> tuple[float, np.ndarray]:
        """The seconds that the worker took, and the logits, float32 [texts, labels].

        The texts go `batch_size` at a time, and all of them again until `least_seconds` are over;
        the seconds are those of one pass, the logits those of the last.
        """
        answer = self._ask(
            "classify", texts=list(texts), batch_size=batch_size, least_seconds=least_seconds
        )
        return answer["seconds"], decode_array(answer["logits"])

    def repeat(
        self, text: str, seconds: float, *, least: int, most: int
    ) -> tuple[list[float], np.ndarray]:
        """The seconds of each run on one text, for so long, and the logits, float32 [1, labels]."""
        answer = self._ask("repeat", text=text, seconds=seconds, least=least, most=most)
        return answer["seconds"], decode_array(answer["logits"])

    def memory(self) -> dict[str, float]:
        """Resident memory in MB (10^6 bytes): `rss_mb` now, `peak_mb` the highest so far."""
        return self._ask("memory")

    def installed_mb(self, packages: Sequence[str]) -> float:
        """What packages and their requirements take on disk, in MB (10^6 bytes)."""
        size: float = self._ask("installed", packages=list(packages))["mb"]
        return size

    def quit(self) -> None:
        """End the process, by force if it does not end by itself."""
        assert self._process.stdin is not None and self._process.stdout is not None
        if not self._process.stdin.closed:
            with contextlib.suppress(OSError):  # the worker is dead already
                send(self._process.stdin, {"command": "quit"})
        with contextlib.suppress(OSError):  # flushes what it could not send
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_QUIT_SECONDS)
        self._kill()
        self._process.stdout.close()
        self._stderr.close()
        self._imports.cleanup()

    def _kill(self) -> None:
        """End the process and its children at once, whichever of them are left."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            send(self._process.stdin, {"command": command, **arguments})
            ready, _, _ = select.select([self._process.stdout], [], [], self._timeout)
            if not ready:
                self._kill()
                raise PeerError(
                    f"{self._module} gave no answer to `{command}` within {self._timeout:g} s and "
                    f"was ended:\n{self._last_lines()}"
                )
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
        "PYTHONPATH": os.pathsep.join(str(path) for path in import_paths),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "true",
    }
