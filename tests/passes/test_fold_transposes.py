"""Transposed weights as weights of their own: when, and when not."""

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from bertrt_export.passes import FoldTransposesPass

from tests.passes.graphs import HIDDEN, assert_fires, assert_unchanged, graph, normal

_FEEDS = {"x": normal(5, HIDDEN, seed=1)}


def _graph(nodes: str, outputs: str = "y", **weights: np.ndarray) -> ir.Model:
    return graph(f"(float[rows, {HIDDEN}] x) => ({outputs}) {{ {nodes} }}", **weights)


@pytest.mark.parametrize("transpose", ["Transpose<perm = [1, 0]>(W)", "Transpose(W)"])
def test_transposes_of_one_weight_become_one_weight(transpose: str) -> None:
    model = _graph(
        f"a = {transpose} b = MatMul(x, a) c = {transpose} y = MatMul(b, c)",
        W=normal(HIDDEN, HIDDEN),
    )
    assert assert_fires(FoldTransposesPass(), model, _FEEDS) == ["MatMul", "MatMul"]
    (weight,) = model.graph.initializers.values()
    assert weight.name == "W" and weight.const_value is not None
    np.testing.assert_array_equal(weight.const_value.numpy(), normal(HIDDEN, HIDDEN).T)


def test_weight_that_is_used_as_it_is_stays() -> None:
    model = _graph(
        "a = Transpose<perm = [1, 0]>(W) b = MatMul(x, a) y = MatMul(b, W)",
        W=normal(HIDDEN, HIDDEN),
    )
    assert assert_fires(FoldTransposesPass(), model, _FEEDS) == ["MatMul", "MatMul"]
    assert sorted(model.graph.initializers) == ["W", "W.transposed"]


@pytest.mark.parametrize(
    ("nodes", "weights"),
    [
        pytest.param("y = Transpose<perm = [1, 0]>(x)", {}, id="computed"),
        pytest.param(
            "a = Transpose<perm = [1, 2, 0]>(W) y = MatMul(x, a)",
            {"W": normal(3, HIDDEN, HIDDEN)},
            id="three dimensions",
        ),
        pytest.param(
            "a = Transpose<perm = [0, 1]>(W) y = MatMul(x, a)",
            {"W": normal(HIDDEN, 3)},
            id="not transposed",
        ),
    ],
)
def test_other_transposes_stay_as_they_are(nodes: str, weights: dict[str, Any]) -> None:
    assert_unchanged(FoldTransposesPass(), _graph(nodes, **weights), _FEEDS)
