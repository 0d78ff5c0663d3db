"""Rows and their results to the bytes of an output file, a chunk at a time."""

import base64
import csv
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, time
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from bertrt.columns import Column, ResultColumns
from bertrt.errors import InputError
from bertrt.jobs.chunks import Chunk, Place
from bertrt.jobs.files import JobFiles
from bertrt.jobs.formats import Dialect
from bertrt.jobs.source import Source
from bertrt.jobs.streams import compress
from bertrt.postprocess import DECIMALS

__all__ = ["CsvEncoder", "Encoder", "JsonlEncoder", "encoder_of", "error_line", "finisher_of"]


class Encoder(Protocol):
    """Makes the bytes of an output. Chunks are encoded in order.

    begun: what has been settled by the first chunk, for JSON; None before. An encoder that goes on
    where another stopped is given it.
    """

    begun: Any

    def encode(self, chunk: Chunk, kept: Sequence[int], logits: np.ndarray) -> bytes:
        """The bytes of the rows `kept` of a chunk, whose logits are float32 [kept, labels]."""

    def end(self) -> bytes:
        """What a file without any rows holds; nothing where some were encoded."""


def encoder_of(files: JobFiles, source: Source, result: ResultColumns, begun: Any) -> Encoder:
    """The encoder of a job's output, for rows of a source; begun: as the class says.

    Raises InputError where the output's format cannot be.
    """
    name = files.output_format.name
    compress(b"", files.output_format.compression)  # whether what it needs is installed
    if name == "jsonl":
        return JsonlEncoder(result)
    if name == "parquet":
        from bertrt.jobs.parquet_encoder import ArrowEncoder

        return ArrowEncoder(source, result, begun)
    if name == "text":
        raise InputError(
            "plain text has no columns to add results to: name the output .jsonl, .csv, .tsv or "
            ".parquet, or give --output-format"
        )
    dialect = files.dialect.of_output(files.input_format.name, name)
    return CsvEncoder(source.columns, result, dialect, dialect.delimiter_of(name), begun)


def finisher_of(files: JobFiles) -> Callable[[Path], Path]:
    """What makes a file of encoded rows the output, in the same folder."""
    if files.output_format.name != "parquet":
        return lambda rows: rows

    def finish(rows: Path) -> Path:
        from bertrt.jobs.parquet_encoder import write_parquet

        finished = rows.with_name("finished")
        write_parquet(rows, finished)
        return finished

    return finish


class JsonlEncoder:
    """A JSON object a row. What was JSON stays as it was written; the results are put behind."""

    def __init__(self, result: ResultColumns) -> None:
        self._result = result
        self.begun: Any = None

    def encode(self, chunk: Chunk, kept: Sequence[int], logits: np.ndarray) -> bytes:
        """See Encoder."""
        lines = []
        added = _added(self._result, logits)
        for index, (values, text), own in zip(kept, chunk.records(kept), added, strict=True):
            _check_names(chunk.place(index), values, self._result)
            lines.append(_json_line(values, text, own))
        return "".join(lines).encode("utf-8")

    def end(self) -> bytes:
        """Nothing."""
        return b""


