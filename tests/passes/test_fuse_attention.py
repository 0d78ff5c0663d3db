"""Attention that is written out becomes the one operator: when, and when not."""

import numpy as np
import onnx_ir as ir
import pytest
from bertrt_export.passes import FuseAttentionPass

from tests.passes.graphs import assert_fires, assert_unchanged, graph, normal

_FEEDS = {
    "q": normal(1, 2, 3, 4, seed=1),
    "k": normal(1, 2, 5, 4, seed=2),
    "v": normal(1, 2, 5, 4, seed=3),
    "x": normal(1, 5, 2, 4, seed=4),
    "given": np.array(0.5, dtype=np.float32),
    "mask": normal(1, 1, 3, 5),
}
_WEIGHTS = {
    "c": np.array(1.7, dtype=np.float32),
    "one_c": np.array([1.7], dtype=np.float32),
    "each": np.abs(normal(5)) + 0.5,
    "bias": normal(1, 2, 3, 5),
}
_INPUTS = """float[1, 2, queries, 4] q, float[1, 2, tokens, 4] k, float[1, 2, tokens, 4] v,
    float[1, tokens, 2, 4] x, float given, float[1, 1, queries, tokens] mask"""
_SWAPPED = "t = Transpose<perm = [0, 1, 3, 2]>(k)"
_PARTS = {
    "keys": _SWAPPED,
    "product": "s = MatMul(q, t)",
    "scale": "d = Div(s, c)",
    "softmax": "p = Softmax<axis = -1>(d)",
    "result": "y = MatMul(p, v)",
    "outputs": "y",
    "more": "",
}


def _written_out(**changes: str) -> ir.Model:
    """Scores `s`, scaled `d`, shares `p` and the result `y`, with some steps written otherwise."""
    part = {**_PARTS, **changes}
    steps = ("keys", "product", "scale", "softmax", "result", "more")
    nodes = " ".join(part[name] for name in steps)
    weights = {name: array for name, array in _WEIGHTS.items() if name in nodes}
    return graph(f"({_INPUTS}) => ({part['outputs']}) {{ {nodes} }}", **weights)


def _attention(model: ir.Model) -> ir.Node:
    (found,) = (node for node in model.graph if node.op_type == "Attention")
    return found


@pytest.mark.parametrize(
    ("changes", "scale"),
    [
        pytest.param({}, 1 / 1.7, id="divided"),
        pytest.param({"scale": "d = Mul(s, c)"}, 1.7, id="multiplied"),
        pytest.param({"scale": "d = Div(s, one_c)"}, 1 / 1.7, id="by a vector of one"),
        pytest.param({"softmax": "p = Softmax<axis = -1>(s)", "scale": ""}, 1.0, id="not scaled"),
        pytest.param({"softmax": "p = Softmax<axis = 3>(d)"}, 1 / 1.7, id="axis 3"),
        pytest.param({"softmax": "p = Softmax(d)"}, 1 / 1.7, id="last axis by default"),
    ],
)
def test_written_out_attention_becomes_one_operator(changes: dict[str, str], scale: float) -> None:
    model = _written_out(**changes)
    assert assert_fires(FuseAttentionPass(), model, _FEEDS) == ["Attention"]
    attention = _attention(model)
    assert [value.name for value in attention.inputs if value is not None] == ["q", "k", "v"]
    assert attention.attributes["scale"].as_float() == pytest.approx(scale)
    assert set(attention.attributes) == {"scale"}


def test_both_transpositions_of_the_keys_in_one() -> None:
    """What is left is the one that moves the heads forward, as HeadsLastAttentionPass wants it."""
    model = _written_out(keys="t = Transpose<perm = [0, 2, 3, 1]>(x)")
    assert assert_fires(FuseAttentionPass(), model, _FEEDS) == ["Attention", "Transpose"]
    (transpose,) = (node for node in model.graph if node.op_type == "Transpose")
    assert tuple(transpose.attributes["perm"].as_ints()) == (0, 2, 1, 3)
    assert _attention(model).inputs[1] is transpose.outputs[0]


def test_query_key_and_value_may_have_other_uses() -> None:
    model = _written_out(more="a = Neg(q) b = Neg(k) n = Neg(v)", outputs="y, a, b, n")
    operators = assert_fires(FuseAttentionPass(), model, _FEEDS)
    assert operators == ["Attention", "Neg", "Neg", "Neg"]


def test_one_after_the_other() -> None:
    model = _written_out(
        result="a = MatMul(p, v)",
        more=f"""{_SWAPPED.replace("t =", "t2 =")} s2 = MatMul(a, t2) p2 = Softmax(s2)
        y = MatMul(p2, v)""",
    )
    assert assert_fires(FuseAttentionPass(), model, _FEEDS) == ["Attention", "Attention"]


def test_output_of_the_graph_keeps_its_name() -> None:
    model = _written_out()
    FuseAttentionPass()(model)
    assert [value.name for value in model.graph.outputs] == ["y"]


@pytest.mark.parametrize("value", "tsdp")
def test_value_in_between_with_another_use_is_needed(value: str) -> None:
    model = _written_out(more=f"z = Neg({value})", outputs="y, z")
    assert_unchanged(FuseAttentionPass(), model, _FEEDS)


