"""Choosing the first tokens before the work instead of after it: when, and when not."""

from collections import Counter

import numpy as np
import onnx_ir as ir
import pytest
from bertrt_export.passes import FirstTokenPushdownPass

from tests.passes.graphs import HIDDEN, assert_fires, assert_unchanged, graph, normal, op_types

_FEEDS = {
    "x": np.abs(normal(1, 5, HIDDEN, seed=1)) + 0.1,  # positive: Sqrt and Pow take no others
    "z": normal(1, 5, HIDDEN, seed=2),
    "each": normal(1, 5, 1, seed=3),
    "index": np.array([0, 3, 4]),
}
_WEIGHTS = {
    "W": normal(HIDDEN, 6),
    "vector": normal(HIDDEN),
    "scalar": np.array(0.5, dtype=np.float32),
    "row": normal(1, 1, HIDDEN),
    "scale": normal(HIDDEN, seed=1),
    "shift": normal(HIDDEN, seed=2),
}
_INPUTS = (
    "float[1, tokens, 8] x, float[1, tokens, 8] z, float[1, tokens, 1] each, int64[texts] index"
)


def _chosen(nodes: str, **weights: np.ndarray) -> ir.Model:
    """`nodes` make `data`, of which `y` are the tokens at `index`."""
    text = f"({_INPUTS}) => (y) {{ {nodes} y = Gather<axis = 1>(data, index) }}"
    used = {name: array for name, array in {**_WEIGHTS, **weights}.items() if name in nodes}
    return graph(text, **used)


def _gathered(model: ir.Model) -> list[str]:
    """What the tokens are chosen from."""
    return sorted(
        node.inputs[0].name or ""
        for node in model.graph
        if node.op_type == "Gather" and node.inputs[0] is not None
    )


def _rows(model: ir.Model, op_type: str) -> list[int | str | None]:
    """How many rows each node of this type works on."""
    shapes = [node.outputs[0].shape for node in model.graph if node.op_type == op_type]
    assert None not in shapes
    dims = [shape[1] for shape in shapes if shape is not None]
    return [dim.value if isinstance(dim, ir.SymbolicDim) else dim for dim in dims]


@pytest.mark.parametrize(
    "operation",
    [
        "Add(x, vector)",
        "Add(vector, x)",
        "Add(x, row)",
        "Sub(scalar, x)",
        "Sub(x, vector)",
        "Div(vector, x)",
        "Mul(x, scalar)",
        "Pow(x, scalar)",
        "Max(x, vector, scalar)",
        "Clip(x, scalar)",
        "Cast<to = 11>(x)",
        "Gelu(x)",
        'Gelu<approximate = "tanh">(x)',
        "Tanh(x)",
        "Relu(x)",
        "LeakyRelu<alpha = 0.3>(x)",
        "Swish(x)",
        "Mish(x)",
        "Sqrt(x)",
    ],
)
def test_choosing_moves_above_token_wise_operators(operation: str) -> None:
    model = _chosen(f"data = {operation}")
    op_type = operation.partition("(")[0].partition("<")[0]
    assert assert_fires(FirstTokenPushdownPass(), model, _FEEDS) == sorted([op_type, "Gather"])
    assert _gathered(model) == ["x"]
    assert _rows(model, op_type) == ["texts"]


@pytest.mark.parametrize("operation", ["Add(x, z)", "Sub(z, x)", "Max(x, z, vector)"])
def test_choosing_moves_above_both_operands(operation: str) -> None:
    model = _chosen(f"data = {operation}")
    assert_fires(FirstTokenPushdownPass(), model, _FEEDS)
    assert _gathered(model) == ["x", "z"]


def test_choosing_moves_above_a_factor_for_each_token() -> None:
    model = _chosen("data = Mul(x, each)")
    assert_fires(FirstTokenPushdownPass(), model, _FEEDS)
    assert _gathered(model) == ["each", "x"]


def test_operand_used_twice_is_gathered_once() -> None:
    model = _chosen("data = Mul(x, x)")
    assert assert_fires(FirstTokenPushdownPass(), model, _FEEDS) == ["Gather", "Mul"]


@pytest.mark.parametrize("axis", [-1, 2])
def test_choosing_moves_above_a_norm_over_the_last_axis(axis: int) -> None:
    model = _chosen(f"data = LayerNormalization<axis = {axis}>(x, scale, shift)")
    operators = assert_fires(FirstTokenPushdownPass(), model, _FEEDS)
    assert operators == ["Gather", "LayerNormalization"]
    assert _gathered(model) == ["x"]
    assert _rows(model, "LayerNormalization") == ["texts"]


