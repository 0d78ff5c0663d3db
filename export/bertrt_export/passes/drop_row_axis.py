"""Remove the leading axis of 1 that tracing a single row leaves on every value."""

import onnx_ir as ir

from bertrt_export.passes._graph import (
    ELEMENTWISE,
    Rewriter,
    attribute,
    constant,
    constant_ints,
    producer,
)

__all__ = ["DropRowAxisPass"]


class DropRowAxisPass(ir.passes.InPlacePass):
    """Move `row(x) = Unsqueeze(x, axes=[0])` down until it meets its opposite.

    Fires for:

    1. `op(row(x), ..) -> row(op(x, ..))` for element-wise operators whose other inputs are rows
       too, or constants of one dimension at most; `LayerNormalization` over the last axis;
       `MatMul` with a constant matrix; `Gather` of a table's rows by `row(indices)`;
    2. `Gather(row(x), index, axis=1) -> row(Gather(x, index, axis=0))`;
    3. `Squeeze(row(x), axes=[0]) -> x`;
    4. `Gather(Transpose(row(x), perm=[1, 0, 2]), 0, axis=1) -> x` (the head's `[:, 0]`);
    5. `Reshape(x, [-1]) -> x` where x has one dimension;
    6. `RotaryEmbedding(row(x), .., row(position_ids))`, with the tokens on the first axis, not the
       second: onnxruntime's kernel takes no more tokens there than the tables have positions.

    Must not fire for any other operator: it may give the leading axis a meaning.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        # In graph order, every producer is settled before its users.
        for node in list(model.graph):
            if node.domain == "" and len(node.outputs) == 1:
                modified |= _drop(node)
        return ir.passes.PassResult(model, modified=modified)


def _row(value: ir.Value | None) -> ir.Value | None:
    """x where the value is row(x)."""
    node = producer(value, "Unsqueeze")
    return node.inputs[0] if node is not None and constant_ints(node.inputs[1]) == [0] else None


def _drop(node: ir.Node) -> bool:
    rewriter = Rewriter(node)
    squeeze = node.op_type == "Squeeze" and len(node.inputs) == 2
    if squeeze and constant_ints(node.inputs[1]) == [0]:
        return _replace(rewriter, _row(node.inputs[0]))
    if node.op_type == "Reshape" and constant_ints(node.inputs[1]) == [-1]:
        source = node.inputs[0]
        flat = source is not None and source.shape is not None and len(source.shape) == 1
        return _replace(rewriter, source if flat else None)
    if node.op_type == "Gather" and attribute(node, "axis", 0) == 1:
        return _replace(rewriter, _first_of_each(node)) or _gather_from_row(node, rewriter)
    if node.op_type == "RotaryEmbedding":
        return _rotate_below(node, rewriter)
    return _move_below(node, rewriter)


def _replace(rewriter: Rewriter, value: ir.Value | None) -> bool:
    if value is not None:
        rewriter.replace(value)
    return value is not None


def _first_of_each(gather: ir.Node) -> ir.Value | None:
    """x where the node is Gather(Transpose(row(x), perm=[1, 0, 2]), 0, axis=1)."""
    transpose = producer(gather.inputs[0], "Transpose")
    index = constant(gather.inputs[1])
    if transpose is None or index is None or index.shape != () or index != 0:
        return None
    swapped = tuple(attribute(transpose, "perm", ())) == (1, 0, 2)
    return _row(transpose.inputs[0]) if swapped else None


def _gather_from_row(gather: ir.Node, rewriter: Rewriter) -> bool:
    source = _row(gather.inputs[0])
    if source is None:
        return False
    _put_row(rewriter, rewriter.op("Gather", [source, gather.inputs[1]], {"axis": 0}), gather)
    return True


def _rotate_below(node: ir.Node, rewriter: Rewriter) -> bool:
    source = _row(node.inputs[0])
    positions = _row(node.inputs[3]) if len(node.inputs) == 4 else None
    output = node.outputs[0]
    if source is None or positions is None or output.shape is None or len(output.shape) != 3:
        return False
    one = rewriter.ints([1])
    tokens_first = [rewriter.op("Unsqueeze", [value, one]) for value in (source, positions)]
    rotated = rewriter.copy(node, [tokens_first[0], *node.inputs[1:3], tokens_first[1]])
    _put_row(rewriter, rewriter.op("Squeeze", [rotated, one]), node)
    return True


def _move_below(node: ir.Node, rewriter: Rewriter) -> bool:
    inputs = list(node.inputs)
    rows = [_row(value) for value in inputs]
    if node.op_type == "Gather" and attribute(node, "axis", 0) == 0:
        # The table stays as it is; its rows are chosen by the row of indices.
        movable = rows[1] is not None and constant(inputs[0]) is not None
        rows[0] = None
    elif node.op_type == "MatMul":
        movable = rows[0] is not None and _dimensions(inputs[1]) == 2
    elif node.op_type == "LayerNormalization":
        vectors = all(_dimensions(value) == 1 for value in inputs[1:])
        movable = rows[0] is not None and vectors and attribute(node, "axis", -1) == -1
    else:
        others = [v for v, row in zip(inputs, rows, strict=True) if row is None]
        small = all(_dimensions(value) in (0, 1) for value in others)
        movable = node.op_type in ELEMENTWISE and any(r is not None for r in rows) and small
    if not movable:
        return False
    moved = rewriter.copy(
        node, [x if x is not None else v for x, v in zip(rows, inputs, strict=True)]
    )
    _put_row(rewriter, moved, node)
    return True


def _dimensions(value: ir.Value | None) -> int | None:
    """How many dimensions a constant has; None for anything else."""
    array = constant(value)
    return None if array is None else array.ndim


def _put_row(rewriter: Rewriter, value: ir.Value, node: ir.Node) -> None:
    """Let row(value) take the place of the node's output."""
    old = node.outputs[0]
    value.type = old.type
    value.shape = ir.Shape(old.shape[1:]) if old.shape is not None else None
    rewriter.replace(rewriter.op("Unsqueeze", [value, rewriter.ints([0])], like=old))
