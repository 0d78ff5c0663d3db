"""The Open Inference Protocol's tensors: JSON or, by the binary extension, raw bytes.

Source: triton-inference-server/server, docs/protocol/extension_binary_data.md.
"""

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from msgspec import Struct, field

from bertrt.server.errors import MalformedError

__all__ = ["InputTensor", "OutputTensor", "Parameters", "pack_bytes", "read_texts", "write_tensor"]

Parameters = dict[str, Any]

_DTYPES = {"FP32": np.float32, "INT32": np.int32, "BOOL": np.bool_}


class InputTensor(Struct):
    """A tensor of a request; without `data`, its bytes follow the JSON header."""

    name: str
    shape: list[int]
    datatype: str
    parameters: Parameters = field(default_factory=dict)
    data: list[Any] | None = None


class OutputTensor(Struct, omit_defaults=True):
    """A tensor of an answer; without `data`, its bytes follow the JSON header."""

    name: str
    datatype: str
    shape: list[int]
    parameters: Parameters = field(default_factory=dict)
    data: list[Any] | None = None


def read_texts(tensor: InputTensor, raw: bytes | None) -> list[str]:
    """The strings of a BYTES tensor of shape [texts] or [texts, 1].

    raw: its bytes, if it is binary. Raises MalformedError for any other tensor.
    """
    where = f"input {tensor.name!r}"
    if tensor.datatype != "BYTES":
        raise MalformedError(f"{where} has datatype {tensor.datatype!r}: texts are BYTES")
    if len(tensor.shape) not in (1, 2) or tensor.shape[1:] not in ([], [1]):
        raise MalformedError(f"{where} has shape {tensor.shape}: give [texts] or [texts, 1]")
    if min(tensor.shape) < 0:
        raise MalformedError(f"{where} has shape {tensor.shape}, which has a negative number")
    texts = _flat_strings(tensor.data, where) if raw is None else _unpack_bytes(raw, where)
    if len(texts) != tensor.shape[0]:
        raise MalformedError(
            f"{where} has shape {tensor.shape} and {len(texts)} strings: they differ"
        )
    return texts


def _flat_strings(data: list[Any] | None, where: str) -> list[str]:
    """Strings, each by itself or in a list of one."""
    if data is None:
        raise MalformedError(f"{where} has no data")
    flat = [item[0] if isinstance(item, list) and len(item) == 1 else item for item in data]
    if not all(isinstance(item, str) for item in flat):
        raise MalformedError(f"the data of {where} is not a list of strings")
    return flat


def _unpack_bytes(raw: bytes, where: str) -> list[str]:
    """Strings of a BYTES tensor: each a little-endian length of 4 bytes, and UTF-8."""
    texts: list[str] = []
    at = 0
    while at < len(raw):
        if at + 4 > len(raw):
            raise MalformedError(f"the bytes of {where} end within the length of a string")
        (size,) = struct.unpack_from("<I", raw, at)
        at += 4
        if at + size > len(raw):
            raise MalformedError(f"the bytes of {where} end within a string")
        try:
            texts.append(raw[at : at + size].decode("utf-8"))
        except UnicodeDecodeError as error:
            raise MalformedError(f"string {len(texts)} of {where} is not UTF-8") from error
        at += size
    return texts


def pack_bytes(strings: Sequence[str]) -> bytes:
    """Strings as the bytes of a BYTES tensor."""
    encoded = [string.encode() for string in strings]
    return b"".join(struct.pack("<I", len(item)) + item for item in encoded)


def write_tensor(
    name: str, datatype: str, values: np.ndarray | Sequence[str], shape: list[int], *, binary: bool
) -> tuple[OutputTensor, bytes]:
    """A tensor for the JSON header, and the bytes that follow it (none where it is not binary)."""
    if not binary:
        flat = list(values) if datatype == "BYTES" else np.asarray(values).ravel().tolist()
        return OutputTensor(name, datatype, shape, data=flat), b""
    if datatype == "BYTES":
        raw = pack_bytes(values)  # type: ignore[arg-type]
    else:
        raw = np.ascontiguousarray(values, dtype=_DTYPES[datatype]).tobytes()
    return OutputTensor(name, datatype, shape, {"binary_data_size": len(raw)}), raw
