"""Which labels are a text's result: the best, the best few, or those over a threshold."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bertrt import Classifier, Prediction
from bertrt.postprocess import over_thresholds, scores
from bertrt.selection import BEST, select

from tests.helpers import edit_manifest

_LABELS = ("a", "b", "c")
_LOGITS = np.array([[0, 2, -3], [-1, -2, -3], [4, 0, 1]], dtype=np.float32)
_TUNED = (0.6, 0.1, 0.01)

Problem = Callable[[str], tuple[Path, Path]]


def _names(rows: Any) -> list[list[str]]:
    return [[prediction.label for prediction in row] for row in rows]


@pytest.mark.parametrize(
    ("threshold", "top_k", "names"),
    [
        pytest.param(0.5, BEST, [["b", "a"], [], ["a", "c", "b"]], id="one number"),
        pytest.param(0.5, None, [["b", "a"], [], ["a", "c", "b"]], id="and all labels"),
        pytest.param(0.5, 1, [["b"], [], ["a"]], id="and the best"),
        pytest.param(0.5, 2, [["b", "a"], [], ["a", "c"]], id="and the best two"),
        pytest.param(0, BEST, [["b", "a", "c"], ["a", "b", "c"], ["a", "c", "b"]], id="0"),
        pytest.param(1, BEST, [[], [], []], id="1"),
        pytest.param(
            {"c": 0.04, "a": 0.99, "b": 0.5}, BEST, [["b", "c"], ["c"], ["c", "b"]], id="mapping"
        ),
    ],
)
def test_threshold_gives_the_labels_at_or_over_it_best_first(
    threshold: Any, top_k: Any, names: list[list[str]]
) -> None:
    selection = select(_LABELS, "sigmoid", top_k, threshold, _TUNED)
    assert _names(selection.of(_LOGITS)) == names


def test_a_score_of_exactly_the_threshold_is_over_it() -> None:
    """As a caller compares it, who has the score as Python's float."""
    logits = np.array([[0.3, 0.1]], dtype=np.float32)
    (score, _) = scores(logits, "sigmoid")[0].tolist()
    for threshold, count in ((score, 1), (np.nextafter(score, 1), 0)):
        (row,) = over_thresholds(scores(logits, "sigmoid"), np.array([threshold, 1.0]), "ab")
        assert len(row) == count


def test_thresholds_of_a_softmax() -> None:
    selection = select(_LABELS, "softmax", BEST, 0.1, None)
    assert _names(selection.of(_LOGITS)) == [["b", "a"], ["a", "b"], ["a"]]


def test_a_threshold_for_raw_values_may_be_any_number() -> None:
    selection = select(_LABELS, "none", BEST, -1.5, None)
    assert _names(selection.of(_LOGITS)) == [["b", "a"], ["a"], ["a", "c", "b"]]


@pytest.mark.parametrize(
    ("activation", "top_k", "tuned", "names"),
    [
        pytest.param("sigmoid", BEST, _TUNED, [["b", "c"], ["b", "c"], ["a", "c", "b"]], id="used"),
        pytest.param("sigmoid", 1, _TUNED, [["b"], ["a"], ["a"]], id="not with top_k"),
        pytest.param("softmax", BEST, _TUNED, None, id="not with softmax"),
        pytest.param("none", BEST, _TUNED, None, id="not for a regression"),
        pytest.param("sigmoid", BEST, None, None, id="none tuned"),
    ],
)
def test_tuned_thresholds_are_the_default_of_multi_label_models(
    activation: str, top_k: Any, tuned: Any, names: list[list[str]] | None
) -> None:
    found: Any = select(_LABELS, activation, top_k, None, tuned).of(_LOGITS)
    if names is None:
        assert [prediction.label for prediction in found] == ["b", "a", "a"]
    else:
        assert _names(found) == names


@pytest.mark.parametrize(
    ("threshold", "words"),
    [
        pytest.param(-0.1, "threshold is -0.1: give a number from 0 to 1", id="under 0"),
        pytest.param(1.01, "threshold is 1.01: give a number from 0 to 1", id="over 1"),
        pytest.param(float("nan"), "threshold is nan: give a number from 0 to 1", id="NaN"),
        pytest.param(True, "threshold is True: give a number", id="bool"),
        pytest.param("0.5", "threshold is '0.5': give a number", id="string"),
        pytest.param([0.5] * 3, r"threshold is \[0.5, 0.5, 0.5\]: .* each label by", id="list"),
        pytest.param({"a": 0.5}, "threshold has no 'b': .* each of a, b, c", id="missing"),
        pytest.param(dict.fromkeys("abcd", 0.5), "has 'd', which is no label: .* a, b, c", id="4"),
        pytest.param({"a": 0.5, "b": 2, "c": 0}, "threshold is 2: give", id="wrong one"),
    ],
)
def test_a_threshold_that_is_none(threshold: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        select(_LABELS, "sigmoid", BEST, threshold, None)


def test_no_number_at_all_is_no_threshold_for_raw_values() -> None:
    with pytest.raises(ValueError, match=r"threshold is nan: give a number, or one"):
        select(_LABELS, "none", BEST, float("nan"), None)


def test_a_classifier_takes_the_thresholds_of_its_artifact(
    tiny_problem: Problem, copy_of: Callable[[Path], Path]
) -> None:
    _, artifact = tiny_problem("multi")
    texts = ["a gorgeous film", "a waste of time", "neither", ""]
    plain = Classifier(artifact, "cpu")
    assert isinstance(plain("neither"), Prediction)

    folder = copy_of(artifact)
    tuned = {"toxic": 0.2, "insult": 0.9, "threat": 0.5, "hate": 1.0, "spam": 0.0}
    edit_manifest(folder, {"thresholds": tuned})
    classifier = Classifier(folder, "cpu")
    expected = plain(texts, threshold=tuned)
    assert classifier(texts) == expected
    assert classifier(texts[0]) == expected[0]
    assert list(classifier.stream(texts, chunk_size=3)) == expected
    assert list(plain.stream(texts, threshold=tuned)) == expected
    assert {len(row) for row in expected} <= {1, 2, 3, 4} and len(set(map(len, expected))) > 1
    # Whoever asks for something else gets that.
    assert classifier(texts, top_k=None) == plain(texts, top_k=None)
    assert classifier(texts, threshold=0.5) == plain(texts, threshold=0.5)


def test_a_stream_refuses_a_threshold_at_once(tiny_artifact: Path) -> None:
    with pytest.raises(ValueError, match="threshold is 2"):
        Classifier(tiny_artifact, "cpu").stream(["good"], threshold=2)
