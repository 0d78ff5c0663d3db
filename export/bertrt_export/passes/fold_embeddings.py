"""Two small embedding tables as one."""

import numpy as np
import onnx_ir as ir

from bertrt_export.passes._graph import (
    Rewriter,
    attribute,
    constant,
    has_one_use,
    joined_name,
    producer,
)

__all__ = ["FoldEmbeddingsPass"]

_MAX_ROWS = 16_384


class FoldEmbeddingsPass(ir.passes.InPlacePass):
    """Add position and segment embeddings up beforehand.

    Fires for::

        Add(Add(x, Gather(A, i)), Gather(B, j))
        -> Add(x, Gather(AB, j * len(A) + i))    where AB[j * len(A) + i] = A[i] + B[j]

    (with the operands of either Add in any order): one lookup and one addition a token fewer.
    The segment table is A, so that a position past the table's end stays an error.

    Also fires where a constant vector stands for the Gather of A, which every token has alike (the
    only segment of a model without segments)::

        Add(Add(x, a), Gather(B, j)) -> Add(x, Gather(B', j))    where B'[j] = a + B[j]

    Must not fire where A or B is computed, where the two have different widths, where their
    product has more than 16,384 rows (the word embedding), where the indices are not int64, or
    where the inner sum has other uses.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for node in list(model.graph):
            if node.op_type == "Add" and node.domain == "":
                modified |= _fold(node)
        return ir.passes.PassResult(model, modified=modified)


def _fold(outer: ir.Node) -> bool:
    for inner_sum, looked_up in (tuple(outer.inputs), tuple(reversed(outer.inputs))):
        inner, last = producer(inner_sum, "Add"), _lookup(looked_up)
        if inner is None or last is None or not has_one_use(inner.outputs[0]):
            continue
        orders = (tuple(reversed(inner.inputs)), tuple(inner.inputs))
        for source, small in orders:
            vector = constant(small)
            if source is not None and vector is not None and _foldable(vector[None], last[0]):
                _rewrite_vector(outer, source, vector, last)
                return True
        for source, small in orders:
            first = _lookup(small)
            if source is not None and first is not None and _foldable(first[0], last[0]):
                a, b = (first, last) if len(first[0]) <= len(last[0]) else (last, first)
                _rewrite(outer, source, a, b)
                return True
    return False


def _lookup(value: ir.Value | None) -> tuple[np.ndarray, ir.Value, str] | None:
    """(table, indices, the table's name) where the value is Gather(table, indices, axis=0)."""
    gather = producer(value, "Gather")
    if gather is None or attribute(gather, "axis", 0) != 0:
        return None
    table, (data, indices) = constant(gather.inputs[0]), gather.inputs
    if table is None or table.ndim != 2 or indices is None or data is None:
        return None
    if indices.dtype != ir.DataType.INT64:
        return None
    return table, indices, data.name or ""


def _foldable(a: np.ndarray, b: np.ndarray) -> bool:
    return a.ndim == 2 and a.shape[1] == b.shape[1] and len(a) * len(b) <= _MAX_ROWS


def _rewrite(
    outer: ir.Node,
    source: ir.Value,
    a: tuple[np.ndarray, ir.Value, str],
    b: tuple[np.ndarray, ir.Value, str],
) -> None:
    (table_a, index_a, name_a), (table_b, index_b, name_b) = a, b
    rewriter = Rewriter(outer)
    folded = (table_b[:, None, :] + table_a[None, :, :]).reshape(-1, table_a.shape[1])
    table = rewriter.constant(joined_name([name_b, name_a], ".weight"), folded)
    block = rewriter.op("Mul", [index_b, rewriter.ints(len(table_a))], like=index_b)
    index = rewriter.op("Add", [block, index_a], like=index_b)
    embedding = rewriter.op("Gather", [table, index], {"axis": 0}, like=outer.outputs[0])
    rewriter.replace(rewriter.op("Add", [source, embedding], like=outer.outputs[0]))


def _rewrite_vector(
    outer: ir.Node, source: ir.Value, vector: np.ndarray, last: tuple[np.ndarray, ir.Value, str]
) -> None:
    table, index, name = last
    rewriter = Rewriter(outer)
    folded = rewriter.constant(f"{name.removesuffix('.weight')}+vector.weight", table + vector)
    embedding = rewriter.op("Gather", [folded, index], {"axis": 0}, like=outer.outputs[0])
    rewriter.replace(rewriter.op("Add", [source, embedding], like=outer.outputs[0]))