@pytest.mark.parametrize(
    "output",
    [
        "float[1, 2, 4, tokens] t",
        "float[1, 2, queries, tokens] s",
        "float[1, 2, queries, tokens] d",
        "float[1, 2, queries, tokens] p",
    ],
)
def test_value_in_between_that_is_put_out_is_needed(output: str) -> None:
    model = _written_out(outputs=f"y, {output}")
    assert_unchanged(FuseAttentionPass(), model, _FEEDS)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"scale": "e = Div(s, c) d = Add(e, mask)"}, id="mask added to scaled scores"),
        pytest.param({"scale": "e = Add(s, mask) d = Div(e, c)"}, id="mask added to scores"),
        pytest.param({"scale": "e = Div(s, c) d = Add(e, bias)"}, id="constant bias"),
        pytest.param({"scale": "d = Sub(s, c)"}, id="constant subtracted"),
        pytest.param({"scale": "d = Div(s, given)"}, id="computed scale"),
        pytest.param({"scale": "d = Mul(s, each)"}, id="scale for each key"),
        pytest.param({"scale": "d = Div(c, s)"}, id="divided by the scores"),
        pytest.param({"scale": "e = Mul(s, c) d = Div(e, c)"}, id="scaled twice"),
        pytest.param({"scale": "d = Tanh(s)"}, id="capped"),
        pytest.param({"softmax": "p = Softmax<axis = 2>(d)"}, id="softmax over the queries"),
        pytest.param({"softmax": "p = Softmax<axis = 1>(d)"}, id="softmax over the heads"),
        pytest.param({"softmax": "p = Softmax<axis = -2>(d)"}, id="softmax over the last but one"),
        pytest.param({"softmax": "p = Sigmoid(d)"}, id="no softmax"),
        pytest.param({"softmax": "l = Softmax(d) p = Log(l)"}, id="work after the softmax"),
        pytest.param({"product": "s = Add(mask, bias)", "keys": ""}, id="scores that are given"),
        pytest.param({"result": "y = Mul(p, bias)"}, id="no second product"),
    ],
)
def test_anything_else_stays_written_out(changes: dict[str, str]) -> None:
    assert_unchanged(FuseAttentionPass(), _written_out(**changes), _FEEDS)


@pytest.mark.parametrize(
    ("keys", "shape"),
    [
        pytest.param("t = Identity(k)", (1, 2, 4, 5), id="given as they are needed"),
        pytest.param("t = Transpose<perm = [0, 3, 2, 1]>(k)", (1, 5, 4, 2), id="another order"),
        pytest.param("t = Transpose<perm = [3, 2, 1, 0]>(k)", (5, 4, 2, 1), id="reversed"),
        pytest.param("t = Transpose(k)", (5, 4, 2, 1), id="reversed by default"),
    ],
)
def test_keys_in_any_other_order_stay_as_they_are(keys: str, shape: tuple[int, ...]) -> None:
    dims = ", ".join(map(str, shape))
    model = graph(
        f"""(float[1, 2, queries, 4] q, float[{dims}] k, float[1, 2, tokens, 4] v) => (y) {{
          {keys} s = MatMul(q, t) p = Softmax(s) y = MatMul(p, v)
        }}"""
    )
    assert_unchanged(FuseAttentionPass(), model, {**_FEEDS, "k": normal(*shape)})


def test_three_dimensions_stay_as_they_are() -> None:
    model = graph(
        """(float[2, queries, 4] q, float[2, tokens, 4] k, float[2, tokens, 4] v) => (y) {
          t = Transpose<perm = [0, 2, 1]>(k)
          s = MatMul(q, t) p = Softmax(s) y = MatMul(p, v)
        }"""
    )
    feeds = {name: _FEEDS[name][0] for name in "qkv"}
    assert_unchanged(FuseAttentionPass(), model, feeds)


@pytest.mark.parametrize("operand", ["q", "v"])
def test_operand_of_fewer_dimensions_stays_as_it_is(operand: str) -> None:
    """It is broadcast over the heads."""
    shapes = {name: f"1, 2, {name}s, 4" for name in "qv"} | {operand: f"{operand}s, 4"}
    model = graph(
        f"""(float[{shapes["q"]}] q, float[1, 2, vs, 4] k, float[{shapes["v"]}] v) => (y) {{
          {_SWAPPED} s = MatMul(q, t) p = Softmax(s) y = MatMul(p, v)
        }}"""
    )
    assert_unchanged(FuseAttentionPass(), model, {**_FEEDS, operand: _FEEDS[operand][0, 0]})


@pytest.mark.parametrize("operand", ["q", "k", "v"])
def test_operand_with_one_head_for_all_stays_as_it_is(operand: str) -> None:
    """A product broadcasts over the heads; the operator has its own rules for fewer of them."""
    shapes = {"q": "1, 2, queries, 4", "k": "1, 2, tokens, 4", "v": "1, 2, tokens, 4"}
    shapes[operand] = shapes[operand].replace("1, 2", "1, 1")
    model = graph(
        f"""(float[{shapes["q"]}] q, float[{shapes["k"]}] k, float[{shapes["v"]}] v) => (y) {{
          {_SWAPPED} s = MatMul(q, t) p = Softmax(s) y = MatMul(p, v)
        }}"""
    )
    assert_unchanged(FuseAttentionPass(), model, {**_FEEDS, operand: _FEEDS[operand][:, :1]})
