"""Bytes of files: compressed or not, in and out."""

import gzip
import io
import os
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from bertrt.errors import InputError, MissingDependencyError
from bertrt.jobs.formats import STANDARD_STREAM

__all__ = ["Input", "compress", "open_input", "reading"]

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
# Behind a byte from 0x50 to 0x5F, of a frame that holds no data: pzstd begins files with one.
_ZSTD_SKIPPED = b"\x2a\x4d\x18"


class Input:
    """A file that is being read: its bytes, decompressed, and how far it has come."""

    def __init__(self, name: str, raw: BinaryIO) -> None:
        self.name = name
        self._raw = raw
        self.bytes: IO[bytes] = _decompressed(raw)

    def consumed(self) -> int:
        """Bytes of the file itself that have been read; 0 where it cannot tell."""
        return self._raw.tell() if self._raw.seekable() else 0

    def close(self) -> None:
        """Close the file."""
        self._raw.close()


def open_input(file: str) -> Input:
    """Open a file, or standard input; InputError if it cannot be read."""
    if file == STANDARD_STREAM:
        if sys.stdin is None:
            raise InputError("standard input is closed")
        # A file of our own: a thread that waits for sys.stdin keeps Python from ending.
        return Input(file, os.fdopen(os.dup(sys.stdin.fileno()), "rb"))
    try:
        return Input(file, Path(file).open("rb"))
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror or error}") from error


@contextmanager
def reading(file: str) -> Iterator[None]:
    """Say which file it is that turns out to be damaged."""
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{file} cannot be read to its end: {error}") from error


def compress(data: bytes, compression: str | None) -> bytes:
    """A whole gzip member or zstd frame: what several of them hold, one after another, is joined.

    The bytes depend on the data alone, and not on the time.
    """
    if compression == "gzip":
        return gzip.compress(data, mtime=0)
    if compression == "zstd":
        packed: bytes = _pyarrow().compress(data, codec="zstd", asbytes=True)
        return packed
    return data


def _decompressed(raw: BinaryIO) -> IO[bytes]:
    """What is in the file, by its first bytes: names are wrong too often."""
    start = raw.peek(4)[:4] if isinstance(raw, io.BufferedReader) else b""
    if start.startswith(_GZIP):
        return cast(IO[bytes], gzip.open(raw))
    if start == _ZSTD or start[1:] == _ZSTD_SKIPPED:
        # It says where the file was cut off, which the zstandard package's reader does not.
        return io.BufferedReader(_pyarrow().CompressedInputStream(raw, "zstd"))
    return raw


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise MissingDependencyError(
            "zstd needs pyarrow: install it with `pip install 'bertrt[cpu,jobs]'`"
        ) from error
    return pyarrow