class CsvEncoder:
    """A CSV or TSV file.

    columns: of the input; None: those that the first chunk has.
    """

    def __init__(
        self,
        columns: Sequence[str] | None,
        result: ResultColumns,
        dialect: Dialect,
        delimiter: str,
        begun: Any,
    ) -> None:
        self._columns = begun or columns
        self._result, self._dialect, self._delimiter = result, dialect, delimiter
        self.begun = begun

    def encode(self, chunk: Chunk, kept: Sequence[int], logits: np.ndarray) -> bytes:
        """See Encoder."""
        records = list(chunk.records(kept))
        if self._columns is None:
            self._columns = list(dict.fromkeys(name for values, _ in records for name in values))
        rows = self._header()
        places = ["the header"] * len(rows)
        added = _added(self._result, logits)
        known = set(self._columns)
        for index, (values, _), own in zip(kept, records, added, strict=True):
            place = chunk.place(index)
            extra = values.keys() - known
            if extra:
                raise InputError(
                    f"{place}, has a column {min(extra)!r}, which the first rows do not have, so "
                    "it has no place in a table: write JSON Lines (.jsonl)"
                )
            fields = [_field(values.get(name)) for name in self._columns]
            rows.append(fields + [_field(value) for value in own.values()])
            places.append(str(place))
        return self._written(rows, places)

    def end(self) -> bytes:
        """The header, if it has not been written."""
        self._columns = self._columns or ()
        return self._written(self._header(), ["the header"])

    def _header(self) -> list[list[str]]:
        assert self._columns is not None
        if self.begun is not None:
            return []
        self._result.check_free(self._columns, "the input")
        self.begun = list(self._columns)
        return [[*self._columns, *self._result.names]] if self._dialect.header else []

    def _written(self, rows: list[list[str]], places: list[str]) -> bytes:
        if not self._dialect.quotes:
            return "".join(map(self._unquoted, rows, places)).encode("utf-8")
        lines = _Lines()
        # Before Python 3.13 only characters of the line's end are quoted, and a lone \r is one.
        writer = csv.writer(lines, delimiter=self._delimiter, lineterminator="\r\n")
        writer.writerows(rows)
        return "".join(lines.written).encode("utf-8")

    def _unquoted(self, fields: list[str], place: str) -> str:
        for field in fields:
            if self._delimiter in field or "\n" in field:
                raise InputError(
                    f"{place}: without quotes a field can hold no delimiter and no line break, and "
                    f"one is {field[:60]!r}: leave --no-quotes out, or write JSON Lines (.jsonl)"
                )
        return self._delimiter.join(fields) + "\n"


class _Lines:
    """Gets the lines of a csv.writer, and ends them as text files do."""

    def __init__(self) -> None:
        self.written: list[str] = []

    def write(self, line: str) -> None:
        self.written.append(line[:-2] + "\n")


def error_line(place: Place, reason: str, record: Any) -> bytes:
    """A row that was left out, as a line of JSON: where it stands, why, and what it holds."""
    facts = {"file": place.file, "row": place.row}
    if place.line is not None:
        facts["line"] = place.line
    return (_dumps({**facts, "reason": reason, "record": record}) + "\n").encode(
        "utf-8", "backslashreplace"
    )


def _added(result: ResultColumns, logits: np.ndarray) -> Iterator[dict[str, Any]]:
    """The results of each row by column, as JSON has them."""
    columns = {name: _plain(column) for name, column in result.of(logits).items()}
    for values in zip(*columns.values(), strict=True):
        yield dict(zip(columns, values, strict=True))


def _plain(column: Column) -> list[Any]:
    if isinstance(column, np.ndarray):
        return [round(number, DECIMALS) for number in column.tolist()]
    return [
        [best.to_json() for best in value] if isinstance(value, list) else value for value in column
    ]


def _json_line(values: Mapping[str, Any], text: str | None, added: Mapping[str, Any]) -> str:
    if text is None:
        return _dumps({**values, **added}) + "\n"
    between = ", " if values else ""
    return f"{text[:-1].rstrip()}{between}{_dumps(added)[1:]}\n"


def _check_names(place: Place, values: Mapping[str, Any], result: ResultColumns) -> None:
    if not values.keys().isdisjoint(result.names):
        result.check_free(values, str(place))


def _field(value: Any) -> str:
    """A value as a table's field; None, and what is no number, is an empty one."""
    if isinstance(value, str):
        return value
    if value is None or value != value:  # only NaN is not itself
        return ""
    if isinstance(value, bool | dict | list):
        return _dumps(value)
    return repr(value) if isinstance(value, int | float) else _as_text(value)


def _dumps(value: Any) -> str:
    """JSON; numbers that are none are null, and what JSON lacks is text."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, default=_as_text)
    except ValueError:
        return json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, default=_as_text)


def _as_text(value: Any) -> str:
    """Bytes in base64, dates and times as ISO 8601 has them, the rest as Python writes it."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    return value.isoformat() if isinstance(value, date | time) else str(value)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value
