"""The packed batch as the graph's input: flat values and the length of each text."""

from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from bertrt_export.passes._graph import Rewriter

__all__ = ["PackedInputsPass", "PackedLayout"]

_INT64 = ir.DataType.INT64
_ROW_INPUTS = ("input_ids", "token_type_ids")


@dataclass(frozen=True, slots=True)
class PackedLayout:
    """The values that PackedInputsPass derives from `lengths`, all int64.

    lengths [texts]: tokens of each text.
    position_ids [tokens]: where each packed token stands in its text.
    column_index [longest]: where each place of the padded rectangle stands in its row.
    rectangle_index [texts, longest]: the packed token in each place of the padded rectangle;
        places past a text's end hold some other token of the batch, to be masked.
    token_index [tokens]: where each packed token stands in the flattened rectangle.
    """

    lengths: ir.Value
    position_ids: ir.Value
    column_index: ir.Value
    rectangle_index: ir.Value
    token_index: ir.Value

    @classmethod
    def find(cls, graph: ir.Graph) -> "PackedLayout | None":
        """The layout of a graph that PackedInputsPass has rewritten; None for any other."""
        named = {value.name: value for node in graph for value in node.outputs}
        found = [named.get(f"packed.{name}") for name in cls.__slots__]
        return cls(*found) if all(found) else None  # type: ignore[arg-type]


class PackedInputsPass(ir.passes.InPlacePass):
    """Replace the traced row of all tokens by the packed batch.

    Fires for a graph with the inputs `position_ids` [1, tokens] and `first_token_index` [texts]:

    1. `input_ids` and `token_type_ids` become [tokens];
    2. `lengths` int32 [texts] becomes an input;
    3. `position_ids`, `first_token_index` and the values of `PackedLayout` are derived from
       `lengths`, once, at the top of the graph.

    Must not fire for a graph without those two inputs (a padded export, or one already packed).

    Every length must be at least 1. Lengths whose sum is not the number of tokens fail at once: the
    ids are reshaped to as many as the lengths say.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        graph = model.graph
        inputs = {value.name: value for value in graph.inputs}
        if not {"input_ids", "position_ids", "first_token_index"} <= inputs.keys():
            return ir.passes.PassResult(model, modified=False)
        lengths = ir.Value(
            name="lengths", shape=ir.Shape(["texts"]), type=ir.TensorType(ir.DataType.INT32)
        )
        first = next(iter(graph))
        rewriter = Rewriter(first)
        for name in ("position_ids", "first_token_index"):
            graph.inputs.remove(inputs[name])
        graph.inputs.append(lengths)
        position_ids, first_token_index, total = _derive(rewriter, lengths)
        inputs["first_token_index"].replace_all_uses_with(first_token_index)
        row = rewriter.op("Unsqueeze", [position_ids, rewriter.ints([0])])
        _as_row(row, inputs["position_ids"])
        for name in _ROW_INPUTS:
            if name in inputs:
                flat = inputs[name]
                checked = rewriter.op("Reshape", [flat, total], shape=["tokens"], dtype=_INT64)
                row = rewriter.op("Unsqueeze", [checked, rewriter.ints([0])])
                _as_row(row, flat, keep=checked.producer())
                flat.shape = ir.Shape(["tokens"])
        return ir.passes.PassResult(model, modified=True)


def _as_row(row: ir.Value, old: ir.Value, keep: ir.Node | None = None) -> None:
    """Let `row` [1, tokens] take the place of `old` everywhere but in the node `keep`."""
    row.shape, row.type = ir.Shape([1, "tokens"]), ir.TensorType(_INT64)
    for node, position in list(old.uses()):
        if node is not keep:
            node.replace_input_with(position, row)


def _derive(rewriter: Rewriter, lengths: ir.Value) -> tuple[ir.Value, ir.Value, ir.Value]:
    """`position_ids` [tokens], `first_token_index` [texts], the number of tokens [1].

    The layout's values get their names.

    The text of each token is the running count of the texts that have begun: ones are scattered
    to where texts 1, 2, .. begin and summed up.
    """

    def op(op_type: str, *inputs: ir.Value, shape: list[int | str], **attributes: Any) -> ir.Value:
        return rewriter.op(op_type, inputs, attributes, shape=shape, dtype=_INT64)

    def named(name: str, value: ir.Value) -> ir.Value:
        value.name = f"packed.{name}"
        return value

    zero, one, last = rewriter.ints([0]), rewriter.ints([1]), rewriter.ints([-1])
    scalar_zero, scalar_one = rewriter.ints(0), rewriter.ints(1)
    counts = named("lengths", op("Cast", lengths, shape=["texts"], to=_INT64))
    ends = op("CumSum", counts, scalar_zero, shape=["texts"])
    starts = op("Sub", ends, counts, shape=["texts"])
    total = op("Gather", ends, last, shape=[1], axis=0)
    later = op("Slice", starts, one, rewriter.ints([2**62]), shape=["later"])
    zeros = op("Expand", zero, total, shape=["tokens"])
    ones = op("Expand", one, op("Shape", later, shape=[1]), shape=["later"])
    begins = op("ScatterElements", zeros, later, ones, shape=["tokens"], axis=0)
    text_index = op("CumSum", begins, scalar_zero, shape=["tokens"])
    everywhere = op(
        "Range", scalar_zero, op("Squeeze", total, zero, shape=[]), scalar_one, shape=["tokens"]
    )
    text_start = op("Gather", starts, text_index, shape=["tokens"], axis=0)
    positions = named("position_ids", op("Sub", everywhere, text_start, shape=["tokens"]))
    longest = op("ReduceMax", counts, shape=[], keepdims=0)
    row_begins = op("Mul", text_index, longest, shape=["tokens"])
    named("token_index", op("Add", row_begins, positions, shape=["tokens"]))
    columns = named(
        "column_index", op("Range", scalar_zero, longest, scalar_one, shape=["longest"])
    )
    column_starts = op("Unsqueeze", starts, one, shape=["texts", 1])
    places = op("Add", column_starts, columns, shape=["texts", "longest"])
    final = op("Sub", total, one, shape=[1])
    named("rectangle_index", op("Min", places, final, shape=["texts", "longest"]))
    return positions, starts, total
