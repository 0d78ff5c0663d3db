"""Texts that each have any number of labels, to tune the thresholds of a multi-label model with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from bertrt.tokenizer import TextInput

from bertrt_export.errors import CalibrationError
from bertrt_export.text_files import (
    PAIR_OPTION,
    TEXT_OPTION,
    Columns,
    LabelLookup,
    find_columns,
    listed,
    read_records,
    shown,
)

__all__ = ["MIN_LABELLED_TEXTS", "LabelledFile", "LabelledTexts", "read_labelled"]

# An F1 of fewer says little, and a threshold that maximizes it less.
MIN_LABELLED_TEXTS = 32

_LABELS = "labels"
_VALUES = {"0": False, "1": True}


@dataclass(frozen=True, slots=True)
class LabelledFile:
    """A file of texts with any number of labels each, and its columns: read_labelled."""

    path: Path
    text_column: str | None = None
    text_pair_column: str | None = None


@dataclass(frozen=True, slots=True)
class LabelledTexts:
    """Texts, and which labels each has.

    targets: bool [texts, labels], in the order of the model's labels.
    source: the file's name without its folder. sha256: of its bytes, in hexadecimal.
    """

    texts: tuple[TextInput, ...]
    targets: np.ndarray
    source: str
    sha256: str


def read_labelled(
    file: Path,
    *,
    text_column: str | None = None,
    text_pair_column: str | None = None,
    label2id: Mapping[str, int],
) -> LabelledTexts:
    """Read the texts of a .jsonl, .csv or .tsv file in UTF-8, and the labels of each.

    .jsonl: one object a line, with the list of its text's labels under "labels": names, or ids as
    `read_calibration` takes them; an empty list where it has none.
    .csv, .tsv: with a header line, and a column named as each of the model's labels (in any case),
    which holds 1 where the text has that label and 0 where not. Other columns are left alone.

    Texts and pairs are found as `read_calibration` finds them; every line counts, repeated or not.
    Raises CalibrationError for anything that cannot be read, and for fewer than MIN_LABELLED_TEXTS.
    """
    options = {TEXT_OPTION: text_column, PAIR_OPTION: text_pair_column}
    asked = {option: column for option, column in options.items() if column is not None}
    table = file.suffix.lower() in (".csv", ".tsv")
    if not table and file.suffix.lower() != ".jsonl":
        raise CalibrationError(
            f"{file} cannot hold several labels of a text: give a .jsonl file, with a list of them "
            f"under {shown(_LABELS)}, or a .csv or .tsv file with a column of 0 and 1 for each"
        )
    texts: list[TextInput] = []
    rows: list[list[bool]] = []
    lookup, columns, flags = LabelLookup(label2id), None, [""]
    with read_records(file, asked) as (sha256, records):
        for line, record in records:
            if columns is None:
                flags = _flag_columns(file, list(record), label2id) if table else [_LABELS]
                columns = _text_columns(file, list(record), asked, flags)
            texts.append(columns.text_of(file, line, record))
            rows.append(
                _flags(file, line, record, flags)
                if table
                else _listed_labels(file, line, record, lookup, label2id)
            )
    if len(texts) < MIN_LABELLED_TEXTS:
        raise CalibrationError(
            f"{file} has {len(texts)} texts, and tuning thresholds needs at least "
            f"{MIN_LABELLED_TEXTS}: give some hundreds, like those that the model will see"
        )
    return LabelledTexts(tuple(texts), np.array(rows, dtype=bool), file.name, sha256)


def _text_columns(
    file: Path, columns: Sequence[str], asked: Mapping[str, str], flags: Sequence[str]
) -> Columns:
    for option, column in asked.items():
        if column in flags:
            raise CalibrationError(
                f"{option} is {shown(column)}, and that column of {file} holds labels: "
                "give the one with the texts"
            )
    return find_columns(file, columns, asked, flags)


def _flag_columns(file: Path, columns: Sequence[str], label2id: Mapping[str, int]) -> list[str]:
    """The column of each label, in the order of the ids."""
    folded = {column.strip().casefold(): column for column in columns}
    names = sorted(label2id, key=lambda name: label2id[name])
    found = [name if name in columns else folded.get(name.strip().casefold()) for name in names]
    missing = [shown(name) for name, column in zip(names, found, strict=True) if column is None]
    if missing:
        raise CalibrationError(
            f"{file} has no column for the labels {listed(missing)}: its columns are "
            f"{listed([shown(column) for column in columns])}; add one for each of the model's "
            "labels, named in the header line, with 1 where a text has the label and 0 where not"
        )
    return [column for column in found if column is not None]


def _flags(file: Path, line: int, record: Mapping[str, object], flags: Sequence[str]) -> list[bool]:
    values = [_VALUES.get(str(record[column]).strip()) for column in flags]
    for column, value in zip(flags, values, strict=True):
        if value is None:
            raise CalibrationError(
                f"{file}, line {line}: {shown(column)} is {shown(record[column])}: "
                "write 1 where the text has the label and 0 where not"
            )
    return [bool(value) for value in values]


def _listed_labels(
    file: Path,
    line: int,
    record: Mapping[str, object],
    lookup: LabelLookup,
    label2id: Mapping[str, int],
) -> list[bool]:
    names = record.get(_LABELS)
    if not isinstance(names, list):
        wrong = f"is {shown(names)}" if _LABELS in record else "is missing"
        raise CalibrationError(
            f"{file}, line {line}: {shown(_LABELS)} {wrong}: "
            "give the list of the text's labels, [] where it has none"
        )
    row = [False] * len(label2id)
    for name in names:
        label = lookup.find(name)
        if label is None:
            known = [f"{shown(name)} ({label})" for name, label in label2id.items()]
            raise CalibrationError(
                f"{file}, line {line}, has the label {shown(name)}, which is none of the model's: "
                f"correct it; the model's labels and ids are {listed(known)}"
            )
        row[label] = True
    return row
