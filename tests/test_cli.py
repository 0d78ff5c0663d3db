"""The `bertrt` command: what it prints, where, and its exit codes."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from bertrt import Classifier, __version__
from bertrt.cli import main

from tests.helpers import edit_config, edit_manifest, pretend_cpu, run_bertrt

_LABELS = ["negative", "neutral", "positive"]
_TEXTS = ["good", "", "a waste of time , from the start to the very end", "café 好"]


@pytest.fixture(scope="module")
def model(tiny_artifact: Path) -> str:
    return str(tiny_artifact)


@pytest.fixture(scope="module")
def classifier(tiny_artifact: Path) -> Classifier:
    return Classifier(tiny_artifact, "cpu")


def _records(output: str) -> list[dict[str, Any]]:
    """The objects of JSON Lines."""
    assert output.endswith("\n")
    return [json.loads(line) for line in output[:-1].split("\n")]


def _printed(capsys: pytest.CaptureFixture[str], arguments: Sequence[str]) -> list[dict[str, Any]]:
    """What a command that succeeds prints."""
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return _records(captured.out)


def _failure(capsys: pytest.CaptureFixture[str], arguments: Sequence[str]) -> str:
    """The one line that a command prints which fails."""
    assert main(arguments) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    return _only_line(captured.err)


def _only_line(errors: str) -> str:
    assert errors.startswith("bertrt: error: ") and errors.endswith("\n")
    assert errors.count("\n") == 1
    return errors.removesuffix("\n")


def _usage_error(capsys: pytest.CaptureFixture[str], arguments: Sequence[str]) -> str:
    """What a command that is used wrongly prints."""
    with pytest.raises(SystemExit) as raised:
        main(arguments)
    assert raised.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


# classify, with texts as arguments


def test_classify_prints_a_json_object_a_text_in_order(
    capsys: pytest.CaptureFixture[str], model: str, classifier: Classifier
) -> None:
    records = _printed(capsys, ["classify", model, *_TEXTS])
    assert [list(record) for record in records] == [["text", "label", "score"]] * len(_TEXTS)
    assert [record["text"] for record in records] == _TEXTS
    for record, prediction in zip(records, classifier(_TEXTS), strict=True):
        assert record["label"] == prediction.label
        assert record["score"] == pytest.approx(prediction.score, abs=1e-5)


def test_texts_are_printed_as_they_are(capsys: pytest.CaptureFixture[str], model: str) -> None:
    assert main(["classify", model, "café 好"]) == 0
    assert '"text": "café 好"' in capsys.readouterr().out


@pytest.mark.parametrize(("top_k", "count"), [("1", 1), ("2", 2), ("100", 3), ("all", 3)])
def test_top_k_prints_a_list_of_predictions(
    capsys: pytest.CaptureFixture[str], model: str, classifier: Classifier, top_k: str, count: int
) -> None:
    (record,) = _printed(capsys, ["classify", model, "good", "--top-k", top_k])
    assert list(record) == ["text", "predictions"]
    expected = classifier("good", None)[:count]
    assert [p["label"] for p in record["predictions"]] == [p.label for p in expected]
    scores = [p.score for p in expected]
    assert [p["score"] for p in record["predictions"]] == pytest.approx(scores, abs=1e-5)


def test_pairs_are_split_at_the_tab(
    capsys: pytest.CaptureFixture[str], model: str, classifier: Classifier
) -> None:
    texts = ["a man sleeps\tsomebody is awake", "\tempty first", "two\ttabs\there"]
    records = _printed(capsys, ["classify", "--pairs", "--top-k", "all", model, *texts])
    assert [record["text"] for record in records] == texts
    pairs = [("a man sleeps", "somebody is awake"), ("", "empty first"), ("two", "tabs\there")]
    for record, ranked in zip(records, classifier(pairs, None), strict=True):
        scores = {p["label"]: p["score"] for p in record["predictions"]}
        assert scores == pytest.approx({p.label: p.score for p in ranked}, abs=1e-5)


def test_a_pair_without_a_tab_is_an_error(capsys: pytest.CaptureFixture[str], model: str) -> None:
    line = _failure(capsys, ["classify", model, "--pairs", "a\tb", "no tab here"])
    assert "text 1 has no tab" in line and "FIRST<TAB>SECOND" in line


def test_a_text_over_the_limit_is_cut_unless_told_otherwise(
    capsys: pytest.CaptureFixture[str], model: str
) -> None:
    text = "long " * 600
    (record,) = _printed(capsys, ["classify", model, text])
    assert record["label"] in _LABELS
    line = _failure(capsys, ["classify", model, "--no-truncate", "good", text])
    assert "text 1 has 602 tokens and the model takes 512" in line
    assert "truncate=True" not in line  # that is for Python; here the option is --no-truncate


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["MODEL", "good", "bad", "--top-k", "2"], id="after the texts"),
        pytest.param(["MODEL", "good", "--top-k", "2", "bad"], id="between the texts"),
        pytest.param(["MODEL", "--top-k", "2", "good", "bad"], id="after the model"),
        pytest.param(["--top-k", "2", "MODEL", "good", "bad"], id="first"),
        pytest.param(["MODEL", "--top-k=2", "--threads", "1", "good", "bad"], id="two options"),
    ],
)
def test_options_may_stand_anywhere(
    capsys: pytest.CaptureFixture[str], model: str, arguments: list[str]
) -> None:
    records = _printed(capsys, ["classify", *(model if a == "MODEL" else a for a in arguments)])
    assert [record["text"] for record in records] == ["good", "bad"]
    assert [len(record["predictions"]) for record in records] == [2, 2]


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["MODEL", "--", "-good"], id="after --"),
        pytest.param(["MODEL", "--top-k", "1", "--", "-good"], id="after an option and --"),
        pytest.param(["--top-k", "1", "MODEL", "--", "-good"], id="option first, after --"),
        pytest.param(["MODEL", "- good"], id="with a space"),
        pytest.param(["MODEL", "--top-k", "1", "- good"], id="with a space after an option"),
    ],
)
def test_a_text_may_begin_with_a_dash(
    capsys: pytest.CaptureFixture[str], model: str, arguments: list[str]
) -> None:
    (record,) = _printed(capsys, ["classify", *(model if a == "MODEL" else a for a in arguments)])
    assert record["text"] == arguments[-1]


def test_batch_size_and_threads_do_not_change_the_answer(
    capsys: pytest.CaptureFixture[str], model: str
) -> None:
    usual = _printed(capsys, ["classify", model, *_TEXTS])
    options = ["--max-batch-tokens", "4", "--threads", "1", "--device", "cpu"]
    other = _printed(capsys, ["classify", model, *options, *_TEXTS])
    for left, right in zip(usual, other, strict=True):
        assert left == {**right, "score": pytest.approx(right["score"], abs=1e-4)}


# Wrong usage


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param([], ["COMMAND"], id="no command"),
        pytest.param(["serv"], ["serv", "classify"], id="unknown command"),
        pytest.param(["classify"], ["MODEL"], id="no model"),
        pytest.param(["classify", "m", "good", "--nope"], ["--nope"], id="unknown option"),
        pytest.param(["classify", "m", "--top-k", "0"], ["--top-k", "'0'"], id="top-k 0"),
        pytest.param(["classify", "m", "--top-k", "x"], ["--top-k", "'x'"], id="top-k x"),
        pytest.param(["classify", "m", "--threads", "0"], ["--threads", "'0'"], id="threads 0"),
        pytest.param(
            ["classify", "m", "--max-batch-tokens", "0.5"],
            ["--max-batch-tokens", "'0.5'"],
            id="max-batch-tokens 0.5",
        ),
        pytest.param(["classify", "m", "--device", "tpu"], ["'tpu'", "cuda"], id="device"),
        pytest.param(["classify", "m", "--precision", "fp64"], ["'fp64'", "int8"], id="precision"),
        pytest.param(["info", "m", "text"], ["text"], id="a text for info"),
        pytest.param(["info", "m", "--top-k", "2"], ["--top-k"], id="top-k for info"),
    ],
)
def test_wrong_usage_exits_with_2_and_names_the_argument(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: list[str]
) -> None:
    errors = _usage_error(capsys, arguments)
    assert errors.startswith("usage: bertrt")
    assert all(word in errors.splitlines()[-1] for word in words)


# Failures


@pytest.mark.parametrize("command", ["classify", "info"])
def test_missing_model(capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str) -> None:
    missing = str(tmp_path / "nope")
    assert missing in _failure(capsys, [command, missing])


def test_folder_that_is_no_artifact(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "bertrt.json" in _failure(capsys, ["classify", str(tmp_path), "good"])


def test_text_that_is_no_valid_unicode(capsys: pytest.CaptureFixture[str], model: str) -> None:
    """As bytes that are not UTF-8 come in as arguments."""
    assert "text 1 is not valid Unicode" in _failure(capsys, ["classify", model, "a", "\udcff"])


def test_no_traceback_when_the_output_cannot_be_written(model: str) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs /dev/full")
    with full.open("wb") as stream:
        ran = run_bertrt("classify", model, "good", stdout=stream.fileno())
    assert ran.returncode == 1
    assert "No space left on device" in _only_line(ran.stderr.decode())


# info, --version


def test_info_says_what_the_model_is(capsys: pytest.CaptureFixture[str], model: str) -> None:
    assert main(["info", model, "--threads", "1", "--device", "cpu"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    facts = dict(line.split("  ", maxsplit=1) for line in captured.out.splitlines())
    facts = {name: value.strip() for name, value in facts.items()}
    assert facts["model"] == model
    assert facts["labels"] == "negative, neutral, positive"
    assert facts["scores"] == "softmax"
    assert facts["max length"] == "512 tokens"
    assert facts["precision"] == "fp32"
    assert facts["layout"] == "packed"
    assert facts["runs on"] == "CPUExecutionProvider"
    assert facts["threads"] == "1"
    assert "PyTorch" in facts["verified"]


def test_info_json_is_one_object_with_numbers_as_numbers(
    capsys: pytest.CaptureFixture[str], model: str
) -> None:
    assert main(["info", "--json", model, "--threads", "1"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["model"] == model
    assert facts["labels"] == _LABELS
    assert facts["precision"] == "fp32"
    assert facts["max_length"] == 512
    assert facts["threads"] == 1


def test_info_of_a_regression(
    capsys: pytest.CaptureFixture[str], copied_artifact: Callable[[], Path]
) -> None:
    folder = copied_artifact()
    edit_config(folder, {"problem_type": "regression"})
    assert main(["info", "--json", str(folder)]) == 0
    assert json.loads(capsys.readouterr().out)["scores"] == "raw values"


@pytest.mark.parametrize("name", ["verified", "source", "layout", "bertrt_version"])
def test_info_of_an_incomplete_manifest_is_an_error(
    capsys: pytest.CaptureFixture[str], copied_artifact: Callable[[], Path], name: str
) -> None:
    folder = copied_artifact()
    edit_manifest(folder, {}, remove=[name])
    line = _failure(capsys, ["info", str(folder)])
    assert "bertrt.json" in line and name in line


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["--version"])
    assert raised.value.code == 0
    assert capsys.readouterr().out == f"bertrt {__version__}\n"


# Precisions


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_classify_in_a_precision(
    capsys: pytest.CaptureFixture[str], tiny_int8_artifact: Path, precision: str
) -> None:
    options = ["--precision", precision, "--device", "cpu"]
    records = _printed(capsys, ["classify", str(tiny_int8_artifact), *options, *_TEXTS])
    scores = {
        name: [p.score for p in Classifier(tiny_int8_artifact, "cpu", precision=name)(_TEXTS)]
        for name in ("fp32", "int8")
    }
    printed = [record["score"] for record in records]
    assert printed == pytest.approx(scores[precision], abs=1e-5)
    assert scores["fp32"] != pytest.approx(scores["int8"], abs=1e-3)


@pytest.mark.parametrize(
    ("flag", "precision", "cpu"),
    [
        pytest.param("avx512_vnni", "int8", "VNNI", id="VNNI"),
        pytest.param("avx2", "fp32", "no VNNI: int8 runs exactly, but about as", id="no VNNI"),
    ],
)
def test_info_says_which_precision_would_run_and_what_the_cpu_offers(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    tiny_int8_artifact: Path,
    flag: str,
    precision: str,
    cpu: str,
) -> None:
    pretend_cpu(monkeypatch, tmp_path, "x86_64", f"flags\t: {flag}\n")
    # Where VNNI is only pretended, int8 saturates, and the check of its answers rightly fails.
    monkeypatch.setattr("bertrt.loading.check_golden", lambda *_: None)
    assert main(["info", "--json", str(tiny_int8_artifact)]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["precisions"] == ["fp32", "int8"]
    assert facts["precision"] == precision
    assert facts["cpu_int8"].startswith(cpu)
    files = ("config.json", "model.onnx", "model_int8.onnx", "tokenizer.json")
    assert facts["size"] > sum((tiny_int8_artifact / name).stat().st_size for name in files)


@pytest.mark.parametrize(
    ("precision", "verified"),
    [
        ("fp32", r"max \|Δlogit\| \S+ against PyTorch on \d+ texts \(limit 1e-04\)"),
        (
            "int8",
            r"same answer as PyTorch for \d+\.\d\d% of \d+ texts, mean \|Δlogit\| \d\.\d+, .*",
        ),
    ],
    ids=["fp32", "int8"],
)
def test_info_says_what_was_verified_of_the_precision_asked_for(
    capsys: pytest.CaptureFixture[str], tiny_int8_artifact: Path, precision: str, verified: str
) -> None:
    assert main(["info", str(tiny_int8_artifact), "--precision", precision]) == 0
    output = capsys.readouterr().out
    assert re.search(r"^precisions +fp32, int8$", output, re.MULTILINE)
    assert re.search(rf"^precision +{precision}$", output, re.MULTILINE)
    assert re.search(rf"^verified +{verified}$", output, re.MULTILINE)
    assert re.search(r"^cpu int8 +\S", output, re.MULTILINE)


@pytest.mark.parametrize("command", ["classify", "info"])
def test_a_precision_that_is_not_there_is_an_error(
    capsys: pytest.CaptureFixture[str], copied_int8_artifact: Callable[[], Path], command: str
) -> None:
    folder = copied_int8_artifact()
    edit_manifest(folder, {"graphs": {"fp32": "model.onnx"}})
    line = _failure(capsys, [command, str(folder), "--precision", "int8"])
    assert "holds no int8 graph, only fp32" in line and "--precision fp32,int8" in line


def test_int8_on_cuda_is_an_error(
    capsys: pytest.CaptureFixture[str], tiny_int8_artifact: Path
) -> None:
    options = ["--precision", "int8", "--device", "cuda"]
    line = _failure(capsys, ["classify", str(tiny_int8_artifact), "good", *options])
    assert "int8 runs on the CPU only" in line


def test_answers_unlike_the_exporters_are_an_error(
    capsys: pytest.CaptureFixture[str], copied_int8_artifact: Callable[[], Path]
) -> None:
    folder = copied_int8_artifact()
    logits = {"fp32": [9.0, 9.0, 9.0], "int8": [9.0, 9.0, 9.0]}
    edit_manifest(folder, {"golden": [{"text": "good", "logits": logits}]})
    for precision in ("fp32", "int8"):
        line = _failure(capsys, ["classify", str(folder), "good", "--precision", precision])
        assert f"on 1 golden texts in {precision}" in line


# Standard input, in a process of its own


@pytest.mark.parametrize(
    ("stdin", "texts"),
    [
        pytest.param("good\n\ncafé 好\n", ["good", "", "café 好"], id="lines"),
        pytest.param("good\nbad", ["good", "bad"], id="no newline at the end"),
        pytest.param("good\r\n\r\nbad\r\n", ["good", "", "bad"], id="CRLF"),
        pytest.param("a\u2028b\x0bc\x85d\n", ["a\u2028b\x0bc\x85d"], id="other line separators"),
    ],
)
def test_each_line_of_standard_input_is_a_text(model: str, stdin: str, texts: list[str]) -> None:
    ran = run_bertrt("classify", model, stdin=stdin.encode("utf-8"))
    assert (ran.returncode, ran.stderr) == (0, b"")
    records = _records(ran.stdout.decode("utf-8"))
    assert [record["text"] for record in records] == texts
    assert [list(record) for record in records] == [["text", "label", "score"]] * len(texts)


def test_standard_input_of_several_chunks_keeps_its_order(
    model: str, classifier: Classifier
) -> None:
    texts = [f"number {n} " + "word " * (n % 7) for n in range(2500)]
    ran = run_bertrt("classify", model, stdin="\n".join(texts).encode())
    assert (ran.returncode, ran.stderr) == (0, b"")
    records = _records(ran.stdout.decode())
    assert [record["text"] for record in records] == texts
    scores = [p.score for p in classifier(texts)]
    assert [record["score"] for record in records] == pytest.approx(scores, abs=1e-4)


def test_empty_standard_input_gives_no_output(model: str) -> None:
    ran = run_bertrt("classify", model, stdin=b"")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")


def test_pairs_from_standard_input(model: str) -> None:
    ran = run_bertrt("classify", model, "--pairs", "--top-k", "2", stdin=b"a\tb\r\nc\td\n")
    assert (ran.returncode, ran.stderr) == (0, b"")
    records = _records(ran.stdout.decode())
    assert [record["text"] for record in records] == ["a\tb", "c\td"]
    assert [len(record["predictions"]) for record in records] == [2, 2]


def test_standard_input_that_is_not_utf8_names_the_line(model: str) -> None:
    ran = run_bertrt("classify", model, stdin="good\nbad\ncaf\u00e9\n".encode("latin-1"))
    assert (ran.returncode, ran.stdout) == (1, b"")
    line = _only_line(ran.stderr.decode())
    assert "line 3 of standard input is not UTF-8" in line and "iconv" in line


def test_standard_input_that_cannot_be_read_is_not_an_output_error(
    model: str, tmp_path: Path
) -> None:
    with (tmp_path / "write only").open("wb") as stdin:
        command = [sys.executable, "-m", "bertrt", "classify", model]
        ran = subprocess.run(command, stdin=stdin, capture_output=True, check=False)
    assert (ran.returncode, ran.stdout) == (1, b"")
    assert "output" not in _only_line(ran.stderr.decode())


def test_output_is_utf8_whatever_the_locale(model: str) -> None:
    ran = run_bertrt("classify", model, "café 好", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert (ran.returncode, ran.stderr) == (0, b"")
    (record,) = _records(ran.stdout.decode("utf-8"))
    assert record["text"] == "café 好"


def test_missing_model_in_a_process_of_its_own(tmp_path: Path) -> None:
    ran = run_bertrt("classify", str(tmp_path / "nope"), "good")
    assert (ran.returncode, ran.stdout) == (1, b"")
    assert "nope" in _only_line(ran.stderr.decode())


def test_no_traceback_when_the_reader_goes_away(model: str, tmp_path: Path) -> None:
    """As in `bertrt classify MODEL < FILE | head -1`."""
    texts = tmp_path / "texts"
    texts.write_text("good\n" * 5000)  # more output than a pipe holds
    command = [sys.executable, "-m", "bertrt", "classify", model]
    with (
        texts.open("rb") as stdin,
        subprocess.Popen(
            command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process,
    ):
        assert process.stdout is not None and process.stderr is not None
        first = process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
    assert json.loads(first)["text"] == "good"
    assert errors == b""
    assert process.returncode == 1