def test_choosing_moves_above_a_product_with_a_constant_matrix() -> None:
    model = _chosen("data = MatMul(x, W)")
    assert assert_fires(FirstTokenPushdownPass(), model, _FEEDS) == ["Gather", "MatMul"]
    assert _gathered(model) == ["x"]
    assert _rows(model, "MatMul") == ["texts"]


@pytest.mark.parametrize("scale", ["", ", scale = 0.125"])
def test_choosing_moves_to_the_query_of_an_attention(scale: str) -> None:
    model = _chosen(
        f"""k = Neg(x) v = Tanh(x)
        data = Attention<q_num_heads = 2, kv_num_heads = 2 {scale}>(z, k, v)"""
    )
    assert_fires(FirstTokenPushdownPass(), model, _FEEDS)
    assert _gathered(model) == ["z"]
    assert _rows(model, "Attention") == ["texts"]
    assert _rows(model, "Neg") == _rows(model, "Tanh") == ["tokens"]


@pytest.mark.parametrize(
    ("mask", "heads"),
    [("float", 2), ("float", 1), ("bool", 1)],
    ids=["bias of each head", "bias", "mask"],
)
def test_choosing_moves_to_the_rows_of_a_mask_or_bias(mask: str, heads: int) -> None:
    """[1, heads, tokens, tokens]: the rows are the queries', the columns the keys'."""
    model = graph(
        f"""({_INPUTS}, {mask}[1, {heads}, tokens, tokens] m) => (y) {{
          k = Neg(x)
          data = Attention<q_num_heads = 2, kv_num_heads = 2>(z, k, x, m)
          y = Gather<axis = 1>(data, index)
        }}"""
    )
    bias = normal(1, heads, 5, 5)
    feeds = {**_FEEDS, "m": bias if mask == "float" else bias > -1}
    assert_fires(FirstTokenPushdownPass(), model, feeds)
    assert _gathered(model) == ["m", "z"]
    assert _rows(model, "Attention") == ["texts"]
    assert _rows(model, "Neg") == ["tokens"]
    (gather,) = (n for n in model.graph if n.op_type == "Gather" and n.inputs[0].name == "m")  # type: ignore[union-attr]
    assert gather.attributes["axis"].as_int() == 2
    assert str(gather.outputs[0].shape) == f"[1,{heads},texts,tokens]"


_ANGLES = {"cosines": normal(9, 2, seed=1), "sines": normal(9, 2, seed=2)}
_ROTATED = "RotaryEmbedding<num_heads = 2>"


def test_choosing_moves_above_a_rotation_and_to_its_positions() -> None:
    model = graph(
        f"""({_INPUTS}, int64[1, tokens] places) => (y) {{
          data = {_ROTATED}(x, cosines, sines, places)
          y = Gather<axis = 1>(data, index)
        }}""",
        **_ANGLES,
    )
    feeds = {**_FEEDS, "places": np.array([[0, 1, 2, 0, 8]])}
    operators = assert_fires(FirstTokenPushdownPass(), model, feeds)
    assert operators == ["Gather", "Gather", "RotaryEmbedding"]
    assert _gathered(model) == ["places", "x"]
    assert _rows(model, "RotaryEmbedding") == ["texts"]


def test_rotated_query_and_key_of_one_projection() -> None:
    """The key is rotated whole, whatever the query is."""
    model = graph(
        f"""({_INPUTS}, int64[1, tokens] places) => (y) {{
          q = {_ROTATED}(x, cosines, sines, places)
          k = {_ROTATED}(z, cosines, sines, places)
          data = Attention<q_num_heads = 2, kv_num_heads = 2>(q, k, z)
          y = Gather<axis = 1>(data, index)
        }}""",
        **_ANGLES,
    )
    feeds = {**_FEEDS, "places": np.array([[0, 1, 2, 0, 1]])}
    assert_fires(FirstTokenPushdownPass(), model, feeds)
    assert _gathered(model) == ["places", "x"]
    assert sorted(map(str, _rows(model, "RotaryEmbedding"))) == ["texts", "tokens"]


def test_rotation_without_positions_stays_above() -> None:
    """The tables have a row for each token then, [1, tokens, ..]."""
    model = graph(
        f"""({_INPUTS}, float[1, tokens, 2] cosines, float[1, tokens, 2] sines) => (y) {{
          data = {_ROTATED}(x, cosines, sines)
          y = Gather<axis = 1>(data, index)
        }}"""
    )
    feeds = {**_FEEDS, "cosines": normal(1, 5, 2), "sines": normal(1, 5, 2, seed=1)}
    assert_unchanged(FirstTokenPushdownPass(), model, feeds)


