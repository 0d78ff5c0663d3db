"""Reading calibration texts: what is read, how it is halved, and every way in which it can fail."""

import csv
import hashlib
import io
import json
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from bertrt.tokenizer import TextInput
from bertrt_export.builtin_texts import BUILTIN_TEXTS
from bertrt_export.calibration import MAX_TEXTS, MIN_TEXTS, CalibrationTexts, read_calibration
from bertrt_export.errors import CalibrationError, ExportError
from bertrt_export.golden import GOLDEN_TEXTS
from hypothesis import given, settings
from hypothesis import strategies as st

_LABEL2ID = {"negative": 0, "neutral": 1, "positive": 2}
_NAMES = tuple(_LABEL2ID)
_TEXTS = [f"text number {n}, as good as any" for n in range(40)]

_Rows = list[list[Any]]
WriteFile = Callable[[str, str | bytes], Path]
Table = Callable[[_Rows], str]


@pytest.fixture
def write(tmp_path: Path) -> WriteFile:
    """Writes a file of the given name and content."""

    def write(name: str, content: str | bytes) -> Path:
        file = tmp_path / name
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    return write


def _read(file: Path | None, **columns: str) -> CalibrationTexts:
    return read_calibration(file, label2id=_LABEL2ID, **columns)


def _all(texts: CalibrationTexts) -> set[TextInput]:
    return {*texts.calibration, *texts.verification}


def _labels(texts: CalibrationTexts) -> dict[TextInput, int]:
    assert texts.labels is not None
    return dict(zip(texts.verification, texts.labels, strict=True))


def _message(file: Path | None, **columns: str) -> str:
    """What the error says that reading this file raises."""
    with pytest.raises(CalibrationError) as raised:
        _read(file, **columns)
    message = str(raised.value)
    assert "\n" not in message
    if file is not None:
        assert str(file) in message
    return message


def _jsonl(records: Sequence[Any]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def _csv(rows: _Rows) -> str:
    written = io.StringIO()
    csv.writer(written).writerows(rows)
    return written.getvalue()


def _tsv(rows: _Rows) -> str:
    return "".join("\t".join(map(str, row)) + "\n" for row in rows)


_TABLES = [pytest.param(".csv", _csv, id="csv"), pytest.param(".tsv", _tsv, id="tsv")]


# Formats


def test_text_file_has_one_text_a_line(write: WriteFile) -> None:
    lines = ["", *_TEXTS[:20], "  ", "\t", *_TEXTS[20:], ' " quoted, is text" ', ""]
    texts = _read(write("mine.txt", "\n".join(lines)))
    assert _all(texts) == {*_TEXTS, ' " quoted, is text" '}
    assert texts.labels is None


def test_json_objects(write: WriteFile) -> None:
    records = [{"id": n, "text": text} for n, text in enumerate(_TEXTS)]
    content = _jsonl(records).replace("\n", "\n\n", 3)
    assert _all(_read(write("mine.jsonl", content))) == set(_TEXTS)


def test_json_strings_are_texts(write: WriteFile) -> None:
    assert _all(_read(write("mine.jsonl", _jsonl(_TEXTS)))) == set(_TEXTS)


def test_json_strings_stand_for_objects_with_a_text(write: WriteFile) -> None:
    records = [*_TEXTS[:20], *({"text": text} for text in _TEXTS[20:])]
    file = write("mine.jsonl", _jsonl(records))
    assert _all(_read(file)) == _all(_read(file, text_column="text")) == set(_TEXTS)
    message = _message(file, text_column="body")
    assert "'body'" in message and "'text'" in message


def test_csv_quotes_as_in_rfc_4180(write: WriteFile) -> None:
    odd = ['a, b; "c"', "two\nlines", "two\r\nlines", " spaces ", "a tab\there", 'in"side']
    content = _csv([["id", "text"], *([n, text] for n, text in enumerate([*_TEXTS, *odd]))])
    assert _all(_read(write("mine.csv", content))) == {*_TEXTS, *odd}


def test_tsv_has_no_quoting(write: WriteFile) -> None:
    odd = ['"an opening quote', '"quoted"', 'a ""doubled"" one', "a, comma", "\\t is no tab"]
    content = _tsv([["id", "text"], *([n, text] for n, text in enumerate([*_TEXTS, *odd]))])
    assert _all(_read(write("mine.tsv", content))) == {*_TEXTS, *odd}


@pytest.mark.parametrize(("suffix", "table"), _TABLES)
def test_blank_lines_of_a_table_are_skipped(write: WriteFile, suffix: str, table: Table) -> None:
    content = table([["text", "id"], *([text, n] for n, text in enumerate(_TEXTS))])
    spaced = "\n" + content.replace("\n", "\n\n", 5) + "\n\n"
    assert _all(_read(write(f"mine{suffix}", spaced))) == set(_TEXTS)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("mine.txt", "\n".join(_TEXTS)),
        ("mine.jsonl", _jsonl(_TEXTS)),
        ("mine.csv", _csv([["text"], *([text] for text in _TEXTS)])),
        ("mine.tsv", _tsv([["text"], *([text] for text in _TEXTS)])),
    ],
)
def test_byte_order_mark_and_windows_line_ends(write: WriteFile, name: str, content: str) -> None:
    content = content.replace("\r\n", "\n").replace("\n", "\r\n")
    file = write(name, b"\xef\xbb\xbf" + content.encode())
    assert _all(_read(file)) == set(_TEXTS)


