"""Texts and labels from files: .txt, .jsonl, .csv and .tsv, in UTF-8."""

import contextlib
import csv
import hashlib
import json
import reprlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from bertrt.tokenizer import TextInput

from bertrt_export.errors import CalibrationError

__all__ = [
    "LABEL_OPTION",
    "PAIR_OPTION",
    "TEXT_OPTION",
    "Columns",
    "LabelLookup",
    "Record",
    "find_columns",
    "label_error",
    "listed",
    "read_records",
    "shown",
]

# Columns that hold the texts where nobody says which do: two as a pair, or one by itself.
_PAIR_COLUMNS = (
    ("sentence1", "sentence2"),
    ("question1", "question2"),
    ("premise", "hypothesis"),
    ("question", "sentence"),
    ("query", "passage"),
)
_TEXT_COLUMNS = ("text", "sentence", "content", "review", "premise", "query")
_LABEL_COLUMN = "label"

TEXT_OPTION = "--text-column"
PAIR_OPTION = "--text-pair-column"
LABEL_OPTION = "--label-column"

_HEADERLESS = ", or its number, from 1, if the file has no header line"
_MENDING = {
    ",": "put texts with commas, quotes or line breaks in quotes, and double a quote within",
    "\t": "a text in a .tsv file can hold no tab and no line break",
}

_REPR = reprlib.Repr()
_REPR.maxstring = 60
shown = _REPR.repr  # what errors show of a value: on one line, and cut short

# The number of the line where it begins, and its values by column.
Record = tuple[int, dict[str, object]]


@contextlib.contextmanager
def read_records(file: Path, asked: Mapping[str, str]) -> Iterator[tuple[str, Iterator[Record]]]:
    """The SHA-256 of a file, in hexadecimal, and its records, which are read as they are taken.

    asked: the columns that are given, by option. Raises CalibrationError, within the block too, for
    anything that cannot be read.
    """
    try:
        with file.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
            if stream.tell() == 0:
                raise CalibrationError(f"{file} is empty: give a file with some hundreds of texts")
            stream.seek(0)
            yield sha256, _records(file, stream, asked)
    except FileNotFoundError as error:
        raise CalibrationError(f"there is no file {file}") from error
    except IsADirectoryError as error:
        raise CalibrationError(f"{file} is a directory: give a file of texts") from error
    except OSError as error:
        raise CalibrationError(f"{file} cannot be read: {error.strerror or error}") from error


# From records to texts and labels


def _text(file: Path, line: int, record: Mapping[str, object], column: str) -> str:
    """The text in a column of a record; a CalibrationError if it is none."""
    if column not in record:
        raise CalibrationError(f"{file}, line {line}, has no {shown(column)}: every line needs one")
    text = record[column]
    if not isinstance(text, str):
        raise CalibrationError(
            f"{file}, line {line}: {shown(column)} is {shown(text)}, which is no text: "
            "give a string, or leave the line out"
        )
    if not text.strip():
        raise CalibrationError(
            f"{file}, line {line}: {shown(column)} is empty: give a text, or leave the line out"
        )
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise CalibrationError(
            f"{file}, line {line}: {shown(column)} is not valid Unicode, for a lone surrogate "
            f"stands at character {error.start}: write the character itself, or both halves of its "
            "escape"
        ) from error
    return text


class LabelLookup:
    """Label ids by what a file may call them."""

    def __init__(self, label2id: Mapping[str, int]) -> None:
        self._names = label2id
        counts = Counter(name.strip().casefold() for name in label2id)
        folded = {name.strip().casefold(): label for name, label in label2id.items()}
        self._folded = {name: label for name, label in folded.items() if counts[name] == 1}
        # Of stars called 1 to 5, a 1 is a name: to take a 0 for an id beside it would mix the two.
        if not any(name.isdecimal() for name in self._folded):
            self._folded |= {str(label): label for label in label2id.values()}

    def find(self, value: object) -> int | None:
        """The id of the label that a file calls so; None if there is no such label."""
        if isinstance(value, int):  # or a bool, where the labels are true and false
            value = str(value)
        if not isinstance(value, str):
            return None
        return self._names.get(value, self._folded.get(value.strip().casefold()))


def label_error(
    file: Path,
    line: int,
    record: Mapping[str, object],
    column: str,
    label2id: Mapping[str, int],
) -> CalibrationError:
    """What to raise where the value in a column is no label of the model."""
    labels = [f"{shown(name)} ({label})" for name, label in label2id.items()]
    if column not in record:
        wrong = f"has no {shown(column)}"
    else:
        wrong = f"has the label {shown(record[column])}, which is none of the model's"
    return CalibrationError(
        f"{file}, line {line}, {wrong}: correct it, or leave {LABEL_OPTION} out; "
        f"the model's labels and ids are {listed(labels)}"
    )


# Which columns they are in


@dataclass(frozen=True, slots=True)
class Columns:
    """Where in a record the text, the second text of a pair and the label are."""

    text: str
    pair: str | None
    label: str | None

    def text_of(self, file: Path, line: int, record: Mapping[str, object]) -> TextInput:
        """The text or pair of a record; a CalibrationError if it is none."""
        first = _text(file, line, record, self.text)
        return first if self.pair is None else (first, _text(file, line, record, self.pair))