def test_self_attention_keeps_its_keys_and_values_whole() -> None:
    model = _chosen("data = Attention<q_num_heads = 2, kv_num_heads = 2>(x, x, x)")
    assert_fires(FirstTokenPushdownPass(), model, _FEEDS)
    attention = next(node for node in model.graph if node.op_type == "Attention")
    assert [value.name == "x" for value in attention.inputs if value] == [False, True, True]


def test_gathers_of_one_index_move_together() -> None:
    model = graph(
        f"""({_INPUTS}) => (a, b) {{
          data = Tanh(x)
          a = Gather<axis = 1>(data, index)
          b = Gather<axis = 1>(data, index)
        }}"""
    )
    # Two outputs of a graph are two values, so one of them is a copy.
    assert assert_fires(FirstTokenPushdownPass(), model, _FEEDS) == ["Gather", "Identity", "Tanh"]


def test_whole_last_layer_is_computed_for_the_chosen_tokens() -> None:
    """Through both residual connections, down to the query and the sum around attention."""
    model = _chosen(
        """hidden = Relu(x)
        q0 = MatMul(hidden, Wq) q = Add(q0, shift)
        k = MatMul(hidden, Wk)
        v = MatMul(hidden, Wv)
        attended = Attention<q_num_heads = 2, kv_num_heads = 2>(q, k, v)
        o = MatMul(attended, Wo) first = Add(o, hidden)
        norm = LayerNormalization(first, scale, shift)
        up = MatMul(norm, Wu) gelu = Gelu(up) down = MatMul(gelu, Wd)
        second = Add(down, norm)
        data = LayerNormalization(second, scale, shift)""",
        **{f"W{name}": normal(HIDDEN, HIDDEN, seed=ord(name)) for name in "qkvo"},
        Wu=normal(HIDDEN, 16),
        Wd=normal(16, HIDDEN),
    )
    before = Counter(op_types(model))
    after = Counter(assert_fires(FirstTokenPushdownPass(), model, _FEEDS))
    assert _gathered(model) == ["hidden", "hidden"]
    assert after - before == Counter(Gather=1) and before <= after
    rows = Counter(_rows(model, "MatMul"))
    assert rows == {"texts": 4, "tokens": 2}
    assert _rows(model, "LayerNormalization") == ["texts", "texts"]


def test_choosing_stops_at_what_mixes_tokens() -> None:
    model = _chosen("mixed = Softmax<axis = 1>(x) data = Tanh(mixed)")
    operators = assert_fires(FirstTokenPushdownPass(), model, _FEEDS)
    assert operators == ["Gather", "Softmax", "Tanh"]
    assert _gathered(model) == ["mixed"]


def test_choosing_stops_at_what_is_needed_whole() -> None:
    model = graph(
        f"""({_INPUTS}) => (y, float[1, tokens, 8] whole) {{
          whole = Tanh(x)
          data = Neg(whole)
          y = Gather<axis = 1>(data, index)
        }}"""
    )
    assert assert_fires(FirstTokenPushdownPass(), model, _FEEDS) == ["Gather", "Neg", "Tanh"]
    assert _gathered(model) == ["whole"]


@pytest.mark.parametrize(
    "nodes",
    [
        pytest.param("data = Softmax<axis = 1>(x)", id="softmax over the tokens"),
        pytest.param("data = Softmax<axis = -1>(x)", id="operator that is not known"),
        pytest.param("data = LayerNormalization<axis = 1>(x, both, both)", id="norm over tokens"),
        pytest.param("data = LayerNormalization<axis = -2>(x, both, both)", id="norm from behind"),
        pytest.param("zt = Transpose<perm = [0, 2, 1]>(z) data = MatMul(x, zt)", id="product"),
        pytest.param("data = MatMul(mix, x)", id="product from the left"),
        pytest.param(
            "data = Attention<q_num_heads = 2, kv_num_heads = 2, is_causal = 1>(x, x, x)",
            id="causal attention",
        ),
        pytest.param(
            "data = Attention<q_num_heads = 2, kv_num_heads = 2>(x, x, x, mix)", id="masked"
        ),
        pytest.param(
            'data = Attention<q_num_heads = 2, kv_num_heads = 2>(x, x, x, "", "", "", count)',
            id="lengths of the keys",
        ),
        pytest.param("data = Add(x, places)", id="constant of its own for each token"),
        pytest.param("data = CumSum(x, one)", id="running sum over the tokens"),
    ],
)
def test_operators_that_mix_tokens_stay_above(nodes: str) -> None:
    model = _chosen(
        nodes,
        mix=normal(5, 5),
        places=normal(5, HIDDEN),
        both=normal(5, HIDDEN, seed=1),
        one=np.array(1),
        count=np.array([3]),
    )
    assert_unchanged(FirstTokenPushdownPass(), model, _FEEDS)


