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

from bertrt_bench.peers.model import Model, PeerModule
from bertrt_bench.peers.wire import decode_array, encode_array, receive, send

__all__ = ["main"]

_WARM_UP = 3
_PACKAGES = (
    "onnxruntime openvino nncf ctranslate2 optimum optimum-onnx torch transformers tokenizers numpy"
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
        self._model: Model | None = None

    def prepare(self, checkpoint: str, folder: str, calibration: str) -> dict[str, Any]:
        self._module.prepare(Path(checkpoint), Path(folder), Path(calibration))
        return {}

    def load(self, folder: str, checkpoint: str, threads: int) -> dict[str, Any]:
        self._model = self._module.load(Path(folder), Path(checkpoint), threads)
        return {"versions": _versions()}

    def classify(self, texts: list[str], by_length: bool) -> dict[str, Any]:
        model = self._loaded()
        start = time.perf_counter()
        logits = model.classify(texts, by_length)
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "logits": encode_array(logits)}

    def session(self, input_ids: str, repeats: int) -> dict[str, Any]:
        model, ids = self._loaded(), decode_array(input_ids)
        for _ in range(_WARM_UP):  # caches and clocks after another peer's turn
            logits = model.session(ids)
        seconds = []
        for _ in range(repeats):
            start = time.perf_counter()
            model.session(ids)
            seconds.append(time.perf_counter() - start)
        return {"seconds": seconds, "logits": encode_array(logits)}

    def rss(self) -> dict[str, Any]:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        kib = dict(re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB$", status, re.MULTILINE))
        return {
            "rss_mb": int(kib["VmRSS"]) * 1.024e-3,
            "peak_mb": int(kib["VmHWM"]) * 1.024e-3,
        }

    def _loaded(self) -> Model:
        if self._model is None:
            raise RuntimeError("no model is loaded")
        return self._model


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
