"""Text to predictions: forms of input and output, order, batches, streams, errors."""

import itertools
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from bertrt import (
    ArtifactError,
    BertrtError,
    Classifier,
    EmptyInputError,
    InputError,
    Prediction,
    TextTooLongError,
    classify_text,
)
from bertrt.cpus import available_cpus
from bertrt.tokenizer import TextInput
from onnx import TensorProto, helper

from tests.helpers import edit_config, edit_manifest, rehash

_LABELS = ("negative", "neutral", "positive")
_TOLERANCE = 1e-4
_MIXED: list[TextInput] = [
    "a text of middling length , not more",
    "",
    ("a pair of texts", "is one input"),
    "long " * 200,
    "good",
    ("", "empty first"),
]


@pytest.fixture(scope="module")
def classifier(tiny_artifact: Path) -> Classifier:
    return Classifier(tiny_artifact, "cpu")


@pytest.fixture(scope="module")
def sentences(sst2_dev: list[tuple[str, int]]) -> list[str]:
    """Real sentences of all lengths."""
    return [text for text, _ in sst2_dev[:150]]


@pytest.fixture(scope="module")
def alone(classifier: Classifier, sentences: list[str]) -> np.ndarray:
    """The logits of each sentence, classified alone."""
    return np.concatenate([classifier.logits(text) for text in sentences])


def _best(classifier: Classifier, text: TextInput) -> str:
    return _LABELS[int(classifier.logits(text).argmax())]


def _close(left: np.ndarray, right: np.ndarray) -> bool:
    return left.shape == right.shape and float(np.abs(left - right).max()) <= _TOLERANCE


# What it says of itself


def test_says_what_it_loaded(classifier: Classifier, tiny_artifact: Path) -> None:
    assert classifier.labels == _LABELS
    assert classifier.provider == "CPUExecutionProvider"
    assert classifier.precision == "fp32"
    assert classifier.artifact.path == tiny_artifact


def test_threads_are_the_available_cpus_unless_given(
    classifier: Classifier, tiny_artifact: Path
) -> None:
    assert classifier.threads == available_cpus()
    assert Classifier(tiny_artifact, "cpu", threads=1).threads == 1


# Forms of input and output


@pytest.mark.parametrize("text", ["good", "", "good\n", ("good", "bad")], ids=ascii)
def test_one_text_gives_one_prediction(classifier: Classifier, text: TextInput) -> None:
    prediction = classifier(text)
    assert isinstance(prediction, Prediction)
    assert prediction.label == _best(classifier, text)
    assert 1 / 3 < prediction.score < 1


def test_a_list_gives_a_prediction_for_each_text(classifier: Classifier) -> None:
    predictions = classifier(_MIXED)
    assert isinstance(predictions, list)
    assert [p.label for p in predictions] == [_best(classifier, text) for text in _MIXED]
    assert len({p.score for p in predictions}) == len(_MIXED)


def test_a_list_of_one_gives_a_list_of_one(classifier: Classifier) -> None:
    assert classifier(["good"]) == [classifier("good")]


def test_a_generator_is_a_list_of_texts(classifier: Classifier) -> None:
    assert classifier(text for text in _MIXED) == classifier(_MIXED)


def test_a_tuple_is_a_pair_and_not_two_texts(classifier: Classifier) -> None:
    pair = classifier.logits(("good", "bad"))
    assert pair.shape == (1, 3)
    assert not _close(pair, classifier.logits("good bad"))
    assert not _close(pair, classifier.logits(("bad", "good")))


@pytest.mark.parametrize(("top_k", "count"), [(1, 1), (2, 2), (3, 3), (100, 3), (None, 3)])
def test_top_k_gives_a_list_of_that_many_best_first(
    classifier: Classifier, top_k: int | None, count: int
) -> None:
    ranked = classifier("good", top_k)
    assert isinstance(ranked, list)
    assert len(ranked) == count
    assert ranked == sorted(ranked, key=lambda p: -p.score)
    assert ranked[0] == classifier("good")
    assert classifier(["good", "bad"], top_k=top_k) == [ranked, classifier("bad", top_k)]


def test_all_scores_are_the_softmax_of_the_logits(classifier: Classifier) -> None:
    (logits,) = classifier.logits("good").astype(np.float64)
    expected = np.exp(logits) / np.exp(logits).sum()
    scores = {p.label: p.score for p in classifier("good", top_k=None)}
    assert [scores[label] for label in _LABELS] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("top_k", [0, -1, True, False, "x", 1.5])
