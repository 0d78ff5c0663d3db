"""Attention on packed rows, for CUDA: when, and when not."""

import numpy as np
import onnx_ir as ir
import pytest
from bertrt_export.passes import PackedAttentionPass, PackedInputsPass, VarlenAttentionPass

from tests.cuda_operators import on_cpu
from tests.passes.graphs import assert_unchanged, run
from tests.passes.packed import LENGTHS, alone, assert_equal, feeds, row_graph

_PROJECTIONS = "q = MatMul(x, Wq) k = MatMul(x, Wk) v = MatMul(x, Wv)"
_HEADS = "q_num_heads = 2, kv_num_heads = 2"
_ATTENTION = f"{_PROJECTIONS} y = Attention<{_HEADS}>(q, k, v)"

# Places in a row of the rectangle, if the graph is not told how many there are.
_LONGEST = 12


def _packed(row: ir.Model) -> ir.Model:
    model = row.clone()
    assert PackedInputsPass(max_length=_LONGEST)(model).modified
    return model


def _rewritten(row: ir.Model) -> ir.Model:
    model = _packed(row)
    assert PackedAttentionPass()(model).modified
    return model


def _operator(model: ir.Model) -> ir.Node:
    (found,) = (node for node in model.graph if node.op_type == "PackedMultiHeadAttention")
    return found


@pytest.mark.parametrize("columns", ["left out", "as many as needed"])
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_each_token_attends_to_its_own_text(lengths: list[int], columns: str) -> None:
    row, batch = row_graph(_ATTENTION), feeds(lengths)
    expected = alone(row, batch)
    if columns != "left out":
        batch["column_index"] = np.arange(max(lengths))
    assert_equal(_run(_rewritten(row), batch), expected)


def test_texts_of_no_tokens_before_the_last_text_change_nothing() -> None:
    row, batch = row_graph(_ATTENTION), feeds([3, 5, 2])
    expected = alone(row, batch)
    batch["lengths"] = np.array([3, 5, 0, 0, 2], dtype=np.int32)
    assert_equal(_run(_rewritten(row), batch), expected)


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_offsets_are_those_of_the_specification(lengths: list[int]) -> None:
    model = _rewritten(row_graph(_ATTENTION))
    offset, cumulative = _operator(model).inputs[4:6]
    assert offset is not None and cumulative is not None
    model = on_cpu(model)
    named = {value.name: value for node in model.graph for value in node.outputs}
    model.graph.outputs.extend(named[value.name] for value in (offset, cumulative))
    _, offsets, bounds = _run(model, {**feeds(lengths), "column_index": np.arange(max(lengths))})

    holds = np.arange(max(lengths)) < np.array(lengths)[:, None]
    places = np.arange(holds.size).reshape(holds.shape)
    expected = np.concatenate([places[holds], places[~holds]]).reshape(holds.shape)
    np.testing.assert_array_equal(offsets, expected)
    np.testing.assert_array_equal(bounds, np.cumsum([0, *lengths]))
    assert offsets.dtype == bounds.dtype == np.int32


def test_heads_and_scale_are_kept_and_the_rows_go_in_as_they_are() -> None:
    model = _rewritten(row_graph(_ATTENTION.replace(_HEADS, f"{_HEADS}, scale = 0.125")))
    operator = _operator(model)
    assert operator.domain == "com.microsoft" and model.opset_imports["com.microsoft"] == 1
    assert operator.attributes["num_heads"].as_int() == 2
    assert operator.attributes["scale"].as_float() == 0.125
    assert [str(value.shape) for value in operator.inputs[:3]] == ["[tokens,8]"] * 3  # type: ignore[union-attr]
    assert operator.inputs[3] is None


def test_layers_share_their_offsets() -> None:
    two = f"{_PROJECTIONS} z = Attention<{_HEADS}>(q, k, v) y = Attention<{_HEADS}>(z, k, v)"
    model = _rewritten(row_graph(two))
    first, second = (n for n in model.graph if n.op_type == "PackedMultiHeadAttention")
    assert first.inputs[4:] == second.inputs[4:]


def test_does_not_fire_in_a_graph_that_is_not_packed() -> None:
    assert_unchanged(PackedAttentionPass(), row_graph(_ATTENTION))


_MASK = """one = Constant<value_ints = [1]>() two = Constant<value_ints = [2]>()
    here = Unsqueeze(position_ids, two) there = Unsqueeze(position_ids, one)
    later = LessOrEqual(here, there) mask = Unsqueeze(later, one)"""


@pytest.mark.parametrize(
    "nodes",
    [
        pytest.param(f"{_MASK} y = Attention<{_HEADS}>(q, k, v, mask)", id="mask"),
        pytest.param(f"y = Attention<{_HEADS}, is_causal = 1>(q, k, v)", id="causal"),
        pytest.param(
            f"f = Gather<axis = 1>(q, first_token_index) y = Attention<{_HEADS}>(f, k, v)",
            id="fewer queries than keys",
        ),
        pytest.param(
            f"f = Gather<axis = 1>(k, first_token_index) y = Attention<{_HEADS}>(q, f, f)",
            id="fewer keys than queries",
        ),
    ],
)
def test_does_not_fire_for_another_attention(nodes: str) -> None:
    assert_unchanged(PackedAttentionPass(), _packed(row_graph(f"{_PROJECTIONS} {nodes}")))


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_the_rectangle_in_onnxruntimes_own_operator_answers_alike(lengths: list[int]) -> None:
    row, batch = row_graph(_ATTENTION), feeds(lengths)
    model = _packed(row)
    assert VarlenAttentionPass("MultiHeadAttention")(model).modified
    (operator,) = (node for node in model.graph if node.op_type == "MultiHeadAttention")
    assert operator.inputs[4] is not None and operator.inputs[4].name == "lengths"
    assert_equal(run(model, batch), alone(row, batch))


def _run(model: ir.Model, batch: dict[str, np.ndarray]) -> list[np.ndarray]:
    return run(on_cpu(model), batch)
