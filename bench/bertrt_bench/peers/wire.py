"""Messages between the benchmark and its workers: one JSON object a line."""

import base64
import io
import json
from typing import IO, Any

import numpy as np

__all__ = ["decode_array", "encode_array", "receive", "send"]


def send(stream: IO[str], message: dict[str, Any]) -> None:
    """Write one message."""
    stream.write(json.dumps(message) + "\n")
    stream.flush()


def receive(stream: IO[str]) -> dict[str, Any] | None:
    """Wait for one message; None when the other side has closed the stream."""
    line = stream.readline()
    if not line:
        return None
    message: dict[str, Any] = json.loads(line)
    return message


def encode_array(array: np.ndarray) -> str:
    """An array as text: NumPy's own format in base64, so that no bit changes."""
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return base64.b64encode(stream.getvalue()).decode("ascii")


def decode_array(text: str) -> np.ndarray:
    """The array that `encode_array` wrote."""
    array: np.ndarray = np.load(io.BytesIO(base64.b64decode(text)), allow_pickle=False)
    return array