def test_suffix_in_capitals(write: WriteFile) -> None:
    assert _all(_read(write("MINE.TXT", "\n".join(_TEXTS)))) == set(_TEXTS)


def test_source_and_hash_are_those_of_the_file(write: WriteFile) -> None:
    content = "\n".join(_TEXTS).encode()
    texts = _read(write("mine.txt", content))
    assert texts.source == "mine.txt"
    assert texts.sha256 == hashlib.sha256(content).hexdigest()


# Columns


@pytest.mark.parametrize("column", ["text", "sentence", "content", "review", "premise", "query"])
def test_text_column_is_found(write: WriteFile, column: str) -> None:
    rows: _Rows = [["id", column, "stars"], *([n, text, 5] for n, text in enumerate(_TEXTS))]
    assert _all(_read(write("mine.csv", _csv(rows)))) == set(_TEXTS)
    records = [{"id": n, column: text} for n, text in enumerate(_TEXTS)]
    assert _all(_read(write("mine.jsonl", _jsonl(records)))) == set(_TEXTS)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("sentence1", "sentence2"),
        ("question1", "question2"),
        ("premise", "hypothesis"),
        ("question", "sentence"),
        ("query", "passage"),
    ],
)
def test_pair_columns_are_found(write: WriteFile, first: str, second: str) -> None:
    rows: _Rows = [
        ["id", second, first],
        *([n, f"reply {n}", text] for n, text in enumerate(_TEXTS)),
    ]
    expected = {(text, f"reply {n}") for n, text in enumerate(_TEXTS)}
    assert _all(_read(write("mine.tsv", _tsv(rows)))) == expected


def test_pair_is_not_sought_where_the_text_column_is_named(write: WriteFile) -> None:
    rows: _Rows = [["premise", "hypothesis"], *([text, f"reply {text}"] for text in _TEXTS)]
    file = write("mine.tsv", _tsv(rows))
    assert _all(_read(file, text_column="premise")) == set(_TEXTS)


def test_text_column_is_found_beside_a_named_pair_column(write: WriteFile) -> None:
    rows: _Rows = [["query", "passage", "reply"], *([t, "the same", f"re: {t}"] for t in _TEXTS)]
    file = write("mine.tsv", _tsv(rows))
    expected = {(text, f"re: {text}") for text in _TEXTS}
    assert _all(_read(file, text_pair_column="reply")) == expected


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        (["comment"], {}),
        (["comment", "label"], {}),
        (["comment", "mood"], {"label_column": "mood"}),
        (["comment", "mood"], {"text_pair_column": "mood"}),
    ],
)
def test_only_column_left_is_the_text(
    write: WriteFile, header: list[str], columns: dict[str, str]
) -> None:
    rows: _Rows = [header, *([text, "positive"][: len(header)] for text in _TEXTS)]
    texts = _read(write("mine.csv", _csv(rows)), **columns)
    pair = "text_pair_column" in columns
    assert _all(texts) == {(text, "positive") if pair else text for text in _TEXTS}


def test_named_columns(write: WriteFile) -> None:
    rows: _Rows = [
        ["text", "Body", "re:"],
        *([n, text, f"re {text}"] for n, text in enumerate(_TEXTS)),
    ]
    file = write("mine.csv", _csv(rows))
    assert _all(_read(file, text_column="Body")) == set(_TEXTS)
    expected = {(f"re {text}", text) for text in _TEXTS}
    assert _all(_read(file, text_column="re:", text_pair_column="Body")) == expected


