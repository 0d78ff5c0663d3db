"""What goes into each projection, observed on calibration texts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from bertrt.tokenizer import Encoding

from bertrt_export.quantization.graph_session import GraphSession, batches
from bertrt_export.quantization.projections import find_groups

__all__ = ["Activations", "observe"]

# Rows kept of each input: enough to tell the forms of its projections apart.
_SAMPLE_ROWS = 256


@dataclass(frozen=True, slots=True)
class Activations:
    """The input of one group of projections (or of several that share weights) on all tokens.

    low, high: float32 [inputs], the least and greatest value of each channel.
    sample: float32 [rows, inputs], a fixed pseudo-random choice of rows.
    """

    low: np.ndarray
    high: np.ndarray
    sample: np.ndarray


def observe(
    graph: ir.Model, encodings: Sequence[Encoding], on_progress: Callable[[int, int], None]
) -> dict[str, Activations]:
    """Run the float graph over the texts; what goes into the groups of projections of each name."""
    observed = graph.clone()
    groups = find_groups(observed.graph)
    original = list(observed.graph.outputs)
    observed.graph.outputs[:] = [group.input for group in groups]
    session = GraphSession(observed)
    observed.graph.outputs[:] = original
    collectors = {group.name: _Collector() for group in groups}
    done = 0
    for positions, batch in batches(encodings):
        for group, rows in zip(groups, session.run(batch), strict=True):
            collectors[group.name].add(rows)
        done += len(positions)
        on_progress(done, len(encodings))
    return {name: collector.result() for name, collector in collectors.items()}


class _Collector:
    """Extremes of all rows, and a sample of them that is even over the texts."""

    def __init__(self) -> None:
        self._low = self._high = np.empty(0)
        self._rows: list[np.ndarray] = []
        self._random = np.random.default_rng(0)

    def add(self, rows: np.ndarray) -> None:
        low, high = rows.min(axis=0), rows.max(axis=0)
        first = not self._rows
        self._low = low if first else np.minimum(self._low, low)
        self._high = high if first else np.maximum(self._high, high)
        chosen = self._random.permutation(len(rows))[:32]
        self._rows.append(rows[chosen].copy())

    def result(self) -> Activations:
        rows = np.concatenate(self._rows)
        chosen = self._random.permutation(len(rows))[:_SAMPLE_ROWS]
        return Activations(self._low, self._high, rows[chosen])
