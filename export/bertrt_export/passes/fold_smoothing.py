"""Smoothing of the attention's output without an operator of its own."""

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from bertrt_export.passes._graph import Rewriter, attribute, constant, has_one_use, producer
from bertrt_export.quantization.projections import ProjectionGroup, bias_of, find_groups

__all__ = ["FoldSmoothingPass", "find_values"]

# What moves rows about, between the attention and the projection of its output.
_ROW_OPERATORS = ("Gather", "Reshape", "Squeeze", "Unsqueeze")


class FoldSmoothingPass(ir.passes.InPlacePass):
    """Divide the input of a projection where the attention's values are made.

    Attention mixes rows and leaves columns alone: attention(q, k, v / s) = attention(q, k, v) / s.
    Fires for a projection of an attention's output that `smoothing` (float32 [inputs], by name)
    has, where the values are another projection: the columns of its weight and bias are divided by
    s, and the rows of the projection's own weight multiplied. Exact in float.

    Must not fire:

    1. where the values or the attention's output are used otherwise as well, or projected twice;
    2. where the values have fewer heads than the queries;
    3. where anything but a choice of rows stands between the attention and the projection, or
       between the values and theirs;
    4. where one of the weights has other uses. A bias may have: untrained models share their zeros.

    Source: SmoothQuant, arXiv 2211.10438, which folds into the same place.
    """

    def __init__(self, smoothing: Mapping[str, np.ndarray]) -> None:
        self._smoothing = smoothing

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for group in find_groups(model.graph):
            values, smoothing = find_values(group), self._smoothing.get(group.name)
            if values is not None and smoothing is not None:
                weight, add = values
                _scale(weight, 1 / smoothing)
                if add is not None:
                    _divide_bias(add, smoothing)
                _scale(group.projections[0].matmul.inputs[1], smoothing[:, None])
                modified = True
        return ir.passes.PassResult(model, modified=modified)


def find_values(group: ProjectionGroup) -> tuple[ir.Value, ir.Node | None] | None:
    """What makes the values of the attention whose output is projected: a weight, a bias's Add.

    Where there is no bias, the Add is None. None where nothing folds.
    """
    projection = group.projections[0]  # a second one would be another use of its input
    width = len(projection.weight)
    value: ir.Value | None = projection.input
    while value is not None and has_one_use(value):
        node = value.producer()
        if node is None or value.shape is None or value.shape[-1] != width:
            return None
        if node.op_type == "Attention" and node.domain == "":
            own = projection.matmul.inputs[1]
            alone = own is not None and has_one_use(own)
            return _projected_values(node) if alone and len(node.outputs) == 1 else None
        if node.op_type not in _ROW_OPERATORS or attribute(node, "axis", 0) != 0:
            return None
        value = node.inputs[0]
    return None


def _projected_values(attention: ir.Node) -> tuple[ir.Value, ir.Node | None] | None:
    heads = attribute(attention, "q_num_heads", 0)
    value = attention.inputs[2]
    if heads == 0 or heads != attribute(attention, "kv_num_heads", 0):
        return None
    gather = producer(value, "Gather")
    if value is None or not has_one_use(value) or gather is None or attribute(gather, "axis", 0):
        return None
    projected = gather.inputs[0]
    if projected is None or not has_one_use(projected):
        return None
    add = producer(projected, "Add")
    sums = list(add.inputs) if add is not None else [projected]
    matmul = next((node for value in sums if (node := producer(value, "MatMul"))), None)
    if matmul is None or bias_of(matmul)[0] is not add:
        return None
    weight = matmul.inputs[1]
    own = weight is not None and constant(weight) is not None and has_one_use(weight)
    return (weight, add) if own and weight is not None else None


def _scale(weight: ir.Value | None, by: np.ndarray) -> None:
    """Multiply a weight that nothing else uses, in its place: projections are named after it."""
    array = constant(weight)
    assert weight is not None and array is not None  # find_values asks for a constant
    weight.const_value = ir.tensor(array * by, name=weight.name)


def _divide_bias(add: ir.Node, smoothing: np.ndarray) -> None:
    """Give the Add a bias of its own, divided by the smoothing."""
    for index, value in enumerate(add.inputs):
        bias = constant(value)
        if value is not None and bias is not None:
            smoothed = Rewriter(add).constant(f"{value.name}.smoothed", bias / smoothing)
            add.replace_input_with(index, smoothed)