@pytest.mark.parametrize(("suffix", "table"), _TABLES)
def test_numbers_are_for_a_file_without_a_header(
    write: WriteFile, suffix: str, table: Table
) -> None:
    rows: _Rows = [["x", text, "positive", f"re: {text}"] for text in _TEXTS]
    file = write(f"mine{suffix}", table(rows))
    assert _all(_read(file, text_column="2")) == set(_TEXTS)
    texts = _read(file, text_column="2", text_pair_column="4", label_column="3")
    assert _all(texts) == {(text, f"re: {text}") for text in _TEXTS}
    assert set(_labels(texts).values()) == {2}


def test_number_of_the_labels_alone_leaves_the_other_column(write: WriteFile) -> None:
    texts = _read(write("mine.tsv", _tsv([[t, 1] for t in _TEXTS])), label_column="2")
    assert _all(texts) == set(_TEXTS)
    assert set(_labels(texts).values()) == {1}


def test_number_in_json_is_a_key(write: WriteFile) -> None:
    records = [{"2": text, "text": "no"} for text in _TEXTS]
    assert _all(_read(write("mine.jsonl", _jsonl(records)), text_column="2")) == set(_TEXTS)


def test_columns_without_a_name_are_no_trouble(write: WriteFile) -> None:
    rows: _Rows = [["", "text", "", ""], *([n, text, "", ""] for n, text in enumerate(_TEXTS))]
    assert _all(_read(write("mine.csv", _csv(rows)))) == set(_TEXTS)


@pytest.mark.parametrize(
    "header",
    [["text", "review"], ["question", "sentence", "text"], ["question1", "question2", "text"]],
)
def test_several_columns_that_fit_are_no_guess(write: WriteFile, header: list[str]) -> None:
    file = write("mine.csv", _csv([header, *([t] * len(header) for t in _TEXTS)]))
    message = _message(file)
    assert "more than one column" in message and "--text-column" in message
    assert all(repr(column) in message for column in header)


def test_no_column_that_fits(write: WriteFile) -> None:
    message = _message(write("mine.csv", _csv([["a", "b"], *([t, t] for t in _TEXTS)])))
    assert "no column that looks like the texts" in message and "'a', 'b'" in message
    assert "--text-column" in message
    assert "number" in message and "no header line" in message


def test_no_key_that_fits(write: WriteFile) -> None:
    message = _message(write("mine.jsonl", _jsonl([{"a": t, "b": t} for t in _TEXTS])))
    assert "'a', 'b'" in message and "--text-column" in message
    assert "header" not in message


def test_object_without_keys(write: WriteFile) -> None:
    assert "its columns are none" in _message(write("mine.jsonl", "{}\n"))


@pytest.mark.parametrize(
    ("option", "columns"),
    [
        ("--text-column", {"text_column": "body"}),
        ("--text-pair-column", {"text_pair_column": "body"}),
        ("--label-column", {"label_column": "body"}),
    ],
)
def test_named_column_that_is_not_there(
    write: WriteFile, option: str, columns: dict[str, str]
) -> None:
    rows: _Rows = [["text", "mood"], *([t, "positive"] for t in _TEXTS)]
    for name, content in (("mine.csv", _csv(rows)), ("mine.tsv", _tsv(rows))):
        message = _message(write(name, content), **columns)
        assert "no column 'body'" in message and "'text', 'mood'" in message and option in message
        assert "number" in message and "no header line" in message
    message = _message(write("mine.jsonl", _jsonl([{"text": t} for t in _TEXTS])), **columns)
    assert "no column 'body'" in message and option in message and "header" not in message


@pytest.mark.parametrize("column", ["0", "3", "01"])
def test_number_that_no_column_has(write: WriteFile, column: str) -> None:
    message = _message(write("mine.csv", _csv([[t, 1] for t in _TEXTS])), text_column=column)
    assert f"no column '{column}'" in message and "'1', '2'" in message and "from 1" in message


def test_names_and_numbers_do_not_mix(write: WriteFile) -> None:
    file = write("mine.csv", _csv([["text", "label"], *([t, 1] for t in _TEXTS)]))
    message = _message(file, text_column="text", label_column="2")
    assert "--text-column and --label-column" in message and "'text' and '2'" in message
    assert "names" in message and "numbers for all" in message


