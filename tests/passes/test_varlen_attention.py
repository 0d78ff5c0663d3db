"""Attention within each text of a packed batch: when, and when not."""

import numpy as np
import onnx_ir as ir
import pytest
from bertrt_export.passes import PackedInputsPass, VarlenAttentionPass

from tests.passes.graphs import assert_unchanged, run, tidy
from tests.passes.packed import LENGTHS, alone, assert_equal, feeds, row_graph

_PROJECTIONS = "q = MatMul(x, Wq) k = MatMul(x, Wk) v = MatMul(x, Wv)"
_HEADS = "q_num_heads = 2, kv_num_heads = 2"
_BY_TOKEN = f"{_PROJECTIONS} y = Attention<{_HEADS}>(q, k, v)"
_BY_TEXT = f"""{_PROJECTIONS} first = Gather<axis = 1>(q, first_token_index)
    y = Attention<{_HEADS}>(first, k, v)"""


def _packed(row: ir.Model) -> ir.Model:
    """A copy of the graph with packed inputs and whatever attention it has."""
    model = row.clone()
    assert PackedInputsPass()(model).modified
    return model


def _varlen(row: ir.Model) -> ir.Model:
    model = _packed(row)
    assert VarlenAttentionPass()(model).modified
    tidy(model)
    return model


def _attention(model: ir.Model) -> ir.Node:
    (found,) = (node for node in model.graph if node.op_type == "Attention")
    return found


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_each_token_attends_to_its_own_text(lengths: list[int]) -> None:
    row, batch = row_graph(_BY_TOKEN), feeds(lengths)
    assert_equal(run(_varlen(row), batch), alone(row, batch))


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_each_first_token_attends_to_its_own_text(lengths: list[int]) -> None:
    row, batch = row_graph(_BY_TEXT), feeds(lengths)
    assert_equal(run(_varlen(row), batch), alone(row, batch))


@pytest.mark.parametrize("nodes", [_BY_TOKEN, _BY_TEXT], ids=["by token", "by text"])
def test_attention_keeps_heads_and_scale_and_gets_the_lengths(nodes: str) -> None:
    row = row_graph(nodes.replace(_HEADS, f"{_HEADS}, scale = 0.125"))
    model = _varlen(row)
    attention = _attention(model)
    assert attention.attributes["q_num_heads"].as_int() == 2
    assert attention.attributes["kv_num_heads"].as_int() == 2
    assert attention.attributes["scale"].as_float() == 0.125
    names = [value.name if value is not None else None for value in attention.inputs[3:]]
    assert names == [None, None, None, "packed.lengths"]
    batch = feeds([4, 1, 2])
    assert_equal(run(model, batch), alone(row, batch))


def test_queries_of_first_tokens_are_one_a_text_and_nothing_is_gathered_back() -> None:
    by_token, by_text = _varlen(row_graph(_BY_TOKEN)), _varlen(row_graph(_BY_TEXT))
    assert str(_attention(by_token).inputs[0].shape) == "[texts,longest,8]"  # type: ignore[union-attr]
    assert str(_attention(by_text).inputs[0].shape) == "[texts,1,8]"  # type: ignore[union-attr]
    users = _attention(by_text).outputs[0].consumers()
    assert [node.op_type for node in users] == ["Squeeze"]


# Masks and biases [1, .., tokens, tokens], from nothing but the tokens' positions.
_DISTANCE = """one = Constant<value_ints = [1]>() two = Constant<value_ints = [2]>()
    here = Unsqueeze(position_ids, two) there = Unsqueeze(position_ids, one)
    distance = Sub(there, here)"""
