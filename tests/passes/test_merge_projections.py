"""Query, key and value in one product: when, and when not."""

from collections import Counter

import numpy as np
import onnx_ir as ir
import pytest
from bertrt_export.passes import MergeProjectionsPass

from tests.passes.graphs import HIDDEN, assert_fires, assert_unchanged, graph, normal

_FEEDS = {
    "x": normal(5, HIDDEN, seed=1),
    "z": normal(5, HIDDEN, seed=2),
    "index": np.array([[0, 1, 2], [3, 4, 4]]),
    "other": np.array([[1, 1], [0, 2]]),
}
_INPUTS = "float[tokens, 8] x, float[tokens, 8] z, int64[texts, longest] index, int64[m, n] other"


def _chain(name: str, source: str = "x", index: str = "index", add: str = "p{0}, b{0}") -> str:
    return f"""p{name} = MatMul({source}, W{name}) s{name} = Add({add.format(name)})
        {name} = Gather(s{name}, {index})"""


def _graph(*nodes: str, outputs: str, **weights: np.ndarray) -> ir.Model:
    widths = {"q": 8, "k": 8, "v": 6}
    constants = {f"W{n}": normal(HIDDEN, w, seed=ord(n)) for n, w in widths.items()}
    constants |= {f"b{n}": normal(w, seed=ord(n)) for n, w in widths.items()}
    body = " ".join(nodes)
    used = {n: array for n, array in {**constants, **weights}.items() if n in body}
    return graph(f"({_INPUTS}) => ({outputs}) {{ {body} }}", **used)


_MERGED = ["Add", "Gather", "MatMul", "Split"]


@pytest.mark.parametrize("names", ["qk", "kv", "qkv"])
def test_projections_of_one_value_become_one(names: str) -> None:
    tails = [f"{name}out = Tanh({name})" for name in names]
    outputs = ", ".join(f"{name}out" for name in names)
    model = _graph(*(_chain(name) for name in names), *tails, outputs=outputs)
    operators = assert_fires(MergeProjectionsPass(), model, _FEEDS)
    assert operators == sorted([*_MERGED, *["Tanh"] * len(names)])
    width = sum({"q": 8, "k": 8, "v": 6}[name] for name in names)
    shapes = {node.op_type: str(node.outputs[0].shape) for node in model.graph}
    assert shapes["MatMul"] == f"[tokens,{width}]"
    assert shapes["Gather"] == f"[texts,longest,{width}]"


def test_bias_may_stand_first() -> None:
    model = _graph(_chain("q", add="b{0}, p{0}"), _chain("k"), outputs="q, k")
    assert assert_fires(MergeProjectionsPass(), model, _FEEDS) == _MERGED


def test_each_value_gets_a_product_of_its_own() -> None:
    second = {f"W{n}": normal(HIDDEN, 8, seed=ord(n)) for n in "abcd"}
    second |= {f"b{n}": normal(8, seed=ord(n)) for n in "abcd"}
    model = _graph(
        *(_chain(name) for name in "ab"),
        *(_chain(name, source="z") for name in "cd"),
        outputs="a, b, c, d",
        **second,
    )
    assert assert_fires(MergeProjectionsPass(), model, _FEEDS) == sorted(_MERGED * 2)


def test_last_layer_merges_key_and_value_and_leaves_the_query() -> None:
    model = _graph(_chain("q", source="z"), _chain("k"), _chain("v"), outputs="q, k, v")
    operators = Counter(assert_fires(MergeProjectionsPass(), model, _FEEDS))
    assert operators == Counter({"Add": 2, "Gather": 2, "MatMul": 2, "Split": 1})


def test_merged_weights_are_named_after_their_parts() -> None:
    model = _graph(_chain("q"), _chain("k"), outputs="q, k")
    renamed = {
        "Wq": "layer.0.self.query.weight",
        "Wk": "layer.0.self.key.weight",
        "bq": "layer.0.self.query.bias",
        "bk": "layer.0.self.key.bias",
    }
    for old, new in renamed.items():
        model.graph.initializers[old].name = new
    assert_fires(MergeProjectionsPass(), model, _FEEDS)
    names = set(model.graph.initializers)
    assert {"layer.0.self.query+key.weight", "layer.0.self.query+key.bias"} <= names


def test_projections_that_share_a_matrix_keep_their_own_biases() -> None:
    """Two groups over the same two matrices, so their merged weights would share a name."""
    nodes = []
    for group, source in (("1", "x"), ("2", "z")):
        for name in "qk":
            nodes.append(
                f"""p{name}{group} = MatMul({source}, W{name})
                s{name}{group} = Add(p{name}{group}, c{name}{group})
                {name}{group} = Gather(s{name}{group}, index)"""
            )
    biases = {
        f"c{name}{group}": normal(8, seed=ord(name) + group) for name in "qk" for group in (1, 2)
    }
    model = _graph(*nodes, outputs="q1, k1, q2, k2", **biases)
    assert_fires(MergeProjectionsPass(), model, _FEEDS)


def test_index_made_after_the_product_still_comes_first() -> None:
    model = _graph(
        """pq = MatMul(x, Wq) sq = Add(pq, bq) late = Add(index, index)
        half = Div(late, two) q = Gather(sq, half)""",
        _chain("k", index="half"),
        outputs="q, k",
        two=np.array(2),
    )
    assert "Split" in assert_fires(MergeProjectionsPass(), model, _FEEDS)


@pytest.mark.parametrize(
    ("nodes", "outputs"),
    [
        pytest.param([_chain("q")], "q", id="a single one"),
        pytest.param([_chain("q"), _chain("k", source="z")], "q, k", id="different inputs"),
        pytest.param([_chain("q"), _chain("k", index="other")], "q, k", id="different indices"),
        pytest.param([_chain("q"), _chain("k"), "y = Neg(pk)"], "q, k, y", id="product used"),
        pytest.param([_chain("q"), _chain("k"), "y = Neg(sk)"], "q, k, y", id="sum used"),
        pytest.param([_chain("q"), _chain("k")], "q, k, float[tokens, 8] pk", id="product put out"),
        pytest.param([_chain("q"), _chain("k")], "q, k, float[tokens, 8] sk", id="sum put out"),
        pytest.param(
            [_chain("q"), _chain("k").replace("Gather(", "Gather<axis = 1>(")],
            "q, k",
            id="other axis",
        ),
        pytest.param([_chain("q"), _chain("k", add="p{0}, z")], "q, k", id="no bias"),
        pytest.param([_chain("q"), _chain("k", add="p{0}, table")], "q, k", id="bias by token"),
        pytest.param(
            [_chain("q"), "pk = MatMul(x, Wk) k = Gather(pk, index)"], "q, k", id="no sum"
        ),
        pytest.param(
            [_chain("q"), "square = Mul(Wk, Wk)", _chain("k").replace("Wk", "square")],
            "q, k",
            id="computed matrix",
        ),
        pytest.param([_chain("q"), _chain("k").replace("Add", "Sub")], "q, k", id="difference"),
    ],
)
def test_other_projections_stay_apart(nodes: list[str], outputs: str) -> None:
    model = _graph(*nodes, outputs=outputs, table=normal(5, HIDDEN))
    assert_unchanged(MergeProjectionsPass(), model, _FEEDS)
