"""`bertrt classify` with thresholds, windows and candidate labels, and `bertrt rerank`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bertrt import Classifier, Prediction, ZeroShotClassifier
from bertrt.cli import main

from tests.helpers import edit_manifest, run_bertrt

_TEXTS = ["good", "a waste of time", "long " * 100]

Problem = Callable[[str], tuple[Path, Path]]


@pytest.fixture(scope="module")
def multi(tiny_problem: Problem) -> Path:
    return tiny_problem("multi")[1]


@pytest.fixture(scope="module")
def nli(tiny_problem: Problem) -> Path:
    return tiny_problem("nli")[1]


@pytest.fixture(scope="module")
def reranker(tiny_problem: Problem) -> Path:
    return tiny_problem("reranker")[1]


def _printed(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[dict[str, Any]]:
    """The objects that a command prints."""
    assert main(list(map(str, arguments))) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return [json.loads(line) for line in captured.out.splitlines()]


def _failure(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line that a command prints which fails."""
    assert main(list(map(str, arguments))) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    return captured.err


def _assert_printed(record: dict[str, Any], text: str, expected: list[Prediction]) -> None:
    assert list(record) == ["text", "predictions"] and record["text"] == text
    assert [p["label"] for p in record["predictions"]] == [p.label for p in expected]
    scores = [p.score for p in expected]
    assert [p["score"] for p in record["predictions"]] == pytest.approx(scores, abs=1e-5)


@pytest.mark.parametrize(
    ("options", "threshold", "top_k"),
    [
        (["--threshold", "0.5"], 0.5, None),
        (["--threshold", "0.9"], 0.9, None),
        (["--threshold", "0.2", "--top-k", "2"], 0.2, 2),
        (["--threshold", "0.2", "--top-k", "all"], 0.2, None),
        (
            [f"--threshold={label}" for label in ("toxic=0.1", "insult=.5", "threat=1e-3")]
            + ["--threshold", "hate=1", "--threshold", "spam=0"],
            {"toxic": 0.1, "insult": 0.5, "threat": 0.001, "hate": 1, "spam": 0},
            None,
        ),
    ],
    ids=["0.5", "0.9", "top 2", "all", "each its own"],
)
def test_threshold_prints_the_labels_over_it(
    capsys: pytest.CaptureFixture[str], multi: Path, options: list[str], threshold: Any, top_k: Any
) -> None:
    expected = Classifier(multi, "cpu")(_TEXTS, top_k, threshold=threshold)
    records = _printed(capsys, "classify", multi, *options, *_TEXTS)
    for record, text, row in zip(records, _TEXTS, expected, strict=True):
        _assert_printed(record, text, row)


def test_tuned_thresholds_are_the_default(
    capsys: pytest.CaptureFixture[str], multi: Path, copy_of: Callable[[Path], Path]
) -> None:
    (record,) = _printed(capsys, "classify", multi, "good")
    assert list(record) == ["text", "label", "score"]
    folder = copy_of(multi)
    tuned = {"toxic": 0.2, "insult": 0.9, "threat": 0.5, "hate": 1.0, "spam": 0.0}
    edit_manifest(folder, {"thresholds": tuned})
    (record,) = _printed(capsys, "classify", folder, "good")
    _assert_printed(record, "good", Classifier(multi, "cpu")("good", threshold=tuned))
    (record,) = _printed(capsys, "classify", folder, "good", "--top-k", "all")
    assert len(record["predictions"]) == 5


@pytest.mark.parametrize("combine", ["mean", "max"])
def test_a_long_text_is_read_in_windows(
    capsys: pytest.CaptureFixture[str], multi: Path, combine: Any
) -> None:
    options = ["--long-text", "window", "--stride", "3", "--combine", combine]
    records = _printed(capsys, "classify", multi, *options, "--top-k", "all", *_TEXTS)
    expected = Classifier(multi, "cpu")(_TEXTS, None, long_text="window", stride=3, combine=combine)
    for record, text, row in zip(records, _TEXTS, expected, strict=True):
        _assert_printed(record, text, row)
    truncated = _printed(capsys, "classify", multi, "--top-k", "all", *_TEXTS)
    assert truncated[0] == records[0] and truncated[2] != records[2]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--threshold", "2"], "threshold is 2.0: give a number from 0 to 1"),
        (["--threshold", "toxic=0.5"], "threshold has no 'insult'"),
        (["--threshold", "0.5", "--threshold", "0.6"], "--threshold is repeated"),
        (["--threshold", "0.5", "--threshold", "toxic=1"], "--threshold is repeated"),
        (["--stride", "3"], "stride and combine are for windows: set long_text to 'window'"),
        (["--long-text", "window", "--stride", "38"], "stride is 38: give 0 to 37"),
        (["--long-text", "window", "--no-truncate"], "long_text is 'window', which takes"),
        (["--multi-label"], "--multi-label and --hypothesis-template need --candidate-labels"),
        (["--hypothesis-template", "a {}"], "need --candidate-labels"),
        (["--candidate-labels", "a,b"], "zero-shot classification needs a model trained on"),
    ],
    ids=str,
)
def test_options_that_do_not_fit(
    capsys: pytest.CaptureFixture[str], multi: Path, options: list[str], words: str
) -> None:
    assert words in _failure(capsys, "classify", multi, *options, "good")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--threshold", "x"),
        ("--threshold", "toxic="),
        ("--stride", "-1"),
        ("--stride", "x"),
        ("--long-text", "cut"),
        ("--combine", "min"),
    ],
)
def test_wrong_usage_exits_with_2_and_names_the_argument(
    capsys: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["classify", "m", "good", option, value])
    assert raised.value.code == 2
    assert option in capsys.readouterr().err.splitlines()[-1]


