"""The process of one peer: `python -m bertrt_bench.peers.worker MODULE` answers on its stdout."""

import importlib
import os
import re
import sys
import time
import traceback
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, TextIO, cast

import numpy as np

from bertrt_bench.peers.model import PeerModule
from bertrt_bench.peers.wire import encode_array, receive, send

__all__ = ["main"]

# Runs and seconds before those that count: after another peer's turn, caches and clocks are its.
_WARM_UP_RUNS, _WARM_UP_SECONDS = 2, 0.1
_PACKAGES = (
    "onnxruntime onnxruntime-gpu openvino nncf ctranslate2 sentence-transformers optimum "
    "optimum-onnx torch transformers tokenizers numpy"
)


def main() -> int:
    """Answer commands until `quit` or the end of stdin."""
    protocol = _claim_stdout()
    worker = _Worker(cast(PeerModule, importlib.import_module(sys.argv[1])))
    while (message := receive(sys.stdin)) is not None:
        name = message.pop("command")
        if name == "quit":
            break
        command: Callable[..., dict[str, Any]] = getattr(worker, name)
        try:
            answer = command(**message)
        except Exception as error:  # whatever the peer's libraries raise is the parent's to report
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        send(protocol, answer)
    return 0


def _claim_stdout() -> TextIO:
    """The stdout that the parent reads; from now on, libraries that print do so on stderr."""
    protocol = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return protocol


class _Worker:
    """The commands, by name; each returns its answer."""

    def __init__(self, module: PeerModule) -> None:
        self._module = module
        self._model: Any = None
        self._loaded = False

    def prepare(self, checkpoint: str, folder: str, calibration: list[str]) -> dict[str, Any]:
        self._module.prepare(Path(checkpoint), Path(folder), calibration)
        return {}

    def load(self, folder: str, checkpoint: str, threads: int) -> dict[str, Any]:
        self._model = self._module.load(Path(folder), Path(checkpoint), threads)
        self._loaded = True
        return {"versions": _versions()}

    def classify(
        self, texts: list[str], batch_size: int, least_seconds: float = 0.0
    ) -> dict[str, Any]:
        passes, start = 0, time.perf_counter()
        while passes == 0 or time.perf_counter() - start < least_seconds:
            logits = [
                self._run(texts[first : first + batch_size])
                for first in range(0, len(texts), batch_size)
            ]
            passes += 1
        seconds = (time.perf_counter() - start) / passes
        return {"seconds": seconds, "logits": encode_array(np.concatenate(logits))}

    def repeat(self, text: str, seconds: float, least: int, most: int) -> dict[str, Any]:
        warm_up, begin = 0, time.perf_counter()
        while warm_up < _WARM_UP_RUNS or time.perf_counter() - begin < _WARM_UP_SECONDS:
            logits = self._run([text])
            warm_up += 1
        runs: list[float] = []
        end = time.perf_counter() + seconds
        while len(runs) < least or (len(runs) < most and time.perf_counter() < end):
            start = time.perf_counter()
            self._run([text])
            runs.append(time.perf_counter() - start)
        return {"seconds": runs, "logits": encode_array(logits)}

    def memory(self) -> dict[str, Any]:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        kib = dict(re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB$", status, re.MULTILINE))
        return {
            "rss_mb": int(kib["VmRSS"]) * 1.024e-3,
            "peak_mb": int(kib["VmHWM"]) * 1.024e-3,
        }

    def installed(self, packages: list[str]) -> dict[str, Any]:
        from bertrt_bench.installed import installed_mb

        return {"mb": installed_mb(*packages)}

    def _run(self, texts: list[str]) -> np.ndarray:
        if not self._loaded:
            raise RuntimeError("no model is loaded")
        return self._module.run(self._model, texts)


def _versions() -> dict[str, str]:
    versions = {}
    for package in _PACKAGES.split():
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


if __name__ == "__main__":
    sys.exit(main())