def test_column_that_is_asked_for_twice(write: WriteFile) -> None:
    file = write("mine.csv", _csv([["text", "mood"], *([t, 1] for t in _TEXTS)]))
    message = _message(file, text_column="text", text_pair_column="text")
    assert "'text'" in message and "twice" in message and "another" in message


@pytest.mark.parametrize("columns", [{}, {"text_column": "a"}])
def test_columns_of_the_same_name(write: WriteFile, columns: dict[str, str]) -> None:
    file = write("mine.csv", _csv([["a", "b", "a"], *([t, t, t] for t in _TEXTS)]))
    message = _message(file, **columns)
    assert "two columns 'a'" in message and "rename" in message and "numbers" in message


def test_long_lists_of_columns_are_cut(write: WriteFile) -> None:
    header = [f"column {n} " + "x" * 200 for n in range(50)]
    message = _message(write("mine.csv", _csv([header, header])))
    assert "and 30 more" in message and len(message) < 2500


@pytest.mark.parametrize(
    ("option", "columns"),
    [
        ("--text-column", {"text_column": "text"}),
        ("--text-pair-column", {"text_pair_column": "2"}),
        ("--label-column", {"label_column": "label"}),
    ],
)
def test_text_file_has_no_columns(write: WriteFile, option: str, columns: dict[str, str]) -> None:
    message = _message(write("mine.txt", "\n".join(_TEXTS)), **columns)
    assert option in message and "leave" in message
    assert all(suffix in message for suffix in (".jsonl", ".csv", ".tsv"))


# Labels


def test_labels_are_those_of_the_verification_texts(write: WriteFile) -> None:
    rows: _Rows = [["text", "label"], *([t, _NAMES[n % 3]] for n, t in enumerate(_TEXTS))]
    labels = _labels(_read(write("mine.csv", _csv(rows))))
    assert labels == {text: n % 3 for n, text in enumerate(_TEXTS) if text in labels}
    assert len(labels) == 20


@pytest.mark.parametrize("value", ["neutral", "NEUTRAL", " Neutral ", "1", " 1", 1])
def test_label_is_a_name_or_an_id(write: WriteFile, value: str | int) -> None:
    records = [{"text": text, "mood": value} for text in _TEXTS]
    texts = _read(write("mine.jsonl", _jsonl(records)), label_column="mood")
    assert set(_labels(texts).values()) == {1}


def test_case_decides_where_it_must(write: WriteFile) -> None:
    label2id = {"US": 0, "us": 1, "Them": 2}

    def read(value: str) -> set[int]:
        file = write("mine.csv", _csv([["text", "label"], *([t, value] for t in _TEXTS)]))
        texts = read_calibration(file, label_column="label", label2id=label2id)
        return set(_labels(texts).values())

    assert read("US") == {0} and read("us") == {1} and read("them") == {2}
    with pytest.raises(CalibrationError, match="'Us'"):
        read("Us")


def test_names_that_are_truth_values(write: WriteFile) -> None:
    file = write("mine.jsonl", _jsonl([{"text": t, "label": True} for t in _TEXTS]))
    texts = read_calibration(file, label2id={"False": 0, "True": 1})
    assert set(_labels(texts).values()) == {1}


@pytest.mark.parametrize(("value", "label"), [("1", 0), (5, 4), ("0", None), (0, None)])
def test_names_that_are_numbers_are_not_mixed_with_ids(
    write: WriteFile, value: str | int, label: int | None
) -> None:
    stars = {str(n): n - 1 for n in range(1, 6)}
    file = write("mine.jsonl", _jsonl([{"text": t, "label": value} for t in _TEXTS]))
    texts = read_calibration(file, label2id=stars)
    assert texts.labels == (None if label is None else (label,) * 20)


@pytest.mark.parametrize(
    "value", ["bad", "", "3", "-1", "1.0", "²", 3, -1, 1.0, True, None, ["positive"], "x" * 999]
)
def test_value_that_is_no_label(write: WriteFile, value: object) -> None:
    records: list[dict[str, object]] = [{"text": text, "label": 1} for text in _TEXTS]
    records[7]["label"] = value
    file = write("mine.jsonl", _jsonl(records))
    message = _message(file, label_column="label")
    assert f"{file}, line 8, has the label" in message and len(message) < 400
    assert repr(value) in message or len(str(value)) > 99
    assert "'negative' (0), 'neutral' (1), 'positive' (2)" in message
    assert "--label-column" in message


