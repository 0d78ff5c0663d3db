"""Runs on a GPU: short batches as CUDA graphs, on buffers that stay where they are."""

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime

from bertrt.errors import BackendError

__all__ = ["COLUMN_INDEX", "LADDER", "CudaSession", "Rung", "choose_rung"]

Feeds = Mapping[str, np.ndarray]

# The input that says how long texts may be by its own length; only graphs for CUDA have it.
COLUMN_INDEX = "column_index"

_LENGTHS = "lengths"
_TOKENS = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512)
_TEXTS = (1, 2, 5, 9, 17, 33)

# The number of a run that is not captured.
_NO_GRAPH = -1

# What onnxruntime and CUDA say when the GPU's memory is full.
_OUT_OF_MEMORY = ("out of memory", "failed to allocate memory", "alloc_failed", "cuda failure 2:")

_logger = logging.getLogger("bertrt")


@dataclass(frozen=True, slots=True, order=True)
class Rung:
    """The size of a captured batch: tokens, and texts."""

    tokens: int
    texts: int


LADDER = tuple(Rung(tokens, texts) for tokens in _TOKENS for texts in _TEXTS if texts <= tokens)


def choose_rung(tokens: int, texts: int, max_length: int) -> Rung | None:
    """The smallest rung that a batch fits on; None where it is too large for all.

    It fits exactly, or both with room for one more text of at least one token: what is left over is
    filled up with texts of no tokens, and a last one that has all the tokens. No text has more than
    `max_length` tokens.
    """
    for rung in LADDER:
        exact = rung.tokens == tokens and rung.texts == texts
        filled = 0 < rung.tokens - tokens <= max_length and rung.texts > texts
        if exact or filled:
            return rung
    return None


