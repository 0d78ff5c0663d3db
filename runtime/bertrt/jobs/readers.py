"""Rows of CSV, TSV, JSON Lines and plain text, one at a time."""

import csv
import io
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from bertrt.errors import InputError
from bertrt.jobs.chunks import Place, Row
from bertrt.jobs.formats import Dialect
from bertrt.jobs.streams import Input, open_input, reading

if TYPE_CHECKING:
    import _csv

__all__ = ["TEXT_COLUMN", "RowFile", "open_rows"]

# What the lines of plain text, and strings in JSON Lines, are a column of.
TEXT_COLUMN = "text"

# Characters of a field at most. A quote that is never closed takes the rest of the file for a
# field, and that may be larger than memory.
_MAX_FIELD = 2**27

_BOM = "\ufeff"

_logger = logging.getLogger("bertrt")


@dataclass(frozen=True, slots=True)
class RowFile:
    """A file whose rows are being read.

    columns: their names in order; None where each row has its own. rows: those not read yet.
    """

    input: Input
    columns: tuple[str, ...] | None
    rows: Iterator[Row]


def open_rows(file: str, name: str, dialect: Dialect) -> RowFile:
    """Open a file of a text format, `csv`, `tsv`, `jsonl` or `text`; see to its header line.

    Raises InputError, then and while the rows are read, for a file that cannot be read on. A row
    that is none by itself has a fault.
    """
    opened = open_input(file)
    if name == "jsonl":
        return RowFile(opened, None, _line_rows(opened, _json_row))
    if name == "text":
        return RowFile(opened, (TEXT_COLUMN,), _line_rows(opened, _text_row))
    table = _Table(opened, name, dialect)
    return RowFile(opened, table.columns, table.rows())


# Formats of a line a row


def _line_rows(opened: Input, row_of: Callable[[Place, str], Row | None]) -> Iterator[Row]:
    """A row a line. Lines end with a line feed, and with no other character that may look so."""
    with reading(opened.name):
        for number, line in enumerate(opened.bytes, start=1):
            place = Place(opened.name, number)
            try:
                text = line.decode("utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                reason = f"is not UTF-8 ({error.reason} at byte {error.start}): use iconv"
                content = line.rstrip(b"\r\n").decode("utf-8", "backslashreplace")
                yield Row(place, {}, len(line), None, reason, content)
                continue
            row = row_of(place, text.removeprefix(_BOM) if number == 1 else text)
            if row is not None:
                yield row


def _text_row(place: Place, line: str) -> Row:
    return Row(place, {TEXT_COLUMN: line}, len(line))


def _json_row(place: Place, line: str) -> Row | None:
    """The row of a line of JSON: an object, or a string, which is a text; None for a blank line."""
    if not line.strip():
        return None
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        return Row(place, {}, len(line), None, f"is not JSON ({reason})", line)
    if isinstance(value, str):
        text = f'{{"{TEXT_COLUMN}": {line.strip()}}}'
        return Row(place, {TEXT_COLUMN: value}, len(line), text)
    if not isinstance(value, dict):
        return Row(place, {}, len(line), None, "is neither a JSON object nor a string", value)
    if "\\ud" in line.lower() and not _is_unicode(json.dumps(value, ensure_ascii=False)):
        fault = "is not valid Unicode: half a surrogate pair stands in it"
        return Row(place, {}, len(line), None, fault, line)
    return Row(place, value, len(line), line.strip())


# Tables


class _Table:
    """A CSV or TSV file."""

    def __init__(self, opened: Input, name: str, dialect: Dialect) -> None:
        self._file, self._dialect = opened.name, dialect
        self._warned = name != "tsv"
        csv.field_size_limit(_MAX_FIELD)  # of the whole process; its default is 128 KB
        delimiter = dialect.delimiter_of(name)
        # Bytes that are no UTF-8 come as lone surrogates, so that they are the fault of one row.
        # Lines without quotes end with a line feed alone, as those of plain text do.
        ends = "" if dialect.quotes else "\n"
        lines = io.TextIOWrapper(opened.bytes, "utf-8-sig", "surrogateescape", newline=ends)
        if dialect.quotes:
            # Strict: an unclosed quote would else take the rest of the file for one text.
            self._records = self._quoted(csv.reader(lines, delimiter=delimiter, strict=True))
        else:
            self._records = self._unquoted(lines, delimiter)
        self._pending: list[tuple[int, list[str]]] = []
        self.columns: tuple[str, ...] = ()
        self.columns = self._columns()

    def _columns(self) -> tuple[str, ...]:
        first = next(self._records, None)
        if first is None:
            raise InputError(f"{self._file} is empty: it has not even a line that names columns")
        if not self._dialect.header:
            self._pending.append(first)
            return tuple(str(number) for number, _ in enumerate(first[1], start=1))
        names = first[1]
        if not _is_unicode("".join(names)):
            raise InputError(f"the first line of {self._file} is not UTF-8: use iconv")
        repeated = [name for name, count in Counter(names).items() if count > 1]
        if repeated:
            raise InputError(
                f"{self._file} has two columns {repeated[0]!r}: rename one in the first line; if "
                "the first line names no columns, give --no-header, and columns as numbers"
            )
        return tuple(names)

    def rows(self) -> Iterator[Row]:
        """The rows after the header."""
        columns = self.columns
        for number, (line, fields) in enumerate(chain(self._pending, self._records), start=1):
            place = Place(self._file, number, line)
            fault = _field_fault(fields, len(columns))
            size = sum(map(len, fields))
            if fault is None:
                yield Row(place, dict(zip(columns, fields, strict=True)), size)
            else:
                content = [_escaped(field) for field in fields]
                yield Row(place, {}, size, None, fault, content)

    def _quoted(self, reader: "_csv.Reader") -> Iterator[tuple[int, list[str]]]:
        """The fields of each record, and the line where it begins."""
        with reading(self._file):
            while True:
                line = reader.line_num + 1
                try:
                    fields = next(reader, None)
                except csv.Error as error:
                    raise self._unreadable(line, error) from error
                if fields is None:
                    return
                if not self._warned and reader.line_num > line:
                    self._warned = True
                    _logger.warning(
                        "%s, line %d: a quote begins here that ends in line %d. If quotes are "
                        "characters like others in this file, give --no-quotes",
                        self._file,
                        line,
                        reader.line_num,
                    )
                # A blank line is no row; but of one column, it is an empty field.
                if fields or len(self.columns) == 1:
                    yield line, fields or [""]

    def _unquoted(self, lines: Iterable[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
        """The same of a file without quotes."""
        with reading(self._file):
            for number, line in enumerate(lines, start=1):
                text = line.removesuffix("\n").removesuffix("\r")
                if text or len(self.columns) == 1:
                    yield number, text.split(delimiter)

    def _unreadable(self, line: int, error: csv.Error) -> InputError:
        reason = str(error).partition(" - ")[0]  # what follows is advice for programmers
        return InputError(
            f"{self._file}, line {line}, cannot be read ({reason}): a field with a delimiter, a "
            "quote or a line break wants quotes around it, and a quote within doubled; if quotes "
            "are characters like others in this file, give --no-quotes"
        )


def _field_fault(fields: list[str], expected: int) -> str | None:
    if len(fields) != expected:
        return f"has {len(fields)} fields where the first line has {expected}"
    return None if _is_unicode("".join(fields)) else "is not UTF-8: use iconv"


def _escaped(field: str) -> str:
    """A field with the bytes that are no UTF-8 written out."""
    return field.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _is_unicode(text: str) -> bool:
    """Whether there is no lone surrogate in a text."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
