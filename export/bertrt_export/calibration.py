"""Texts to set the scales of a quantized model with, and others to measure its fidelity on."""

import csv
import hashlib
import json
import reprlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from bertrt.tokenizer import TextInput

from bertrt_export.builtin_texts import BUILTIN_TEXTS
from bertrt_export.errors import CalibrationError

__all__ = ["BUILT_IN_WARNING", "MAX_TEXTS", "MIN_TEXTS", "CalibrationTexts", "read_calibration"]

# Distinct texts that a file must have, and that are used of it.
MIN_TEXTS = 32
MAX_TEXTS = 2048

# Scales settle within some hundreds of texts; what is beyond that measures better.
_MAX_CALIBRATION = 512

BUILT_IN_WARNING = (
    f"int8 is set up and measured on {len(BUILTIN_TEXTS)} built-in sentences, for want of a "
    "--calibration file: some hundred texts of the kind that the model will meet give it the "
    "scales of their words and lengths, and figures that speak for them (with labels: accuracy too)"
)

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

_TEXT_OPTION = "--text-column"
_PAIR_OPTION = "--text-pair-column"
_LABEL_OPTION = "--label-column"

_HEADERLESS = ", or its number, from 1, if the file has no header line"
_MENDING = {
    ",": "put texts with commas, quotes or line breaks in quotes, and double a quote within",
    "\t": "a text in a .tsv file can hold no tab and no line break",
}

_REPR = reprlib.Repr()
_REPR.maxstring = 60
_shown = _REPR.repr  # what errors show of a value: on one line, and cut short

# The number of the line where it begins, and its values by column.
_Record = tuple[int, dict[str, object]]


@dataclass(frozen=True, slots=True)
class CalibrationTexts:
    """Distinct texts in two halves that share none, each in a fixed pseudo-random order.

    calibration: at most 512 texts, to set scales with.
    verification: at least as many, to measure fidelity on.
    labels: the label ids of `verification`, None where the file has none.
    source: the file's name without its folder, or "built-in".
    sha256: of the file's bytes, in hexadecimal; None for the built-in texts.
    """

    calibration: tuple[TextInput, ...]
    verification: tuple[TextInput, ...]
    labels: tuple[int, ...] | None
    source: str
    sha256: str | None


def read_calibration(
    file: Path | None,
    *,
    text_column: str | None = None,
    text_pair_column: str | None = None,
    label_column: str | None = None,
    label2id: Mapping[str, int],
) -> CalibrationTexts:
    """Read the texts of a .txt, .jsonl, .csv or .tsv file in UTF-8; None reads the built-in ones.

    .txt: one text a line; blank lines are skipped.
    .jsonl: one object a line; a bare string is short for {"text": string}.
    .csv: with commas, and quotes as in RFC 4180. .tsv: with tabs; a quote is part of the text.

    A column is given by its name in the header line (.jsonl: its key). In .csv and .tsv it may be
    a number from 1 instead, for a file without a header line; then all those given are numbers.
    Without `text_column` it is found: sentence1 and sentence2, question1 and question2, premise and
    hypothesis, question and sentence, or query and passage as a pair (where no `text_pair_column`
    is given); or text, sentence, content, review, premise or query; or whichever stands alone
    beside the labels. Two that fit are an error, not a guess.

    A label is a name of `label2id`, in any case where that is unambiguous; or an id, unless names
    of the model are numbers themselves. Without `label_column`, a column named label is read if all
    its values are labels of the model: it may mean something else.

    A text that is repeated counts once, with its first label. Of more than MAX_TEXTS a fixed
    pseudo-random choice is kept. Raises CalibrationError for anything that cannot be read, for a
    text or label that is none, and for fewer than MIN_TEXTS distinct texts.
    """
    options = {
        _TEXT_OPTION: text_column,
        _PAIR_OPTION: text_pair_column,
        _LABEL_OPTION: label_column,
    }
    asked = {option: column for option, column in options.items() if column is not None}
    if file is None:
        if asked:
            raise CalibrationError(
                f"{' and '.join(asked)} is for a file of calibration texts, and none was given: "
                "give one, or leave the option out"
            )
        return _split(BUILTIN_TEXTS, None, "built-in", None)
    try:
        with file.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
            if stream.tell() == 0:
                raise CalibrationError(f"{file} is empty: give a file with some hundreds of texts")
            stream.seek(0)
            texts, labels = _distinct(file, _records(file, stream, asked), asked, label2id)
    except FileNotFoundError as error:
        raise CalibrationError(f"there is no file {file}") from error
    except IsADirectoryError as error:
        raise CalibrationError(f"{file} is a directory: give a file of texts") from error
    except OSError as error:
        raise CalibrationError(f"{file} cannot be read: {error.strerror or error}") from error
    if len(texts) < MIN_TEXTS:
        raise CalibrationError(
            f"{file} has {len(texts)} distinct texts, and calibration needs at least {MIN_TEXTS}: "
            "give some hundreds, like those that the model will see"
        )
    return _split(texts, labels, file.name, sha256)