def test_line_without_a_label(write: WriteFile) -> None:
    records: list[dict[str, object]] = [{"text": text, "label": 1} for text in _TEXTS]
    del records[3]["label"]
    message = _message(write("mine.jsonl", _jsonl(records)), label_column="label")
    assert "line 4, has no 'label'" in message and "'negative' (0)" in message


@pytest.mark.parametrize("position", [0, 39])
def test_column_named_label_with_other_values_is_left_alone(
    write: WriteFile, position: int
) -> None:
    rows: _Rows = [["text", "label"], *([t, "positive"] for t in _TEXTS)]
    rows[1 + position][1] = "Acme Records"
    texts = _read(write("mine.csv", _csv(rows)))
    assert texts.labels is None and _all(texts) == set(_TEXTS)


def test_bad_label_of_a_repeated_text_counts(write: WriteFile) -> None:
    rows: _Rows = [["text", "label"], *([t, "positive"] for t in _TEXTS), [_TEXTS[0], "good"]]
    assert _read(write("mine.csv", _csv(rows))).labels is None


def test_label_of_some_lines_alone_is_left_alone(write: WriteFile) -> None:
    records: list[dict[str, object]] = [{"text": text, "label": 1} for text in _TEXTS]
    del records[20]["label"]
    assert _read(write("mine.jsonl", _jsonl(records))).labels is None


def test_column_named_otherwise_is_no_label(write: WriteFile) -> None:
    rows: _Rows = [["text", "Label"], *([t, "positive"] for t in _TEXTS)]
    assert _read(write("mine.csv", _csv(rows))).labels is None


def test_column_named_label_may_be_a_text(write: WriteFile) -> None:
    rows: _Rows = [["label", "id"], *([t, "positive"] for t in _TEXTS)]
    texts = _read(write("mine.csv", _csv(rows)), text_column="label")
    assert _all(texts) == set(_TEXTS) and texts.labels is None
    rows[0] = ["text", "label"]
    texts = _read(write("mine.csv", _csv(rows)), text_pair_column="label")
    assert _all(texts) == {(text, "positive") for text in _TEXTS} and texts.labels is None


def test_named_label_column_goes_before_the_one_called_label(write: WriteFile) -> None:
    rows: _Rows = [["text", "label", "mood"], *([t, 0, "positive"] for t in _TEXTS)]
    texts = _read(write("mine.csv", _csv(rows)), label_column="mood")
    assert set(_labels(texts).values()) == {2}


# Texts that are none


@pytest.mark.parametrize("value", ["", " \u3000"])
@pytest.mark.parametrize(("suffix", "table"), [*_TABLES, pytest.param(".jsonl", None, id="jsonl")])
def test_empty_text(write: WriteFile, suffix: str, table: Table | None, value: str) -> None:
    rows: _Rows = [["id", "text"], *([n, t] for n, t in enumerate(_TEXTS))]
    rows[6][1] = value
    records = [{"id": n, "text": t} for n, t in rows]
    file = write(f"mine{suffix}", table(rows) if table else _jsonl(records))
    message = _message(file)
    assert f"{file}, line 7: 'text' is empty" in message and "leave the line out" in message


def test_empty_second_text_of_a_pair(write: WriteFile) -> None:
    rows: _Rows = [["premise", "hypothesis"], *([t, "so it is"] for t in _TEXTS)]
    rows[2][1] = ""
    assert "line 3: 'hypothesis' is empty" in _message(write("mine.csv", _csv(rows)))


@pytest.mark.parametrize("value", [None, 3, 1.5, True, ["a"], {"a": 1}])
def test_text_that_is_no_string(write: WriteFile, value: object) -> None:
    records: list[dict[str, object]] = [{"text": text} for text in _TEXTS]
    records[4]["text"] = value
    file = write("mine.jsonl", _jsonl(records))
    message = _message(file)
    assert f"{file}, line 5: 'text' is {value!r}" in message and "give a string" in message


def test_line_without_a_text(write: WriteFile) -> None:
    records: list[dict[str, object]] = [{"text": text} for text in _TEXTS]
    records[4] = {"txt": "a typing error"}
    message = _message(write("mine.jsonl", _jsonl(records)))
    assert "line 5, has no 'text'" in message and "every line needs one" in message


