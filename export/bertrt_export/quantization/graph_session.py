"""Run a graph that is still in memory."""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir
from bertrt.backend import create_session
from bertrt.classifier import DEFAULT_MAX_BATCH_TOKENS
from bertrt.cpus import available_cpus
from bertrt.packing import PackedBatch, pack, plan_batches
from bertrt.parallel import run_parallel
from bertrt.session import feeds
from bertrt.tokenizer import Encoding

from bertrt_export.artifact_writer import save_graph

__all__ = ["GraphSession", "batches"]


class GraphSession:
    """A graph in memory, loaded as the runtime would load it from a file."""

    def __init__(self, graph: ir.Model) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = save_graph(graph, Path(folder), external_data=False)
            self._session = create_session(file, ["CPUExecutionProvider"], available_cpus())

    def run(self, batch: PackedBatch) -> list[np.ndarray]:
        """All outputs of the graph."""
        outputs: list[np.ndarray] = self._session.run(None, feeds(self._session, batch))
        return outputs

    def logits(self, encodings: Sequence[Encoding]) -> np.ndarray:
        """The graph's only output, float32 [texts, labels], in input order.

        Of a token classifier, [tokens, labels], the tokens of one text after another.
        """
        plan = list(batches(encodings))
        inputs = (feeds(self._session, batch) for _, batch in plan)
        rows: dict[int, np.ndarray] = {}
        outputs = run_parallel(self._session, inputs, available_cpus())
        for (positions, _), logits in zip(plan, outputs, strict=True):
            ends = np.cumsum([len(encodings[position]) for position in positions])
            per_token = len(logits) == ends[-1] > len(positions)
            parts = np.split(logits, ends[:-1] if per_token else len(positions))
            rows.update(zip(positions, parts, strict=True))
        return np.concatenate([rows[position] for position in range(len(encodings))])


def batches(encodings: Sequence[Encoding]) -> Iterator[tuple[list[int], PackedBatch]]:
    """Packed batches as the runtime makes them, with the texts' positions."""
    lengths = [len(encoding) for encoding in encodings]
    for positions in plan_batches(lengths, DEFAULT_MAX_BATCH_TOKENS):
        yield positions, pack([encodings[position] for position in positions])
