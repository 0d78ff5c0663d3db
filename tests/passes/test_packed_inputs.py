"""The packed batch as input: lengths instead of positions."""

import numpy as np
import onnx_ir as ir
import pytest
from bertrt_export.passes import PackedInputsPass
from bertrt_export.passes.packed_inputs import PackedLayout

from tests.passes.graphs import assert_unchanged, graph, run, tidy
from tests.passes.packed import LENGTHS, alone, assert_equal, feeds, row_graph

_FIRST = "first = Gather<axis = 1>(x, first_token_index) y = Tanh(first)"


def _packed(row: ir.Model) -> ir.Model:
    """A copy of the graph, rewritten."""
    model = row.clone()
    assert PackedInputsPass()(model).modified
    tidy(model)
    return model


def _inputs(model: ir.Model) -> dict[str | None, tuple[ir.DataType | None, str]]:
    return {value.name: (value.dtype, str(value.shape)) for value in model.graph.inputs}


def test_inputs_are_flat_values_and_lengths() -> None:
    packed = _inputs(_packed(row_graph(_FIRST)))
    assert packed == {
        "input_ids": (ir.DataType.INT64, "[tokens]"),
        "token_type_ids": (ir.DataType.INT64, "[tokens]"),
        "lengths": (ir.DataType.INT32, "[texts]"),
    }


def test_models_without_segments_get_none() -> None:
    packed = _inputs(_packed(row_graph(_FIRST, segments=False)))
    assert packed.keys() == {"input_ids", "lengths"}


@pytest.mark.parametrize("segments", [True, False])
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_first_tokens_equal_those_of_each_text_alone(lengths: list[int], segments: bool) -> None:
    row, batch = row_graph(_FIRST, segments=segments), feeds(lengths)
    assert_equal(run(_packed(row), batch), alone(row, batch))


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_each_token_equals_that_of_its_text_alone(lengths: list[int]) -> None:
    row = row_graph(f"{_FIRST} all = Tanh(x)", outputs="y, all")
    batch = feeds(lengths)
    assert_equal(run(_packed(row), batch), alone(row, batch))


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_layout_maps_tokens_to_the_rectangle_and_back(lengths: list[int]) -> None:
    model = row_graph(_FIRST)
    PackedInputsPass()(model)
    layout = PackedLayout.find(model.graph)
    assert layout is not None
    model.graph.outputs.extend([layout.lengths, layout.rectangle_index, layout.token_index])
    tidy(model)
    _, counts, rectangle, places = run(model, feeds(lengths))
    assert counts.dtype == rectangle.dtype == places.dtype == np.int64
    assert counts.tolist() == lengths
    assert rectangle.shape == (len(lengths), max(lengths))
    starts = np.cumsum(lengths) - lengths
    for row, start, length in zip(rectangle, starts, lengths, strict=True):
        assert row[:length].tolist() == list(range(start, start + length))
    # Past a text's end anything may stand that can be gathered.
    assert rectangle.min() >= 0 and rectangle.max() < sum(lengths)
    assert rectangle.reshape(-1)[places].tolist() == list(range(sum(lengths)))


def test_layout_is_derived_once() -> None:
    model = row_graph(f"{_FIRST} again = Gather(positions, position_ids)", outputs="y, again")
    packed = _packed(model)
    assert [node.op_type for node in packed.graph].count("CumSum") <= 2


@pytest.mark.parametrize(
    ("tokens", "lengths"),
    [
        pytest.param(7, [3, 3], id="too few"),
        pytest.param(5, [3, 3], id="too many"),
        pytest.param(6, [1], id="one of many"),
        pytest.param(1, [3, 3], id="many of one"),
    ],
)
def test_lengths_that_do_not_add_up_to_the_tokens_fail(tokens: int, lengths: list[int]) -> None:
    packed = _packed(row_graph(_FIRST))
    batch = {**feeds([tokens]), "lengths": np.array(lengths, dtype=np.int32)}
    with pytest.raises(Exception, match="ONNXRuntimeError"):
        run(packed, batch)


def test_other_graphs_have_no_layout() -> None:
    assert PackedLayout.find(row_graph(_FIRST).graph) is None


def test_padded_graph_stays_as_it_is() -> None:
    model = graph(
        """(int64[texts, longest] input_ids, int64[texts, longest] attention_mask) => (y, z) {
          y = Neg(input_ids)
          z = Neg(attention_mask)
        }"""
    )
    ids = np.ones((2, 3), dtype=np.int64)
    assert_unchanged(PackedInputsPass(), model, {"input_ids": ids, "attention_mask": ids})


@pytest.mark.parametrize(
    "inputs",
    [
        pytest.param("int64[1, tokens] position_ids", id="no first tokens"),
        pytest.param("int64[1, tokens] first_token_index", id="no positions"),
    ],
)
def test_graph_that_lacks_an_input_stays_as_it_is(inputs: str) -> None:
    name = inputs.rpartition(" ")[2]
    model = graph(f"(int64[1, tokens] input_ids, {inputs}) => (y) {{ y = Add(input_ids, {name}) }}")
    row = np.ones((1, 3), dtype=np.int64)
    assert_unchanged(PackedInputsPass(), model, {"input_ids": row, name: row})


def test_packed_graph_stays_as_it_is() -> None:
    assert_unchanged(PackedInputsPass(), _packed(row_graph(_FIRST)), feeds([2, 3]))
