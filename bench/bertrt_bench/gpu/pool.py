"""The engines on the GPU, each in its process, loaded at their first use and kept."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from bertrt_bench.gpu.models import checkpoint_of
from bertrt_bench.gpu.settings import Settings
from bertrt_bench.peers.registry import PEERS, Peer
from bertrt_bench.peers.remote import PeerError, RemotePeer

__all__ = [
    "BATCH",
    "BERTRT",
    "COMPILED",
    "EAGER",
    "ENCODED",
    "ENGINES",
    "FLOOR",
    "TOKENIZATION",
    "Pool",
]

BERTRT, EAGER, COMPILED = "bertrt_cuda", "pytorch_cuda_fp16", "pytorch_cuda_compile"
FLOOR, ENCODED, TOKENIZATION = "floor_cuda_fp16", "bertrt_cuda_encoded", "tokenization"

_OWN = (BERTRT, "bertrt_cuda_fp32", EAGER, COMPILED, "pytorch_cuda_graph")
ENGINES: dict[str, Peer] = {
    **{name: PEERS[name] for name in _OWN},
    FLOOR: PEERS[FLOOR],
    "floor_cuda_bf16": PEERS["floor_cuda_bf16"],
    ENCODED: Peer(
        "bertrt fp16, tokenized beforehand",
        "bertrt_bench.gpu.encoded",
        "fp16",
        PEERS[BERTRT].packages,
        kind="bertrt",
        own_batches=True,
    ),
    TOKENIZATION: Peer(
        "tokenization alone",
        "bertrt_bench.gpu.tokenization",
        "fp32",
        ("tokenizers",),
        kind="floor",
        own_batches=True,
    ),
    "pytorch_fp32": PEERS["pytorch_fp32"],
}

BATCH = 32  # texts a call, of engines that do not make batches by themselves

_TIMEOUT = 150.0
_COMPILE_TIMEOUT = 330.0  # the shapes of a set of texts are compiled within one call

_MOST_RUNS = 1_000

_T = TypeVar("_T")


class Pool:
    """Workers of one model, until `close` ends them (contextlib.closing).

    failures: what became of engines that failed, by name; they are not asked again before `retry`.
    """

    def __init__(self, settings: Settings, model: str) -> None:
        self.checkpoint = checkpoint_of(model, settings)
        self.failures: dict[str, str] = {}
        self._folder = settings.folder(model).resolve()
        self._threads = settings.threads
        self._workers: dict[str, RemotePeer] = {}

    def retry(self) -> None:
        """Let those that failed try again, but not those that cost minutes of waiting."""
        self.failures = {n: e for n, e in self.failures.items() if "no answer" in e}

    def close(self) -> None:
        """End all workers; the next use starts them anew."""
        for name in list(self._workers):
            self._workers.pop(name).quit()

    def classify(
        self, name: str, texts: Sequence[str], least_seconds: float = 0.0
    ) -> tuple[float, np.ndarray] | None:
        """Seconds and logits of a pass over the texts: all in one call, or 32 a call."""
        size = len(texts) if ENGINES[name].own_batches else BATCH
        return self.ask(name, lambda worker: worker.classify(texts, size, least_seconds))

    def repeat(self, name: str, text: str, seconds: float, least: int) -> list[float] | None:
        """The seconds of each run on one text, for so long."""
        most = max(_MOST_RUNS, least)
        answer = self.ask(name, lambda worker: worker.repeat(text, seconds, least=least, most=most))
        return None if answer is None else answer[0]

    def ask(self, name: str, action: Callable[[RemotePeer], _T]) -> _T | None:
        """What an engine answers; None if it fails now or has failed before."""
        if name in self.failures:
            return None
        try:
            return action(self._loaded(name))
        except PeerError as error:
            self.failures[name] = str(error)
            self.drop(name)
            return None

    def drop(self, name: str) -> None:
        """End one worker, whatever state it is in."""
        worker = self._workers.pop(name, None)
        if worker is not None:
            worker.quit()

    def _loaded(self, name: str) -> RemotePeer:
        if name not in self._workers:
            # The name is kept before the model is loaded: so a failure ends the process.
            self._workers[name] = worker = self._start(name)
            folder = self._folder if ENGINES[name].converts else self.checkpoint
            worker.load(folder, self.checkpoint, self._threads)
        return self._workers[name]

    def _start(self, name: str) -> RemotePeer:
        timeout = _COMPILE_TIMEOUT if name == COMPILED else _TIMEOUT
        paths = [Path(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
        module = ENGINES[name].module
        return RemotePeer(Path(sys.executable), module, self._threads, timeout, paths)
