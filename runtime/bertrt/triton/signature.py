"""The inputs and outputs of an ONNX file, without a session.

A session would need the kernels of every operator, and a graph for CUDA has some that the CPU
lacks; the package `onnx` is none of the runtime's. So the few fields are read from the file.
Source: onnx.proto3 (ModelProto.graph is field 7, GraphProto.input 11, and so on), whose numbers
never change.
"""

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from bertrt.errors import ArtifactError

__all__ = ["Signature", "Tensor", "read_signature"]

# TensorProto.DataType -> the type as Triton's model_config.proto calls it.
_TYPES = {1: "TYPE_FP32", 6: "TYPE_INT32", 7: "TYPE_INT64", 10: "TYPE_FP16", 11: "TYPE_FP64"}

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

# Where the bytes of a field of variable length stand in the file: start, end.
_Span: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output: its element type in Triton's words, and its shape, -1 where it is open.

    The type is `TYPE_INVALID` where no graph of bertrt's has it.
    """

    name: str
    data_type: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Signature:
    """What a graph takes and gives, in its order. Inputs that have a default are left out."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


def read_signature(graph: Path) -> Signature:
    """The signature of an ONNX file; ArtifactError where it is none."""
    try:
        with (
            graph.open("rb") as stream,
            mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            return _signature(_Message(data))
    except (IndexError, ValueError) as error:  # also that of an empty file
        raise ArtifactError(f"{graph} cannot be read as an ONNX file ({error})") from error


class _Message:
    """A protobuf message in a file; a field's values are found anew at each call."""

    def __init__(self, data: mmap.mmap, span: _Span | None = None) -> None:
        self._data = data
        self._start, self._end = span or (0, len(data))

    def numbers(self, field: int) -> list[int]:
        """The values of an integer field."""
        return [value for value in self._values(field) if isinstance(value, int)]

    def messages(self, field: int) -> "list[_Message]":
        """The values of a field of messages."""
        spans = [value for value in self._values(field) if not isinstance(value, int)]
        return [_Message(self._data, span) for span in spans]

    def text(self, field: int) -> str:
        """The value of a field of text; empty where it is not set."""
        spans = [value for value in self._values(field) if not isinstance(value, int)]
        return "".join(self._data[start:end].decode("utf-8") for start, end in spans[-1:])

    def _values(self, wanted: int) -> Iterator[int | _Span]:
        at = self._start
        while at < self._end:
            key, at = _varint(self._data, at)
            field, wire = key >> 3, key & 7
            value: int | _Span
            if wire == _VARINT:
                value, at = _varint(self._data, at)
            elif wire in (_FIXED64, _FIXED32, _BYTES):
                length = {_FIXED64: 8, _FIXED32: 4}.get(wire)
                if length is None:
                    length, at = _varint(self._data, at)
                value, at = (at, at + length), at + length
            else:
                raise ValueError(f"a field has the wire type {wire}")
            if at > self._end:
                raise ValueError("it ends within a field")
            if field == wanted:
                yield value


def _varint(data: mmap.mmap, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise ValueError("a number has more than 64 bits")


def _signature(model: _Message) -> Signature:
    graphs = model.messages(7)
    if len(graphs) != 1:
        raise ValueError(f"it holds {len(graphs)} graphs")
    (graph,) = graphs
    with_default = {initializer.text(8) for initializer in graph.messages(5)}
    inputs = (_tensor(value) for value in graph.messages(11))
    return Signature(
        inputs=tuple(tensor for tensor in inputs if tensor.name not in with_default),
        outputs=tuple(_tensor(value) for value in graph.messages(12)),
    )


def _tensor(value: _Message) -> Tensor:
    """A ValueInfoProto: name 1, type 2, of which tensor_type 1 has elem_type 1 and shape 2."""
    data_type = "TYPE_INVALID"
    shape: tuple[int, ...] = ()
    for tensor_type in (t for kind in value.messages(2) for t in kind.messages(1)):
        data_type = _TYPES.get(sum(tensor_type.numbers(1)[-1:]), data_type)
        dimensions = [d for shape in tensor_type.messages(2) for d in shape.messages(1)]
        shape = tuple(sum(d.numbers(1)[-1:]) if d.numbers(1) else -1 for d in dimensions)
    return Tensor(value.text(1), data_type, shape)
