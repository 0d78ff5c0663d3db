"""Attention on packed rows themselves, as the CUDA execution provider has it."""

from typing import Any

import onnx_ir as ir

from bertrt_export.passes._graph import CONTRIB, Rewriter
from bertrt_export.passes.packed_inputs import PackedLayout
from bertrt_export.passes.varlen_attention import contrib_attributes, is_plain_attention

__all__ = ["PackedAttentionPass"]

_INT32, _INT64 = ir.DataType.INT32, ir.DataType.INT64


class PackedAttentionPass(ir.passes.InPlacePass):
    """Let each text attend to itself alone, without a rectangle: FlashAttention on packed rows.

    Fires for `Attention(q, k, v, q_num_heads=.., kv_num_heads=..)` with q, k and v [1, tokens,
    hidden], without a mask or bias, in a graph that PackedInputsPass has rewritten::

        -> PackedMultiHeadAttention(q, k, v, token_offset, cumulative_sequence_length)

    with q, k and v [tokens, hidden], separate and with their biases added already: so they go to
    the kernel as they are. Both further inputs are derived from the lengths once for all layers:

    cumulative_sequence_length int32 [texts + 1]: where each text begins, and the end;
    token_offset int32 [texts, longest]: first where each token stands in the rectangle, then the
        places of the rectangle that hold none (FlashAttention reads its shape alone; the kernels of
        older GPUs read it all).

    Must not fire:

    1. in a graph that is not packed;
    2. for an Attention on four dimensions, causal, with a mask or bias, or with past keys;
    3. where the rows of the query or the keys are not the tokens.

    Source: onnxruntime's contrib operator PackedMultiHeadAttention, which only its CUDA execution
    provider has, for float16 and float32.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        layout = PackedLayout.find(model.graph)
        modified = False
        offsets: tuple[ir.Value, ir.Value] | None = None
        if layout is not None:
            for node in list(model.graph):
                if _fires(node, layout):
                    offsets = offsets or _offsets(Rewriter(node), layout)
                    _rewrite(node, offsets)
                    modified = True
        if modified:
            model.opset_imports[CONTRIB] = 1
        return ir.passes.PassResult(model, modified=modified)


def _fires(node: ir.Node, layout: PackedLayout) -> bool:
    if not is_plain_attention(node) or any(value is not None for value in node.inputs[3:]):
        return False
    tokens = layout.token_index.shape[0]  # type: ignore[index]  # PackedInputsPass gives it
    shapes = [value.shape if value is not None else None for value in node.inputs[:3]]
    return all(s is not None and len(s) == 3 and s[0] == 1 and s[1] == tokens for s in shapes)


def _rewrite(attention: ir.Node, offsets: tuple[ir.Value, ir.Value]) -> None:
    rewriter = Rewriter(attention)
    zero = rewriter.ints([0])
    dtype = attention.outputs[0].dtype

    def rows(value: ir.Value | None) -> ir.Value:
        assert value is not None and value.shape is not None  # `_fires` has looked
        return rewriter.op("Squeeze", [value, zero], shape=value.shape[1:], dtype=dtype)

    query, key, value = (rows(each) for each in attention.inputs[:3])
    attended = rewriter.op(
        "PackedMultiHeadAttention",
        [query, key, value, None, *offsets],
        contrib_attributes(attention),
        like=value,
        domain=CONTRIB,
    )
    rewriter.replace(rewriter.op("Unsqueeze", [attended, zero]))


def _offsets(rewriter: Rewriter, layout: PackedLayout) -> tuple[ir.Value, ir.Value]:
    """`token_offset` and `cumulative_sequence_length`.

    A place of the rectangle that holds a token comes at that token's number; one that holds none
    after all tokens and the empty places before it, of which there are as many as the place's own
    number less the tokens of the texts up to its own.
    """

    def op(op_type: str, *inputs: ir.Value, shape: list[int | str], **attributes: Any) -> ir.Value:
        return rewriter.op(op_type, inputs, attributes, shape=shape, dtype=_INT64)

    rectangle: list[int | str] = ["texts", "longest"]
    zero, one, last = rewriter.ints([0]), rewriter.ints([1]), rewriter.ints([-1])
    scalar_zero, scalar_one = rewriter.ints(0), rewriter.ints(1)
    ends = op("CumSum", layout.lengths, scalar_zero, shape=["texts"])
    bounds = op("Concat", zero, ends, shape=["bounds"], axis=0)
    cumulative = rewriter.op("Cast", [bounds], {"to": _INT32}, shape=["bounds"], dtype=_INT32)

    counts = op("Unsqueeze", layout.lengths, one, shape=["texts", 1])
    column_ends = op("Unsqueeze", ends, one, shape=["texts", 1])
    starts = op("Sub", column_ends, counts, shape=["texts", 1])
    columns = layout.column_index
    holds = rewriter.op("Less", [columns, counts], shape=rectangle, dtype=ir.DataType.BOOL)
    shape = op("Shape", holds, shape=[2])
    size = op("ReduceProd", shape, shape=[], keepdims=0)
    places = op("Range", scalar_zero, size, scalar_one, shape=["places"])
    numbered = op("Reshape", places, shape, shape=rectangle)
    total = op("Gather", ends, last, shape=[1], axis=0)
    token_rank = op("Add", starts, columns, shape=rectangle)
    empty_before = op("Sub", numbered, column_ends, shape=rectangle)
    empty_rank = op("Add", total, empty_before, shape=rectangle)
    rank = op("Where", holds, token_rank, empty_rank, shape=rectangle)
    flat_rank = op("Reshape", rank, last, shape=["places"])
    by_rank = op("ScatterElements", places, flat_rank, places, shape=["places"], axis=0)
    offsets = op("Reshape", by_rank, shape, shape=rectangle)
    token_offset = rewriter.op("Cast", [offsets], {"to": _INT32}, shape=rectangle, dtype=_INT32)
    return token_offset, cumulative
