"""One product instead of several over the same input."""

from collections import defaultdict

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

__all__ = ["MergeProjectionsPass"]


class MergeProjectionsPass(ir.passes.InPlacePass):
    """Merge the query, key and value projections of an attention into one.

    Fires for two or more::

        Gather(Add(MatMul(x, W), b), index, axis=0)

    of the same x and index, with constant matrices W and vectors b and no other users in between,
    giving one such chain over the matrices side by side, and a Split behind it. One product reads
    x once and needs one gather. In the last layer only key and value are left to merge, because
    FirstTokenPushdownPass has given the query an input of its own.

    Must not fire for projections of different inputs or through different indices, for a single
    projection, or where a projection is used otherwise as well.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        groups: dict[tuple[ir.Value, ir.Value], list[_Projection]] = defaultdict(list)
        for node in model.graph:
            projection = _Projection.match(node)
            if projection is not None:
                groups[projection.source, projection.index].append(projection)
        mergeable = [group for group in groups.values() if len(group) > 1]
        for group in mergeable:
            _merge(group)
        return ir.passes.PassResult(model, modified=bool(mergeable))


class _Projection:
    """The matched chain `Gather(Add(MatMul(source, weight), bias), index)`."""

    def __init__(self, gather: ir.Node, add: ir.Node, matmul: ir.Node, bias: ir.Value) -> None:
        source, weight = matmul.inputs
        index = gather.inputs[1]
        assert source is not None and weight is not None and index is not None
        self.gather, self.add, self.matmul = gather, add, matmul
        self.source, self.weight, self.bias, self.index = source, weight, bias, index

    @classmethod
    def match(cls, gather: ir.Node) -> "_Projection | None":
        if gather.op_type != "Gather" or gather.domain != "" or attribute(gather, "axis", 0) != 0:
            return None
        add = producer(gather.inputs[0], "Add")
        if add is None or not has_one_use(add.outputs[0]):
            return None
        for product, bias in (tuple(add.inputs), tuple(reversed(add.inputs))):
            matmul = producer(product, "MatMul")
            offset = constant(bias)
            if matmul is None or bias is None or offset is None or offset.ndim != 1:
                continue
            weight = constant(matmul.inputs[1])
            if weight is not None and weight.ndim == 2 and has_one_use(matmul.outputs[0]):
                return cls(gather, add, matmul, bias)
        return None


def _merge(group: list[_Projection]) -> None:
    first = group[0]
    # Before the first product: its input is there, and every user of the results comes later.
    rewriter = Rewriter(first.matmul)
    weights = [projection.weight for projection in group]
    names = [value.name or "projection" for value in weights]
    biases = [projection.bias for projection in group]
    arrays = [_array(value) for value in weights]
    widths = [array.shape[-1] for array in arrays]
    weight = rewriter.constant(joined_name(names, ".weight"), np.concatenate(arrays, axis=-1))
    bias = rewriter.constant(
        joined_name(names, ".bias"), np.concatenate([_array(value) for value in biases])
    )
    product = rewriter.copy(first.matmul, [first.source, weight])
    added = rewriter.copy(first.add, [product, bias])
    gathered = rewriter.copy(first.gather, [added, first.index])
    for value, old in ((product, first.matmul), (added, first.add), (gathered, first.gather)):
        shape = old.outputs[0].shape
        value.shape = ir.Shape([*shape[:-1], sum(widths)]) if shape is not None else None
    parts = rewriter.op_multi(
        "Split", [gathered, rewriter.ints(widths)], {"axis": -1}, outputs=len(group)
    )
    for projection, part in zip(group, parts, strict=True):
        Rewriter(projection.gather).replace(part)


def _array(value: ir.Value) -> np.ndarray:
    array = constant(value)
    assert array is not None  # match() asks for constants
    return array
