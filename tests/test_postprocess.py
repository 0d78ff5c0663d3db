"""Logits to scores and ranked labels."""

import numpy as np
import pytest
from bertrt import Prediction
from bertrt.postprocess import predictions, scores

_EXTREME = [[-100.0, 5.0], [1e4, -1e4], [-200.0, 3.0], [1e38, -1e38], [0.0, 0.0]]


def _logits(rows: list[list[float]]) -> np.ndarray:
    return np.array(rows, dtype=np.float32)


def _random_logits(labels: int) -> np.ndarray:
    numbers = np.random.default_rng(0)
    return (numbers.standard_normal((200, labels)) * 10).astype(np.float32)


def _exact_softmax(logits: np.ndarray) -> np.ndarray:
    wide = logits.astype(np.float64)
    exponentials = np.exp(wide - wide.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def _exact_sigmoid(logits: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-logits.astype(np.float64))))


@pytest.mark.parametrize("labels", [1, 2, 3, 28])
def test_softmax_equals_float64(labels: int) -> None:
    logits = _random_logits(labels)
    got = scores(logits, "softmax")
    assert got.dtype == np.float32 and got.shape == logits.shape
    np.testing.assert_allclose(got, _exact_softmax(logits), rtol=1e-5)


@pytest.mark.parametrize("labels", [1, 2, 28])
def test_sigmoid_equals_float64(labels: int) -> None:
    logits = _random_logits(labels)
    got = scores(logits, "sigmoid")
    assert got.dtype == np.float32 and got.shape == logits.shape
    np.testing.assert_allclose(got, _exact_sigmoid(logits), rtol=1e-5)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.filterwarnings("error")
def test_extreme_logits_give_finite_scores_in_range(activation: str) -> None:
    got = scores(_logits(_EXTREME), activation)
    assert np.isfinite(got).all()
    assert (got >= 0).all() and (got <= 1).all()


def test_softmax_of_extreme_logits() -> None:
    np.testing.assert_allclose(
        scores(_logits(_EXTREME), "softmax"),
        np.array([[0, 1], [1, 0], [0, 1], [1, 0], [0.5, 0.5]]),
        atol=1e-40,
    )


def test_sigmoid_of_extreme_logits() -> None:
    np.testing.assert_allclose(
        scores(_logits([[-100, 100], [1e4, -1e4], [0, 0]]), "sigmoid"),
        np.array([[0, 1], [1, 0], [0.5, 0.5]]),
        atol=1e-40,
    )


@pytest.mark.parametrize("labels", [1, 2, 3, 28])
def test_softmax_rows_sum_to_one(labels: int) -> None:
    sums = scores(_random_logits(labels), "softmax").sum(axis=1)
    np.testing.assert_allclose(sums, 1, rtol=1e-6)


def test_regression_gives_the_raw_values() -> None:
    logits = _logits([[3.25, -7.5], [-1e4, 2.0]])
    np.testing.assert_array_equal(scores(logits, "none"), logits)
    (row,) = predictions(_logits([[3.25, -7.5]]), ["price", "profit"], "none")
    assert row == [Prediction("price", 3.25), Prediction("profit", -7.5)]


def test_scores_leave_the_logits_as_they_are() -> None:
    logits = _random_logits(3)
    before = logits.copy()
    for activation in ("softmax", "sigmoid", "none"):
        scores(logits, activation)
    np.testing.assert_array_equal(logits, before)


def test_all_labels_stand_best_first() -> None:
    ranked = predictions(_logits([[0, 2, 1], [5, -5, 0]]), ["a", "b", "c"], "softmax")
    assert [[p.label for p in row] for row in ranked] == [["b", "c", "a"], ["a", "c", "b"]]
    expected = _exact_softmax(_logits([[0, 2, 1]]))[0]
    assert [p.score for p in ranked[0]] == pytest.approx(expected[[1, 2, 0]], rel=1e-6)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "none"])
def test_ties_stand_in_label_order(activation: str) -> None:
    names = [f"label {index}" for index in range(20)]
    logits = np.zeros((1, 20), dtype=np.float32)
    logits[0, 7] = 1
    (row,) = predictions(logits, names, activation)
    assert [p.label for p in row] == ["label 7", *(n for n in names if n != "label 7")]


@pytest.mark.parametrize(("top_k", "count"), [(1, 1), (2, 2), (3, 3), (4, 3), (100, 3), (None, 3)])
def test_top_k_cuts_the_ranking_at_most_to_all_labels(top_k: int | None, count: int) -> None:
    logits = _random_logits(3)
    whole = predictions(logits, ["a", "b", "c"], "softmax")
    cut = predictions(logits, ["a", "b", "c"], "softmax", top_k)
    assert cut == [row[:count] for row in whole]
    assert {len(row) for row in cut} == {count}


def test_scores_of_predictions_are_plain_floats() -> None:
    (row,) = predictions(_logits([[0, 2]]), ["a", "b"], "softmax")
    assert [type(p.score) for p in row] == [float, float]
