"""Bulk jobs: what goes in comes out, with labels; nothing is lost, repeated or half-written."""

import csv
import gzip
import io
import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bertrt import Classifier, Dialect, InputError, JobReport, classify_files
from bertrt.jobs import job as job_module
from bertrt.jobs import scoring, workplace
from bertrt.jobs.chunks import Position
from bertrt.jobs.scoring import TextScorer
from bertrt.jobs.source import open_source
from bertrt.jobs.state import JobState
from bertrt.zero_shot import ZeroShotClassifier

from tests.helpers import full_disk

AWKWARD = [
    "plain",
    "",
    " ",
    'he said "no", and left',
    '"',
    "a line\nand another",
    "old\rMac",
    "dos\r\nlines\r\n",
    "tab\tand\ttab",
    "\\ back\\slash \\n \\t",
    "emoji 😀 👩‍👩‍👧 é",
    "שלום עולם \u202eright to left\u202c",
    "NUL \x00 and \x01 \x1f",
    "separators \u2028 \u2029 \x85 \x0b \x0c \x1c",
    "\ufeffa BOM",
    "'; DROP TABLE -- , ;",
    "word " * 20_000,
    "x" * 300_000,
    "a null: None, NA, null, NaN",
    "0012",
]
# What a line of a format without quotes cannot hold.
ON_ONE_LINE = [text for text in AWKWARD if not set(text) & set("\n\r\t")]

FORMATS = ["csv", "tsv", "jsonl", "parquet"]


@pytest.fixture(scope="module")
def classifier(tiny_artifact: Path) -> Classifier:
    return Classifier(tiny_artifact, "cpu", threads=2)


