"""Zero-shot classification: labels, hypotheses, scores, forms of input, errors.

That the numbers are Transformers' is in test_pipeline_equality.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bertrt import (
    ArtifactError,
    Classifier,
    EmptyInputError,
    InputError,
    Prediction,
    ZeroShotClassifier,
)
from bertrt.nli import (
    HYPOTHESIS_TEMPLATE,
    candidate_labels,
    entailment_labels,
    entailment_scores,
    hypotheses,
)

from tests.tiny_problems import MAX_LENGTH

_LABELS = ["politics", "film", "sport"]
_TEXTS = ["a gorgeous film", "", "the vote was on tuesday", "long " * 200]

Problem = Callable[[str], tuple[Path, Path]]


@pytest.fixture(scope="module")
def classifier(tiny_problem: Problem) -> Classifier:
    return Classifier(tiny_problem("nli")[1], "cpu")


@pytest.fixture(scope="module")
def zero_shot(classifier: Classifier) -> ZeroShotClassifier:
    return ZeroShotClassifier.from_classifier(classifier)


def _scores(predictions: list[Prediction]) -> dict[str, float]:
    return {prediction.label: prediction.score for prediction in predictions}


# Labels and hypotheses


@pytest.mark.parametrize(
    ("given", "labels"),
    [
        (["a", " b "], ("a", " b ")),
        ("a", ("a",)),
        (" a b , c,, d ,", ("a b", "c", "d")),
        pytest.param(iter("ab"), ("a", "b"), id="iterator"),
        (["a", "a"], ("a", "a")),
    ],
    ids=ascii,
)
def test_labels_are_names_or_one_string(given: Any, labels: tuple[str, ...]) -> None:
    assert candidate_labels(given) == labels


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "no label to choose from"),
        ("", "no label to choose from"),
        (" , ,", "no label to choose from"),
        (["a", " "], "label 1 is ' '"),
        (["a", 3], "label 1 is 3"),
        (7, "labels is of type int"),
        (b"a,b", "labels is of type bytes"),
        ({"a": 1}, "labels is of type dict"),
    ],
    ids=ascii,
)
def test_labels_that_are_none(zero_shot: ZeroShotClassifier, given: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        candidate_labels(given)
    with pytest.raises(ValueError, match=words):
        zero_shot("good", given)


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        (HYPOTHESIS_TEMPLATE, "This example is x{y}."),
        ("{}", "x{y}"),
        ("{0} and {0}", "x{y} and x{y}"),
        ("{{}} {}", "{} x{y}"),
    ],
)
def test_a_template_has_a_place_for_the_label(template: str, sentence: str) -> None:
    assert hypotheses(["x{y}"], template) == [sentence]


@pytest.mark.parametrize(
    "template",
    [
        "",
        "no place",
        "{{}}",
        "{} {}",
        "{1}",
        "{0} {}",
        "{label}",
        "{",
        "}",
        "{!r}",
        "{:>99}",
        "{0.__class__}",
        "{0[0]}",
        None,
        7,
    ],
)
def test_a_template_without_a_place_or_with_others_is_refused(
    zero_shot: ZeroShotClassifier, classifier: Classifier, template: Any
) -> None:
    words = "hypothesis_template is .*: write {} once, where the label goes"
    with pytest.raises(ValueError, match=words):
        hypotheses(["x"], template)
    with pytest.raises(ValueError, match=words):
        ZeroShotClassifier.from_classifier(classifier, hypothesis_template=template)
    if template is not None:  # which is: the one of the object
        with pytest.raises(ValueError, match=words):
            zero_shot("good", _LABELS, hypothesis_template=template)


def test_a_hypothesis_of_no_valid_unicode(zero_shot: ZeroShotClassifier) -> None:
    with pytest.raises(ValueError, match=r"hypothesis 'This example is \\udcff\.' is not valid"):
        zero_shot("good", ["fine", "\udcff"])


# The model's labels


@pytest.mark.parametrize(
    ("labels", "indices"),
    [
        (("contradiction", "neutral", "entailment"), (2, 0)),
        (("ENTAILMENT", "NEUTRAL", "CONTRADICTION"), (0, 2)),
        (("entailment", "not_entailment"), (0, 1)),
        (("not_entailment", "entailment"), (1, 0)),
        (("entail", "x", "y"), (0, 2)),
        (("x", "y", "Entailed"), (2, 0)),
        # By its name, where Transformers goes by the place alone and takes `neutral`.
        (("neutral", "contradiction", "entailment"), (2, 1)),
        (("entailment", "contradiction", "neutral"), (0, 1)),
    ],
    ids=str,
)
def test_entailment_and_contradiction_are_found(
    labels: tuple[str, ...], indices: tuple[int, int]
) -> None:
    assert entailment_labels(labels, "m") == indices


@pytest.mark.parametrize("labels", [("negative", "positive"), ("LABEL_0",), ("entailment",)])
def test_a_model_without_entailment_is_refused(labels: tuple[str, ...]) -> None:
    with pytest.raises(ArtifactError) as raised:
        entailment_labels(labels, "some/model")
    assert f"some/model has the labels {', '.join(labels)}, and zero-shot" in str(raised.value)
    assert "id2label" in str(raised.value)


def test_a_model_without_entailment_is_refused_when_it_is_loaded(tiny_artifact: Path) -> None:
    with pytest.raises(ArtifactError, match="negative, neutral, positive, and zero-shot"):
        ZeroShotClassifier(tiny_artifact, _LABELS, device="cpu")


# Scores

_LOGITS = np.array([[[1, 0, 2], [3, 1, 0]], [[0, 9, 5], [-200, 0, 300]]], dtype=np.float32)


def test_labels_compete_by_their_entailment() -> None:
    scores = entailment_scores(_LOGITS, 2, 0)
    assert scores.dtype == np.float32 and scores.shape == (2, 2)
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(scores[0], [1 / (1 + np.exp(-2)), 1 / (1 + np.exp(2))], rtol=1e-6)


@pytest.mark.filterwarnings("error")
def test_each_label_by_itself_is_entailment_against_contradiction() -> None:
    scores = entailment_scores(_LOGITS, 2, 0, multi_label=True)
    expected = 1 / (1 + np.exp(-(_LOGITS[..., 2] - _LOGITS[..., 0]).astype(np.float64)))
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-30)


def test_a_single_label_is_scored_by_itself() -> None:
    alone = _LOGITS[:, :1]
    np.testing.assert_array_equal(
        entailment_scores(alone, 2, 0), entailment_scores(alone, 2, 0, multi_label=True)
    )


# Forms of input and output


@pytest.mark.parametrize("multi_label", [False, True])
def test_scores_are_those_of_the_pairs_logits(
    zero_shot: ZeroShotClassifier, classifier: Classifier, multi_label: bool
) -> None:
    found = zero_shot(_TEXTS[:3], _LABELS, multi_label=multi_label)
    for text, predictions in zip(_TEXTS[:3], found, strict=True):
        pairs = [(text, f"This example is {label}.") for label in _LABELS]
        logits = classifier.logits(pairs).astype(np.float64)
        if multi_label:
            expected = 1 / (1 + np.exp(logits[:, 0] - logits[:, 2]))
        else:
            expected = np.exp(logits[:, 2]) / np.exp(logits[:, 2]).sum()
        scores = _scores(predictions)
        assert [scores[label] for label in _LABELS] == pytest.approx(expected, abs=1e-5)
        assert predictions == sorted(predictions, key=lambda p: -p.score)


def test_one_text_a_list_a_generator_and_a_stream(zero_shot: ZeroShotClassifier) -> None:
    rows = zero_shot(_TEXTS, _LABELS)
    assert [len(row) for row in rows] == [3] * 4
    for text, row in zip(_TEXTS, rows, strict=True):
        assert _scores(zero_shot(text, _LABELS)) == pytest.approx(_scores(row), abs=1e-5)
    assert zero_shot(iter(_TEXTS), _LABELS) == rows
    streamed = zero_shot.stream(iter(_TEXTS), _LABELS, chunk_size=3)
    for got, row in zip(streamed, rows, strict=True):
        assert _scores(got) == pytest.approx(_scores(row), abs=1e-5)
    assert list(zero_shot.stream([], _LABELS)) == []


def test_labels_and_template_of_the_object_are_the_default(
    zero_shot: ZeroShotClassifier, classifier: Classifier
) -> None:
    template = "It is about {}."
    made = ZeroShotClassifier.from_classifier(
        classifier, "politics, film, sport", hypothesis_template=template
    )
    assert made.classifier is classifier and made.labels == tuple(_LABELS)
    assert made("good") == zero_shot("good", _LABELS, hypothesis_template=template)
    assert made("good", hypothesis_template=HYPOTHESIS_TEMPLATE) == zero_shot("good", _LABELS)
    assert made("good", ["a", "b"], hypothesis_template="{}") == zero_shot(
        "good", "a,b", hypothesis_template="{}"
    )
    assert made("good") != zero_shot("good", _LABELS)
    with pytest.raises(ValueError, match="give labels, here or at loading"):
        zero_shot("good")


def test_a_model_is_loaded_as_classifier_loads_it(
    tiny_problem: Problem, zero_shot: ZeroShotClassifier
) -> None:
    _, artifact = tiny_problem("nli")
    options: dict[str, Any] = {"threads": 1, "precision": "fp32", "max_batch_tokens": 64}
    made = ZeroShotClassifier(artifact, _LABELS, device="cpu", file_name="model.onnx", **options)
    assert (made.classifier.threads, made.classifier.max_batch_tokens) == (1, 64)
    assert _scores(made("good")) == pytest.approx(_scores(zero_shot("good", _LABELS)), abs=1e-5)
    with pytest.raises(ArtifactError, match=r"absent\.onnx"):
        ZeroShotClassifier(artifact, file_name="absent.onnx")
    with pytest.raises(ValueError, match="threads is 0"):
        ZeroShotClassifier(artifact, threads=0)


def test_all_hypotheses_of_all_texts_share_batches(
    classifier: Classifier, zero_shot: ZeroShotClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[int] = []
    run_all = classifier.session.run_all

    def counted(batches: Any) -> Any:
        listed = list(batches)
        runs.append(sum(len(batch.lengths) for batch in listed))
        return run_all(listed)

    monkeypatch.setattr(classifier.session, "run_all", counted)
    zero_shot(_TEXTS, _LABELS)
    assert runs == [len(_TEXTS) * len(_LABELS)]


def test_ties_stand_in_the_order_of_the_labels(zero_shot: ZeroShotClassifier) -> None:
    # Equal hypotheses, lower-cased by the tokenizer.
    found = zero_shot("good", ["Same", "same", "SAME"])
    assert [prediction.label for prediction in found] == ["Same", "same", "SAME"]


def test_the_text_is_cut_and_the_hypothesis_never(
    zero_shot: ZeroShotClassifier, classifier: Classifier
) -> None:
    labels = ["a b c d e f g h i j k l m n", "film"]
    room = MAX_LENGTH - 3 - 18  # [CLS], [SEP], [SEP]; "This example is a ... n."
    cut = " ".join(["long"] * room)
    assert (
        len(classifier.tokenizer.encode([(cut, f"This example is {labels[0]}.")])[0]) == MAX_LENGTH
    )
    for multi_label in (False, True):
        found = _scores(zero_shot("long " * 200, labels[:1], multi_label=multi_label))
        expected = _scores(zero_shot(cut, labels[:1], multi_label=multi_label))
        assert found == pytest.approx(expected, abs=1e-5)


# What is wrong


def test_a_hypothesis_that_leaves_the_text_no_room(zero_shot: ZeroShotClassifier) -> None:
    fits, over = "x " * (MAX_LENGTH - 3 - 5), "x " * (MAX_LENGTH - 3 - 4)  # "This example is ."
    assert len(zero_shot("long " * 200, [fits, "film"])) == 2
    with pytest.raises(ValueError, match=r"hypothesis of label 'x x .* has no room .* shorten"):
        zero_shot("good", ["film", over])


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        pytest.param(["good", ("a", "b")], "text 1 is of type tuple: zero-shot", id="a pair in it"),
        pytest.param(("a", "b"), "texts is of type tuple", id="a pair"),
        pytest.param(["good", None], "text 1 is of type NoneType", id="None"),
        pytest.param(["good", "bad", "\ud800"], "text 2 is not valid Unicode", id="a surrogate"),
        pytest.param(b"good", "texts is of type bytes", id="bytes"),
        pytest.param(7, "texts is of type int", id="int"),
    ],
)
def test_what_is_not_a_text_is_named(zero_shot: ZeroShotClassifier, texts: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        zero_shot(texts, _LABELS)


def test_no_texts_are_an_error(zero_shot: ZeroShotClassifier) -> None:
    with pytest.raises(EmptyInputError, match="empty"):
        zero_shot([], _LABELS)


def test_a_stream_refuses_at_once_and_counts_from_its_beginning(
    zero_shot: ZeroShotClassifier,
) -> None:
    with pytest.raises(ValueError, match="chunk_size is 0"):
        zero_shot.stream(["good"], _LABELS, chunk_size=0)
    with pytest.raises(InputError, match="put the one text into a list"):
        zero_shot.stream("good", _LABELS)
    with pytest.raises(ValueError, match="no label"):
        zero_shot.stream(["good"], [])
    stream = zero_shot.stream(["good"] * 4 + ["\ud800"], _LABELS, chunk_size=2)
    assert len([next(stream) for _ in range(4)]) == 4
    with pytest.raises(InputError, match=r"^text 4 is not valid Unicode"):
        next(stream)