def test_lone_surrogate(write: WriteFile) -> None:
    file = write("mine.jsonl", _jsonl([*_TEXTS, "half of \ud83d"]))
    message = _message(file)
    assert f"{file}, line 41" in message and "lone surrogate" in message
    assert "character 8" in message and "escape" in message


def test_both_halves_of_a_surrogate_pair_are_a_character(write: WriteFile) -> None:
    texts = _read(write("mine.jsonl", _jsonl(_TEXTS) + '"\\ud83d\\ude00"\n'))
    assert _all(texts) == {*_TEXTS, "😀"}


@pytest.mark.parametrize("line", ["[", "{'text': 1}", '{"text": "a"} {}', "good", "1" * 5000])
def test_line_that_is_no_json(write: WriteFile, line: str) -> None:
    file = write("mine.jsonl", _jsonl(_TEXTS[:2]) + line + "\n")
    message = _message(file)
    assert f"{file}, line 3, is not JSON" in message and "on each line" in message


def test_json_that_is_nested_too_deeply(write: WriteFile) -> None:
    message = _message(write("mine.jsonl", "[" * 100_000))
    assert "line 1, is not JSON" in message


@pytest.mark.parametrize("line", ["3", "null", '["a", "b"]', "true"])
def test_json_that_is_no_object_and_no_string(write: WriteFile, line: str) -> None:
    file = write("mine.jsonl", line + "\n")
    assert f"{file}, line 1, is {json.loads(line)!r}: a .jsonl file has" in _message(file)


@pytest.mark.parametrize(("suffix", "table"), _TABLES)
@pytest.mark.parametrize("row", [["a text alone"], ["a", "text", "cut up"]])
def test_line_with_other_fields_than_the_first(
    write: WriteFile, suffix: str, table: Table, row: list[str]
) -> None:
    """A comma without quotes would cut the text short, and nobody would notice."""
    rows: _Rows = [["text", "id"], *([t, "1"] for t in _TEXTS)]
    file = write(f"mine{suffix}", table([*rows, row]))
    message = _message(file)
    assert f"{file}, line 42" in message and f"fields is {len(row)}, and 2 on" in message
    assert ("in quotes" if suffix == ".csv" else "no tab") in message


@pytest.mark.parametrize(
    "field", ['"never closed', '"closed" too early', "carriage\rreturn", "x" * 200_000]
)
def test_field_that_is_not_csv(write: WriteFile, field: str) -> None:
    rows = _csv([["id", "text"], *([n, "two\nlines"] for n, _ in enumerate(_TEXTS))])
    file = write("mine.csv", f"{rows}41,{field}\r\n" + "42,more\r\n" * 9)
    message = _message(file)
    assert f"{file}, line 82, cannot be read" in message
    assert "in quotes" in message and "double a quote" in message
    assert "universal-newline" not in message


def test_carriage_return_within_a_tsv_field(write: WriteFile) -> None:
    file = write("mine.tsv", _tsv([["text"], ["carriage\rreturn"]]))
    message = _message(file)
    assert f"{file}, line 2, cannot be read" in message and "no line break" in message


@pytest.mark.parametrize("name", ["mine.txt", "mine.jsonl", "mine.csv", "mine.tsv"])
def test_bytes_that_are_not_utf_8(write: WriteFile, name: str) -> None:
    head = "text\n" if name.endswith("sv") else '"text"\n'
    file = write(name, head.encode() + b'"one"\n' + '"L\'\xe9t\xe9"\n'.encode("latin-1"))
    message = _message(file)
    assert f"{file}, line 3, is not UTF-8" in message and "byte 3" in message
    assert "save it as UTF-8" in message and "iconv" in message


def test_utf_16(write: WriteFile) -> None:
    message = _message(write("mine.csv", "\n".join(["text", *_TEXTS]).encode("utf-16")))
    assert "line 1, is not UTF-8" in message


# The file


@pytest.mark.parametrize("name", ["reviews.xlsx", "reviews", "reviews.csv.gz", "reviews.json"])
def test_unknown_format(write: WriteFile, name: str) -> None:
    message = _message(write(name, "\n".join(_TEXTS)))
    assert all(suffix in message for suffix in (".txt", ".jsonl", ".csv", ".tsv"))


def test_missing_file(tmp_path: Path) -> None:
    assert _message(tmp_path / "nope.csv") == f"there is no file {tmp_path / 'nope.csv'}"


def test_directory(tmp_path: Path) -> None:
    assert "is a directory: give a file" in _message(tmp_path)


