"""Small helpers for reading and rewriting `onnx_ir` graphs, shared by the passes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

__all__ = [
    "CONTRIB",
    "ELEMENTWISE",
    "Rewriter",
    "attribute",
    "constant",
    "constant_ints",
    "has_one_use",
    "joined_name",
    "producer",
]

# The domain of onnxruntime's own operators.
CONTRIB = "com.microsoft"

# ai.onnx operators whose every output element depends on the inputs' elements at that place alone.
ELEMENTWISE = frozenset(
    "Abs Add Cast Clip Div Erf Exp Gelu HardSigmoid LeakyRelu Max Min Mish Mul Neg Pow Reciprocal"
    " Relu Sigmoid Softplus Sqrt Sub Swish Tanh".split()
)


def producer(value: ir.Value | None, op_type: str) -> ir.Node | None:
    """The node that makes `value`, if it is an ai.onnx `op_type`."""
    node = value.producer() if value is not None else None
    return node if node is not None and node.op_type == op_type and node.domain == "" else None


def constant(value: ir.Value | None) -> np.ndarray | None:
    """The array of a constant or initializer; None for anything computed at run time."""
    if value is None or value.is_graph_input():
        return None
    tensor = ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def constant_ints(value: ir.Value | None) -> list[int] | None:
    """A constant's elements as a flat list of int; None unless it is an integer constant."""
    array = constant(value)
    if array is None or not np.issubdtype(array.dtype, np.integer):
        return None
    return [int(element) for element in array.reshape(-1)]


def attribute(node: ir.Node, name: str, default: Any) -> Any:
    """The value of a node's attribute, or `default` where it is not set."""
    found = node.attributes.get(name)
    return default if found is None else found.value


def has_one_use(value: ir.Value) -> bool:
    """Whether one node reads the value, once, and nothing else does."""
    return len(value.uses()) == 1 and not value.is_graph_output()


def joined_name(names: Sequence[str], suffix: str) -> str:
    """`layer.0.self.query+key.weight` from `layer.0.self.query.weight` and `..key.weight`."""
    stems = [name.removesuffix(".weight").rpartition(".") for name in names]
    return "".join([*stems[0][:2], "+".join(last for _, _, last in stems), suffix])


class Rewriter:
    """Builds the nodes that replace `node`, in place, and puts them in front of it."""

    def __init__(self, node: ir.Node) -> None:
        assert node.graph is not None  # a node that a pass visits is in a graph
        self._node = node
        self._graph = node.graph

    def op(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, Any] | None = None,
        *,
        shape: Sequence[int | str | ir.SymbolicDim | None] | None = None,
        like: ir.Value | None = None,
        dtype: ir.DataType | None = None,
        domain: str = "",
    ) -> ir.Value:
        """Add a node with one output; `like` lends the output its shape and dtype."""
        (value,) = self.op_multi(op_type, inputs, attributes, outputs=1, domain=domain)
        if like is not None:
            value.shape = like.shape
            value.type = like.type
        if shape is not None:
            value.shape = ir.Shape(shape)
        if dtype is not None:
            value.type = ir.TensorType(dtype)
        return value

    def op_multi(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, Any] | None = None,
        *,
        outputs: int,
        domain: str = "",
    ) -> Sequence[ir.Value]:
        """Add a node with several outputs."""
        attrs = [ir.convenience.convert_attribute(k, v) for k, v in (attributes or {}).items()]
        node = ir.Node(domain, op_type, inputs, attrs, num_outputs=outputs)
        node.metadata_props.update(self._node.metadata_props)
        self._graph.insert_before(self._node, node)
        return node.outputs

    def copy(self, node: ir.Node, inputs: Sequence[ir.Value | None]) -> ir.Value:
        """Add `node` again, with other inputs."""
        again = ir.Node(
            node.domain, node.op_type, inputs, list(node.attributes.values()), num_outputs=1
        )
        again.metadata_props.update(node.metadata_props)
        self._graph.insert_before(self._node, again)
        again.outputs[0].type = node.outputs[0].type
        return again.outputs[0]

    def ints(self, elements: Sequence[int] | int) -> ir.Value:
        """An int64 constant: a vector for a sequence, a scalar for an int."""
        parts = ["scalar", elements] if isinstance(elements, int) else elements
        name = "_".join(["ints", *(str(part).replace("-", "minus") for part in parts)])
        return self.constant(name, np.asarray(elements, dtype=np.int64))

    def constant(self, name: str, array: np.ndarray) -> ir.Value:
        """An initializer with the array: the one of this name if it is equal, or a new one."""
        initializers = self._graph.initializers
        stem, number = name, 2
        while name in initializers:
            held = constant(initializers[name])
            if held is not None and held.dtype == array.dtype and np.array_equal(held, array):
                return initializers[name]
            name, number = f"{stem}.{number}", number + 1
        value = ir.Value(name=name, const_value=ir.tensor(array, name=name))
        value.shape = ir.Shape(array.shape)
        value.type = ir.TensorType(ir.DataType.from_numpy(array.dtype))
        self._graph.register_initializer(value)
        return value

    def twin(self, name: str, array: np.ndarray) -> ir.Value:
        """As `constant`, but an initializer of its own, with the tensor of the one that is equal.

        onnxruntime rewrites some initializers in their place, which fails where two nodes have one.
        """
        held = self.constant(name, array)
        if not held.uses():
            return held
        stem, number = name, 2
        while name in self._graph.initializers:
            name, number = f"{stem}.{number}", number + 1
        value = ir.Value(name=name, shape=held.shape, type=held.type, const_value=held.const_value)
        self._graph.register_initializer(value)
        return value

    def replace(self, new: ir.Value) -> None:
        """Let `new` take the place of the node's only output, and remove the node.

        An output of the graph keeps its name.
        """
        old = self._node.outputs[0]
        if old.is_graph_output():
            if new.producer() is None or new.is_graph_output():
                new = self.op("Identity", [new], like=old)
            new.name, old.name = old.name, None
        if new.shape is None:
            new.shape = old.shape
        if new.type is None:
            new.type = old.type
        ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
        self.remove()

    def remove(self) -> None:
        """Remove the node, whose outputs nothing uses any more."""
        self._graph.remove(self._node, safe=True)
