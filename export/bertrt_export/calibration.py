"""Texts to set the scales of a quantized model with, and others to measure its fidelity on."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from bertrt.tokenizer import TextInput

from bertrt_export.builtin_texts import BUILTIN_TEXTS
from bertrt_export.errors import CalibrationError
from bertrt_export.text_files import (
    LABEL_OPTION,
    PAIR_OPTION,
    TEXT_OPTION,
    Columns,
    LabelLookup,
    Record,
    find_columns,
    label_error,
    read_records,
)

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
        TEXT_OPTION: text_column,
        PAIR_OPTION: text_pair_column,
        LABEL_OPTION: label_column,
    }
    asked = {option: column for option, column in options.items() if column is not None}
    if file is None:
        if asked:
            raise CalibrationError(
                f"{' and '.join(asked)} is for a file of calibration texts, and none was given: "
                "give one, or leave the option out"
            )
        return _split(BUILTIN_TEXTS, None, "built-in", None)
    with read_records(file, asked) as (sha256, records):
        texts, labels = _distinct(file, records, asked, label2id)
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


def _distinct(
    file: Path,
    records: Iterable[Record],
    asked: Mapping[str, str],
    label2id: Mapping[str, int],
) -> tuple[list[TextInput], list[int] | None]:
    """The distinct texts in the order of the file, and the first label of each."""
    texts: dict[TextInput, None] = {}
    labels: list[int] | None = []
    lookup = LabelLookup(label2id)
    columns: Columns | None = None
    for line, record in records:
        if columns is None:
            columns = find_columns(file, list(record), asked)
        text = columns.text_of(file, line, record)
        label = None
        if labels is not None and columns.label is not None:
            label = lookup.find(record.get(columns.label))
            if label is None and LABEL_OPTION in asked:
                raise label_error(file, line, record, columns.label, label2id)
        if label is None:
            labels = None
        elif labels is not None and text not in texts:
            labels.append(label)
        texts[text] = None
    return list(texts), labels
