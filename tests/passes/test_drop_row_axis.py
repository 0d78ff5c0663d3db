"""The leading axis of 1 moves down until it is gone: when, and when not."""

import numpy as np
import onnx_ir as ir
import pytest
from bertrt_export.passes import DropRowAxisPass

from tests.passes.graphs import HIDDEN, assert_fires, assert_unchanged, graph, normal, op_types, run

_FEEDS = {
    "x": np.abs(normal(5, HIDDEN, seed=1)) + 0.1,
    "z": normal(5, HIDDEN, seed=2),
    "ids": np.array([2, 0, 1, 2, 2]),
    "index": np.array([0, 3]),
    "any": normal(1, 5, HIDDEN, seed=3),
    "square": normal(HIDDEN, HIDDEN, seed=4),
}
_WEIGHTS = {
    "W": normal(HIDDEN, 6),
    "stack": normal(3, HIDDEN, 6),
    "vector": normal(HIDDEN),
    "scalar": np.array(0.5, dtype=np.float32),
    "flat": normal(5, HIDDEN),
    "scale": normal(HIDDEN, seed=1),
    "shift": normal(HIDDEN, seed=2),
    "both": normal(5, HIDDEN, seed=5),
    "table": normal(4, HIDDEN),
    "wide": normal(2, 7, 3),
}
_INPUTS = """float[tokens, 8] x, float[tokens, 8] z, int64[tokens] ids, int64[texts] index,
             float[1, tokens, 8] any, float[8, 8] square"""
_ROWS = """zero = Constant<value_ints = [0]>()
    row = Unsqueeze(x, zero) other = Unsqueeze(z, zero) id_row = Unsqueeze(ids, zero)"""


def _of_rows(nodes: str, outputs: str = "y") -> ir.Model:
    """`nodes` make `y`; they find x, z and ids as the rows `row`, `other` and `id_row`."""
    weights = {name: array for name, array in _WEIGHTS.items() if name in nodes}
    model = graph(f"({_INPUTS}) => ({outputs}) {{ {_ROWS} {nodes} }}", **weights)
    for node in reversed(list(model.graph)):  # rows that the test does not use
        if not node.outputs[0].uses() and not node.outputs[0].is_graph_output():
            model.graph.remove(node, safe=True)
    return model


@pytest.mark.parametrize(
    "operation",
    [
        "Add(row, other)",
        "Sub(other, row)",
        "Add(row, vector)",
        "Div(vector, row)",
        "Mul(row, scalar)",
        "Max(row, other, vector)",
        "Mul(row, row)",
        "Clip(row, scalar)",
        "Cast<to = 11>(row)",
        "Gelu(row)",
        'Gelu<approximate = "tanh">(row)',
        "Tanh(row)",
        "Sqrt(row)",
        "LeakyRelu<alpha = 0.3>(row)",
        "Swish(row)",
        "Mish(row)",
        "LayerNormalization(row, scale, shift)",
        "LayerNormalization<axis = -1, epsilon = 0.1>(row, scale)",
        "MatMul(row, W)",
        "Gather(table, id_row)",
        "Gather<axis = 0>(table, id_row)",
    ],
)
def test_row_moves_below(operation: str) -> None:
    model = _of_rows(f"y = {operation}")
    op_type = operation.partition("(")[0].partition("<")[0]
    operators = assert_fires(DropRowAxisPass(), model, _FEEDS)
    assert operators == sorted([op_type, "Unsqueeze"])
    (last,) = (node for node in model.graph if node.op_type == "Unsqueeze")
    assert last.outputs[0] is model.graph.outputs[0]


def test_choosing_tokens_of_a_row_is_choosing_tokens() -> None:
    model = _of_rows("y = Gather<axis = 1>(row, index)")
    assert assert_fires(DropRowAxisPass(), model, _FEEDS) == ["Gather", "Unsqueeze"]
    gather = next(node for node in model.graph if node.op_type == "Gather")
    assert gather.attributes["axis"].as_int() == 0


def test_squeezing_a_row_leaves_nothing() -> None:
    model = _of_rows("flat_again = Squeeze(row, zero) y = Tanh(flat_again)")
    assert assert_fires(DropRowAxisPass(), model, _FEEDS) == ["Tanh"]


def test_first_of_each_text_leaves_nothing() -> None:
    model = _of_rows(
        """first = Constant<value_int = 0>() t = Transpose<perm = [1, 0, 2]>(row)
        head = Gather<axis = 1>(t, first) y = Tanh(head)"""
    )
    assert assert_fires(DropRowAxisPass(), model, _FEEDS) == ["Tanh"]


