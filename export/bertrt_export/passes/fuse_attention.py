"""Attention that a model writes out, as the one operator."""

import onnx_ir as ir

from bertrt_export.passes._graph import Rewriter, attribute, constant, has_one_use, producer

__all__ = ["FuseAttentionPass"]

_SWAP_LAST = (0, 1, 3, 2)
_HEADS, _HEADS_AND_SWAP = (0, 2, 1, 3), (0, 2, 3, 1)


class FuseAttentionPass(ir.passes.InPlacePass):
    """Recognise `softmax(q k' scale) v` in its single operators.

    Fires for q, k and v [1, heads, tokens, size]::

        MatMul(Softmax(Div(MatMul(q, Transpose(k, perm=[0, 1, 3, 2])), c)), v)
        -> Attention(q, k, v, scale=1 / c)

    (or Mul by c, scale=c; or neither, scale=1), the Softmax over the last axis. Where k is itself
    Transpose(x, perm=[0, 2, 1, 3]), both may have become Transpose(x, perm=[0, 2, 3, 1]).

    Must not fire:

    1. where anything between the two products has another use, or is an output of the graph;
    2. where anything is added to the scores: a mask, or a bias;
    3. where the scale is no constant scalar;
    4. for values of other than four dimensions.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for node in list(model.graph):
            if node.op_type == "MatMul" and node.domain == "":
                modified |= _fuse(node)
        return ir.passes.PassResult(model, modified=modified)


def _fuse(last: ir.Node) -> bool:
    softmax = _only(last.inputs[0], "Softmax")
    value = last.inputs[1]
    if softmax is None or attribute(softmax, "axis", -1) not in (-1, 3):
        return False
    scaled = softmax.inputs[0]
    scale = 1.0
    for op_type in ("Div", "Mul"):
        node = _only(scaled, op_type)
        factor = constant(node.inputs[1]) if node is not None else None
        if node is not None and factor is not None and factor.size == 1:
            number = float(factor.item())
            scale, scaled = (1 / number if op_type == "Div" else number), node.inputs[0]
            break
    product = _only(scaled, "MatMul")
    if product is None:
        return False
    query, keys = product.inputs
    transpose = _only(keys, "Transpose")
    perm = tuple(attribute(transpose, "perm", ())) if transpose is not None else ()
    operands = (query, keys, value)
    if transpose is None or perm not in (_SWAP_LAST, _HEADS_AND_SWAP):
        return False
    if not all(v is not None and v.shape is not None and len(v.shape) == 4 for v in operands):
        return False
    rewriter = Rewriter(last)
    key = transpose.inputs[0]
    if perm != _SWAP_LAST:  # the exporter has made one of it and the transpose before it
        key = rewriter.op("Transpose", [key], {"perm": _HEADS})
    attention = rewriter.op(
        "Attention", [query, key, value], {"scale": scale}, like=last.outputs[0]
    )
    rewriter.replace(attention)
    return True


def _only(value: ir.Value | None, op_type: str) -> ir.Node | None:
    """The node of this type that makes a value which is used once."""
    return producer(value, op_type) if value is not None and has_one_use(value) else None
