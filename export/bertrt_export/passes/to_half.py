"""A float32 graph in float16, or in float32 that is rounded to float16 at every step."""

import numpy as np
import onnx_ir as ir

from bertrt_export.errors import ExportError
from bertrt_export.passes._graph import Rewriter, constant

__all__ = ["RoundToHalfPass", "ToHalfPass"]

_FLOAT, _HALF = ir.DataType.FLOAT, ir.DataType.FLOAT16
_SHAPES = ("Shape", "Size")  # they make integers, but not of values
_MAX_HALF = float(np.finfo(np.float16).max)


class ToHalfPass(ir.passes.InPlacePass):
    """Let a graph compute in float16; its outputs stay float32.

    Fires for every float32 value, but

    1. those that integers or truth values are made of: an index that is computed in float16 may be
       another index;
    2. the graph's outputs, which are cast.

    `LayerNormalization` sums in float32 all the same (`stash_type`), as the attention operators do
    their softmax, and onnxruntime's matrix products.

    Raises ExportError for a weight that is past float16's range. The lowest float32, which masks
    are made of, becomes the lowest float16.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        graph = model.graph
        exact = _exact_nodes(graph)
        for node in list(graph):
            if node not in exact:
                _convert_node(node)
        for node in list(graph):
            for value in node.outputs:
                if node not in exact and value.dtype == _FLOAT and not value.is_graph_output():
                    value.type = ir.TensorType(_HALF)
        for output in list(graph.outputs):
            maker = output.producer()
            if maker is not None and maker not in exact and output.dtype == _FLOAT:
                _cast_output(maker, output)
        return ir.passes.PassResult(model, modified=True)


class RoundToHalfPass(ir.passes.InPlacePass):
    """Round every value that `ToHalfPass` would make float16, and compute in float32.

    It is what a GPU does: products, norms and softmax work in float32 there, and what they hand
    on is float16. So a CPU, which has no float16 arithmetic, can show what float16 does to the
    answers, overflows included.

    Fires for the outputs of every operator that `ToHalfPass` converts::

        y -> Cast(Cast(y, float16), float32)

    and for its constants. Raises ExportError as `ToHalfPass` does.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        graph = model.graph
        exact = _exact_nodes(graph)
        for node in list(graph):
            if node in exact:
                continue
            rewriter = Rewriter(node)
            for position, value in enumerate(node.inputs):
                if value is not None and (array := _float_constant(value)) is not None:
                    rounded = _as_half(array, value.name or "").astype(np.float32)
                    name = f"{value.name}.rounded"
                    node.replace_input_with(position, rewriter.constant(name, rounded))
            for value in node.outputs:
                if value.dtype == _FLOAT and not value.is_graph_output():
                    _round(value)
        return ir.passes.PassResult(model, modified=True)


def _exact_nodes(graph: ir.Graph) -> set[ir.Node]:
    """The nodes whose float values become integers or truth values, and only those."""
    exact: set[ir.Node] = set()
    pending = [
        node
        for node in graph
        if node.op_type not in _SHAPES
        and any(v is not None and v.dtype == _FLOAT for v in node.inputs)
        and all(value.dtype not in (_FLOAT, None) for value in node.outputs)
    ]
    while pending:
        node = pending.pop()
        if node in exact:
            continue
        exact.add(node)
        makers = (v.producer() for v in node.inputs if v is not None and v.dtype == _FLOAT)
        pending += [maker for maker in makers if maker is not None]
    return exact


def _convert_node(node: ir.Node) -> None:
    """Let a node read and write float16."""
    rewriter = Rewriter(node)
    for position, value in enumerate(node.inputs):
        if value is None:
            continue
        array = _float_constant(value)
        if array is not None:
            half = rewriter.constant(f"{value.name}.half", _as_half(array, value.name or ""))
            node.replace_input_with(position, half)
    to = node.attributes.get("to")
    if node.op_type == "Cast" and to is not None and to.as_int() == _FLOAT:
        node.attributes["to"] = ir.AttrInt64("to", _HALF)


def _float_constant(value: ir.Value) -> np.ndarray | None:
    array = constant(value)
    return array if array is not None and array.dtype == np.float32 else None


def _as_half(array: np.ndarray, name: str) -> np.ndarray:
    """The array in float16; a single number past its range is the range's end."""
    if array.size == 1:
        array = np.clip(array, -_MAX_HALF, _MAX_HALF)
    largest = float(np.abs(array).max()) if array.size else 0.0
    if not largest <= _MAX_HALF:
        raise ExportError(
            f"{name} holds {largest:.3g}, and float16 ends at {_MAX_HALF:.0f}: export fp32"
        )
    return array.astype(np.float16)


def _cast_output(node: ir.Node, output: ir.Value) -> None:
    """Let a float16 node make a float32 output of the graph, which keeps its name."""
    readers = list(output.uses())
    cast = ir.node("Cast", [output], {"to": _FLOAT})
    assert node.graph is not None  # it was met in its graph
    node.graph.insert_after(node, cast)
    (result,) = cast.outputs
    result.shape, result.type = output.shape, ir.TensorType(_FLOAT)
    output.type = ir.TensorType(_HALF)
    result.name, output.name = output.name, f"{output.name}.half"
    outputs = node.graph.outputs
    outputs[outputs.index(output)] = result
    for user, position in readers:
        user.replace_input_with(position, output)


def _round(value: ir.Value) -> None:
    """Let everything read the value rounded to float16."""
    node, uses = value.producer(), list(value.uses())
    assert node is not None and node.graph is not None  # it was met in its graph
    down = ir.node("Cast", [value], {"to": _HALF})
    up = ir.node("Cast", [down.outputs[0]], {"to": _FLOAT})
    node.graph.insert_after(node, [down, up])
    for cast, dtype in ((down, _HALF), (up, _FLOAT)):
        cast.outputs[0].shape, cast.outputs[0].type = value.shape, ir.TensorType(dtype)
    for user, position in uses:
        user.replace_input_with(position, up.outputs[0])