def test_flattening_a_vector_leaves_nothing() -> None:
    model = _of_rows("all = Constant<value_ints = [-1]>() f = Reshape(ids, all) y = Neg(f)")
    assert assert_fires(DropRowAxisPass(), model, _FEEDS) == ["Neg"]


def test_row_disappears_from_a_whole_layer() -> None:
    model = _of_rows(
        """word = Gather(table, id_row) sum = Add(word, row)
        norm = LayerNormalization(sum, scale, shift) up = MatMul(norm, W) gelu = Gelu(up)
        few = Gather<axis = 1>(gelu, index)
        first = Constant<value_int = 0>() t = Transpose<perm = [1, 0, 2]>(few)
        y = Gather<axis = 1>(t, first)"""
    )
    assert "Unsqueeze" in op_types(model)
    assert assert_fires(DropRowAxisPass(), model, _FEEDS) == sorted(
        ["Gather", "Add", "LayerNormalization", "MatMul", "Gelu", "Gather"]
    )


def test_output_of_the_graph_keeps_its_name() -> None:
    model = _of_rows("y = Tanh(row)")
    DropRowAxisPass()(model)
    assert [value.name for value in model.graph.outputs] == ["y"]


@pytest.mark.parametrize(
    "nodes",
    [
        pytest.param("y = Softmax<axis = 1>(row)", id="softmax"),
        pytest.param("axes = Constant<value_ints = [0]>() y = ReduceMean(row, axes)", id="mean"),
        pytest.param("y = Concat<axis = 0>(row, other)", id="concatenation"),
        pytest.param("y = Transpose<perm = [1, 0, 2]>(row)", id="transposition"),
        pytest.param("all = Constant<value_ints = [-1]>() y = Reshape(row, all)", id="flattening"),
        pytest.param("s = Constant<value_ints = [-1, 8]>() y = Reshape(row, s)", id="reshape"),
        pytest.param("y = Shape(row)", id="shape"),
        pytest.param("y = MatMul(row, square)", id="product with a computed matrix"),
        pytest.param("y = MatMul(row, stack)", id="product with several matrices"),
        pytest.param("y = MatMul(square, col)", id="product from the left"),
        pytest.param("y = Add(row, any)", id="sum with a computed value"),
        pytest.param("y = Add(row, flat)", id="sum with a constant of two dimensions"),
        pytest.param("y = LayerNormalization<axis = 1>(row, both, both)", id="norm over tokens"),
        pytest.param("y = LayerNormalization<axis = 0>(row, whole, whole)", id="norm over all"),
        pytest.param("y = LayerNormalization(row, given)", id="norm with a computed scale"),
        pytest.param("y = Gather<axis = 0>(row, none)", id="choosing rows"),
        pytest.param("y = Gather<axis = 2>(row, index)", id="choosing features"),
        pytest.param("y = Gather(any, none_row)", id="computed table"),
        pytest.param("y = Gather<axis = 1>(table, few_row)", id="columns of a table"),
        pytest.param(
            "t = Transpose<perm = [0, 2, 1]>(row) first = Constant<value_int = 0>() "
            "y = Gather<axis = 1>(t, first)",
            id="first feature",
        ),
        pytest.param(
            "t = Transpose<perm = [1, 0, 2]>(any) first = Constant<value_int = 0>() "
            "y = Gather<axis = 1>(t, first)",
            id="first of each, but no row",
        ),
        pytest.param(
            "t = Transpose<perm = [1, 0, 2]>(row) first = Constant<value_ints = [0]>() "
            "y = Gather<axis = 1>(t, first)",
            id="first of each as a vector",
        ),
        pytest.param("y = Squeeze(any, zero)", id="squeeze of another value"),
        pytest.param("two = Constant<value_ints = [2]>() y = Squeeze(thin, two)", id="other axis"),
        pytest.param(
            "one = Constant<value_ints = [1]>() column = Unsqueeze(x, one) y = Tanh(column)",
            id="axis somewhere else",
        ),
    ],
)
def test_other_operators_stay_on_the_row(nodes: str) -> None:
    more = {
        "col": ("float[8, 2] square2", "col = Unsqueeze(square2, zero)"),
        "given": ("float[8] given", ""),
        "none": ("int64[none] none", "none_row = Unsqueeze(none, zero)"),
        "few": ("int64[few] few", "few_row = Unsqueeze(few, zero)"),
        "thin": ("float[tokens, 1] narrow", "thin = Unsqueeze(narrow, zero)"),
    }
    used = [parts for name, parts in more.items() if name in nodes]
    weights = {name: array for name, array in _WEIGHTS.items() if name in nodes}
    if "whole" in nodes:
        weights["whole"] = normal(1, 5, HIDDEN)
    inputs = ", ".join([_INPUTS, *(declared for declared, _ in used)])
    rows = " ".join([_ROWS, *(made for _, made in used)])
    model = graph(f"({inputs}) => (y) {{ {rows} {nodes} }}", **weights)
    feeds = {
        **_FEEDS,
        "square2": normal(8, 2),
        "given": normal(8),
        "none": np.array([0, 0]),
        "few": np.array([3, 1]),
        "narrow": normal(5, 1),
    }
    assert_unchanged(DropRowAxisPass(), model, feeds)


