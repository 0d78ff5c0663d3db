"""Small graphs over a packed batch, with each text run alone as the reference."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from tests.passes.graphs import HIDDEN, graph, normal, run

__all__ = ["LENGTHS", "alone", "assert_equal", "feeds", "row_graph"]

_WORDS, _POSITIONS, _SEGMENTS = 11, 12, 2

LENGTHS = [[1], [7], [3, 3], [1, 1, 1, 1], [2, 7, 1], [7, 2, 1, 5], [1, 12]]


def row_graph(
    nodes: str, *, outputs: str = "y", inputs: str = "", segments: bool = True
) -> ir.Model:
    """A graph over one row of all tokens, as tracing leaves it; `nodes` go on from `x`."""
    segment_input = "int64[1, tokens] token_type_ids," if segments else ""
    segment_nodes = (
        "segment = Gather(segments, token_type_ids) x = Add(sum, segment)"
        if segments
        else "x = Identity(sum)"
    )
    weights = {
        name: array
        for name, array in {
            "words": normal(_WORDS, HIDDEN),
            "positions": normal(_POSITIONS, HIDDEN),
            "segments": normal(_SEGMENTS, HIDDEN),
            "Wq": normal(HIDDEN, HIDDEN, seed=1),
            "Wk": normal(HIDDEN, HIDDEN, seed=2),
            "Wv": normal(HIDDEN, HIDDEN, seed=3),
        }.items()
        if name != "segments" or segments
    }
    return graph(
        f"""(int64[1, tokens] input_ids, {segment_input} int64[1, tokens] position_ids,
             int64[texts] first_token_index {inputs}) => ({outputs}) {{
          word = Gather(words, input_ids)
          position = Gather(positions, position_ids)
          sum = Add(word, position)
          {segment_nodes}
          {nodes}
        }}""",
        **weights,
    )


def feeds(lengths: Sequence[int]) -> dict[str, np.ndarray]:
    """A packed batch of random tokens."""
    random = np.random.default_rng(sum(lengths))
    return {
        "input_ids": random.integers(0, _WORDS, sum(lengths)),
        "token_type_ids": random.integers(0, _SEGMENTS, sum(lengths)),
        "lengths": np.array(lengths, dtype=np.int32),
    }


def alone(row: ir.Model, batch: dict[str, np.ndarray]) -> list[np.ndarray]:
    """The outputs of a graph over one row, given one text of the batch at a time and joined."""
    ends = np.cumsum(batch["lengths"])
    texts = []
    for length, end in zip(batch["lengths"], ends, strict=True):
        texts.append(
            run(
                row,
                {
                    "input_ids": batch["input_ids"][None, end - length : end],
                    "token_type_ids": batch["token_type_ids"][None, end - length : end],
                    "position_ids": np.arange(length)[None],
                    "first_token_index": np.array([0]),
                },
            )
        )
    return [np.concatenate(parts, axis=1) for parts in zip(*texts, strict=True)]


def assert_equal(actual: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> None:
    """The same outputs, of the same shapes."""
    for value, reference in zip(actual, expected, strict=True):
        assert value.shape == reference.shape
        np.testing.assert_allclose(value, reference, rtol=1e-5, atol=1e-5)