def test_wrong_top_k_names_the_value(classifier: Classifier, top_k: Any) -> None:
    with pytest.raises(ValueError, match="1 or more, or None") as raised:
        classifier("good", top_k)
    assert f"top_k is {top_k!r}" in str(raised.value)
    with pytest.raises(ValueError, match="1 or more, or None"):
        classifier.stream(["good"], top_k)


def test_logits_have_a_row_a_text(classifier: Classifier) -> None:
    for texts, rows in (("good", 1), (("good", "bad"), 1), (["good", "bad"], 2), (_MIXED, 6)):
        logits = classifier.logits(texts)
        assert logits.shape == (rows, 3)
        assert logits.dtype == np.float32


def test_a_text_over_the_limit_is_cut_or_refused(classifier: Classifier) -> None:
    text = "long " * 600
    assert _close(classifier.logits(text), classifier.logits("long " * 510))
    assert classifier(text) == classifier(text, truncate=True)
    for call in (classifier, classifier.logits):
        with pytest.raises(TextTooLongError) as raised:
            call(["good", text], truncate=False)
        assert (raised.value.position, raised.value.length, raised.value.limit) == (1, 602, 512)


# Errors


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        pytest.param(b"good", ["bytes"], id="bytes"),
        pytest.param({"text": "good"}, ["dict"], id="dict"),
        pytest.param(7, ["int"], id="int"),
        pytest.param(None, ["NoneType"], id="None"),
        pytest.param([b"good"], ["text 0", "bytes"], id="bytes in a list"),
        pytest.param(["good", 7], ["text 1", "int"], id="int in a list"),
        pytest.param(["good", None], ["text 1", "NoneType"], id="None in a list"),
        pytest.param([["good", "bad"]], ["text 0", "list", "tuple"], id="list as a pair"),
        pytest.param(("a", "b", "c"), ["(str, str, str)", "two strings"], id="tuple of three"),
        pytest.param("\ud800", ["not valid Unicode"], id="surrogate"),
    ],
)
def test_what_is_not_a_text_is_named(classifier: Classifier, texts: Any, words: list[str]) -> None:
    for call in (classifier, classifier.logits):
        with pytest.raises(InputError) as raised:
            call(texts)
        assert all(word in str(raised.value) for word in words)


def test_no_text_at_all_is_an_error(classifier: Classifier) -> None:
    for call in (classifier, classifier.logits):
        with pytest.raises(EmptyInputError, match="empty"):
            call([])
        with pytest.raises(EmptyInputError, match="empty"):
            call(text for text in "")


@pytest.mark.parametrize("threads", [0, -1])
def test_wrong_threads(tiny_artifact: Path, threads: int) -> None:
    with pytest.raises(ValueError, match=f"threads is {threads}: give 1 or more"):
        Classifier(tiny_artifact, threads=threads)


@pytest.mark.parametrize("max_batch_tokens", [0, -1])
def test_wrong_max_batch_tokens(tiny_artifact: Path, max_batch_tokens: int) -> None:
    with pytest.raises(ValueError, match=f"max_batch_tokens is {max_batch_tokens}: give 1 or more"):
        Classifier(tiny_artifact, max_batch_tokens=max_batch_tokens)


def test_unknown_device(tiny_artifact: Path) -> None:
    with pytest.raises(ValueError, match="device is 'tpu': choose one of auto, cpu, cuda"):
        Classifier(tiny_artifact, "tpu")


def test_labels_that_the_graph_does_not_have(copied_artifact: Callable[[], Path]) -> None:
    folder = copied_artifact()
    edit_config(folder, {"id2label": {"0": "negative", "1": "positive"}})
    with pytest.raises(ArtifactError) as raised:
        Classifier(folder, "cpu")
    message = str(raised.value)
    assert str(folder) in message
    assert "graph has 3 labels" in message and "config.json names 2" in message


def test_tampered_artifact_is_refused_unless_the_check_is_off(
    copied_artifact: Callable[[], Path],
) -> None:
    folder = copied_artifact()
    config = folder / "config.json"
    config.write_text(config.read_text(encoding="utf-8").replace("negative", "positive"))
    with pytest.raises(ArtifactError, match="SHA-256 differs"):
        Classifier(folder, "cpu")
    assert Classifier(folder, "cpu", check_files=False).labels[0] == "positive"


@pytest.mark.parametrize("max_length", [0, 1, 2])
def test_a_limit_that_special_tokens_alone_exceed_is_refused(
    copied_artifact: Callable[[], Path], max_length: int
) -> None:
    """The tokenizer would not cut at all: it cannot keep [CLS], [SEP] and [SEP] and the limit."""
    folder = copied_artifact()
    edit_manifest(folder, {"max_length": max_length})
    with pytest.raises(ArtifactError, match="max_length"):
        Classifier(folder, "cpu")