_MASKS = {
    "window": """d = Abs(distance) n = Constant<value_int = 2>() near = LessOrEqual(d, n)
        mask = Unsqueeze(near, one)""",
    "bias": """slope = Constant<value_float = -0.7>() far = Cast<to = 1>(distance)
        a = Mul(far, slope) b = Tanh(a) mask = Unsqueeze(b, one)""",
    "bias of each head": """low = Constant<value_int = -4>() high = Constant<value_int = 4>()
        near = Clip(distance, low, high) bucket = Add(near, high)
        looked_up = Gather(words, bucket)
        zero = Constant<value_ints = [0]>() last = Constant<value_ints = [3]>()
        two_heads = Slice(looked_up, zero, two, last)
        mask = Transpose<perm = [0, 3, 1, 2]>(two_heads)""",
}
# With scores near 0, each key has its share; else the greatest alone would count, mask or no mask.
_EVEN = f"{_HEADS}, scale = 0.01"
_MASKED = {
    "by token": f"y = Attention<{_EVEN}>(q, k, v, mask)",
    "by text": f"""first = Gather<axis = 1>(q, first_token_index)
        of_first = Gather<axis = 2>(mask, first_token_index)
        y = Attention<{_EVEN}>(first, k, v, of_first)""",
}


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("kind", _MASKED)
@pytest.mark.parametrize("mask", _MASKS)
def test_mask_of_positions_is_the_same_for_each_text(
    mask: str, kind: str, lengths: list[int]
) -> None:
    row = row_graph(f"{_PROJECTIONS} {_DISTANCE} {_MASKS[mask]} {_MASKED[kind]}")
    batch = feeds(lengths)
    expected = alone(row, batch)
    assert_equal(run(_varlen(row), batch), expected)
    if max(lengths) > 3:  # else the window is the whole text
        plain = (_BY_TEXT if kind == "by text" else _BY_TOKEN).replace(_HEADS, _EVEN)
        (unmasked,) = alone(row_graph(plain), batch)
        assert np.abs(unmasked - expected[0]).max() > 0.1, "the mask changes nothing"


@pytest.mark.parametrize("kind", _MASKED)
def test_mask_is_computed_for_the_longest_text_alone(kind: str) -> None:
    """Not for all tokens of the batch by all tokens."""
    model = _varlen(row_graph(f"{_PROJECTIONS} {_DISTANCE} {_MASKS['window']} {_MASKED[kind]}"))
    mask, *others = _attention(model).inputs[3:]
    assert mask is not None
    assert [value.name if value is not None else None for value in others] == [
        None,
        None,
        "packed.lengths",
    ]
    (abs_node,) = (node for node in model.graph if node.op_type == "Abs")
    assert str(abs_node.outputs[0].shape) == "[1,longest,longest]"
    batch = feeds([3, 9, 1])
    model.graph.outputs[:] = [mask]
    (found,) = run(model, batch)
    assert found.dtype == bool
    assert found.shape == ((1, 1, 1, 9) if kind == "by text" else (1, 1, 9, 9))


def test_one_mask_for_two_attentions_of_both_kinds() -> None:
    row = row_graph(
        f"""{_PROJECTIONS} {_DISTANCE} {_MASKS["window"]}
        a = Attention<{_EVEN}>(q, k, v, mask)
        first = Gather<axis = 1>(a, first_token_index)
        of_first = Gather<axis = 2>(mask, first_token_index)
        y = Attention<{_EVEN}>(first, a, a, of_first)"""
    )
    batch = feeds([3, 1, 8])
    assert_equal(run(_varlen(row), batch), alone(row, batch))


# What the tokens are, and not only where they stand.
_BY_INPUT = {
    "word": "w = ReduceMax<keepdims = 0>(x, two) u = Unsqueeze(w, one)",
    "id": "w = Cast<to = 1>(input_ids) u = Unsqueeze(w, one)",
    "segment": "w = Cast<to = 1>(token_type_ids) u = Unsqueeze(w, one)",
}


@pytest.mark.parametrize("kind", _MASKED)
@pytest.mark.parametrize("source", _BY_INPUT)
def test_mask_that_depends_on_the_input_stays_as_it_is(source: str, kind: str) -> None:
    nodes = f"""{_PROJECTIONS} {_DISTANCE} {_BY_INPUT[source]}
        far = Cast<to = 1>(distance) sum = Add(far, u) mask = Unsqueeze(sum, one)"""
    model = _packed(row_graph(f"{nodes.replace('sum', 'total')} {_MASKED[kind]}"))
    assert_unchanged(VarlenAttentionPass(), model, feeds([2, 3]))


