"""Every answer equals that of Transformers' pipelines: labels, scores, order, shapes."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from bertrt import Classifier, Prediction, ZeroShotClassifier
from bertrt.tokenizer import TextInput
from transformers import pipeline

from tests.tiny_problems import KINDS, MAX_LENGTH

_TOLERANCE = 1e-4
# Labels whose scores are nearer than this may change places within the tolerance.
_TIE = 2 * _TOLERANCE
_TEXTS = 200
_CANDIDATES = ["politics", "a film that somebody made", "sport", "music and dance"]

Problem = Callable[[str], tuple[Path, Path]]


@pytest.fixture(scope="module")
def texts(sst2_dev: list[tuple[str, int]]) -> list[str]:
    """Sentences of all lengths; some are over the models' limit."""
    return [text for text, _ in sst2_dev[:_TEXTS]]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """So small a model gains nothing from more, and other processes lose."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _reference(task: str, checkpoint: Path) -> Any:
    make: Any = pipeline  # its overloads want the task as a literal
    return make(task, str(checkpoint), device="cpu", batch_size=20)


def _pair(text: TextInput) -> str | dict[str, str]:
    """A text as the pipeline takes it."""
    return text if isinstance(text, str) else {"text": text[0], "text_pair": text[1]}


def _assert_same(found: Prediction, expected: dict[str, Any]) -> None:
    assert isinstance(found, Prediction)
    assert found.label == expected["label"]
    assert found.score == pytest.approx(expected["score"], abs=_TOLERANCE)


def _assert_same_ranking(found: Sequence[Prediction], expected: Sequence[dict[str, Any]]) -> int:
    """Labels, scores, and order but for ties; the number of neighbours that are no ties."""
    assert isinstance(found, list) and len(found) == len(expected)
    scores = {prediction.label: prediction.score for prediction in found}
    assert scores == pytest.approx({e["label"]: e["score"] for e in expected}, abs=_TOLERANCE)
    assert [p.score for p in found] == sorted((p.score for p in found), reverse=True)
    place = {prediction.label: at for at, prediction in enumerate(found)}
    clear = 0
    for better, worse in itertools.pairwise(expected):
        if better["score"] - worse["score"] > _TIE:
            assert place[better["label"]] < place[worse["label"]]
            clear += 1
    return clear


def _assert_same_rankings(
    found: list[list[Prediction]], expected: list[list[dict[str, Any]]]
) -> None:
    assert len(found) == len(expected)
    clear = sum(map(_assert_same_ranking, found, expected))
    # Else the order would hardly be tested.
    assert clear >= 0.9 * sum(len(row) - 1 for row in expected)


# Text classification


@pytest.mark.parametrize("kind", ["single", "multi", "regression", "two-values", "reranker"])
@pytest.mark.parametrize("pairs", [False, True], ids=["texts", "pairs"])
def test_text_classification_equals_the_pipeline(
    tiny_problem: Problem, texts: list[str], kind: str, pairs: bool
) -> None:
    checkpoint, artifact = tiny_problem(kind)
    reference = _reference("text-classification", checkpoint)
    classifier = Classifier(artifact, "cpu")
    given: list[TextInput] = list(texts)
    if pairs:
        given = list(zip(texts, reversed(texts), strict=True))
    inputs = [_pair(text) for text in given]
    lengths = [len(encoding) for encoding in classifier.tokenizer.encode(given)]
    assert lengths.count(MAX_LENGTH) > 10 and min(lengths) < MAX_LENGTH  # texts are cut, or not

    best = reference(inputs, truncation=True)
    for found, expected in zip(classifier(given), best, strict=True):
        _assert_same(found, expected)
    assert len({round(expected["score"], 3) for expected in best}) > _TEXTS / 4
    if len(KINDS[kind].labels) > 1:
        assert len({expected["label"] for expected in best}) > 1

    every = reference(inputs, truncation=True, top_k=None)
    _assert_same_rankings(classifier(given, top_k=None), every)
    top_two = classifier(given, top_k=2)
    for found_row, expected_row in zip(top_two, every, strict=True):
        _assert_same_ranking(found_row, expected_row[:2])
    expected_two = reference(inputs[:20], truncation=True, top_k=2)
    for found_row, expected_row in zip(top_two, expected_two, strict=False):
        _assert_same_ranking(found_row, expected_row)


def test_one_text_has_the_pipelines_shapes(tiny_problem: Problem, texts: list[str]) -> None:
    checkpoint, artifact = tiny_problem("single")
    reference = _reference("text-classification", checkpoint)
    classifier = Classifier(artifact, "cpu")
    (expected,) = reference(
        texts[0], truncation=True
    )  # of one string, the pipeline makes a list; of a dict, not
    _assert_same(classifier(texts[0]), expected)
    pair = (texts[0], texts[1])
    _assert_same(classifier(pair), reference(_pair(pair), truncation=True))
    for top_k in (None, 1, 2):
        expected_row = reference(texts[0], truncation=True, top_k=top_k)
        assert _assert_same_ranking(classifier(texts[0], top_k=top_k), expected_row) == (
            len(expected_row) - 1
        )


def test_a_multi_label_threshold_gives_what_the_pipelines_scores_say(
    tiny_problem: Problem, texts: list[str]
) -> None:
    checkpoint, artifact = tiny_problem("multi")
    reference = _reference("text-classification", checkpoint)
    every = reference(texts, truncation=True, top_k=None)
    found = Classifier(artifact, "cpu")(texts, threshold=0.5)
    sizes = set()
    for row, expected in zip(found, every, strict=True):
        sure = {e["label"] for e in expected if e["score"] > 0.5 + _TOLERANCE}
        possible = {e["label"] for e in expected if e["score"] > 0.5 - _TOLERANCE}
        labels = [prediction.label for prediction in row]
        assert sure <= set(labels) <= possible
        _assert_same_ranking(row, [e for e in expected if e["label"] in labels])
        sizes.add(len(row))
    assert len(sizes) > 2


# Zero-shot classification


@pytest.mark.parametrize("kind", ["nli", "nli-entailment-first"])
@pytest.mark.parametrize("multi_label", [False, True], ids=["competing", "multi-label"])
def test_zero_shot_equals_the_pipeline(
    tiny_problem: Problem, texts: list[str], kind: str, multi_label: bool
) -> None:
    checkpoint, artifact = tiny_problem(kind)
    reference = _reference("zero-shot-classification", checkpoint)
    template = "The topic of this text is {}!"
    expected = reference(texts, _CANDIDATES, multi_label=multi_label, hypothesis_template=template)
    zero_shot = ZeroShotClassifier(artifact, device="cpu")
    found = zero_shot(texts, _CANDIDATES, multi_label=multi_label, hypothesis_template=template)
    _assert_same_rankings(found, [_rows(result) for result in expected])
    assert len({result["labels"][0] for result in expected}) > 1


@pytest.mark.parametrize("multi_label", [False, True], ids=["competing", "multi-label"])
@pytest.mark.parametrize("labels", [["politics"], "politics, sport ,,music"], ids=["one", "commas"])
def test_zero_shot_of_one_text_one_label_or_commas_equals_the_pipeline(
    tiny_problem: Problem, texts: list[str], labels: str | list[str], multi_label: bool
) -> None:
    checkpoint, artifact = tiny_problem("nli")
    reference = _reference("zero-shot-classification", checkpoint)
    expected = _rows(reference(texts[0], labels, multi_label=multi_label))
    found = ZeroShotClassifier(artifact, labels, device="cpu")(texts[0], multi_label=multi_label)
    assert _assert_same_ranking(found, expected) == len(expected) - 1


def _rows(result: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"label": label, "score": score}
        for label, score in zip(result["labels"], result["scores"], strict=True)
    ]
