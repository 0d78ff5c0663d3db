"""Attention within each text of a packed batch: when, and when not."""

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
