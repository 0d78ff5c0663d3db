"""Parquet as an output: Arrow streams one after another, which become one Parquet file at the end.

A Parquet file is nothing until its footer is written, so a job that is killed would leave nothing.
"""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

# First: it says so where pyarrow is missing.
from bertrt.arrow_columns import arrow_columns  # isort: skip
import pyarrow as pa
import pyarrow.parquet as pq

from bertrt.columns import ResultColumns
from bertrt.errors import InputError
from bertrt.jobs.chunks import Chunk
from bertrt.jobs.source import Source

__all__ = ["ArrowEncoder", "write_parquet"]

# Rows of a row group, and their bytes.
_GROUP = 65_536
_GROUP_BYTES = 128_000_000


class ArrowEncoder:
    """A whole Arrow stream a chunk: its dictionaries are its own."""

    def __init__(self, source: Source, result: ResultColumns, begun: Any) -> None:
        self._result = result
        self.begun = begun
        self._schema: Any = source.schema
        if begun is not None:
            self._schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(begun)))
        elif self._schema is None and source.columns is not None:
            # The fields of text files are text, whatever they look like.
            self._schema = pa.schema([(name, pa.string()) for name in source.columns])

    def encode(self, chunk: Chunk, kept: Sequence[int], logits: np.ndarray) -> bytes:
        """See Encoder."""
        if not kept:
            return b""
        try:
            return self._stream(chunk.table(kept, self._schema), logits)
        except (pa.ArrowException, RecursionError) as error:  # values within values, too deep
            raise _unwritable(error) from error

    def end(self) -> bytes:
        """A stream without rows, if there is no other."""
        if self.begun is not None:
            return b""
        table = (self._schema or pa.schema([])).empty_table()
        return self._stream(table, np.empty((0, len(self._result.selection.labels)), np.float32))

    def _stream(self, table: Any, logits: np.ndarray) -> bytes:
        settled = self.begun is not None
        if not settled:
            self._result.check_free(table.schema.names, "the input")
            self._schema = table.schema
            self.begun = base64.b64encode(table.schema.serialize()).decode("ascii")
        for name, column in arrow_columns(self._result, logits).items():
            table = table.append_column(name, column)
        if not settled:
            _check_writable(table.schema)
        buffer = io.BytesIO()
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        with pa.ipc.new_stream(buffer, table.schema, options=options) as writer:
            writer.write_table(table)
        return buffer.getvalue()


def write_parquet(streams: Path, file: Path) -> None:
    """Write the rows of Arrow streams, one after another in a file, to a Parquet file."""
    writer, waiting, rows, size = None, [], 0, 0
    with streams.open("rb") as source:
        try:
            while source.peek(1):
                table = pa.ipc.open_stream(source).read_all()
                if writer is None:
                    writer = pq.ParquetWriter(file, table.schema)
                waiting.append(table)
                rows += len(table)
                size += table.nbytes
                if rows >= _GROUP or size >= _GROUP_BYTES:
                    _write_group(writer, waiting)
                    waiting, rows, size = [], 0, 0
            if writer is not None and waiting:
                _write_group(writer, waiting)
        finally:
            if writer is not None:
                writer.close()


def _write_group(writer: Any, tables: Sequence[Any]) -> None:
    table = pa.concat_tables(tables).unify_dictionaries()
    writer.write_table(table, row_group_size=max(1, len(table)))


def _check_writable(schema: Any) -> None:
    """InputError for types that Arrow has and Parquet lacks: better now than at the end."""
    try:
        pq.ParquetWriter(io.BytesIO(), schema).close()
    except pa.ArrowException as error:
        raise _unwritable(error) from error


def _unwritable(error: Exception) -> InputError:
    return InputError(f"the rows cannot be written as Parquet ({error}): write JSON Lines (.jsonl)")