@pytest.mark.parametrize(
    ("mask", "inputs"),
    [
        pytest.param("mask = Identity(given)", ", float[1, 1, tokens, tokens] given", id="given"),
        pytest.param("mask = Identity(positions)", "", id="constant"),
        pytest.param(
            "flat = Shape(input_ids) mask = ConstantOfShape(flat)", "", id="of the input's shape"
        ),
    ],
)
def test_mask_of_no_positions_stays_as_it_is(mask: str, inputs: str) -> None:
    nodes = f"{_PROJECTIONS} {mask} y = Attention<{_HEADS}>(q, k, v, mask)"
    assert_unchanged(VarlenAttentionPass(), _packed(row_graph(nodes, inputs=inputs)))


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param("mask_rows = Identity(mask)", id="all rows"),
        pytest.param("mask_rows = Gather<axis = 3>(mask, first_token_index)", id="columns"),
        pytest.param("g = Gather<axis = 2>(mask, first_token_index) mask_rows = Neg(g)", id="more"),
    ],
)
def test_mask_whose_rows_are_not_the_first_tokens_stays_as_it_is(rows: str) -> None:
    nodes = f"""{_PROJECTIONS} {_DISTANCE} {_MASKS["bias"]} {rows}
        first = Gather<axis = 1>(q, first_token_index)
        y = Attention<{_HEADS}>(first, k, v, mask_rows)"""
    assert_unchanged(VarlenAttentionPass(), _packed(row_graph(nodes)))


def test_two_attentions_after_each_other() -> None:
    row = row_graph(
        f"""{_PROJECTIONS} a = Attention<{_HEADS}>(q, k, v)
        first = Gather<axis = 1>(a, first_token_index)
        y = Attention<{_HEADS}>(first, a, a)"""
    )
    batch = feeds([3, 1, 6])
    assert_equal(run(_varlen(row), batch), alone(row, batch))


def test_graph_that_is_not_packed_stays_as_it_is() -> None:
    assert_unchanged(VarlenAttentionPass(), row_graph(_BY_TOKEN))


def test_rewritten_attention_stays_as_it_is() -> None:
    assert_unchanged(VarlenAttentionPass(), _varlen(row_graph(_BY_TOKEN)), feeds([2, 3]))


@pytest.mark.parametrize(
    ("attention", "inputs"),
    [
        pytest.param(f"y = Attention<{_HEADS}, is_causal = 1>(q, k, v)", "", id="causal"),
        pytest.param(f"y = Attention<{_HEADS}, softcap = 30.0>(q, k, v)", "", id="soft-capped"),
        pytest.param(
            f"y = Attention<{_HEADS}>(q, k, v, mask)", ", bool[tokens, tokens] mask", id="mask"
        ),
        pytest.param(
            f'y, pk, pv = Attention<{_HEADS}>(q, k, v, "", past, past)',
            ", float[1, 2, past, 4] past",
            id="past keys",
        ),
        pytest.param(
            f"y, present_keys, present_values = Attention<{_HEADS}>(q, k, v)",
            "",
            id="keys as outputs",
        ),
        pytest.param(
            """split = Constant<value_ints = [0, 0, 2, 4]>()
            q4 = Reshape(q, split) qt = Transpose<perm = [0, 2, 1, 3]>(q4)
            y = Attention(qt, qt, qt)""",
            "",
            id="four dimensions",
        ),
        pytest.param(
            f"y = Attention<{_HEADS}>(some, k, v)", ", float[1, some, 8] some", id="other queries"
        ),
        pytest.param(
            f"y = Attention<{_HEADS}>(q, some, some)", ", float[1, some, 8] some", id="other keys"
        ),
        pytest.param(
            f"y = Attention<{_HEADS}>(some, k, v)", ", float[2, tokens, 8] some", id="two rows"
        ),
        pytest.param(
            f"""first = Gather<axis = 1>(q, first_token_index)
            y = Attention<{_HEADS}>(first, first, first)""",
            "",
            id="between the texts",
        ),
        pytest.param(
            f"""first = Gather<axis = 1>(q, first_token_index)
            y = Attention<{_HEADS}>(first, some, some)""",
            ", float[1, some, 8] some",
            id="first tokens and other keys",
        ),
    ],
)
def test_other_attention_stays_as_it_is(attention: str, inputs: str) -> None:
    outputs = "float[1, 2, tokens, 4] y" if "Reshape" in attention else "y"
    model = _packed(row_graph(f"{_PROJECTIONS} {attention}", outputs=outputs, inputs=inputs))
    assert_unchanged(VarlenAttentionPass(), model)
