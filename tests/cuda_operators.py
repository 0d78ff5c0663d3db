"""What only onnxruntime's CUDA provider has, in operators that the CPU has too."""

import numpy as np
import onnx_ir as ir
from bertrt_export.passes._graph import Rewriter

__all__ = ["on_cpu"]


def on_cpu(model: ir.Model) -> ir.Model:
    """A copy of a graph, with each PackedMultiHeadAttention written out.

    By the operator's specification alone: the tokens stand in a rectangle where the first part of
    `token_offset` says, and the texts are as long as `cumulative_sequence_length` says.
    """
    copy = model.clone()
    for node in list(copy.graph):
        if node.op_type == "PackedMultiHeadAttention":
            _write_out(node)
    return copy


def _write_out(node: ir.Node) -> None:
    rewriter = Rewriter(node)
    query, key, value, bias, offsets, bounds = node.inputs
    assert query is not None and query.shape is not None and bias is None
    op, ints = rewriter.op, rewriter.ints
    dtype = query.dtype
    assert dtype is not None
    hidden = query.shape[1]
    assert isinstance(hidden, int)

    tokens = op("Slice", [op("Shape", [query]), ints([0]), ints([1])])
    flat = op("Cast", [op("Reshape", [offsets, ints([-1])])], {"to": ir.DataType.INT64})
    places = op("Slice", [flat, ints([0]), tokens])
    index = op("Unsqueeze", [places, ints([1])])
    rectangle = op("Concat", [op("Shape", [offsets]), ints([hidden])], {"axis": 0})
    size = op("Concat", [op("Shape", [flat]), ints([hidden])], {"axis": 0})
    zero = rewriter.constant(f"zero.{dtype.name}", np.zeros(1, dtype.numpy()))

    def spread(rows: ir.Value | None) -> ir.Value:
        everywhere = op("Expand", [zero, size])
        return op("Reshape", [op("ScatterND", [everywhere, index, rows]), rectangle])

    ends = op("Slice", [bounds, ints([1]), ints([2**62])])
    starts = op("Slice", [bounds, ints([0]), ints([-1])])
    lengths = op("Cast", [op("Sub", [ends, starts])], {"to": ir.DataType.INT64})
    heads = node.attributes["num_heads"].as_int()
    attributes = {"q_num_heads": heads, "kv_num_heads": heads}
    if "scale" in node.attributes:
        attributes["scale"] = node.attributes["scale"].as_float()  # type: ignore[assignment]
    inputs = [spread(query), spread(key), spread(value), None, None, None, lengths]
    attended = op("Attention", inputs, attributes)
    rows = op("Reshape", [attended, ints([-1, hidden])])
    rewriter.replace(op("Gather", [rows, places], {"axis": 0}, like=node.outputs[0]))