def test_path_through_a_file(write: WriteFile) -> None:
    file = write("mine.txt", "text") / "more.txt"
    assert "cannot be read: Not a directory" in _message(file)


@pytest.mark.parametrize("suffix", [".txt", ".jsonl", ".csv", ".tsv"])
def test_empty_file(write: WriteFile, suffix: str) -> None:
    message = _message(write(f"mine{suffix}", ""))
    assert "is empty" in message and "hundreds" in message


@pytest.mark.parametrize("suffix", [".txt", ".jsonl", ".csv", ".tsv"])
def test_file_of_blank_lines(write: WriteFile, suffix: str) -> None:
    assert "has 0 distinct texts" in _message(write(f"mine{suffix}", b"\xef\xbb\xbf\n\n"))


def test_header_alone(write: WriteFile) -> None:
    assert "has 0 distinct texts" in _message(write("mine.csv", "text,label\n"))


def test_too_few_texts(write: WriteFile) -> None:
    repeated = _TEXTS[: MIN_TEXTS - 1] * 3
    message = _message(write("mine.txt", "\n".join(repeated)))
    assert f"has {MIN_TEXTS - 1} distinct texts" in message
    assert f"at least {MIN_TEXTS}" in message and "hundreds" in message


def test_just_enough_texts(write: WriteFile) -> None:
    texts = _read(write("mine.txt", "\n".join(_TEXTS[:MIN_TEXTS])))
    assert len(texts.calibration) == len(texts.verification) == MIN_TEXTS // 2


def test_error_is_one_of_export(tmp_path: Path) -> None:
    with pytest.raises(ExportError):
        _read(tmp_path / "nope.txt")


# Halves


def test_repeated_texts_count_once_with_their_first_label(write: WriteFile) -> None:
    once = [[text, n % 3] for n, text in enumerate(_TEXTS)]
    again = [[text, (n + 1) % 3] for n, text in enumerate(_TEXTS)]
    alternating = [row for rows in zip(once, again, strict=True) for row in rows]
    texts = _read(write("mine.csv", _csv([["text", "label"], *alternating, *again])))
    assert len(texts.calibration) == len(texts.verification) == 20
    assert _all(texts) == set(_TEXTS)
    labels = _labels(texts)
    assert labels == {text: n % 3 for n, text in enumerate(_TEXTS) if text in labels}


def test_pairs_with_one_text_in_common_are_distinct(write: WriteFile) -> None:
    rows: _Rows = [["premise", "hypothesis"], *(["the same", t] for t in _TEXTS)]
    assert _all(_read(write("mine.csv", _csv(rows)))) == {("the same", text) for text in _TEXTS}


@pytest.mark.parametrize(
    ("count", "calibration", "verification"),
    [
        (33, 16, 17),
        (1024, 512, 512),
        (1025, 512, 513),
        (MAX_TEXTS, 512, MAX_TEXTS - 512),
        (MAX_TEXTS + 1, 512, MAX_TEXTS - 512),
        (10_000, 512, MAX_TEXTS - 512),
    ],
)
def test_sizes_of_the_halves(
    write: WriteFile, count: int, calibration: int, verification: int
) -> None:
    lines = [f"text {n}" for n in range(count)]
    texts = _read(write("mine.txt", "\n".join(lines)))
    assert (len(texts.calibration), len(texts.verification)) == (calibration, verification)
    assert len(_all(texts)) == calibration + verification
    assert _all(texts) <= set(lines)


def test_choice_is_spread_over_the_file(write: WriteFile) -> None:
    """Files are often sorted by label."""
    file = write("mine.txt", "\n".join(f"{n}" for n in range(10_000)))
    texts = _read(file)
    for half in (texts.calibration, texts.verification):
        early = sum(int(text) < 5_000 for text in half if isinstance(text, str))
        assert 0.4 < early / len(half) < 0.6


def test_same_file_gives_the_same_texts_in_the_same_order(write: WriteFile) -> None:
    rows: _Rows = [["text", "label"], *([f"text {n}", n % 3] for n in range(3000))]
    file = write("mine.csv", _csv(rows))
    assert _read(file) == _read(file)


