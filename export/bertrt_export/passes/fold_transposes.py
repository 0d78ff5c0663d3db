"""Weights that are transposed at every use, transposed once."""

import numpy as np
import onnx_ir as ir

from bertrt_export.passes._graph import Rewriter, attribute, constant

__all__ = ["FoldTransposesPass"]


class FoldTransposesPass(ir.passes.InPlacePass):
    """Replace the transpose of a constant matrix by a constant.

    PyTorch multiplies by a weight's transpose. Its exporter transposes most weights beforehand, but
    not those that several layers share (ALBERT): those it transposes in the graph, for each layer.

    Fires for `Transpose(W, perm=[1, 0])` of a constant W of two dimensions: all such transposes of
    one W become one initializer, which takes its name where nothing else uses W.

    Must not fire for a W of other than two dimensions, or one that is computed.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        transposed: dict[ir.Value, ir.Value] = {}
        for node in list(model.graph):
            source = node.inputs[0] if node.inputs else None
            if node.op_type != "Transpose" or node.domain != "" or source is None:
                continue
            matrix = constant(source)
            if (
                matrix is None
                or matrix.ndim != 2
                or tuple(attribute(node, "perm", (1, 0))) != (1, 0)
            ):
                continue
            rewriter = Rewriter(node)
            if source not in transposed:
                held = np.ascontiguousarray(matrix.T)
                transposed[source] = rewriter.constant(f"{source.name}.transposed", held)
            rewriter.replace(transposed[source])
        for source, value in transposed.items():
            if not source.uses() and not source.is_graph_output() and source.is_initializer():
                assert source.name is not None  # initializers have one
                del model.graph.initializers[source.name]
                value.name = source.name
        return ir.passes.PassResult(model, modified=bool(transposed))
