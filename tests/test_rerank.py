"""Texts ranked for a query by a model of one label."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bertrt import ArtifactError, Classifier, EmptyInputError, InputError, Ranked, TextTooLongError
from bertrt.postprocess import rank_texts

from tests.helpers import edit_config

_QUERY = "which film is good?"

Problem = Callable[[str], tuple[Path, Path]]


@pytest.fixture(scope="module")
def reranker(tiny_problem: Problem) -> Classifier:
    return Classifier(tiny_problem("reranker")[1], "cpu")


@pytest.fixture(scope="module")
def texts(sst2_dev: list[tuple[str, int]]) -> list[str]:
    return [text for text, _ in sst2_dev[:50]]


def test_rerank_gives_every_texts_score_best_first(reranker: Classifier, texts: list[str]) -> None:
    ranked = reranker.rerank(_QUERY, texts)
    assert sorted(rank.index for rank in ranked) == list(range(50))
    assert [rank.score for rank in ranked] == sorted((r.score for r in ranked), reverse=True)
    # The score is that of the pair, query first.
    pairs = [p.score for p in reranker([(_QUERY, text) for text in texts])]
    for rank in ranked:
        assert isinstance(rank, Ranked)
        assert rank.score == pytest.approx(pairs[rank.index], abs=1e-5)
    assert max(pairs) - min(pairs) > 0.1
    assert [r.index for r in ranked] != list(range(50))


@pytest.mark.parametrize("top_k", [1, 3, 50, 51])
def test_top_k_gives_the_best_texts(reranker: Classifier, texts: list[str], top_k: int) -> None:
    assert reranker.rerank(_QUERY, texts, top_k) == reranker.rerank(_QUERY, texts)[:top_k]


def test_a_generator_is_a_list_of_texts(reranker: Classifier, texts: list[str]) -> None:
    assert reranker.rerank(_QUERY, iter(texts)) == reranker.rerank(_QUERY, texts)


def test_ties_stand_in_input_order() -> None:
    ranked = rank_texts([0.5, 0.75, 0.5, 0.25, 0.75])
    assert [rank.index for rank in ranked] == [1, 4, 0, 2, 3]
    assert [rank.index for rank in rank_texts([0.5] * 9, 4)] == [0, 1, 2, 3]


def test_equal_texts_stand_in_input_order(reranker: Classifier) -> None:
    assert [rank.index for rank in reranker.rerank(_QUERY, ["same"] * 20)] == list(range(20))


def test_the_score_of_a_regression_is_the_raw_value(
    reranker: Classifier, texts: list[str], copy_of: Callable[[Path], Path]
) -> None:
    folder = copy_of(reranker.artifact.path)
    edit_config(folder, {"problem_type": "regression"})
    raw = Classifier(folder, "cpu").rerank(_QUERY, texts)
    sure = reranker.rerank(_QUERY, texts)
    assert [rank.index for rank in raw] == [rank.index for rank in sure]
    expected = [1 / (1 + np.exp(-rank.score)) for rank in raw]
    assert [rank.score for rank in sure] == pytest.approx(expected, abs=1e-5)


def test_a_long_text_may_be_scored_by_its_best_window(
    reranker: Classifier, texts: list[str]
) -> None:
    document = " ".join(texts[:8])
    windows = reranker.windows((_QUERY, document))
    assert len(windows) > 3
    found = {
        rank.index: rank.score
        for rank in reranker.rerank(_QUERY, ["short", document], long_text="window", combine="max")
    }
    best = max(window.predictions[0].score for window in windows)
    assert found[1] == pytest.approx(best, abs=1e-5)
    cut = {rank.index: rank.score for rank in reranker.rerank(_QUERY, ["short", document])}
    assert found[0] == pytest.approx(cut[0], abs=1e-5)
    assert found[1] != pytest.approx(cut[1], abs=1e-3)
    with pytest.raises(TextTooLongError, match=r"^text 1 has"):
        reranker.rerank(_QUERY, ["short", document], truncate=False)


def test_a_model_of_several_labels_is_refused(tiny_artifact: Path) -> None:
    classifier = Classifier(tiny_artifact, "cpu")
    with pytest.raises(
        ArtifactError, match="has 3 labels and rerank takes a model of one"
    ) as raised:
        classifier.rerank(_QUERY, ["good"])
    assert str(tiny_artifact) in str(raised.value)
    assert "classify the pairs (query, text) with it instead" in str(raised.value)


@pytest.mark.parametrize(
    ("query", "given", "words"),
    [
        pytest.param(None, ["good"], "the query is of type NoneType: give a string", id="no query"),
        pytest.param(("a", "b"), ["good"], "the query is of type tuple", id="a pair as query"),
        pytest.param("q", "good", "put the one text into a list", id="one string"),
        pytest.param("q", 7, "texts is of type int", id="a number"),
        pytest.param("q", {"a": "b"}, "texts is of type dict", id="a dict"),
        pytest.param("q", ["good", 7], "text 1 is of type int: give strings", id="an int in it"),
        pytest.param("q", ["good", ("a", "b")], "text 1 is of type tuple", id="a pair in it"),
        pytest.param("q", ["good", "\ud800"], "text 1 is not valid Unicode", id="a surrogate"),
    ],
)
def test_what_is_no_query_or_text_is_named(
    reranker: Classifier, query: Any, given: Any, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        reranker.rerank(query, given)


def test_no_texts_are_an_error(reranker: Classifier) -> None:
    with pytest.raises(EmptyInputError, match="empty"):
        reranker.rerank(_QUERY, [])


def test_wrong_top_k(reranker: Classifier) -> None:
    with pytest.raises(ValueError, match="top_k is 0: give 1 or more, or None for all"):
        reranker.rerank(_QUERY, ["good"], 0)
