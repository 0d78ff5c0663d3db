"""Position and segment embeddings, summed up beforehand: when, and when not."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from bertrt_export.passes import FoldEmbeddingsPass

from tests.passes.graphs import HIDDEN, assert_fires, assert_unchanged, graph, normal, run

_POSITIONS, _SEGMENTS = normal(12, HIDDEN), normal(2, HIDDEN)
_FEEDS = {
    "x": normal(5, HIDDEN, seed=1),
    "i": np.array([0, 11, 2, 3, 4]),
    "j": np.array([0, 1, 1, 0, 1]),
}
_GATHERS = "a = Gather(A, i) b = Gather(B, j)"
_FOLDED = ["Add", "Add", "Gather", "Mul"]


def _sum(
    inner: str = "x, a",
    outer: str = "s, b",
    *,
    a: np.ndarray = _POSITIONS,
    b: np.ndarray = _SEGMENTS,
    gathers: str = _GATHERS,
    more: str = "",
    outputs: str = "y",
    index: str = "int64",
) -> ir.Model:
    weights = {"A": a, "B": b}
    return graph(
        f"""(float[tokens, 8] x, {index}[tokens] i, {index}[tokens] j) => ({outputs}) {{
          {gathers}
          s = Add({inner})
          y = Add({outer})
          {more}
        }}""",
        **weights,
    )


@pytest.mark.parametrize(
    ("inner", "outer"), [*itertools.product(["x, a", "a, x"], ["s, b", "b, s"])], ids=str
)
def test_two_small_tables_become_one(inner: str, outer: str) -> None:
    model = _sum(inner, outer)
    assert assert_fires(FoldEmbeddingsPass(), model, _FEEDS) == _FOLDED
    (table,) = (value.shape for value in model.graph.initializers.values() if len(value.shape) == 2)  # type: ignore[arg-type]
    assert table == (24, HIDDEN)


def test_segments_may_be_added_before_positions() -> None:
    model = _sum(a=_SEGMENTS, b=_POSITIONS)
    feeds = {**_FEEDS, "i": _FEEDS["j"], "j": _FEEDS["i"]}
    assert assert_fires(FoldEmbeddingsPass(), model, feeds) == _FOLDED


@pytest.mark.parametrize("a", [_POSITIONS, _SEGMENTS[:1]], ids=["equal", "a single segment"])
def test_tables_of_any_small_size(a: np.ndarray) -> None:
    model = _sum(a=a, b=_POSITIONS)
    feeds = {**_FEEDS, "i": _FEEDS["i"] % len(a)}
    assert assert_fires(FoldEmbeddingsPass(), model, feeds) == _FOLDED


def test_tables_of_sixteen_thousand_combinations() -> None:
    model = _sum(a=normal(8_192, HIDDEN))
    assert assert_fires(FoldEmbeddingsPass(), model, _FEEDS) == _FOLDED


def test_narrower_indices_stay_valid() -> None:
    model = _sum(index="int32")
    feeds = {**_FEEDS, "i": _FEEDS["i"].astype(np.int32), "j": _FEEDS["j"].astype(np.int32)}
    (expected,) = run(model, feeds)
    FoldEmbeddingsPass()(model)
    np.testing.assert_allclose(run(model, feeds)[0], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("swapped", [False, True])
def test_position_past_the_end_stays_an_error(swapped: bool) -> None:
    model = _sum(a=_SEGMENTS, b=_POSITIONS) if swapped else _sum()
    assert FoldEmbeddingsPass()(model).modified
    positions, segments = np.array([0, 1, 2, 3, 12]), np.zeros(5, dtype=np.int64)
    indices = (segments, positions) if swapped else (positions, segments)
    feeds = {"x": _FEEDS["x"], "i": indices[0], "j": indices[1]}
    with pytest.raises(Exception, match="out of data bounds"):
        run(model, feeds)


def test_folded_table_is_named_after_its_parts() -> None:
    model = _sum()
    model.graph.initializers["A"].name = "bert.embeddings.position_embeddings.weight"
    model.graph.initializers["B"].name = "bert.embeddings.token_type_embeddings.weight"
    assert_fires(FoldEmbeddingsPass(), model, _FEEDS)
    name = "bert.embeddings.position_embeddings+token_type_embeddings.weight"
    assert name in model.graph.initializers


def test_sum_over_the_word_embedding_keeps_it() -> None:
    """As in BERT: word + segment, then + position; the two small ones are folded."""
    words = normal(20_000, HIDDEN)
    model = graph(
        """(int64[tokens] ids, int64[tokens] i, int64[tokens] j) => (y) {
          word = Gather(words, ids)
          segment = Gather(B, j)
          inner = Add(word, segment)
          position = Gather(A, i)
          y = Add(inner, position)
        }""",
        words=words,
        A=_POSITIONS,
        B=_SEGMENTS,
    )
    feeds = {**_FEEDS, "ids": np.array([7, 19_999, 0, 3, 7])}
    assert assert_fires(FoldEmbeddingsPass(), model, feeds) == [
        "Add",
        "Add",
        "Gather",
        "Gather",
        "Mul",
    ]
    assert "words" in model.graph.initializers


_VECTOR: dict[str, Any] = {"gathers": "b = Gather(B, j)", "a": normal(HIDDEN)}


@pytest.mark.parametrize(
    ("inner", "outer"), [*itertools.product(["x, A", "A, x"], ["s, b", "b, s"])], ids=str
)
def test_vector_for_all_tokens_goes_into_the_table(inner: str, outer: str) -> None:
    """What tracing leaves of a table of segments, in a model without segments."""
    model = _sum(inner, outer, **_VECTOR)
    model.graph.initializers["B"].name = "position_embeddings.weight"
    assert assert_fires(FoldEmbeddingsPass(), model, _FEEDS) == ["Add", "Gather"]
    (gather,) = (node for node in model.graph if node.op_type == "Gather")
    table = gather.inputs[0]
    assert table is not None and table.name == "position_embeddings+vector.weight"
    assert table.const_value is not None and table.const_value.shape == (2, HIDDEN)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"b": normal(20_000, HIDDEN)}, id="word embedding"),
        pytest.param({"a": normal(1)}, id="vector of one"),
        pytest.param({"a": np.array(0.5, dtype=np.float32)}, id="scalar"),
        pytest.param({"a": normal(1, HIDDEN)}, id="matrix"),
        pytest.param({"a": normal(5, HIDDEN)}, id="a vector for each token"),
        pytest.param({"b": normal(2, 1)}, id="different widths"),
        pytest.param({"gathers": "C = Neg(B) b = Gather(C, j)"}, id="computed table"),
        pytest.param(
            {"gathers": "C = Neg(A) b = Gather(B, j)", "inner": "x, C"}, id="computed vector"
        ),
        pytest.param({"more": "z = Neg(s)", "outputs": "y, z"}, id="inner sum used"),
        pytest.param({"outputs": "y, float[tokens, 8] s"}, id="inner sum put out"),
    ],
)
def test_other_constants_stay_as_they_are(changes: dict[str, Any]) -> None:
    model = _sum(**{"inner": "x, A", **_VECTOR, **changes})
    assert_unchanged(FoldEmbeddingsPass(), model, _FEEDS)


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(
            lambda: _sum(gathers="C = Neg(A) a = Gather(C, i) b = Gather(B, j)"),
            id="first computed",
        ),
        pytest.param(
            lambda: _sum(gathers="C = Neg(B) a = Gather(A, i) b = Gather(C, j)"),
            id="second computed",
        ),
        pytest.param(lambda: _sum(b=normal(2, 1)), id="different widths"),
        pytest.param(lambda: _sum(a=normal(8_193, HIDDEN)), id="too many combinations"),
        pytest.param(lambda: _sum(more="z = Neg(s)", outputs="y, z"), id="inner sum used"),
        pytest.param(lambda: _sum(outputs="y, float[tokens, 8] s"), id="inner sum put out"),
        pytest.param(lambda: _sum(inner="x, x"), id="one table only"),
        pytest.param(
            lambda: _sum(inner="x, t", gathers=f"{_GATHERS} t = Tanh(a)"), id="work in between"
        ),
    ],
)
def test_other_sums_stay_as_they_are(build: Callable[[], ir.Model]) -> None:
    assert_unchanged(FoldEmbeddingsPass(), build(), _FEEDS)


def test_columns_of_a_table_stay_as_they_are() -> None:
    model = graph(
        """(float[5, 5] x, int64[5] i, int64[5] j) => (y) {
          a = Gather<axis = 1>(A, i)
          b = Gather(B, j)
          s = Add(x, a)
          y = Add(s, b)
        }""",
        A=normal(5, 12),
        B=normal(2, 5),
    )
    assert_unchanged(FoldEmbeddingsPass(), model, {**_FEEDS, "x": normal(5, 5)})


def test_tables_that_are_inputs_of_the_graph_stay_as_they_are() -> None:
    model = graph(
        """(float[tokens, 8] x, int64[tokens] i, int64[tokens] j, float[12, 8] C) => (y) {
          a = Gather(C, i)
          b = Gather(B, j)
          s = Add(x, a)
          y = Add(s, b)
        }""",
        B=_SEGMENTS,
    )
    assert_unchanged(FoldEmbeddingsPass(), model, {**_FEEDS, "C": _POSITIONS})
