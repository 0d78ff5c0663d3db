"""Smoothing of the attention's output without an operator of its own."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from bertrt_export.passes._graph import attribute, constant, constant_ints, has_one_use, producer
from bertrt_export.quantization.projections import Projection, bias_of, find_projections

__all__ = ["FoldSmoothingPass", "find_values"]

# What moves rows about, between the attention and the projection of its output.
_ROW_OPERATORS = ("Gather", "Reshape", "Squeeze", "Unsqueeze")


class FoldSmoothingPass(ir.passes.InPlacePass):
    """Divide the input of a projection where the attention's values are made.

    Attention mixes rows and leaves columns alone: attention(q, k, v / s) = attention(q, k, v) / s.
    Fires for a projection of an attention's output that `smoothing` (float32 [inputs], by name)
    has, where the values are columns of another projection: those columns of its weight and bias
    are divided by s, and the rows of the projection's own weight multiplied. Exact in float.

    Must not fire:

    1. where the values or the attention's output are used otherwise as well;
    2. where the values have fewer heads than the queries;
    3. where anything but a choice of rows stands between the attention and the projection, or
       between the values and theirs;
    4. where one of the weights or the bias has other uses.

    Source: SmoothQuant, arXiv 2211.10438, which folds into the same place.
    """

    def __init__(self, smoothing: Mapping[str, np.ndarray]) -> None:
        self._smoothing = smoothing

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for projection in find_projections(model.graph):
            values, smoothing = find_values(projection), self._smoothing.get(projection.name)
            if values is not None and smoothing is not None:
                for value in values.constants:
                    array = _array(value)
                    array[..., values.columns] /= smoothing
                    _set(value, array)
                weight = projection.matmul.inputs[1]
                _set(weight, _array(weight) * smoothing[:, None])
                modified = True
        return ir.passes.PassResult(model, modified=modified)


@dataclass(frozen=True, slots=True)
class Values:
    """Columns of a projection that are an attention's values: of its weight, and its bias."""

    constants: tuple[ir.Value, ...]
    columns: slice


def find_values(projection: Projection) -> Values | None:
    """What makes the values of the attention whose output is projected; None if nothing folds."""
    width = len(projection.weight)
    value: ir.Value | None = projection.input
    while value is not None and has_one_use(value):
        node = value.producer()
        if node is None or value.shape is None or value.shape[-1] != width:
            return None
        if node.op_type == "Attention" and node.domain == "":
            own = projection.matmul.inputs[1]
            alone = own is not None and has_one_use(own)
            return _columns(node, width) if alone and len(node.outputs) == 1 else None
        if node.op_type not in _ROW_OPERATORS or attribute(node, "axis", 0) != 0:
            return None
        value = node.inputs[0]
    return None


def _columns(attention: ir.Node, width: int) -> Values | None:
    heads = attribute(attention, "q_num_heads", 0)
    value, start = attention.inputs[2], 0
    if heads == 0 or heads != attribute(attention, "kv_num_heads", 0):
        return None
    split = producer(value, "Split")
    if value is not None and split is not None and has_one_use(value):
        widths = constant_ints(split.inputs[1])
        if widths is None or attribute(split, "axis", 0) != -1:
            return None
        start, value = sum(widths[: split.outputs.index(value)]), split.inputs[0]
    gather = producer(value, "Gather")
    if value is None or not has_one_use(value) or gather is None or attribute(gather, "axis", 0):
        return None
    add = producer(gather.inputs[0], "Add")
    matmul = add and (producer(add.inputs[0], "MatMul") or producer(add.inputs[1], "MatMul"))
    if add is None or matmul is None or bias_of(matmul)[0] is not add:
        return None
    constants = [v for node in (matmul, add) for v in node.inputs if constant(v) is not None]
    own = [v for v in (*constants, add.outputs[0]) if v is not None and has_one_use(v)]
    return Values(tuple(own[:2]), slice(start, start + width)) if len(own) == 3 else None


def _array(value: ir.Value | None) -> np.ndarray:
    array = constant(value)
    assert array is not None  # find_values asks for constants
    return array.copy()


def _set(value: ir.Value | None, array: np.ndarray) -> None:
    assert value is not None  # as above
    value.const_value = ir.tensor(array, name=value.name)
