"""Find the projections of a packed graph: its products of token rows with constant matrices."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from bertrt_export.passes._graph import constant, has_one_use, joined_name

__all__ = ["Projection", "ProjectionGroup", "bias_of", "find_groups", "find_projections"]

# The least value that an activation function can give (GELU by erf and by tanh).
_LEAST = {"Gelu": -0.1701, "Relu": 0.0}


@dataclass(frozen=True, slots=True)
class Projection:
    """`Add(MatMul(x, weight), bias)`, or the product alone.

    name: after the weight. Layers that share one weight (ALBERT) share the name, and nothing else
    has it. weight: float32 [inputs, outputs]. bias: float32 [outputs] or None. least: what no
    element of x can be below, where that is known.
    """

    name: str
    matmul: ir.Node
    add: ir.Node | None
    weight: np.ndarray
    bias: np.ndarray | None
    least: float | None

    @property
    def input(self) -> ir.Value:
        """x, [rows, inputs]."""
        value = self.matmul.inputs[0]
        assert value is not None
        return value


@dataclass(frozen=True, slots=True)
class ProjectionGroup:
    """All projections of one input, which is rounded once for them: query, key and value.

    name: of the only projection, or `layer.0.self.query+key+value`. Groups of one name have the
    same weights, and are quantized alike.
    """

    name: str
    projections: tuple[Projection, ...]

    @property
    def input(self) -> ir.Value:
        """x, [rows, inputs]."""
        return self.projections[0].input

    @property
    def least(self) -> float | None:
        """What no element of x can be below, where that is known."""
        return self.projections[0].least

    @property
    def weight(self) -> np.ndarray:
        """The weights side by side, float32 [inputs, all outputs]."""
        return np.concatenate([projection.weight for projection in self.projections], axis=1)


def find_groups(graph: ir.Graph) -> list[ProjectionGroup]:
    """The projections in the graph's order, those of one input together."""
    members: dict[ir.Value, list[Projection]] = defaultdict(list)
    for projection in find_projections(graph):
        members[projection.input].append(projection)
    return [
        ProjectionGroup(joined_name([p.name for p in group], ""), tuple(group))
        for group in members.values()
    ]


def find_projections(graph: ir.Graph) -> list[Projection]:
    """The projections in the graph's order."""
    found: list[Projection] = []
    named: dict[str, ir.Value] = {}
    for node in graph:
        if node.op_type != "MatMul" or node.domain != "":
            continue
        source, value = node.inputs
        weight = constant(value)
        if weight is None or weight.ndim != 2 or source is None or value is None:
            continue
        stem = (value.name or "projection").removesuffix(".weight")
        name, number = stem, 2
        while named.setdefault(name, value) is not value:
            name, number = f"{stem}.{number}", number + 1
        producer = source.producer()
        least = _LEAST.get(producer.op_type) if producer is not None else None
        add, bias = bias_of(node)
        found.append(Projection(name, node, add, weight, bias, least))
    return found


def bias_of(matmul: ir.Node) -> tuple[ir.Node | None, np.ndarray | None]:
    """The Add of a constant vector that alone uses the product, and that vector."""
    product = matmul.outputs[0]
    if not has_one_use(product):
        return None, None
    (add,) = product.consumers()
    if add.op_type != "Add" or add.domain != "":
        return None, None
    for value in add.inputs:
        bias = constant(value)
        if value is not product and bias is not None and bias.ndim == 1:
            return add, bias
    return None, None