# The answer does not depend on what shares the batch


def test_sentences_give_logits_that_differ(alone: np.ndarray) -> None:
    assert alone.shape == (150, 3)
    assert alone.std(axis=0).min() > 0.1


def test_logits_in_a_batch_equal_those_alone(
    classifier: Classifier, sentences: list[str], alone: np.ndarray
) -> None:
    assert _close(classifier.logits(sentences), alone)


def test_results_stand_in_input_order(
    classifier: Classifier, sentences: list[str], alone: np.ndarray
) -> None:
    order = list(range(len(sentences)))
    random.Random(0).shuffle(order)
    shuffled = [sentences[position] for position in order]
    assert _close(classifier.logits(shuffled), alone[order])
    best = [_LABELS[index] for index in alone[order].argmax(axis=1)]
    assert [p.label for p in classifier(shuffled)] == best


def test_texts_and_pairs_of_all_lengths_stand_in_input_order(classifier: Classifier) -> None:
    expected = np.concatenate([classifier.logits(text) for text in _MIXED])
    assert _close(classifier.logits(_MIXED), expected)
    assert _close(classifier.logits(_MIXED[::-1]), expected[::-1])


@pytest.mark.parametrize("max_batch_tokens", [1, 50, 333, 100_000])
def test_any_max_batch_tokens_gives_the_same_logits(
    tiny_artifact: Path, sentences: list[str], alone: np.ndarray, max_batch_tokens: int
) -> None:
    classifier = Classifier(tiny_artifact, "cpu", max_batch_tokens=max_batch_tokens)
    assert _close(classifier.logits(sentences), alone)


def test_eight_threads_get_the_same_logits_as_one(
    classifier: Classifier, sentences: list[str], alone: np.ndarray
) -> None:
    slices = [slice(start, start + 40) for start in range(0, 110, 10)] * 3
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda part: classifier.logits(sentences[part]), slices))
    assert all(_close(got, alone[part]) for part, got in zip(slices, answers, strict=True))


# Streams


def _counted(read: list[str]) -> Iterator[str]:
    """Texts without end; `read` holds those that have been read."""
    for number in itertools.count():
        read.append(f"text number {number}")
        yield read[-1]


def test_a_stream_gives_what_a_call_gives(classifier: Classifier, sentences: list[str]) -> None:
    best = list(classifier.stream(iter(sentences), chunk_size=32))
    assert all(isinstance(p, Prediction) for p in best)
    assert [p.label for p in best] == [p.label for p in classifier(sentences)]
    scores = [p.score for p in classifier(sentences)]
    assert [p.score for p in best] == pytest.approx(scores, abs=_TOLERANCE)


@pytest.mark.parametrize(("top_k", "count"), [(1, 1), (2, 2), (None, 3)])
def test_a_stream_with_top_k_gives_lists(
    classifier: Classifier, top_k: int | None, count: int
) -> None:
    ranked = list(classifier.stream(_MIXED, top_k, chunk_size=2))
    assert {len(row) for row in ranked} == {count}
    assert [row[0].label for row in ranked] == [_best(classifier, text) for text in _MIXED]


def test_a_stream_reads_nothing_before_its_first_result_is_wanted(classifier: Classifier) -> None:
    read: list[str] = []
    classifier.stream(_counted(read), chunk_size=4)
    assert read == []


def test_a_stream_reads_no_more_than_a_chunk_ahead(classifier: Classifier) -> None:
    read: list[str] = []
    stream = classifier.stream(_counted(read), chunk_size=4)
    ahead = []
    for taken in range(1, 13):
        next(stream)
        ahead.append(len(read) - taken)
    assert ahead == [3, 2, 1, 0] * 3


def test_a_stream_of_texts_without_end_can_be_cut(classifier: Classifier) -> None:
    read: list[str] = []
    predictions = list(itertools.islice(classifier.stream(_counted(read), chunk_size=8), 20))
    assert [p.label for p in predictions] == [_best(classifier, text) for text in read[:20]]
    assert len(read) == 24


def test_a_stream_of_no_texts_is_empty(classifier: Classifier) -> None:
    assert list(classifier.stream([])) == []