def test_format_makes_no_difference(write: WriteFile) -> None:
    rows: _Rows = [["text"], *([text] for text in _TEXTS)]
    files = [
        write("mine.txt", "\n".join(_TEXTS)),
        write("mine.jsonl", _jsonl(_TEXTS)),
        write("mine.csv", _csv(rows)),
        write("mine.tsv", _tsv(rows)),
    ]
    read = [_read(file) for file in files]
    assert {texts.calibration for texts in read} == {read[0].calibration}
    assert {texts.verification for texts in read} == {read[0].verification}


def test_large_file_is_read_in_little_memory(write: WriteFile) -> None:
    """Each line costs its text and no more than some hundred bytes."""
    count = 50_000
    file = write("mine.csv", "id,text\n" + "".join(f"{n},text number {n}\n" for n in range(count)))
    tracemalloc.start()
    try:
        _read(file)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < count * 400


_UNICODE = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
_DISTINCT = st.lists(
    _UNICODE.filter(lambda text: bool(text.strip())), min_size=MIN_TEXTS, max_size=48, unique=True
)


def _check_whole(texts: CalibrationTexts, expected: Sequence[TextInput]) -> None:
    """Every text stands in one of the halves, and once."""
    assert len(texts.calibration) == len(expected) // 2
    assert len(texts.calibration) + len(texts.verification) == len(expected)
    assert _all(texts) == set(expected)
    assert not set(texts.calibration) & set(texts.verification)


@given(written=_DISTINCT, ascii_only=st.booleans(), objects=st.booleans())
@settings(max_examples=25)
def test_any_texts_come_back_from_json(
    tmp_path_factory: pytest.TempPathFactory, written: list[str], ascii_only: bool, objects: bool
) -> None:
    file = tmp_path_factory.getbasetemp() / "calibration_property.jsonl"
    lines = [
        json.dumps({"text": text} if objects else text, ensure_ascii=ascii_only) for text in written
    ]
    file.write_bytes("\n".join(lines).encode())
    _check_whole(_read(file), written)


@given(written=_DISTINCT, repeats=st.integers(1, 3))
@settings(max_examples=25)
def test_any_texts_come_back_from_csv_and_repeats_do_not_spread(
    tmp_path_factory: pytest.TempPathFactory, written: list[str], repeats: int
) -> None:
    file = tmp_path_factory.getbasetemp() / "calibration_property.csv"
    rows: _Rows = [[text, f"re: {text}"] for text in written] * repeats
    file.write_bytes(_csv([["premise", "hypothesis"], *rows]).encode())
    _check_whole(_read(file), [(text, f"re: {text}") for text in written])


# The built-in texts


def test_builtin_texts() -> None:
    texts = _read(None)
    assert texts.source == "built-in"
    assert texts.sha256 is None and texts.labels is None
    _check_whole(texts, BUILTIN_TEXTS)
    assert texts == _read(None)


def test_builtin_texts_are_many_and_share_nothing() -> None:
    parts = [part for text in BUILTIN_TEXTS for part in ([text] if isinstance(text, str) else text)]
    assert len(parts) == len(set(parts))
    assert all(part == part.strip() and part for part in parts)
    assert 180 <= len(BUILTIN_TEXTS) <= 240
    assert 15 <= len(parts) - len(BUILTIN_TEXTS) <= 30
    assert not set(BUILTIN_TEXTS) & set(GOLDEN_TEXTS)


def test_builtin_texts_vary_in_length_and_script() -> None:
    for half in (_read(None).calibration, _read(None).verification):
        texts = [text for text in half if isinstance(text, str)]
        words = [len(text.split()) for text in texts]
        assert min(words) == 1 and 60 <= max(words) <= 120
        assert len(texts) < len(half)
        for first, last in ("ая", "اي", "कह", "一龥", "ぁん", "가힣"):
            assert any(first <= letter <= last for text in texts for letter in text)


@pytest.mark.parametrize(
    ("option", "columns"),
    [
        ("--text-column", {"text_column": "text"}),
        ("--text-pair-column", {"text_pair_column": "2"}),
        ("--label-column", {"label_column": "label"}),
    ],
)
def test_builtin_texts_have_no_columns(option: str, columns: dict[str, str]) -> None:
    message = _message(None, **columns)
    assert option in message and "leave the option out" in message


def test_importing_it_imports_no_torch() -> None:
    """Wrong options and files are told at once, not after torch's seconds."""
    program = (
        "import sys; import bertrt_export.calibration; "
        "print({'torch', 'transformers', 'onnx', 'onnx_ir', 'rich'} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert ran.stdout.strip() == b"set()"