def _split(
    texts: Sequence[TextInput], labels: Sequence[int] | None, source: str, sha256: str | None
) -> CalibrationTexts:
    """Shuffle distinct texts, and share them out."""
    kept = np.random.default_rng(0).permutation(len(texts))[:MAX_TEXTS].tolist()
    half = min(len(kept) // 2, _MAX_CALIBRATION)
    return CalibrationTexts(
        tuple(texts[position] for position in kept[:half]),
        tuple(texts[position] for position in kept[half:]),
        None if labels is None else tuple(labels[position] for position in kept[half:]),
        source,
        sha256,
    )


# From records to texts


def _distinct(
    file: Path,
    records: Iterable[_Record],
    asked: Mapping[str, str],
    label2id: Mapping[str, int],
) -> tuple[list[TextInput], list[int] | None]:
    """The distinct texts in the order of the file, and the first label of each."""
    texts: dict[TextInput, None] = {}
    labels: list[int] | None = []
    lookup = _LabelLookup(label2id)
    columns: _Columns | None = None
    for line, record in records:
        if columns is None:
            columns = _find_columns(file, list(record), asked)
        first = _text(file, line, record, columns.text)
        text: TextInput = first
        if columns.pair is not None:
            text = (first, _text(file, line, record, columns.pair))
        label = None
        if labels is not None and columns.label is not None:
            label = lookup.find(record.get(columns.label))
            if label is None and _LABEL_OPTION in asked:
                raise _label_error(file, line, record, columns.label, label2id)
        if label is None:
            labels = None
        elif labels is not None and text not in texts:
            labels.append(label)
        texts[text] = None
    return list(texts), labels


def _text(file: Path, line: int, record: Mapping[str, object], column: str) -> str:
    """The text in a column of a record; a CalibrationError if it is none."""
    if column not in record:
        raise CalibrationError(
            f"{file}, line {line}, has no {_shown(column)}: every line needs one"
        )
    text = record[column]
    if not isinstance(text, str):
        raise CalibrationError(
            f"{file}, line {line}: {_shown(column)} is {_shown(text)}, which is no text: "
            "give a string, or leave the line out"
        )
    if not text.strip():
        raise CalibrationError(
            f"{file}, line {line}: {_shown(column)} is empty: give a text, or leave the line out"
        )
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise CalibrationError(
            f"{file}, line {line}: {_shown(column)} is not valid Unicode, for a lone surrogate "
            f"stands at character {error.start}: write the character itself, or both halves of its "
            "escape"
        ) from error
    return text


class _LabelLookup:
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


def _label_error(
    file: Path,
    line: int,
    record: Mapping[str, object],
    column: str,
    label2id: Mapping[str, int],
) -> CalibrationError:
    labels = [f"{_shown(name)} ({label})" for name, label in label2id.items()]
    if column not in record:
        wrong = f"has no {_shown(column)}"
    else:
        wrong = f"has the label {_shown(record[column])}, which is none of the model's"
    return CalibrationError(
        f"{file}, line {line}, {wrong}: correct it, or leave {_LABEL_OPTION} out; "
        f"the model's labels and ids are {_listed(labels)}"
    )


# Which columns they are in


@dataclass(frozen=True, slots=True)
class _Columns:
    text: str
    pair: str | None
    label: str | None


def _find_columns(file: Path, columns: Sequence[str], asked: Mapping[str, str]) -> _Columns:
    """Which of a file's columns are wanted; a CalibrationError if that cannot be told."""
    listed = f"its columns are {_listed([_shown(column) for column in columns])}"
    headerless = "" if file.suffix.lower() == ".jsonl" else _HEADERLESS
    for option, column in asked.items():
        if column not in columns:
            raise CalibrationError(
                f"{file} has no column {_shown(column)}: {listed}; "
                f"give {option} one of them{headerless}"
            )
        if list(asked.values()).count(column) > 1:
            raise CalibrationError(
                f"the column {_shown(column)} of {file} is asked for twice: {listed}; "
                f"give {option} another one"
            )
    pair, label = asked.get(_PAIR_OPTION), asked.get(_LABEL_OPTION)
    if label is None and _LABEL_COLUMN in columns and _LABEL_COLUMN not in asked.values():
        label = _LABEL_COLUMN
    if _TEXT_OPTION in asked:
        return _Columns(asked[_TEXT_OPTION], pair, label)
    free = [column for column in columns if column not in (pair, label)]
    found = [_Columns(*both, label) for both in _PAIR_COLUMNS if not pair and {*both} <= {*free}]
    paired = {column for columns in found for column in (columns.text, columns.pair)}
    named = [column for column in free if column in _TEXT_COLUMNS and column not in paired]
    if not found and not named and len(free) == 1:
        named = free
    found += [_Columns(column, pair, label) for column in named]
    if len(found) != 1:
        several = "more than one column" if found else "no column"
        raise CalibrationError(
            f"{file} has {several} that looks like the texts: {listed}; "
            f"name the right one with {_TEXT_OPTION}{headerless}"
        )
    return found[0]


def _listed(names: Sequence[str]) -> str:
    """The first names, as part of a sentence."""
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return (", ".join(names[:20]) or "none") + more


# From files to records


def _records(file: Path, stream: BinaryIO, asked: Mapping[str, str]) -> Iterator[_Record]:
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


def _txt_records(lines: Iterable[str]) -> Iterator[_Record]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield number, {"text": line.rstrip("\r\n")}


def _jsonl_records(file: Path, lines: Iterable[str]) -> Iterator[_Record]:
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
                f"{file}, line {number}, is {_shown(value)}: "
                "a .jsonl file has one object or string on each line"
            )
        yield number, value


def _table_records(
    file: Path, lines: Iterable[str], asked: Mapping[str, str], delimiter: str
) -> Iterator[_Record]:
    numbers = [column for column in asked.values() if column.isascii() and column.isdecimal()]
    if numbers and len(numbers) < len(asked):
        raise CalibrationError(
            f"{' and '.join(asked)} are {' and '.join(map(_shown, asked.values()))}: give names "
            f"from the header line of {file} for all of them, or numbers for all if it has none"
        )
    columns: list[str] | None = None
    for line, row in _rows(file, lines, delimiter):
        if columns is None:
            columns = [str(number) for number, _ in enumerate(row, start=1)] if numbers else row
            repeated = [name for name, count in Counter(columns).items() if name and count > 1]
            if repeated:
                raise CalibrationError(
                    f"{file} has two columns {_shown(repeated[0])}: rename one in the header line; "
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