def run(
    classifier: Classifier,
    inputs: Path | Sequence[Path],
    output: Path,
    *,
    rows: int = 4096,
    **options: Any,
) -> JobReport:
    """A job of `rows` rows at a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "_CPU_ROWS", rows)
        return classify_files(classifier, inputs, output, **options)


# Files, written and read by other code than bertrt's


def write(file: Path, columns: dict[str, list[Any]]) -> Path:
    """A table of columns, in the format that the name says."""
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values())]  # noqa: B905
    if file.suffix == ".parquet":
        pq.write_table(pa.table(columns), file)
    elif file.suffix == ".jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif file.suffix == ".txt":
        (lines,) = columns.values()
        file.write_bytes("".join(f"{line}\n" for line in lines).encode())
    else:
        with file.open("w", encoding="utf-8", newline="") as stream:
            delimiter = "\t" if file.suffix == ".tsv" else ","
            # All of them quoted: Python leaves a lone \r bare.
            writer = csv.writer(stream, delimiter=delimiter, quoting=csv.QUOTE_ALL)
            writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))
    return file


def read(file: Path) -> list[dict[str, Any]]:
    """The rows of a table, in the format that the name says."""
    if file.suffix == ".parquet":
        rows: list[dict[str, Any]] = pq.read_table(file).to_pylist()
        return rows
    data = file.read_bytes()
    if file.suffix == ".gz":
        data, file = gzip.decompress(data), file.with_suffix("")
    if file.suffix == ".zst":
        data, file = pa.CompressedInputStream(io.BytesIO(data), "zstd").read(), file.with_suffix("")
    if file.suffix == ".jsonl":
        return [json.loads(line) for line in data.decode().split("\n")[:-1]]
    text = io.StringIO(data.decode(), newline="")
    return list(csv.DictReader(text, delimiter="\t" if file.suffix == ".tsv" else ","))


# Round trips


@pytest.mark.parametrize("output", [*FORMATS, "csv.gz", "jsonl.zst", "tsv.zst"])
@pytest.mark.parametrize("given", FORMATS)
def test_every_format_keeps_awkward_text(
    classifier: Classifier, tmp_path: Path, given: str, output: str
) -> None:
    texts = AWKWARD + AWKWARD[::-1]
    numbers = [str(number) for number in range(len(texts))]
    source = write(tmp_path / f"in.{given}", {"id": numbers, "text": texts, "other": texts[::-1]})
    report = run(classifier, source, tmp_path / f"out.{output}", rows=7)
    found = read(tmp_path / f"out.{output}")
    assert [row["id"] for row in found] == numbers
    assert [row["text"] for row in found] == texts
    assert [row["other"] for row in found] == texts[::-1]
    expected = classifier(texts)
    assert [row["label"] for row in found] == [best.label for best in expected]
    scores = np.array([float(row["score"]) for row in found])
    np.testing.assert_allclose(scores, [best.score for best in expected], atol=2e-6)
    assert report == JobReport(len(texts), len(texts), 0, len(AWKWARD), cut=1)
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("output", FORMATS)
def test_plain_text_becomes_a_table(classifier: Classifier, tmp_path: Path, output: str) -> None:
    source = write(tmp_path / "in.txt", {"text": ON_ONE_LINE[:-2]})
    run(classifier, source, tmp_path / f"out.{output}")
    found = read(tmp_path / f"out.{output}")
    # A BOM at the start of a file is none of the text; this one is within.
    assert [row["text"] for row in found] == ON_ONE_LINE[:-2]


@pytest.mark.parametrize("given", ["csv", "tsv"])
def test_without_quotes_a_quote_is_a_character(
    classifier: Classifier, tmp_path: Path, given: str
) -> None:
    delimiter = "," if given == "csv" else "\t"
    texts = ['"', '"open', 'say "no"', "'", 'close"', "😀"]
    lines = [f"{number}{delimiter}{text}\n" for number, text in enumerate(texts)]
    (tmp_path / f"in.{given}").write_text("".join(lines), encoding="utf-8")
    dialect = Dialect(quotes=False, header=False)
    output = tmp_path / f"out.{given}"
    run(classifier, tmp_path / f"in.{given}", output, dialect=dialect, text_column="2")
    rows = [line.split(delimiter) for line in output.read_text(encoding="utf-8").splitlines()]
    assert [row[1] for row in rows] == texts
    assert [row[2] for row in rows] == [best.label for best in classifier(texts)]


def test_json_stays_as_it_was_written(classifier: Classifier, tmp_path: Path) -> None:
    lines = [
        '{"text":"a","n":1.10,"big":123456789012345678901234567890,"e":1E5}',
        '  { "text" : "caf\\u00e9" , "nested" : {"a":[1, {"b":null}]} }  ',
        '"a string by itself"',
    ]
    (tmp_path / "in.jsonl").write_text("\n\n".join(lines), encoding="utf-8")
    run(classifier, tmp_path / "in.jsonl", tmp_path / "out.jsonl")
    written = (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()
    assert written[0].startswith(lines[0][:-1] + ', "label": "')
    assert written[1].startswith(lines[1].strip()[:-1].rstrip() + ', "label": "')
    assert written[2].startswith('{"text": "a string by itself", "label": "')


def test_parquet_keeps_its_types(classifier: Classifier, tmp_path: Path) -> None:
    table = pa.table(
        {
            "text": pa.array(["a", "b", "a"]).dictionary_encode(),
            "when": pa.array([1, None, 3], pa.timestamp("ns", "UTC")),
            "price": pa.array(["1.10", "2", None]).cast(pa.decimal128(9, 2)),
            "raw": pa.array([b"\x00\xff", b"", None]),
            "nested": pa.array([{"a": [1]}, None, {"a": []}]),
            "number": pa.array([1, 2, 3], pa.uint8()),
        }
    ).replace_schema_metadata({"key": "value"})
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=2)
    run(classifier, tmp_path / "in.parquet", tmp_path / "out.parquet", rows=2)
    found = pq.read_table(tmp_path / "out.parquet")
    assert found.drop_columns(["label", "score"]).equals(table)
    assert found.schema.metadata[b"key"] == b"value"
    assert found.schema.field("score").type == pa.float32()


def test_what_is_missing_or_no_number_becomes_null(classifier: Classifier, tmp_path: Path) -> None:
    table = pa.table({"text": ["a", "b"], "x": [float("nan"), 1.5], "day": [None, None]})
    pq.write_table(table, tmp_path / "in.parquet")
    run(classifier, tmp_path / "in.parquet", tmp_path / "out.jsonl")
    first, second = read(tmp_path / "out.jsonl")
    assert (first["x"], second["x"], first["day"]) == (None, 1.5, None)


def test_several_files_are_one_input(classifier: Classifier, tmp_path: Path) -> None:
    files = [
        write(tmp_path / f"{number}.csv", {"text": [f"text {number} {i}" for i in range(5)]})
        for number in range(4)
    ]
    (tmp_path / "zipped.csv").write_bytes(gzip.compress(files[3].read_bytes()))  # by what it holds
    run(classifier, [*files[:3], tmp_path / "zipped.csv"], tmp_path / "out.jsonl", rows=3)
    assert [row["text"] for row in read(tmp_path / "out.jsonl")] == [
        f"text {number} {i}" for number in range(4) for i in range(5)
    ]


@pytest.mark.parametrize("output", FORMATS)
@pytest.mark.parametrize("given", FORMATS)
def test_no_rows_give_a_file_without_rows(
    classifier: Classifier, tmp_path: Path, given: str, output: str
) -> None:
    source = write(tmp_path / f"in.{given}", {"text": []})
    report = run(classifier, source, tmp_path / f"out.{output}")
    assert report == JobReport()
    assert read(tmp_path / f"out.{output}") == []
    columns = ["label", "score"] if given == "jsonl" else ["text", "label", "score"]
    if output == "parquet":
        assert pq.read_schema(tmp_path / "out.parquet").names == columns
    elif output != "jsonl":
        delimiter = "," if output == "csv" else "\t"
        assert (tmp_path / f"out.{output}").read_text() == delimiter.join(columns) + "\n"


def test_the_dialect_of_another_format_is_its_own(classifier: Classifier, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text('id;text\n1;"a;b"\n2;c,d\n')
    dialect = Dialect(delimiter=";")
    run(classifier, tmp_path / "in.csv", tmp_path / "same.csv", dialect=dialect)
    assert (tmp_path / "same.csv").read_text().startswith('id;text;label;score\n1;"a;b";')
    run(classifier, tmp_path / "in.csv", tmp_path / "out.tsv", dialect=dialect)
    assert [row["text"] for row in read(tmp_path / "out.tsv")] == ["a;b", "c,d"]
    (tmp_path / "in.tsv").write_text('text\n"a, b\n')
    run(classifier, tmp_path / "in.tsv", tmp_path / "out.csv", dialect=Dialect(quotes=False))
    assert [row["text"] for row in read(tmp_path / "out.csv")] == ['"a, b']


# What is added


def test_scores_logits_and_predictions(classifier: Classifier, tmp_path: Path) -> None:
    texts = ["great fun", "a waste of time"]
    source = write(tmp_path / "in.jsonl", {"text": texts})
    logits = classifier.logits(texts)
    run(classifier, source, tmp_path / "s.parquet", add="scores", top_k=2)
    rows = read(tmp_path / "s.parquet")
    for row, best in zip(rows, classifier(texts, top_k=2), strict=True):
        assert [entry["label"] for entry in row["predictions"]] == [p.label for p in best]
        for prediction in classifier(row["text"], top_k=None):
            assert row[f"score_{prediction.label}"] == pytest.approx(prediction.score, abs=1e-6)
    run(classifier, source, tmp_path / "l.csv", add="logits", prefix="p_")
    for row, values in zip(read(tmp_path / "l.csv"), logits, strict=True):
        assert list(row) == ["text", "p_label", "p_score", *(f"p_logit_{x}" for x in _LABELS)]
        found = [float(row[f"p_logit_{label}"]) for label in _LABELS]
        np.testing.assert_allclose(found, values, atol=1e-6)


_LABELS = ("negative", "neutral", "positive")


def test_pairs(classifier: Classifier, tmp_path: Path) -> None:
    # The first and the last would be one text if they were joined.
    pairs = [("a", "bc"), ("b", "c"), ("ab", "c")]
    firsts, seconds = ([pair[at] for pair in pairs] for at in (0, 1))
    source = write(tmp_path / "in.csv", {"q": firsts, "d": seconds})
    options: dict[str, Any] = {"text_column": "q", "text_pair_column": "d", "add": "logits"}
    run(classifier, source, tmp_path / "out.parquet", **options)
    rows = read(tmp_path / "out.parquet")
    found = [[row[f"logit_{label}"] for label in _LABELS] for row in rows]
    np.testing.assert_allclose(found, classifier.logits(pairs), atol=1e-5)


def test_zero_shot(tiny_problem: Callable[[str], tuple[Path, Path]], tmp_path: Path) -> None:
    classifier = Classifier(tiny_problem("nli")[1], "cpu")
    zero_shot = ZeroShotClassifier.from_classifier(classifier, ["sport", "politics"])
    texts = ["the vote is on tuesday", "a fine goal"]
    source = write(tmp_path / "in.jsonl", {"text": texts})
    classify_files(zero_shot, source, tmp_path / "out.jsonl", add="scores")
    for row, ranking in zip(read(tmp_path / "out.jsonl"), zero_shot(texts), strict=True):
        assert row["label"] == ranking[0].label
        for prediction in ranking:
            assert row[f"score_{prediction.label}"] == pytest.approx(prediction.score, abs=1e-6)


# Rows that cannot be classified


def test_bad_rows_go_to_the_errors(classifier: Classifier, tmp_path: Path) -> None:
    long = "word " * 600
    lines: list[bytes] = [
        b'{"text": "good"}',
        b'{"text": null}',
        b'{"text": 5}',
        b'{"other": "x"}',
        b"[1]",
        b"not json",
        b'{"text": "\xff"}',
        b'{"text": "\\ud800"}',
        json.dumps({"text": long}).encode(),
        b'{"text": "good"}',
    ]
    (tmp_path / "in.jsonl").write_bytes(b"\n".join(lines))
    errors = tmp_path / "errors.jsonl"
    report = run(
        classifier,
        tmp_path / "in.jsonl",
        tmp_path / "out.jsonl",
        truncate=False,
        errors=errors,
        rows=4,
    )
    assert report == JobReport(rows=10, written=2, faults=8, computed=1, cut=0)
    assert len(read(tmp_path / "out.jsonl")) == 2
    found = read(errors)
    assert [row["row"] for row in found] == [2, 3, 4, 5, 6, 7, 8, 9]
    assert all(row["file"] == str(tmp_path / "in.jsonl") for row in found)
    for row, reason in zip(
        found,
        [
            "has no text in column 'text': it is null",
            "has no text in column 'text': it is of type int",
            "has no column 'text'",
            "is neither a JSON object nor a string",
            "is not JSON (Expecting value)",
            "is not UTF-8 (invalid start byte at byte 10)",
            "surrogate",
            "has 602 tokens and the model takes 512",
        ],
        strict=True,
    ):
        assert reason in row["reason"]
    assert found[4]["record"] == "not json"
    assert found[5]["record"] == '{"text": "\\xff"}'
    assert found[7]["record"] == {"text": long}


def test_bad_rows_of_tables(classifier: Classifier, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(b'id,text\n1,a\n2\n3,"b\nb",c\n4,\xff\n\n5,e\n')
    errors = tmp_path / "errors.jsonl"
    run(classifier, tmp_path / "in.csv", tmp_path / "out.csv", errors=errors)
    assert [row["id"] for row in read(tmp_path / "out.csv")] == ["1", "5"]
    found = [(row["row"], row["line"], row["record"]) for row in read(errors)]
    assert found == [(2, 3, ["2"]), (3, 4, ["3", "b\nb", "c"]), (4, 6, ["4", "\\xff"])]
    pq.write_table(pa.table({"text": ["a", None], "when": [1, 2]}), tmp_path / "in.parquet")
    run(
        classifier,
        tmp_path / "in.parquet",
        tmp_path / "out.parquet",
        errors=errors,
        overwrite=True,
    )
    assert [(row["row"], row["record"]) for row in read(errors)] == [(2, {"text": None, "when": 2})]


def test_a_bad_row_ends_the_job_unless_errors_are_asked_for(
    classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_module, "_BETWEEN_CHECKPOINTS", 0)
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text('{"text": "a"}\n{"text": "b"}\n{"text": 1}\n{"text": "c"}\n')
    with pytest.raises(InputError, match=r"in\.jsonl, row 3, has no text in column 'text'.*--err"):
        run(classifier, source, output, rows=2)
    assert not output.exists()
    # What was done is kept, and with errors the job goes on.
    errors = tmp_path / "errors.jsonl"
    report = run(classifier, source, output, rows=2, resume=True, errors=errors)
    assert [row["text"] for row in read(output)] == ["a", "b", "c"]
    assert report == JobReport(rows=4, written=3, faults=1, computed=3, cut=0)
    assert [row["row"] for row in read(errors)] == [3]


def test_a_job_that_ends_in_its_first_chunk_leaves_nothing(
    classifier: Classifier, tmp_path: Path
) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"text": 1}\n')
    with pytest.raises(InputError, match="row 1"):
        run(classifier, source, tmp_path / "out.jsonl")
    assert [file.name for file in tmp_path.iterdir()] == ["in.jsonl"]


# Duplicates


def test_equal_texts_are_computed_once(
    classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    scores = TextScorer.scores

    def counted(self: TextScorer, texts: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
        asked.extend(texts)
        return scores(self, texts)

    monkeypatch.setattr(TextScorer, "scores", counted)
    texts = [f"text {number % 10}" for number in range(100)]
    source = write(tmp_path / "in.csv", {"text": texts})
    report = run(classifier, source, tmp_path / "out.csv", rows=7)
    assert sorted(asked) == sorted(set(texts))
    assert report.computed == 10
    assert [row["text"] for row in read(tmp_path / "out.csv")] == texts


# Kills


_KILLED = """
import os, signal, sys
import bertrt.jobs.job as job, bertrt.jobs.scoring as scoring, bertrt.jobs.workplace as workplace
from bertrt.cli import main
from bertrt.jobs.state import JobState
job._BETWEEN_CHECKPOINTS, scoring._CPU_ROWS = 0, 16
owner, name, calls, before = {point!r}
owner = {{"state": JobState, "sink": workplace._Appended, "place": workplace.Workplace,
          "path": workplace.Path}}[owner]