class CudaSession:
    """An onnxruntime.InferenceSession on CUDA, to be run as on the CPU: `run(outputs, feeds)`.

    Where a short text is run operator by operator, the GPU waits for the CPU to start each one. A
    CUDA graph starts them all at once; but it is of one size and reads and writes the same memory
    every time. So there is one for each rung of a ladder of sizes, captured when it is first needed
    (or by `warm_up`), with buffers that are filled up: `choose_rung`. Larger batches keep the GPU
    busy by themselves, and run as they are.

    A batch that does not fit into the GPU's memory is halved, and so are all of its size from then
    on. onnxruntime keeps captured graphs by thread, so all runs are on one thread of its own.

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
        self._captured: dict[Rung, _Captured] = {}
        self._fits: int | None = None  # places of a batch, once one has not fitted
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="bertrt-gpu")

    def __getattr__(self, name: str) -> Any:
        """All that is asked of a session but to run: `get_inputs`, `get_outputs`, .."""
        return getattr(self._session, name)

    def run(self, outputs: Sequence[str], feeds: Feeds) -> list[np.ndarray]:
        """The outputs of a batch. Thread-safe; one batch at a time."""
        return self._thread.submit(self._run_fitting, list(outputs), feeds).result()

    def warm_up(self, outputs: Sequence[str]) -> None:
        """Capture the graphs of single texts, so that no request has to wait for it.

        Where capturing fails, no batch is captured from then on.
        """
        for tokens in _TOKENS:
            if not self._graphs or tokens > self._max_length:
                return
            ids = np.zeros(tokens - 1, dtype=np.int64)
            lengths = np.array([tokens - 1], dtype=np.int32)
            feeds: dict[str, np.ndarray] = dict.fromkeys(self._inputs, ids)
            try:
                self.run(outputs, {**feeds, _LENGTHS: lengths})
            except Exception as error:  # onnxruntime's errors share no base class of their own
                self._graphs = False
                _logger.warning("short batches will not be captured as CUDA graphs: %s", error)

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
            self._fits = max(half["input_ids"].size for half in _halves(feeds))
        return self._run_halves(outputs, feeds)

    def _run_halves(self, outputs: list[str], feeds: Feeds) -> list[np.ndarray]:
        halves = [self._run_fitting(outputs, half) for half in _halves(feeds)]
        return [np.concatenate(parts) for parts in zip(*halves, strict=True)]

    def _run_batch(self, outputs: list[str], feeds: Feeds) -> list[np.ndarray]:
        if self._graphs and len(outputs) == 1:
            tokens, texts = feeds["input_ids"].size, _texts(feeds)
            rung = choose_rung(tokens, texts, self._max_length)
            if rung is not None:
                return [self._replay(rung, outputs[0], feeds)]
        if self._has_columns:
            longest = int(feeds[_LENGTHS].max())
            feeds = {**feeds, COLUMN_INDEX: np.arange(longest, dtype=np.int64)}
        answers: list[np.ndarray] = self._session.run(outputs, feeds, _graph_number(_NO_GRAPH))
        return answers

    def _replay(self, rung: Rung, output: str, feeds: Feeds) -> np.ndarray:
        captured = self._captured.get(rung)
        if captured is None:
            number = len(self._captured) + 1  # 0 is the graph of runs that name none
            captured = _Captured(
                self._session,
                rung,
                output,
                longest=min(rung.tokens, self._max_length),
                device=self._device,
                number=number,
            )
            self._captured[rung] = captured
        return captured.run(feeds)


class _Captured:
    """The buffers of one rung, and the number of its CUDA graph, which the first run captures."""

    def __init__(
        self,
        session: Any,
        rung: Rung,
        output: str,
        *,
        longest: int,
        device: tuple[str, int],
        number: int,
    ) -> None:
        self._session, self._rung = session, rung
        self._host = {
            value.name: np.zeros(rung.texts, dtype=np.int32)
            if value.name == _LENGTHS
            else np.zeros(rung.tokens, dtype=np.int64)
            for value in session.get_inputs()
        }
        from_numpy = onnxruntime.OrtValue.ortvalue_from_numpy
        self._inputs = {name: from_numpy(array, *device) for name, array in self._host.items()}
        self._columns = from_numpy(np.arange(longest, dtype=np.int64), *device)
        rows, labels = next(v.shape for v in session.get_outputs() if v.name == output)
        self._per_token = rows == "tokens"
        shape = [rung.tokens if self._per_token else rung.texts, labels]
        self._logits = onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, np.float32, *device)
        self._binding = session.io_binding()
        for name, value in {**self._inputs, COLUMN_INDEX: self._columns}.items():
            self._binding.bind_ortvalue_input(name, value)
        self._binding.bind_ortvalue_output(output, self._logits)
        self._options = _graph_number(number)

    def run(self, feeds: Feeds) -> np.ndarray:
        """The logits of a batch that fits, float32 [texts or tokens, labels]."""
        tokens, texts = feeds["input_ids"].size, _texts(feeds)
        for name, array in self._host.items():
            value = feeds[name]
            array[: len(value)], array[len(value) :] = value, 0
        if texts < self._rung.texts:
            self._host[_LENGTHS][-1] = self._rung.tokens - tokens
        for name, array in self._host.items():
            self._inputs[name].update_inplace(array)
        self._session.run_with_iobinding(self._binding, self._options)
        rows: np.ndarray = self._logits.numpy()[: tokens if self._per_token else texts]
        return rows.copy()  # of a GPU's memory it is one already


def _graph_number(number: int) -> onnxruntime.RunOptions:
    """The options of a run that captures the CUDA graph of this number, or replays it."""
    options = onnxruntime.RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(number))
    return options


def _texts(feeds: Feeds) -> int:
    return len(feeds[_LENGTHS] if _LENGTHS in feeds else feeds["input_ids"])


def _halves(feeds: Feeds) -> tuple[Feeds, Feeds]:
    """The first half of a batch's texts, and the others."""
    texts = _texts(feeds) // 2
    if _LENGTHS not in feeds:  # padded: a row a text
        cuts = dict.fromkeys(feeds, texts)
    else:
        tokens = int(feeds[_LENGTHS][:texts].sum())
        cuts = {name: texts if name == _LENGTHS else tokens for name in feeds}
    first = {name: array[: cuts[name]] for name, array in feeds.items()}
    return first, {name: array[cuts[name] :] for name, array in feeds.items()}
