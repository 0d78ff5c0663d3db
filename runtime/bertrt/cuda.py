"""Runs on a GPU: short batches as CUDA graphs, on buffers that stay where they are."""

import logging
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from bertrt.backend import GPU_LOCK
from bertrt.cuda_graphs import (
    COLUMN_INDEX,
    LADDER,
    LENGTHS,
    Captured,
    Rung,
    choose_rung,
    graph_number,
)
from bertrt.errors import BackendError

__all__ = ["CudaSession"]

Feeds = Mapping[str, np.ndarray]

# The number of a run that is not captured.
_NO_GRAPH = -1

# Where a batch of so few tokens does not fit, something else has taken the memory for a while.
_ALWAYS_FIT = 512

# What onnxruntime and CUDA say when the GPU's memory is full.
_OUT_OF_MEMORY = ("out of memory", "failed to allocate memory", "alloc_failed", "cuda failure 2:")

_logger = logging.getLogger("bertrt")


class CudaSession:
    """An onnxruntime.InferenceSession on CUDA, to be run as on the CPU: `run(outputs, feeds)`.

    Where a short text is run operator by operator, the GPU waits for the CPU to start each one. A
    CUDA graph starts them all at once; but it is of one size and reads and writes the same memory
    every time. So there is one for each rung of a ladder of sizes, captured when it is first needed
    (or by `warm_up`), with buffers that are filled up: `choose_rung`. Larger batches keep the GPU
    busy by themselves, and run as they are; so do all where capturing has failed once.

    A batch that does not fit into the GPU's memory is halved, and so are all of its size from then
    on. onnxruntime keeps captured graphs by thread, so all runs are on one thread of its own. It
    does not outlive a fork of the process.

    graphs: whether short batches are captured; the session must have been created for that.
    max_length: tokens of a text at most.
    """

    def __init__(
        self,
        session: Any,
        *,
        graphs: bool,
        max_length: int,
        device: str = "cuda",
        device_index: int = 0,
    ) -> None:
        self._session = session
        self._inputs = [value.name for value in session.get_inputs()]
        optional = {value.name for value in session.get_overridable_initializers()}
        self._has_columns = COLUMN_INDEX in optional
        self._graphs = graphs and self._has_columns
        self._max_length = max_length
        self._device = (device, device_index)
        self._captured: dict[Rung, Captured] = {}
        self._fits: int | None = None  # places of a batch, once one has not fitted
        self._process = os.getpid()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="bertrt-gpu")

    def get_inputs(self) -> Any:
        """As of an InferenceSession."""
        return self._session.get_inputs()

    def get_outputs(self) -> Any:
        """As of an InferenceSession."""
        return self._session.get_outputs()

    def get_providers(self) -> list[str]:
        """As of an InferenceSession."""
        return list(self._session.get_providers())

    def run(self, outputs: Sequence[str], feeds: Feeds) -> list[np.ndarray]:
        """The outputs of a batch. Thread-safe; one batch at a time.

        Raises BackendError where one text does not fit into memory, and in a forked process.
        """
        if os.getpid() != self._process:
            raise BackendError(
                "a model on a GPU does not work in a process forked after it was loaded: load it "
                "in the child, or start processes with the method 'spawn'"
            )
        return self._thread.submit(self._run_fitting, list(outputs), feeds).result()

    def warm_up(self, outputs: Sequence[str]) -> None:
        """Capture the graphs of single texts, so that no request has to wait for it."""
        for rung in LADDER:
            if self._graphs and rung.texts <= 2 and rung.tokens <= self._max_length:
                length = rung.tokens - (rung.texts - 1)  # one token for the text that fills it up
                ids = np.zeros(length, dtype=np.int64)
                feeds: dict[str, np.ndarray] = dict.fromkeys(self._inputs, ids)
                self.run(outputs, {**feeds, LENGTHS: np.array([length], dtype=np.int32)})

    def _run_fitting(self, outputs: list[str], feeds: Feeds) -> list[np.ndarray]:
        """Run a batch, or, where it does not fit into memory, its halves."""
        size = feeds["input_ids"].size
        if self._fits is not None and size > self._fits and _texts(feeds) > 1:
            return self._run_halves(outputs, feeds)
        try:
            return self._run_batch(outputs, feeds)
        except Exception as error:  # onnxruntime's errors share no base class of their own
            if not any(sign in str(error).lower() for sign in _OUT_OF_MEMORY):
                raise
            if _texts(feeds) == 1:
                raise BackendError(
                    f"the GPU has no memory for one text of {size} tokens: stop what else uses it, "
                    f"or cut texts shorter ({error})"
                ) from error
            if self._fits is None:
                _logger.warning(
                    "the GPU has no memory for a batch of %d tokens; it is halved, as are all of "
                    "its size from now on: a smaller max_batch_tokens would save the attempt",
                    size,
                )
            if size > _ALWAYS_FIT:
                self._fits = max(half["input_ids"].size for half in _halves(feeds))
        return self._run_halves(outputs, feeds)

    def _run_halves(self, outputs: list[str], feeds: Feeds) -> list[np.ndarray]:
        halves = [self._run_fitting(outputs, half) for half in _halves(feeds)]
        return [np.concatenate(parts) for parts in zip(*halves, strict=True)]

    def _run_batch(self, outputs: list[str], feeds: Feeds) -> list[np.ndarray]:
        with GPU_LOCK:
            if self._graphs and len(outputs) == 1:
                tokens, texts = feeds["input_ids"].size, _texts(feeds)
                longest = int(feeds[LENGTHS].max())
                rung = choose_rung(tokens, texts, longest, self._max_length)
                logits = self._run_rung(rung, outputs[0], feeds) if rung is not None else None
                if logits is not None:
                    return [logits]
            if self._has_columns:
                # The faster kernels of attention with a mask want a multiple of 8.
                columns = min(-(-int(feeds[LENGTHS].max()) // 8) * 8, self._max_length)
                feeds = {**feeds, COLUMN_INDEX: np.arange(columns, dtype=np.int64)}
            answers: list[np.ndarray] = self._session.run(outputs, feeds, graph_number(_NO_GRAPH))
            return answers

    def _run_rung(self, rung: Rung, output: str, feeds: Feeds) -> np.ndarray | None:
        """The logits by a rung's graph, which the first run captures; None where that fails."""
        captured = self._captured.get(rung)
        if captured is not None:
            return captured.run(feeds)
        try:
            captured = Captured(
                self._session,
                rung,
                output,
                longest=min(rung.longest, self._max_length),
                device=self._device,
                number=len(self._captured) + 1,  # 0 is the graph of runs that name none
            )
            logits = captured.run(feeds)
        except Exception as error:  # onnxruntime's errors share no base class of their own
            self._graphs = False
            _logger.warning("batches will not be captured as CUDA graphs any more: %s", error)
            return None
        self._captured[rung] = captured
        return logits


def _texts(feeds: Feeds) -> int:
    return len(feeds[LENGTHS] if LENGTHS in feeds else feeds["input_ids"])


def _halves(feeds: Feeds) -> tuple[Feeds, Feeds]:
    """The first half of a batch's texts, and the others."""
    texts = _texts(feeds) // 2
    if LENGTHS not in feeds:  # padded: a row a text
        cuts = dict.fromkeys(feeds, texts)
    else:
        tokens = int(feeds[LENGTHS][:texts].sum())
        cuts = {name: texts if name == LENGTHS else tokens for name in feeds}
    first = {name: array[: cuts[name]] for name, array in feeds.items()}
    return first, {name: array[cuts[name] :] for name, array in feeds.items()}
