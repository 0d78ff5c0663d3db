"""CUDA graphs of short batches: a ladder of sizes, and the buffers of each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime

__all__ = ["COLUMN_INDEX", "LADDER", "LENGTHS", "Captured", "Rung", "choose_rung", "graph_number"]

# The inputs that only packed graphs have, and only those for CUDA: how long texts may be, by its
# own length.
LENGTHS, COLUMN_INDEX = "lengths", "column_index"

_TOKENS = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512)
_TEXTS = (1, 2, 5, 9, 17, 33)


@dataclass(frozen=True, slots=True, order=True)
class Rung:
    """The size of a captured batch: tokens, and texts."""

    tokens: int
    texts: int

    @property
    def longest(self) -> int:
        """Tokens of a text at most.

        Attention with a mask sees a rectangle, texts x longest: it has 8 times the tokens at most.
        """
        return min(self.tokens, -(-8 * self.tokens // self.texts // 16) * 16)


LADDER = tuple(Rung(tokens, texts) for tokens in _TOKENS for texts in _TEXTS if texts <= tokens)


def choose_rung(tokens: int, texts: int, longest: int, max_length: int) -> Rung | None:
    """The smallest rung that a batch fits on; None where it fits on none.

    It fits exactly, or both with room for one more text of at least one token: what is left over is
    filled up with texts of no tokens, and a last one that has all the tokens.

    longest: tokens of the longest text. max_length: of a text at most.
    """
    for rung in LADDER:
        left = rung.tokens - tokens
        exact = left == 0 and rung.texts == texts
        filled = 0 < left <= min(rung.longest, max_length) and rung.texts > texts
        if longest <= rung.longest and (exact or filled):
            return rung
    return None


class Captured:
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
            if value.name == LENGTHS
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
        self._options = graph_number(number)

    def run(self, feeds: Mapping[str, np.ndarray]) -> np.ndarray:
        """The logits of a batch that fits, float32 [texts or tokens, labels]."""
        tokens, texts = feeds["input_ids"].size, len(feeds[LENGTHS])
        for name, array in self._host.items():
            value = feeds[name]
            array[: len(value)], array[len(value) :] = value, 0
        if texts < self._rung.texts:
            self._host[LENGTHS][-1] = self._rung.tokens - tokens
        for name, array in self._host.items():
            self._inputs[name].update_inplace(array)
        self._session.run_with_iobinding(self._binding, self._options)
        rows: np.ndarray = self._logits.numpy()[: tokens if self._per_token else texts]
        return rows.copy()  # of a GPU's memory it is one already


def graph_number(number: int) -> onnxruntime.RunOptions:
    """The options of a run that captures the CUDA graph of this number, or replays it."""
    options = onnxruntime.RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(number))
    return options