real, left = getattr(owner, name), calls
def killed(*arguments, **options):
    global left
    left -= 1
    if left == 0 and before:
        os.kill(os.getpid(), signal.SIGKILL)
    value = real(*arguments, **options)
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return value
setattr(owner, name, killed)
sys.exit(main(sys.argv[1:]))
"""

# (whose function, its name, the call at which the process is killed, before or after it)
_POINTS = [
    ("state", "commit", 1, False),  # nothing but what the job is has been kept
    ("sink", "append", 2, False),  # rows behind the last checkpoint
    ("sink", "sync", 2, False),  # the same, on the disk
    ("state", "add_answers", 2, False),  # answers that are not committed
    ("state", "commit", 2, True),  # rows on the disk, and the checkpoint is not
    ("place", "publish", 1, True),  # all is done, and nothing in place
    ("path", "replace", 1, False),  # the errors are in place, and the output is not
    ("place", "_remove", 1, True),  # both are in place
    ("path", "unlink", 3, False),  # the folder is half removed, and the state is still there
]


@pytest.mark.parametrize("output", ["out.csv", "out.jsonl.gz", "out.parquet"])
def test_a_job_that_was_killed_anywhere_gives_the_same_files(
    tiny_artifact: Path, tmp_path: Path, sst2_dev: list[tuple[str, int]], output: str
) -> None:
    random.seed(0)
    texts = random.choices([text for text, _ in sst2_dev[:100]], k=150)
    rows: list[Any] = [{"id": n, "text": text} for n, text in enumerate(texts)]
    rows[20] = rows[77] = rows[140] = {"id": -1, "text": None}
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def arguments(folder: Path) -> list[str]:
        folder.mkdir(exist_ok=True)
        files = ["--output", str(folder / output), "--errors", str(folder / "errors.jsonl")]
        return ["classify", str(tiny_artifact), "--input", str(source), *files, "--resume"]

    def start(code: str, words: list[str]) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-c", code, *words]
        return subprocess.run(command, capture_output=True, check=False)

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    never = _KILLED.format(point=("state", "commit", 10_000, True))
    assert start(never, arguments(whole)).returncode == 0
    for point in _POINTS:
        result = start(_KILLED.format(point=point), arguments(killed))
        assert result.returncode == -9, (point, result.stderr.decode())
        assert (killed / f"{output}.partial").is_dir()
    finished = start(never, arguments(killed))
    assert finished.returncode == 0, finished.stderr.decode()
    assert sorted(file.name for file in killed.iterdir()) == ["errors.jsonl", output]
    for name in (output, "errors.jsonl"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
    assert len(read(whole / output)) == 147
    assert len(read(whole / "errors.jsonl")) == 3


def test_chunks_after_a_resume_are_those_of_a_whole_run(tmp_path: Path) -> None:
    table = pa.table({"text": [f"text {number}" for number in range(10_000)]})
    for name, size in (("a", 700), ("b", 1500)):
        pq.write_table(table, tmp_path / f"{name}.parquet", row_group_size=size)
    write(tmp_path / "c.csv", {"text": ["x" * 100_000] * 300})
    for files, kind in (([tmp_path / "a.parquet", tmp_path / "b.parquet"], "parquet"),
                        ([tmp_path / "c.csv"], "csv")):  # fmt: skip
        names = [str(file) for file in files]
        source = open_source(names, kind, Dialect())
        whole = [
            (chunk.end, list(chunk.column("text"))) for chunk in source.chunks(Position(), 999)
        ]
        assert len(whole) > 3
        for at in (0, 1, len(whole) - 2):
            again = open_source(names, kind, Dialect())
            rest = [
                (chunk.end, list(chunk.column("text"))) for chunk in again.chunks(whole[at][0], 999)
            ]
            assert rest == whole[at + 1 :]


@pytest.mark.parametrize(
    ("first", "later", "message"),
    [
        ({"n": 1}, {"n": 1.5}, "'n' is no int64"),
        ({"v": [1, 2]}, {"v": [1.5]}, "'v' is no list"),
        ({"m": {"a": 1}}, {"m": {"a": 1, "b": 2}}, "'m' is no struct"),
        ({"n": "1"}, {"n": 1}, "'n' is no string"),
    ],
)
def test_parquet_never_changes_a_value_of_a_later_chunk(
    classifier: Classifier, tmp_path: Path, first: Any, later: Any, message: str
) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps({"text": "a", **row}) + "\n" for row in (first, later)))
    with pytest.raises(InputError, match=f"row 2: the value of column {message}"):
        run(classifier, source, tmp_path / "out.parquet", rows=1)


def test_parquet_takes_whole_numbers_as_floats_and_lacking_keys_as_null(
    classifier: Classifier, tmp_path: Path
) -> None:
    source = tmp_path / "in.jsonl"
    rows = [{"text": "a", "n": 1.5, "m": {"a": 1, "b": 2}}, {"text": "b", "n": 2, "m": {"a": 3}}]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run(classifier, source, tmp_path / "out.parquet", rows=1)
    found = read(tmp_path / "out.parquet")
    assert [(row["n"], row["m"]) for row in found] == [
        (1.5, {"a": 1, "b": 2}),
        (2.0, {"a": 3, "b": None}),
    ]


def test_values_of_parquet_as_text(classifier: Classifier, tmp_path: Path) -> None:
    table = pa.table(
        {
            "text": ["a"],
            "when": pa.array([1], pa.timestamp("ns")),
            "late": pa.array([400_000_000_000], pa.timestamp("s")),  # after the year 9999
            "day": pa.array([1], pa.date32()),
            "price": pa.array(["1.10"]).cast(pa.decimal128(9, 2)),
            "raw": pa.array([b"\x00\xff"]),
            "view": pa.array(["v"], pa.string_view()),
            "map": pa.array([[("k", float("nan"))]], pa.map_(pa.string(), pa.float64())),
            "yes": [True],
        }
    )
    pq.write_table(table, tmp_path / "in.parquet")
    run(classifier, tmp_path / "in.parquet", tmp_path / "out.csv")
    (row,) = read(tmp_path / "out.csv")
    assert row["when"] == "1970-01-01 00:00:00.000000001"
    assert row["late"].startswith("14645-")
    assert (row["day"], row["price"], row["raw"]) == ("1970-01-02", "1.10", "AP8=")
    assert (row["view"], row["map"], row["yes"]) == ("v", '[["k", null]]', "true")
    run(classifier, tmp_path / "in.parquet", tmp_path / "out.jsonl")
    (row,) = read(tmp_path / "out.jsonl")
    assert (row["map"], row["price"], row["yes"]) == ([["k", None]], "1.10", True)


def test_dates_and_times_within_other_values_are_text(
    classifier: Classifier, tmp_path: Path
) -> None:
    late, kind = 400_000_000_000_000, pa.timestamp("ms")  # after the year 9999
    table = pa.table(
        {
            "text": ["a", None],
            "list": pa.array([[1], None], pa.list_(pa.timestamp("ns", "UTC"))),
            "fixed": pa.array([[late], None], pa.list_(kind, 1)),
            "struct": pa.array(
                [{"at": [late], "n": 1}, None],
                pa.struct([("at", pa.large_list(kind)), ("n", pa.int8())]),
            ),
            "map": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.date32())),
            "repeated": pa.array([late, None], kind).dictionary_encode(),
        }
    )
    pq.write_table(table, tmp_path / "in.parquet")
    errors = tmp_path / "errors.jsonl"
    run(classifier, tmp_path / "in.parquet", tmp_path / "out.jsonl", errors=errors)
    (row,) = read(tmp_path / "out.jsonl")
    assert row["list"] == ["1970-01-01 00:00:00.000000001Z"]
    assert row["fixed"] == row["struct"]["at"] == [row["repeated"]]
    assert row["repeated"] == "14645-06-30 15:06:40.000"
    assert (row["struct"]["n"], row["map"]) == (1, [["k", "1970-01-02"]])
    assert [row["row"] for row in read(errors)] == [2]


def test_rows_of_any_type_can_be_left_out(classifier: Classifier, tmp_path: Path) -> None:
    texts = ["a", None, "b", "c", None]
    table = pa.table(
        {
            "text": pa.array(texts, pa.string_view()),
            "x": pa.array(range(5), pa.decimal256(9)),
            "t": pa.array([400_000_000_000] * 5, pa.timestamp("s")),
        }
    )
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=2)
    errors = tmp_path / "errors.jsonl"
    run(classifier, tmp_path / "in.parquet", tmp_path / "out.parquet", errors=errors)
    found = pq.read_table(tmp_path / "out.parquet")
    given = pq.read_table(tmp_path / "in.parquet")  # Parquet has no seconds
    kept = pa.concat_tables([given.slice(0, 1), given.slice(2, 2)])
    assert found.drop_columns(["label", "score"]).equals(kept)
    assert [row["row"] for row in read(errors)] == [2, 5]


def test_a_blank_line_is_an_empty_text_where_there_is_one_column(
    classifier: Classifier, tmp_path: Path
) -> None:
    (tmp_path / "in.csv").write_text("text\na\n\nb\n")
    run(classifier, tmp_path / "in.csv", tmp_path / "out.jsonl")
    assert [row["text"] for row in read(tmp_path / "out.jsonl")] == ["a", "", "b"]
    (tmp_path / "in.tsv").write_text("text\na\rb\n\n")
    dialect = Dialect(quotes=False)
    run(classifier, tmp_path / "in.tsv", tmp_path / "out2.jsonl", dialect=dialect)
    assert [row["text"] for row in read(tmp_path / "out2.jsonl")] == ["a\rb", ""]


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_compressed_files(classifier: Classifier, tmp_path: Path, suffix: str) -> None:
    source = write(tmp_path / "in.jsonl", {"text": ["a", "b", None]})
    compress = gzip.compress if suffix == "gz" else lambda data: pa.compress(
        data, codec="zstd", asbytes=True)  # fmt: skip
    data = source.read_bytes()
    (tmp_path / "packed").write_bytes(compress(data[:20]) + compress(data[20:]))
    output, errors = tmp_path / f"out.jsonl.{suffix}", tmp_path / f"errors.jsonl.{suffix}"
    run(classifier, tmp_path / "packed", output, errors=errors, input_format="jsonl", rows=1)
    assert [row["text"] for row in read(output)] == ["a", "b"]
    assert [row["row"] for row in read(errors)] == [3]
    if suffix == "zst":  # as pzstd writes them
        skipped = b"\x50\x2a\x4d\x18" + bytes([4, 0, 0, 0]) + b"size"
        (tmp_path / "packed").write_bytes(
            skipped + compress(data[:20]) + skipped + compress(data[20:])
        )
        run(
            classifier,
            tmp_path / "packed",
            output,
            errors=errors,
            input_format="jsonl",
            overwrite=True,
        )
        assert [row["text"] for row in read(output)] == ["a", "b"]
    # Files without rows are such files, and not nothing.
    (tmp_path / "none.jsonl").write_text("")
    run(classifier, tmp_path / "none.jsonl", output, errors=errors, overwrite=True)
    for file in (output, errors):
        assert read(file) == [] and file.stat().st_size > 0


# What is refused


def test_an_output_is_never_replaced_unasked(
    classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, output = write(tmp_path / "in.csv", {"text": ["a", "b"]}), tmp_path / "out.csv"
    output.write_text("mine")
    with pytest.raises(InputError, match="there already: replace it with --overwrite"):
        run(classifier, source, output)
    with pytest.raises(InputError, match="there already"):
        run(classifier, source, output, resume=True)
    assert output.read_text() == "mine"
    run(classifier, source, output, overwrite=True)
    assert len(read(output)) == 2

    # One that was stopped.
    monkeypatch.setattr(job_module, "_BETWEEN_CHECKPOINTS", 0)
    monkeypatch.setattr(job_module._Job, "complete", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(classifier, source, tmp_path / "new.csv")
    monkeypatch.undo()
    with pytest.raises(InputError, match="was stopped: go on with --resume, or begin anew"):
        run(classifier, source, tmp_path / "new.csv")
    source.write_text("text\nanother\n")
    with pytest.raises(
        InputError, match=r"had another input \(--input\): give it as then, or begin"
    ):
        run(classifier, source, tmp_path / "new.csv", resume=True)
    run(classifier, source, tmp_path / "new.csv", overwrite=True)
    assert [row["text"] for row in read(tmp_path / "new.csv")] == ["another"]


def stopped(classifier: Classifier, source: Path, output: Path, **options: Any) -> None:
    """A job that has done all rows but is stopped before it says so."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job_module, "_BETWEEN_CHECKPOINTS", 0)
        patch.setattr(job_module._Job, "complete", lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(classifier, source, output, **options)


def test_errors_are_never_replaced_unasked(classifier: Classifier, tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", {"text": ["a", None]})
    errors = tmp_path / "errors.jsonl"
    errors.write_text("mine")
    with pytest.raises(InputError, match=r"errors\.jsonl is there already"):
        run(classifier, source, tmp_path / "out.jsonl", errors=errors)
    assert errors.read_text() == "mine"
    errors.unlink()
    stopped(classifier, source, tmp_path / "out.jsonl", errors=errors)
    with pytest.raises(InputError, match="has left out rows: give --errors FILE too"):
        run(classifier, source, tmp_path / "out.jsonl", resume=True)
    with pytest.raises(InputError, match="another compression, none: name --errors accordingly"):
        run(classifier, source, tmp_path / "out.jsonl", resume=True, errors=tmp_path / "e.gz")
    run(classifier, source, tmp_path / "out.jsonl", resume=True, errors=tmp_path / "elsewhere")
    assert json.loads((tmp_path / "elsewhere").read_text())["row"] == 2


def unpublished(classifier: Classifier, source: Path, output: Path, **options: Any) -> None:
    """A job whose files cannot be put in place."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workplace, "_put_in_place", lambda file, target: 1 / 0)
        run(classifier, source, output, **options)


def test_a_job_that_was_not_put_in_place_goes_on_in_the_same_process(
    classifier: Classifier, tmp_path: Path
) -> None:
    source, output = write(tmp_path / "in.jsonl", {"text": ["a"]}), tmp_path / "out.jsonl"
    # The error is kept, as a notebook does, and all that it refers to.
    with pytest.raises(ZeroDivisionError) as kept:
        unpublished(classifier, source, output)
    run(classifier, source, output, resume=True)
    assert len(read(output)) == 1
    del kept


def test_errors_that_were_not_put_in_place_are_not_lost(
    classifier: Classifier, tmp_path: Path
) -> None:
    source, output = write(tmp_path / "in.jsonl", {"text": ["a", None]}), tmp_path / "out.jsonl"
    with pytest.raises(ZeroDivisionError):
        unpublished(classifier, source, output, errors=tmp_path / "there.jsonl")
    with pytest.raises(InputError, match="has left out rows: give --errors FILE too"):
        run(classifier, source, output, resume=True)
    run(classifier, source, output, resume=True, errors=tmp_path / "here.jsonl")
    assert [row["row"] for row in read(tmp_path / "here.jsonl")] == [2]


def test_what_is_no_regular_file_is_not_written_to(classifier: Classifier, tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", {"text": ["a"]})
    os.mkfifo(tmp_path / "pipe.jsonl")
    for output, errors in (("pipe.jsonl", None), ("out.jsonl", tmp_path / "pipe.jsonl")):
        with pytest.raises(InputError, match="is no regular file"):
            run(classifier, source, tmp_path / output, errors=errors, overwrite=True)
    assert (tmp_path / "pipe.jsonl").is_fifo()
    # What a process has as an end of a pipe, as /dev/stdout is.
    reading, writing = os.pipe()
    with (
        os.fdopen(reading),
        os.fdopen(writing, "w"),
        pytest.raises(InputError, match="a new name, or - as the output, for standard output"),
    ):
        run(classifier, source, Path(f"/proc/self/fd/{writing}"), output_format="jsonl")


@pytest.mark.parametrize("forbidden", ["rows", "errors"])
def test_folders_are_looked_at_before_the_work(
    classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forbidden: str
) -> None:
    source = write(tmp_path / "in.jsonl", {"text": ["a"]})
    for name in ("rows", "errors"):
        (tmp_path / name).mkdir()
    # Whoever runs the tests may be allowed everything.
    monkeypatch.setattr(os, "access", lambda folder, mode: folder != tmp_path / forbidden)
    with pytest.raises(InputError, match=f"no permission for {tmp_path / forbidden}"):
        run(
            classifier,
            source,
            tmp_path / "rows" / "out.jsonl",
            errors=tmp_path / "errors" / "errors.jsonl",
        )
    assert not list((tmp_path / "rows").iterdir())


def test_a_link_is_followed(classifier: Classifier, tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", {"text": ["a"]})
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "real.jsonl")
    run(classifier, source, tmp_path / "link.jsonl")
    assert (tmp_path / "link.jsonl").is_symlink()
    assert len(read(tmp_path / "real.jsonl")) == 1


def test_a_folder_that_is_no_jobs_stays(classifier: Classifier, tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", {"text": ["a"]})
    (tmp_path / "out.jsonl.partial").mkdir()
    (tmp_path / "out.jsonl.partial" / "mine").write_text("mine")
    for options in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(InputError, match="is there, and no job's: move it away"):
            run(classifier, source, tmp_path / "out.jsonl", **options)
    assert (tmp_path / "out.jsonl.partial" / "mine").read_text() == "mine"


def test_a_job_that_has_lost_its_rows_does_not_go_on(
    classifier: Classifier, tmp_path: Path
) -> None:
    source = write(tmp_path / "in.jsonl", {"text": ["a", "b"]})
    stopped(classifier, source, tmp_path / "out.jsonl")
    (tmp_path / "out.jsonl.partial" / "rows").write_text("")
    with pytest.raises(InputError, match="has lost what the job that was stopped had written"):
        run(classifier, source, tmp_path / "out.jsonl", resume=True)
    run(classifier, source, tmp_path / "out.jsonl", overwrite=True)
    assert len(read(tmp_path / "out.jsonl")) == 2


def test_pipes_are_read_once(classifier: Classifier, tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", {"text": ["a", "b"]})
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(InputError, match="no regular file, and those are read alone"):
        run(classifier, [source, tmp_path / "pipe.jsonl"], tmp_path / "out.jsonl")
    with pytest.raises(InputError, match="cannot be read again"):
        run(classifier, tmp_path / "pipe.jsonl", tmp_path / "out.jsonl", resume=True)
    writer = threading.Thread(
        target=(tmp_path / "pipe.jsonl").write_bytes, args=(source.read_bytes(),)
    )
    writer.start()
    run(classifier, tmp_path / "pipe.jsonl", tmp_path / "out.jsonl")
    writer.join()
    assert [row["text"] for row in read(tmp_path / "out.jsonl")] == ["a", "b"]


def test_two_processes_cannot_write_one_output(tmp_path: Path) -> None:
    state = JobState(tmp_path / "state")
    state.commit({"x": 1})
    with pytest.raises(InputError, match="another process is at work on this output"):
        JobState(tmp_path / "state")
    state.close()
    JobState(tmp_path / "state").close()
    (tmp_path / "state").write_bytes(b"no database at all" * 1000)
    with pytest.raises(InputError, match="cannot be read"):
        JobState(tmp_path / "state")


@pytest.mark.parametrize("depth", [100, 600])
def test_json_too_deep_for_parquet_is_refused(
    classifier: Classifier, tmp_path: Path, depth: int
) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text(f'{{"text": "a", "n": {"[" * depth}{"]" * depth}}}\n')
    with pytest.raises(InputError, match=r"cannot be written as Parquet \(.*write JSON Lines"):
        run(classifier, source, tmp_path / "out.parquet")
    run(classifier, source, tmp_path / "out.jsonl")
    assert len(read(tmp_path / "out.jsonl")) == 1


def test_a_disk_that_is_full_at_the_start_leaves_nothing(
    classifier: Classifier, tmp_path: Path
) -> None:
    source = write(tmp_path / "in.jsonl", {"text": ["a"]})
    with full_disk(0), pytest.raises(OSError, match=r"state\.sqlite cannot be written"):
        run(classifier, source, tmp_path / "out.jsonl")
    run(classifier, source, tmp_path / "out.jsonl")
    assert len(read(tmp_path / "out.jsonl")) == 1


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (b"", {}, "is empty"),
        (b"a,b\n1,2\n", {}, "name that of the texts with --text-column, one of a, b"),
        (b"a,b\n1,2\n", {"text_column": "c"}, "no column 'c': give --text-column one of a, b"),
        (b"a,b\n1,2\n", {"text_column": "2"}, "give --no-header"),
        (b"id;text\n1;a\n", {}, "one column, 'id;text', which looks like several: .* ';'"),
        (b"id\ttext\n1\ta\n", {}, "looks like several: give --input-format tsv, or --text-column"),
        (b"text,text\n1,2\n", {}, "two columns 'text'"),
        (b"text,label\n1,2\n", {}, "has a column 'label' already"),
        (b'text\n"open\nand never closed\n', {}, "line 2, cannot be read"),
        (b'text\n"a" b\n', {}, "--no-quotes"),
        (b"t\xe9xt,b\n1,2\n", {}, "the first line of .* is not UTF-8"),
        (b"text,b\n1,2\n", {"text_column": "text", "text_pair_column": "text"}, "asked for twice"),
        (gzip.compress(b"text\n" + b"a\n" * 9999, mtime=0)[:-20], {}, "cannot be read to its end"),
    ],
)  # fmt: skip
def test_tables_that_are_refused(
    classifier: Classifier, tmp_path: Path, content: bytes, options: dict[str, Any], message: str
) -> None:
    (tmp_path / "in.csv").write_bytes(content)
    with pytest.raises(InputError, match=message):
        run(classifier, tmp_path / "in.csv", tmp_path / "out.csv", **options)
    assert [file.name for file in tmp_path.iterdir()] == ["in.csv"]


def test_parquet_files_of_other_types_are_refused(classifier: Classifier, tmp_path: Path) -> None:
    first = tmp_path / "first.parquet"
    columns = {"id": pa.array([1], pa.int64()), "text": ["a"]}
    pq.write_table(pa.table(columns), first)
    required = pa.schema([pa.field("id", pa.int64(), nullable=False), ("text", pa.string())])
    for number, (other, kind) in enumerate(
        [
            (pa.table({**columns, "id": pa.array([1], pa.int32())}), "int32"),
            (pa.table(columns).cast(required), "int64 not null"),
        ]
    ):
        file = tmp_path / f"{number}.parquet"
        pq.write_table(other, file)
        with pytest.raises(InputError, match=f"'id' of type {kind}, and .*first.parquet of int64:"):
            run(classifier, [first, file], tmp_path / "out.jsonl")


def test_a_name_may_hold_a_delimiter(classifier: Classifier, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("id;text\n1;a\n")
    run(classifier, tmp_path / "in.csv", tmp_path / "out.csv", text_column="id;text")
    assert [row["id;text"] for row in read(tmp_path / "out.csv")] == ["1;a"]
    source = write(tmp_path / "in.parquet", {"id;text": ["1;a"]})
    run(classifier, source, tmp_path / "out.parquet")
    assert [row["id;text"] for row in read(tmp_path / "out.parquet")] == ["1;a"]


def test_files_that_are_refused(classifier: Classifier, tmp_path: Path) -> None:
    source = write(tmp_path / "in.csv", {"text": ["a"]})
    other = write(tmp_path / "other.csv", {"text": ["a"], "more": ["b"]})
    (tmp_path / "no.parquet").write_bytes(b"PAR1 and no more")
    numbers = tmp_path / "numbers.parquet"
    pq.write_table(pa.table({"text": [1]}), numbers)
    repeated, empty_struct = tmp_path / "repeated.parquet", tmp_path / "empty_struct.jsonl"
    columns = pa.schema([("text", pa.string()), ("text", pa.string())])
    pq.write_table(pa.table([["a"], ["b"]], schema=columns), repeated)
    empty_struct.write_text('{"text": "a", "m": {}}\n')
    for inputs, output, message in (
        (source, tmp_path / "out.xlsx", "not to be told by its name"),
        (source, tmp_path / "out.parquet.gz", "compressed within"),
        (source, tmp_path / "out.txt", "plain text has no columns"),
        (source, tmp_path / "no" / "out.csv", "is no folder"),
        (source, tmp_path, "not to be told by its name"),
        (source, source, "asked for twice"),
        (tmp_path / "none.csv", tmp_path / "out.csv", "cannot be read: No such file"),
        ([source, other], tmp_path / "out.csv", "has the columns text, more, and"),
        (tmp_path / "no.parquet", tmp_path / "out.csv", "cannot be read as Parquet"),
        (repeated, tmp_path / "out.csv", "has two columns 'text': rename one"),
        (empty_struct, tmp_path / "out.parquet", "cannot be written as Parquet"),
        (numbers, tmp_path / "out.csv", "row 1, has no text in column 'text': it is of type int"),
    ):
        with pytest.raises(InputError, match=message):
            run(classifier, inputs, output)
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize("option", ["input_format", "output_format"])
def test_a_format_that_is_none_is_refused(
    classifier: Classifier, tmp_path: Path, option: str
) -> None:
    source = write(tmp_path / "in.jsonl", {"text": ["a"]})
    options: dict[str, Any] = {option: "json"}
    with pytest.raises(ValueError, match="the format is 'json': choose one of csv, tsv, jsonl"):
        run(classifier, source, tmp_path / "out.jsonl", **options)


def test_rows_that_fit_no_table(classifier: Classifier, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"text": "a", "n": 1}\n{"text": "b", "m": 2}\n')
    run(classifier, source, tmp_path / "out.csv")  # of one chunk: both columns
    assert [(row["n"], row["m"]) for row in read(tmp_path / "out.csv")] == [("1", ""), ("", "2")]
    for output in ("later.csv", "later.parquet"):
        with pytest.raises(InputError, match=r"row 2, has a column 'm'.*write JSON Lines"):
            run(classifier, source, tmp_path / output, rows=1)
    source.write_text('{"text": "a", "n": 1}\n{"text": "b", "n": "x"}\n')
    with pytest.raises(InputError, match=r"row 2: the value of column 'n' is no int64"):
        run(classifier, source, tmp_path / "later.parquet", rows=1)
    source.write_text('{"text": "a", "label": 1}\n')
    with pytest.raises(InputError, match=r"row 1 has a column 'label' already.*prefix"):
        run(classifier, source, tmp_path / "later.jsonl")


def test_a_tsv_file_with_stray_quotes_is_warned_of(
    classifier: Classifier, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "in.tsv").write_text('text\tid\n"open\t1\nclose"\t2\n')
    run(classifier, tmp_path / "in.tsv", tmp_path / "out.tsv")
    assert "line 2: a quote begins here that ends in line 3" in caplog.text
    assert "--no-quotes" in caplog.text