@pytest.mark.parametrize("wrong", [None, "\ud800", ("a",), "long " * 600], ids=ascii)
def test_errors_in_a_stream_count_from_its_beginning(classifier: Classifier, wrong: Any) -> None:
    texts = ["good"] * 9 + [wrong]
    stream = classifier.stream(texts, chunk_size=4, truncate=False)
    assert len(list(itertools.islice(stream, 8))) == 8
    with pytest.raises(InputError, match=r"^text 9 "):
        next(stream)


@pytest.mark.parametrize("texts", ["good", b"good", {"text": "good"}, 7, None], ids=ascii)
def test_what_is_no_iterable_of_texts_is_refused_at_once(
    classifier: Classifier, texts: Any
) -> None:
    with pytest.raises(InputError, match=r"iterable|list"):
        classifier.stream(texts)


@pytest.mark.parametrize("chunk_size", [0, -1])
def test_wrong_chunk_size_is_refused_at_once(classifier: Classifier, chunk_size: int) -> None:
    with pytest.raises(ValueError, match=f"chunk_size is {chunk_size}: give 1 or more"):
        classifier.stream(["good"], chunk_size=chunk_size)


# classify_text


def test_classify_text_gives_a_row_for_one_text(
    classifier: Classifier, tiny_artifact: Path
) -> None:
    for text in ("good", "", ("good", "bad")):
        logits = classify_text(text, model=tiny_artifact)
        assert logits.shape == (3,)
        assert _close(logits, classifier.logits(text)[0])


def test_classify_text_gives_a_row_each_for_many_texts(
    classifier: Classifier, tiny_artifact: Path
) -> None:
    logits = classify_text(_MIXED, model=str(tiny_artifact))
    assert _close(logits, classifier.logits(_MIXED))
    assert classify_text(["good"], model=tiny_artifact).shape == (1, 3)


def test_classify_text_raises_what_loading_raises(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"has no bertrt\.json"):
        classify_text("good", model=tmp_path)


def test_classify_text_raises_what_classifying_raises(tiny_artifact: Path) -> None:
    with pytest.raises(EmptyInputError):
        classify_text([], model=tiny_artifact)
    with pytest.raises(BertrtError, match="bytes"):
        classify_text(b"good", model=tiny_artifact)  # type: ignore[arg-type]  # what is tested


# Other problems than one label of several


def test_multi_label_scores_are_a_sigmoid_each(
    classifier: Classifier, copied_artifact: Callable[[], Path]
) -> None:
    folder = copied_artifact()
    edit_config(folder, {"problem_type": "multi_label_classification"})
    scores = {p.label: p.score for p in Classifier(folder, "cpu")("good", top_k=None)}
    expected = 1 / (1 + np.exp(-classifier.logits("good")[0].astype(np.float64)))
    assert [scores[label] for label in _LABELS] == pytest.approx(expected, abs=1e-6)


def test_regression_scores_are_the_raw_values(
    classifier: Classifier, copied_artifact: Callable[[], Path]
) -> None:
    folder = copied_artifact()
    edit_config(folder, {"problem_type": "regression"})
    scores = {p.label: p.score for p in Classifier(folder, "cpu")("good", top_k=None)}
    expected = classifier.logits("good")[0]
    assert [scores[label] for label in _LABELS] == pytest.approx(expected, abs=1e-6)


def _keep_first_label(folder: Path) -> None:
    """Let the graph give the first label's logits alone."""
    model = onnx.load(folder / "model.onnx")
    (last,) = (node for node in model.graph.node if "logits" in node.output)
    last.output[:] = ["all_logits"]
    model.graph.initializer.append(helper.make_tensor("first", TensorProto.INT64, [1], [0]))
    model.graph.node.append(helper.make_node("Gather", ["all_logits", "first"], ["logits"], axis=1))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 1
    onnx.save(model, folder / "model.onnx")
    rehash(folder, "model.onnx")


@pytest.mark.parametrize("problem_type", [None, "single_label_classification", "regression"])
def test_one_label_is_a_probability_by_itself_or_a_raw_value(
    classifier: Classifier, copied_artifact: Callable[[], Path], problem_type: str | None
) -> None:
    folder = copied_artifact()
    _keep_first_label(folder)
    edit_config(folder, {"id2label": {"0": "negative"}, "problem_type": problem_type})
    # The stored answers are still those of three labels.
    predictions = Classifier(folder, "cpu", check_answers=False)(["good", "long " * 100])
    logits = classifier.logits(["good", "long " * 100])[:, 0].astype(np.float64)
    expected = logits if problem_type == "regression" else 1 / (1 + np.exp(-logits))
    assert {p.label for p in predictions} == {"negative"}
    assert [p.score for p in predictions] == pytest.approx(expected, abs=1e-5)