_ANGLES = {"cosines": normal(7, 2, seed=1), "sines": normal(7, 2, seed=2)}
_ROTATED = "RotaryEmbedding<num_heads = 2>"


def test_rotation_has_the_tokens_on_the_first_axis() -> None:
    model = graph(
        f"({_INPUTS}) => (y) {{ {_ROWS} y = {_ROTATED}(row, cosines, sines, id_row) }}", **_ANGLES
    )
    operators = assert_fires(DropRowAxisPass(), model, _FEEDS)
    assert operators == ["RotaryEmbedding", "Squeeze", *["Unsqueeze"] * 3]
    (rotation,) = (node for node in model.graph if node.op_type == "RotaryEmbedding")
    one = [producer.inputs[1] for v in (0, 3) if (producer := rotation.inputs[v].producer())]  # type: ignore[union-attr]
    assert [value.const_value.numpy().tolist() for value in one if value] == [[1], [1]]  # type: ignore[union-attr]


def test_rotation_takes_more_tokens_than_its_tables_have_positions() -> None:
    """All texts together are longer than one text may be."""
    model = graph(
        f"({_INPUTS}) => (y) {{ {_ROWS} y = {_ROTATED}(row, cosines, sines, id_row) }}", **_ANGLES
    )
    places = np.arange(30) % 7
    feeds = {**_FEEDS, "x": normal(30, HIDDEN), "ids": places}
    (few,) = run(model, {**feeds, "x": feeds["x"][7:14], "ids": places[:7]})
    with pytest.raises(Exception, match="cos_cache"):
        run(model, feeds)
    assert DropRowAxisPass()(model).modified
    (all_tokens,) = run(model, feeds)
    assert all_tokens.shape == (1, 30, HIDDEN)
    np.testing.assert_allclose(all_tokens[:, 7:14], few, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("rotation", "inputs"),
    [
        pytest.param(
            f"{_ROTATED}(row, cosines, sines, given)",
            "int64[1, tokens] given",
            id="no row of positions",
        ),
        pytest.param(f"{_ROTATED}(any, cosines, sines, id_row)", "", id="no row of values"),
        pytest.param(
            f"{_ROTATED}(row, angles, angles)", "float[1, tokens, 2] angles", id="no positions"
        ),
        pytest.param(
            "RotaryEmbedding(heads_row, cosines, sines, id_row)",
            "float[2, tokens, 4] heads",
            id="four dimensions",
        ),
    ],
)
def test_other_rotations_stay_on_the_row(rotation: str, inputs: str) -> None:
    heads = "heads_row = Unsqueeze(heads, zero)" if "heads_row" in rotation else ""
    weights = {name: array for name, array in _ANGLES.items() if name in rotation}
    declared = f"{_INPUTS}, {inputs}" if inputs else _INPUTS
    model = graph(f"({declared}) => (y) {{ {_ROWS} {heads} y = {rotation} }}", **weights)
    feeds = {
        **_FEEDS,
        "given": np.array([[0, 1, 6, 0, 3]]),
        "angles": normal(1, 5, 2),
        "heads": normal(2, 5, 4),
    }
    assert_unchanged(DropRowAxisPass(), model, feeds)


def test_operator_of_another_domain_stays_on_the_row() -> None:
    model = graph(
        f"({_INPUTS}) => (float[1, tokens, 8] y) {{ {_ROWS} y = com.microsoft.Gelu(row) }}"
    )
    assert_unchanged(DropRowAxisPass(), model, _FEEDS)


@pytest.mark.parametrize("value", ["any", "row"])
def test_squeeze_of_all_axes_stays_as_it_is(value: str) -> None:
    """It may remove more than the row axis."""
    model = graph(f"({_INPUTS}) => (float[tokens, 8] y) {{ {_ROWS} y = Squeeze({value}) }}")
    assert_unchanged(DropRowAxisPass(), model, _FEEDS)
