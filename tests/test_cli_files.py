"""`bertrt classify --input`: files from the command line, standard input and output."""

import csv
import fcntl
import io
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bertrt import Classifier
from bertrt.cli import main
from bertrt.jobs import job, scoring
from bertrt.jobs.chunks import Chunk
from bertrt.jobs.encoders import JsonlEncoder

from tests.helpers import run_bertrt

_TEXTS = ["great fun", "a waste of time", 'he said "no"', "great fun"]


@pytest.fixture(scope="module")
def model(tiny_artifact: Path) -> str:
    return str(tiny_artifact)


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    file = tmp_path / "reviews.csv"
    with file.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([["id", "review"], *enumerate(_TEXTS)])
    return file


def _labels(model: str) -> list[str]:
    return [best.label for best in Classifier(model, "cpu")(_TEXTS)]


def test_a_file_with_options(
    capsys: pytest.CaptureFixture[str], model: str, reviews: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.jsonl"
    files = ["--input", str(reviews), "--output", str(output)]
    options = ["--text-column", "review", "--add", "scores", "--prefix", "predicted_"]
    assert main(["classify", model, *files, *options]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("bertrt: 4 of 4 rows classified in ")
    assert captured.err.endswith("; repeated, so not computed again: 1\n")
    rows = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert [row["review"] for row in rows] == _TEXTS
    assert [row["predicted_label"] for row in rows] == _labels(model)
    assert list(rows[0]) == [
        *("id", "review", "predicted_label", "predicted_score"),
        *("predicted_score_negative", "predicted_score_neutral", "predicted_score_positive"),
    ]


def test_standard_input_and_output(model: str, reviews: Path) -> None:
    words = ["classify", model, "--input", "-", "--text-column", "review"]
    run = run_bertrt(*words, "--input-format", "csv", stdin=reviews.read_bytes())
    assert run.returncode == 0, run.stderr
    rows = list(csv.DictReader(io.StringIO(run.stdout.decode(), newline="")))
    assert [row["review"] for row in rows] == _TEXTS
    assert [row["label"] for row in rows] == _labels(model)
    lines = run_bertrt(
        "classify", model, "--input", "-", "--input-format", "text", stdin=b"great fun\n\n"
    )
    assert [json.loads(line)["text"] for line in lines.stdout.splitlines()] == ["great fun", ""]


def test_errors_and_resume(capsys: pytest.CaptureFixture[str], model: str, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "a"}\n{"text": 5}\n')
    output, errors = tmp_path / "out.jsonl", tmp_path / "errors.jsonl"
    words = ["classify", model, "--input", str(tmp_path / "in.jsonl"), "--output", str(output)]
    assert main(words) == 1
    assert "row 2, has no text in column 'text': it is of type int" in capsys.readouterr().err
    assert main([*words, "--errors", str(errors), "--resume"]) == 0
    assert f"left out: 1, see {errors}" in capsys.readouterr().err
    (line,) = errors.read_text().splitlines()
    assert json.loads(line) == {
        "file": str(tmp_path / "in.jsonl"),
        "row": 2,
        "reason": "has no text in column 'text': it is of type int",
        "record": {"text": 5},
    }


def test_a_text_that_is_too_long_is_an_error_where_nothing_is_cut(
    capsys: pytest.CaptureFixture[str], model: str, tmp_path: Path
) -> None:
    (tmp_path / "in.txt").write_text("short\n" + "word " * 600 + "\n")
    words = ["classify", model, "--input", str(tmp_path / "in.txt")]
    assert main([*words, "--no-truncate"]) == 1
    assert "row 2, has 602 tokens and the model takes 512" in capsys.readouterr().err
    assert main([*words, "--output", str(tmp_path / "out.csv")]) == 0
    assert "cut at the model's limit: 1" in capsys.readouterr().err


def test_zero_shot_of_a_file(
    capsys: pytest.CaptureFixture[str],
    tiny_problem: Callable[[str], tuple[Path, Path]],
    reviews: Path,
) -> None:
    nli = str(tiny_problem("nli")[1])
    words = ["--input", str(reviews), "--text-column", "review"]
    words += ["--candidate-labels", "sport,politics", "--top-k", "all"]
    assert main(["classify", nli, *words]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out, newline="")))
    assert {entry["label"] for entry in json.loads(rows[0]["predictions"])} == {"sport", "politics"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["text", "--output", "x.csv"], "--output is for files: give --input FILE too"),
        (["text", "--resume"], "--resume is for files"),
        (["--input", "a.csv", "--pairs"], "--text-pair-column instead"),
        (["--input", "a.csv", "b.jsonl"], "a.csv is csv and b.jsonl is jsonl"),
        (["--input", "a.xlsx"], "give --input-format csv, tsv, jsonl, parquet or text"),
        (["--input", "none.csv"], "none.csv cannot be read: No such file or directory"),
        (["--input", "none.csv", "--resume"], "standard output cannot be resumed"),
        (["--input", "-", "--input-format", "parquet"], "cannot be Parquet"),
        (["--input", "a.csv", "--delimiter", ";;"], "the delimiter is ';;'"),
        (["--input", "a.csv", "--candidate-labels", "a,b"], "one with a label `entailment`"),
        (["--input", "a.csv", "--candidate-labels", "a,b", "--add", "logits"], "--add logits does"),
    ],
)
def test_what_is_refused(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    model: str,
    words: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    if words != ["--input", "none.csv"]:
        (tmp_path / "none.csv").write_text("text\na\n")
    assert main(["classify", model, *words]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("bertrt: error: ")
    assert message in captured.err
    assert captured.out == ""


def test_texts_and_files_do_not_go_together(
    capsys: pytest.CaptureFixture[str], model: str, reviews: Path
) -> None:
    assert main(["classify", model, "a text", "--input", str(reviews)]) == 1
    assert "texts and --input are both given" in capsys.readouterr().err


def _on_a_terminal(command: list[str]) -> bytes:
    """What a command that succeeds writes to a terminal as standard error."""
    terminal, stderr = pty.openpty()
    fcntl.ioctl(stderr, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    with subprocess.Popen(command, stderr=stderr) as process:
        os.close(stderr)
        seen = b""
        try:
            while data := os.read(terminal, 4096):
                seen += data
        except OSError:  # how Linux says that the other end is closed
            os.close(terminal)
    assert process.returncode == 0, seen
    return seen


def test_progress_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, model: str, reviews: Path, tmp_path: Path
) -> None:
    words = ["classify", model, "--input", str(reviews), "--text-column", "review", "--output"]
    words.append(str(tmp_path / "out.csv"))
    command = [sys.executable, "-m", "bertrt", *words]
    seen = _on_a_terminal(command)
    assert b"100%" in seen and b"4 rows, " in seen and b"rows/s" in seen

    # Of a job that goes on, too.
    monkeypatch.setattr(job, "_BETWEEN_CHECKPOINTS", 0)
    monkeypatch.setattr(scoring, "_CPU_ROWS", 2)
    encode = JsonlEncoder.encode

    def once(encoder: JsonlEncoder, chunk: Chunk, *arguments: Any) -> bytes:
        assert chunk.end.row <= 2
        return encode(encoder, chunk, *arguments)

    monkeypatch.setattr(JsonlEncoder, "encode", once)
    with pytest.raises(AssertionError):
        main([*words[:-1], str(tmp_path / "out.jsonl")])
    seen = _on_a_terminal([*command[:-1], str(tmp_path / "out.jsonl"), "--resume"])
    assert b"2 rows, 0 rows/s" in seen  # those from before
    assert b"100%" in seen and b"4 rows, " in seen
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 4


def test_a_bad_row_ends_the_job_while_its_producer_goes_on(model: str) -> None:
    words = ["classify", model, "--input", "-", "--input-format", "jsonl"]
    command = [sys.executable, "-m", "bertrt", *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stderr is not None
        process.stdin.write(b'{"text": 1}\n' * 5000)
        process.stdin.flush()  # and stays open
        errors = process.stderr.read()
        assert process.wait() == 1
    assert errors.startswith(b"bertrt: error: -, row 1, has no text in column 'text'")
    assert b"Fatal" not in errors


@pytest.mark.parametrize("output", ["out.parquet", "out.csv.zst"])
def test_what_needs_pyarrow_says_so(model: str, reviews: Path, tmp_path: Path, output: str) -> None:
    code = (
        "import sys; sys.modules['pyarrow'] = None; from bertrt.cli import main; sys.exit(main())"
    )
    words = ["classify", model, "--input", str(reviews), "--text-column", "review", "--output"]
    run = subprocess.run(
        [sys.executable, "-c", code, *words, str(tmp_path / output)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert "pyarrow: install it with `pip install 'bertrt[cpu,jobs]'`" in run.stderr
    assert run.stderr.count("\n") == 1