def test_causal_attention_with_a_bias_stays_above() -> None:
    model = graph(
        f"""({_INPUTS}, float[1, 1, tokens, tokens] m) => (y) {{
          data = Attention<q_num_heads = 2, kv_num_heads = 2, is_causal = 1>(x, x, x, m)
          y = Gather<axis = 1>(data, index)
        }}"""
    )
    assert_unchanged(FirstTokenPushdownPass(), model, {**_FEEDS, "m": normal(1, 1, 5, 5)})


@pytest.mark.parametrize("dims", ["1, 1, 1, tokens", "tokens, tokens", "2, tokens, tokens"])
def test_mask_that_is_not_one_row_a_query_in_four_dimensions_stays_above(dims: str) -> None:
    """The operator may broadcast it; onnxruntime does not run all of these."""
    model = graph(
        f"""({_INPUTS}, float[{dims}] m) => (y) {{
          data = Attention<q_num_heads = 2, kv_num_heads = 2>(x, x, x, m)
          y = Gather<axis = 1>(data, index)
        }}"""
    )
    assert_unchanged(FirstTokenPushdownPass(), model)


@pytest.mark.parametrize(
    ("outputs", "nodes"),
    [
        pytest.param("y, b", "b = Neg(data)", id="another operator"),
        pytest.param("y, b", "b = Gather<axis = 1>(data, other)", id="another index"),
        pytest.param("y, b", "b = Gather<axis = 2>(data, index)", id="another axis"),
        pytest.param("y, float[1, tokens, 8] data", "", id="output of the graph"),
    ],
)
def test_value_that_is_also_used_otherwise_is_computed_whole(outputs: str, nodes: str) -> None:
    model = graph(
        f"""({_INPUTS}, int64[texts] other) => ({outputs}) {{
          data = Tanh(x)
          y = Gather<axis = 1>(data, index)
          {nodes}
        }}"""
    )
    assert_unchanged(FirstTokenPushdownPass(), model, {**_FEEDS, "other": np.array([1, 1, 2])})


@pytest.mark.parametrize(
    ("gather", "index"),
    [
        pytest.param("Gather<axis = 2>(data, index)", np.array([0, 2]), id="hidden axis"),
        pytest.param("Gather<axis = 0>(data, index)", np.array([0, 0]), id="rows"),
        pytest.param("Gather(data, index)", np.array([0, 0]), id="rows, by default"),
        pytest.param("Gather<axis = 1>(data, index)", np.array(2), id="one token"),
        pytest.param("Gather<axis = 1>(data, index)", np.array([[0, 2]]), id="matrix of tokens"),
        pytest.param("GatherElements<axis = 1>(data, index)", np.zeros((1, 2, 8), int), id="other"),
    ],
)
def test_other_gathers_stay_below(gather: str, index: np.ndarray) -> None:
    shape = str(list(index.shape)) if index.ndim else ""
    model = graph(
        f"""(float[1, tokens, 8] x, int64{shape} index) => (y) {{
          data = Tanh(x)
          y = {gather}
        }}"""
    )
    assert_unchanged(FirstTokenPushdownPass(), model, {**_FEEDS, "index": index})


def test_several_rows_stay_as_they_are() -> None:
    model = graph(
        """(float[2, tokens, 8] x, int64[texts] index) => (y) {
          data = Tanh(x)
          y = Gather<axis = 1>(data, index)
        }"""
    )
    assert_unchanged(FirstTokenPushdownPass(), model, {**_FEEDS, "x": normal(2, 5, HIDDEN)})


def test_operator_of_another_domain_stays_above() -> None:
    model = graph(
        """(float[1, tokens, 8] x, int64[texts] index) => (float[1, texts, 8] y)
           <float[1, tokens, 8] data> {
          data = com.microsoft.Gelu(x)
          y = Gather<axis = 1>(data, index)
        }"""
    )
    assert_unchanged(FirstTokenPushdownPass(), model, _FEEDS)


def test_norm_with_a_scale_for_each_token_stays_above() -> None:
    """ONNX lets the scale be broadcast, so it may have the tokens' axis as well."""
    assert_unchanged(FirstTokenPushdownPass(), _chosen("data = LayerNormalization(x, z)"), _FEEDS)


def test_output_of_the_graph_keeps_its_name() -> None:
    model = _chosen("data = Tanh(x)")
    FirstTokenPushdownPass()(model)
    assert [value.name for value in model.graph.outputs] == ["y"]