# Zero-shot


def test_candidate_labels_print_all_of_them_best_first(
    capsys: pytest.CaptureFixture[str], nli: Path
) -> None:
    zero_shot = ZeroShotClassifier(nli, "politics, film,sport", device="cpu")
    options = ["--candidate-labels", "politics, film,sport"]
    records = _printed(capsys, "classify", nli, *options, *_TEXTS)
    for record, text, row in zip(records, _TEXTS, zero_shot(_TEXTS), strict=True):
        _assert_printed(record, text, row)
    (record,) = _printed(capsys, "classify", nli, *options, "--top-k", "2", "good")
    _assert_printed(record, "good", zero_shot("good")[:2])
    more = ["--multi-label", "--hypothesis-template", "About {}."]
    (record,) = _printed(capsys, "classify", nli, *options, *more, "good")
    expected = zero_shot("good", multi_label=True, hypothesis_template="About {}.")
    _assert_printed(record, "good", expected)


@pytest.mark.parametrize(
    "option",
    [
        ["--pairs"],
        ["--threshold", "0.5"],
        ["--no-truncate"],
        ["--long-text", "window"],
        ["--stride", "3"],
        ["--combine", "max"],
    ],
    ids=str,
)
def test_what_does_not_go_with_candidate_labels(
    capsys: pytest.CaptureFixture[str], nli: Path, option: list[str]
) -> None:
    line = _failure(capsys, "classify", nli, "--candidate-labels", "a,b", *option, "x\ty")
    assert f"{option[0]} does not go with --candidate-labels" in line


def test_candidate_labels_that_are_none(capsys: pytest.CaptureFixture[str], nli: Path) -> None:
    line = _failure(capsys, "classify", nli, "--candidate-labels", " ,", "good")
    assert "there is no label to choose from" in line
    options = ["--candidate-labels", "a", "--hypothesis-template", "no place"]
    assert "hypothesis_template is 'no place'" in _failure(capsys, "classify", nli, *options, "x")


# Rerank


def test_rerank_prints_the_texts_best_first(
    capsys: pytest.CaptureFixture[str], reranker: Path
) -> None:
    expected = Classifier(reranker, "cpu").rerank("which is good?", _TEXTS)
    records = _printed(capsys, "rerank", reranker, "which is good?", *_TEXTS)
    assert [list(record) for record in records] == [["index", "text", "score"]] * 3
    assert [record["index"] for record in records] == [rank.index for rank in expected]
    assert [record["text"] for record in records] == [_TEXTS[rank.index] for rank in expected]
    scores = [rank.score for rank in expected]
    assert [record["score"] for record in records] == pytest.approx(scores, abs=1e-5)
    best = _printed(capsys, "rerank", reranker, "which is good?", "--top-k", "1", *_TEXTS)
    assert best == records[:1]
    options = ["--long-text", "window", "--combine", "max"]
    windows = _printed(capsys, "rerank", reranker, "which is good?", *options, *_TEXTS)
    assert {r["index"]: r["score"] for r in windows} != {r["index"]: r["score"] for r in records}


def test_rerank_reads_texts_from_standard_input(reranker: Path) -> None:
    ran = run_bertrt("rerank", str(reranker), "which?", stdin="café\nbad\n".encode())
    assert ran.returncode == 0 and ran.stderr == b""
    records = [json.loads(line) for line in ran.stdout.splitlines()]
    expected = Classifier(reranker, "cpu").rerank("which?", ["café", "bad"])
    assert [record["index"] for record in records] == [rank.index for rank in expected]
    assert {record["text"] for record in records} == {"café", "bad"}


def test_rerank_fails_with_a_sentence(
    capsys: pytest.CaptureFixture[str], multi: Path, reranker: Path
) -> None:
    assert "rerank takes a model of one" in _failure(capsys, "rerank", multi, "q", "good")
    line = _failure(capsys, "rerank", reranker, "q", "--no-truncate", *_TEXTS)
    assert "text 2 has 104 tokens and the model takes 40" in line
