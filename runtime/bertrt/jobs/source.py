"""The input of a job: files of one format, a chunk at a time."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bertrt.errors import InputError
from bertrt.jobs.chunks import Chunk, Position, RecordChunk, Row
from bertrt.jobs.formats import STANDARD_STREAM, Dialect
from bertrt.jobs.readers import TEXT_COLUMN, RowFile, open_rows

__all__ = ["Columns", "Source", "choose_columns", "open_source"]

# A chunk ends where it has so many characters, lest long documents fill the memory.
_MAX_CHARACTERS = 8_000_000

# What stands between columns that were taken for one, and the option that tells them apart.
_DELIMITERS = {"\t": "--input-format tsv", ";": "--delimiter ';'", "|": "--delimiter '|'"}


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns that hold the text, and the second text of a pair."""

    text: str
    pair: str | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """Files that are read one after another.

    columns: their names, the same in all files; None where each row has its own.
    chunks: reads on from a position, in chunks of so many rows at most; what they are depends on
        the position and the files alone.
    schema: the pyarrow.Schema of Parquet files; else None.
    """

    columns: tuple[str, ...] | None
    chunks: Callable[[Position, int], Iterator[Chunk]]
    schema: object = None


def open_source(files: Sequence[str], name: str, dialect: Dialect) -> Source:
    """Open the files of a job, all of format `name`, and compare their columns.

    Raises InputError for a file that cannot be read, and for columns that are not those of the
    first file.
    """
    if name == "parquet":
        return _parquet_source(files)
    opened = open_rows(files[0], name, dialect)
    for file in files[1:]:
        other = open_rows(file, name, dialect)
        other.input.close()
        _check_alike(files[0], opened.columns, file, other.columns)

    def chunks(start: Position, max_rows: int) -> Iterator[Chunk]:
        def opener(number: int) -> RowFile:
            # Standard input opens once; and the first file is open already.
            return opened if number == 0 else open_rows(files[number], name, dialect)

        return _text_chunks(files, opener, start, max_rows)

    return Source(opened.columns, chunks)


def choose_columns(
    source: Source, files: Sequence[str], text: str | None, pair: str | None
) -> Columns:
    """The columns that are asked for, or that must be meant; InputError if that cannot be told."""
    if pair is not None and text == pair:
        raise InputError(f"the column {text!r} is asked for twice: a pair is of two")
    has = source.columns
    if has is None:
        return Columns(text or TEXT_COLUMN, pair)
    for option, name in (("--text-column", text), ("--text-pair-column", pair)):
        if name is not None and name not in has:
            headerless = "; if the first line names no columns, give --no-header"
            raise InputError(
                f"{files[0]} has no column {name!r}: give {option} one of {', '.join(has)}"
                + (headerless if name.isdecimal() else "")
            )
    if text is None:
        others = [name for name in has if name != pair]
        if TEXT_COLUMN not in others and len(others) != 1:
            raise InputError(
                f"{files[0]} has no column {TEXT_COLUMN!r}: name that of the texts with "
                f"--text-column, one of {', '.join(has)}"
            )
        text = TEXT_COLUMN if TEXT_COLUMN in others else others[0]
        joined = next((mark for mark in _DELIMITERS if mark in text), None)
        if joined is not None and len(has) == 1 and source.schema is None:
            raise InputError(
                f"{files[0]} has one column, {text!r}, which looks like several: give "
                f"{_DELIMITERS[joined]}, or --text-column if it is one"
            )
    return Columns(text, pair)


def _parquet_source(files: Sequence[str]) -> Source:
    from bertrt.jobs.tables import parquet_chunks, parquet_schema

    schema = parquet_schema(files[0])
    repeated = [name for name, count in Counter(schema.names).items() if count > 1]
    if repeated:
        raise InputError(f"{files[0]} has two columns {repeated[0]!r}: rename one")
    for file in files[1:]:
        other = parquet_schema(file)
        _check_alike(files[0], tuple(schema.names), file, tuple(other.names))
        for column, first in zip(other, schema, strict=True):
            if not column.equals(first):
                raise InputError(
                    f"{file} has {column.name!r} of type {_type_of(column)}, and {files[0]} of "
                    f"{_type_of(first)}: convert it, or classify each by itself"
                )

    def chunks(start: Position, max_rows: int) -> Iterator[Chunk]:
        return parquet_chunks(files, start, max_rows, _MAX_CHARACTERS)

    return Source(tuple(schema.names), chunks, schema)


def _type_of(column: Any) -> str:
    """The type of a pyarrow.Field, as people know it."""
    return str(column.type) if column.nullable else f"{column.type} not null"


def _check_alike(
    first: str, columns: tuple[str, ...] | None, file: str, others: tuple[str, ...] | None
) -> None:
    if columns != others:
        raise InputError(
            f"{file} has the columns {', '.join(others or ())}, and {first} has "
            f"{', '.join(columns or ())}: classify each by itself"
        )


def _text_chunks(
    files: Sequence[str], opener: Callable[[int], RowFile], start: Position, max_rows: int
) -> Iterator[RecordChunk]:
    share = _Share(files)
    rows: list[Row] = []
    characters = 0
    end = start
    for number in range(start.file, len(files)):
        file = opener(number)
        skipped = start.row if number == start.file else 0
        for row in file.rows:
            if row.place.row <= skipped:
                continue
            rows.append(row)
            end = Position(number, row.place.row)
            characters += row.size
            if len(rows) >= max_rows or characters >= _MAX_CHARACTERS:
                yield RecordChunk(rows, end, share.of(number, file))
                rows, characters = [], 0
        file.input.close()
    if rows:
        yield RecordChunk(rows, end, share.of(len(files), None))


class _Share:
    """The share of files that has been read, by their bytes."""

    def __init__(self, files: Sequence[str]) -> None:
        known = STANDARD_STREAM not in files
        self._sizes = [Path(file).stat().st_size for file in files] if known else []

    def of(self, number: int, file: RowFile | None) -> float | None:
        """All files before a number, and what has been read of that one."""
        total = sum(self._sizes)
        if not total:
            return None
        read = 0 if file is None else file.input.consumed()
        return min(1.0, (sum(self._sizes[:number]) + read) / total)
