"""Small graphs for the tests of the passes: written as ONNX text, run before and after."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from onnx_ir.passes import common

__all__ = ["HIDDEN", "assert_fires", "assert_unchanged", "graph", "normal", "op_types", "run"]

HIDDEN = 8

_HEADER = '<ir_version: 11, opset_import: ["": 24, "com.microsoft": 1]>\ntest '


def graph(text: str, **weights: np.ndarray) -> ir.Model:
    """A checked graph from ONNX text, with inferred shapes and the weights as initializers."""
    proto = onnx.parser.parse_model(_HEADER + text)
    for name, array in weights.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    inferred = onnx.shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True)
    onnx.checker.check_model(inferred)
    return ir.from_proto(inferred)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    """Normally distributed float32 values."""
    return np.random.default_rng([seed, *shape]).standard_normal(shape, dtype=np.float32)


def op_types(model: ir.Model) -> list[str]:
    """The operators of the graph, in alphabetical order."""
    return sorted(node.op_type for node in model.graph)


def run(model: ir.Model, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """The outputs of the graph, run as it stands (onnxruntime rewrites nothing)."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # the tests of failures would print them
    proto = ir.to_proto(model).SerializeToString()
    session = onnxruntime.InferenceSession(proto, options, providers=["CPUExecutionProvider"])
    optional = session.get_overridable_initializers()
    wanted = {value.name for value in (*session.get_inputs(), *optional)}
    given = {name: array for name, array in feeds.items() if name in wanted}
    outputs: list[np.ndarray] = session.run(None, given)
    return outputs


def assert_fires(
    rewrite: ir.passes.PassBase, model: ir.Model, feeds: Mapping[str, np.ndarray]
) -> list[str]:
    """The pass changes the graph but not its outputs; the operators that are then in use."""
    before = run(model, feeds)
    assert rewrite(model).modified
    tidy(model)
    after = run(model, feeds)
    for actual, expected in zip(after, before, strict=True):
        assert actual.shape == expected.shape and actual.dtype == expected.dtype
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)
    return op_types(model)


def tidy(model: ir.Model) -> None:
    """Sort the graph, drop what is no longer used, and check it."""
    common.TopologicalSortPass()(model)
    common.RemoveUnusedNodesPass()(model)
    onnx.checker.check_model(ir.to_proto(model), full_check=True)


def assert_unchanged(
    rewrite: ir.passes.PassBase, model: ir.Model, feeds: Mapping[str, np.ndarray] | None = None
) -> None:
    """The pass leaves the graph alone, node by node; with feeds, also prove that it runs."""
    nodes, text = _nodes(model), ir.to_proto(model).SerializeToString(deterministic=True)
    if feeds is not None:
        run(model, feeds)
    result = rewrite(model)
    assert _nodes(model) == nodes
    assert ir.to_proto(model).SerializeToString(deterministic=True) == text
    assert not result.modified


def _nodes(model: ir.Model) -> Sequence[ir.Node]:
    return list(model.graph)
