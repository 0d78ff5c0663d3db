"""The packed batch as the graph's input: flat values and the length of each text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from bertrt_export.passes._graph import Rewriter

__all__ = ["COLUMN_INDEX", "PackedInputsPass", "PackedLayout"]

COLUMN_INDEX = "column_index"

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

    max_length: where it is given, no shape depends on a value, as a GPU wants it (a shape that it
    has to compute first stops the CPU, and cannot be part of a CUDA graph):

    1. the number of tokens is that of `input_ids`, and the lengths are not checked;
    2. `column_index` int64 [longest], 0, 1, .. becomes an input, as many places as the longest text
       has tokens or more; left out, it is `max_length` long;
    3. lengths of 0 are allowed, but for the last text, whose `token_index` may be another text's
        then: it is there to fill up a batch.
    """

    def __init__(self, max_length: int | None = None) -> None:
        super().__init__()
        self._max_length = max_length

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        graph = model.graph
        inputs = {value.name: value for value in graph.inputs}
        if not {"input_ids", "position_ids", "first_token_index"} <= inputs.keys():
            return ir.passes.PassResult(model, modified=False)
        lengths = ir.Value(
            name="lengths", shape=ir.Shape(["texts"]), type=ir.TensorType(ir.DataType.INT32)
        )
        ids = [inputs[name] for name in _ROW_INPUTS if name in inputs]
        uses = [list(value.uses()) for value in ids]
        rewriter = Rewriter(next(iter(graph)))
        for name in ("position_ids", "first_token_index"):
            graph.inputs.remove(inputs[name])
        graph.inputs.append(lengths)
        columns = None if self._max_length is None else _columns(rewriter, self._max_length)
        if columns is not None:
            graph.inputs.append(columns)
        derived = _derive(rewriter, lengths, columns, inputs["input_ids"])
        inputs["first_token_index"].replace_all_uses_with(derived.first_token_index)
        position_ids = inputs["position_ids"]
        _as_row(rewriter, derived.position_ids, list(position_ids.uses()))
        for flat, readers in zip(ids, uses, strict=True):
            flat.shape = ir.Shape(["tokens"])
            checked = flat
            if columns is None:
                reshape = [flat, derived.tokens]
                checked = rewriter.op("Reshape", reshape, shape=["tokens"], dtype=_INT64)
            _as_row(rewriter, checked, readers)
        return ir.passes.PassResult(model, modified=True)


def _as_row(rewriter: Rewriter, flat: ir.Value, uses: Sequence[tuple[ir.Node, int]]) -> None:
    """Let `flat` [tokens], as a row [1, tokens], be what the nodes read."""
    unsqueeze = [flat, rewriter.ints([0])]
    row = rewriter.op("Unsqueeze", unsqueeze, shape=[1, "tokens"], dtype=_INT64)
    for node, position in uses:
        node.replace_input_with(position, row)


def _columns(rewriter: Rewriter, max_length: int) -> ir.Value:
    """The input `column_index`, which may be left out."""
    columns = rewriter.constant(COLUMN_INDEX, np.arange(max_length, dtype=np.int64))
    columns.shape = ir.Shape(["longest"])
    return columns


@dataclass(frozen=True, slots=True)
class _Derived:
    """`position_ids` [tokens], `first_token_index` [texts], the number of tokens [1]; int64."""

    position_ids: ir.Value
    first_token_index: ir.Value
    tokens: ir.Value


def _derive(
    rewriter: Rewriter, lengths: ir.Value, columns: ir.Value | None, input_ids: ir.Value
) -> _Derived:
    """What the packed graph needs to know of its batch; the layout's values get their names.

    The text of each token is the running count of the texts that have begun: ones are scattered
    to where texts 1, 2, .. begin and summed up.
    columns: `column_index`, where shapes must not depend on values.
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
    tokens = total if columns is None else op("Shape", input_ids, shape=[1])
    later = op("Slice", starts, one, rewriter.ints([2**62]), shape=["later"])
    zeros = op("Expand", zero, tokens, shape=["tokens"])
    ones = op("Expand", one, op("Shape", later, shape=[1]), shape=["later"])
    begins = op("ScatterElements", zeros, later, ones, shape=["tokens"], axis=0)
    text_index = op("CumSum", begins, scalar_zero, shape=["tokens"])
    end = op("Squeeze", tokens, zero, shape=[])
    everywhere = op("Range", scalar_zero, end, scalar_one, shape=["tokens"])
    text_start = op("Gather", starts, text_index, shape=["tokens"], axis=0)
    positions = named("position_ids", op("Sub", everywhere, text_start, shape=["tokens"]))
    if columns is None:
        longest = op("ReduceMax", counts, shape=[], keepdims=0)
        columns = op("Range", scalar_zero, longest, scalar_one, shape=["longest"])
    else:
        columns = op("Identity", columns, shape=["longest"])
        longest = op("Add", op("Gather", columns, last, shape=[1], axis=0), one, shape=[1])
    named("column_index", columns)
    row_begins = op("Mul", text_index, longest, shape=["tokens"])
    named("token_index", op("Add", row_begins, positions, shape=["tokens"]))
    column_starts = op("Unsqueeze", starts, one, shape=["texts", 1])
    places = op("Add", column_starts, columns, shape=["texts", "longest"])
    final = op("Sub", total, one, shape=[1])
    named("rectangle_index", op("Min", places, final, shape=["texts", "longest"]))
    return _Derived(positions, starts, tokens)