def find_columns(
    file: Path, columns: Sequence[str], asked: Mapping[str, str], others: Collection[str] = ()
) -> Columns:
    """Which of a file's columns are wanted; a CalibrationError if that cannot be told.

    others: columns that are known to hold something else.
    """
    has = f"its columns are {listed([shown(column) for column in columns])}"
    headerless = "" if file.suffix.lower() == ".jsonl" else _HEADERLESS
    for option, column in asked.items():
        if column not in columns:
            raise CalibrationError(
                f"{file} has no column {shown(column)}: {has}; "
                f"give {option} one of them{headerless}"
            )
        if list(asked.values()).count(column) > 1:
            raise CalibrationError(
                f"the column {shown(column)} of {file} is asked for twice: {has}; "
                f"give {option} another one"
            )
    pair, label = asked.get(PAIR_OPTION), asked.get(LABEL_OPTION)
    if label is None and _LABEL_COLUMN in columns and _LABEL_COLUMN not in asked.values():
        label = _LABEL_COLUMN
    if TEXT_OPTION in asked:
        return Columns(asked[TEXT_OPTION], pair, label)
    free = [column for column in columns if column not in (pair, label, *others)]
    found = [Columns(*both, label) for both in _PAIR_COLUMNS if not pair and {*both} <= {*free}]
    paired = {column for columns in found for column in (columns.text, columns.pair)}
    named = [column for column in free if column in _TEXT_COLUMNS and column not in paired]
    if not found and not named and len(free) == 1:
        named = free
    found += [Columns(column, pair, label) for column in named]
    if len(found) != 1:
        several = "more than one column" if found else "no column"
        raise CalibrationError(
            f"{file} has {several} that looks like the texts: {has}; "
            f"name the right one with {TEXT_OPTION}{headerless}"
        )
    return found[0]


def listed(names: Sequence[str]) -> str:
    """The first names, as part of a sentence."""
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return (", ".join(names[:20]) or "none") + more


# From files to records


def _records(file: Path, stream: BinaryIO, asked: Mapping[str, str]) -> Iterator[Record]:
    """What stands in the file, by its format."""
    lines = _lines(file, stream)
    match file.suffix.lower():
        case ".txt":
            if asked:
                raise CalibrationError(
                    f"{' and '.join(asked)} is for columns, and {file} has none: leave the option "
                    "out, or give a .jsonl, .csv or .tsv file"
                )
            return _txt_records(lines)
        case ".jsonl":
            return _jsonl_records(file, lines)
        case ".csv":
            return _table_records(file, lines, asked, ",")
        case ".tsv":
            return _table_records(file, lines, asked, "\t")
    raise CalibrationError(
        f"{file} is in no format that is known by its name: give a .txt file (one text a line), "
        ".jsonl (one object or string a line), .csv or .tsv"
    )


def _lines(file: Path, stream: BinaryIO) -> Iterator[str]:
    for number, line in enumerate(stream, start=1):
        try:
            decoded = line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise CalibrationError(
                f"{file}, line {number}, is not UTF-8 ({error.reason} at byte {error.start}): "
                "save it as UTF-8, or convert it with iconv"
            ) from error
        yield decoded.removeprefix("\ufeff") if number == 1 else decoded


def _txt_records(lines: Iterable[str]) -> Iterator[Record]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield number, {"text": line.rstrip("\r\n")}


def _jsonl_records(file: Path, lines: Iterable[str]) -> Iterator[Record]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            raise CalibrationError(
                f"{file}, line {number}, is not JSON ({reason}): "
                "a .jsonl file has one object or string on each line"
            ) from error
        if isinstance(value, str):
            value = {"text": value}
        if not isinstance(value, dict):
            raise CalibrationError(
                f"{file}, line {number}, is {shown(value)}: "
                "a .jsonl file has one object or string on each line"
            )
        yield number, value


def _table_records(
    file: Path, lines: Iterable[str], asked: Mapping[str, str], delimiter: str
) -> Iterator[Record]:
    numbers = [column for column in asked.values() if column.isascii() and column.isdecimal()]
    if numbers and len(numbers) < len(asked):
        raise CalibrationError(
            f"{' and '.join(asked)} are {' and '.join(map(shown, asked.values()))}: give names "
            f"from the header line of {file} for all of them, or numbers for all if it has none"
        )
    columns: list[str] | None = None
    for line, row in _rows(file, lines, delimiter):
        if columns is None:
            columns = [str(number) for number, _ in enumerate(row, start=1)] if numbers else row
            repeated = [name for name, count in Counter(columns).items() if name and count > 1]
            if repeated:
                raise CalibrationError(
                    f"{file} has two columns {shown(repeated[0])}: rename one in the header line; "
                    "if there is no header line, give the columns as numbers, from 1"
                )
            if not numbers:
                continue
        if len(row) != len(columns):
            raise CalibrationError(
                f"{file}, line {line}: the number of fields is {len(row)}, and {len(columns)} on "
                f"the first line: {_MENDING[delimiter]}"
            )
        yield line, dict(zip(columns, row, strict=True))


def _rows(file: Path, lines: Iterable[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not blank, each with the number of the line where it begins."""
    # Strict: an unclosed quote would otherwise take the rest of the file for one text.
    reader = (
        csv.reader(lines, strict=True)
        if delimiter == ","
        else csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE, strict=True)
    )
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            reason = str(error).partition(" - ")[0]  # what follows is advice for programmers
            raise CalibrationError(
                f"{file}, line {line}, cannot be read ({reason}): {_MENDING[delimiter]}"
            ) from error
        if row:
            yield line, row
