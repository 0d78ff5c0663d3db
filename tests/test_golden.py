"""The logits that travel with an artifact: what agrees with them, what does not, what is said."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from bertrt import ArtifactError, Classifier
from bertrt.artifact import MANIFEST
from bertrt.golden import check_golden
from bertrt.packing import PackedBatch
from bertrt.session import Session
from bertrt.tokenizer import TextTokenizer

from tests.helpers import edit_config, edit_manifest

_BOTH = pytest.mark.parametrize("precision", ["fp32", "int8"])

# How far a logit may be off, of the largest or of 1.
_TOLERANCES = pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-3), ("int8", 0.1)])


@pytest.fixture(scope="module")
def tokenizer(encoder_folder: Path) -> TextTokenizer:
    return TextTokenizer(encoder_folder, 512)


class _Answers:
    """Stands for a session that gives these logits; `batch` is what it was asked."""

    def __init__(self, *logits: Sequence[float]) -> None:
        self.logits = np.array(logits, dtype=np.float32)
        self.batch: PackedBatch | None = None

    def run(self, batch: PackedBatch) -> np.ndarray:
        self.batch = batch
        return self.logits


def _check(
    tokenizer: TextTokenizer,
    texts: Sequence[str | list[str]],
    expected: Sequence[Sequence[float]],
    answers: _Answers,
    precision: str = "fp32",
) -> None:
    golden = [
        {"text": text, "logits": {precision: row}}
        for text, row in zip(texts, expected, strict=True)
    ]
    check_golden(golden, precision, tokenizer, cast(Session, answers))


# What agrees


@_TOLERANCES
@pytest.mark.parametrize(
    ("expected", "scale"),
    [
        pytest.param([0.1, -0.2, 0.0], 1, id="logits under 1 count as 1"),
        pytest.param([3.0, -8.0, 0.5], 8, id="the largest logit, whatever its sign"),
    ],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_the_tolerance_is_of_the_largest_logit(
    tokenizer: TextTokenizer,
    precision: str,
    tolerance: float,
    expected: list[float],
    scale: float,
    sign: int,
) -> None:
    def check(difference: float) -> None:
        answers = _Answers([*expected[:2], expected[2] + sign * difference])
        _check(tokenizer, ["good"], [expected], answers, precision)

    check(0)
    check(0.99 * tolerance * scale)
    with pytest.raises(ArtifactError):
        check(1.01 * tolerance * scale)


def test_a_difference_in_any_text_counts(tokenizer: TextTokenizer) -> None:
    rows = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    _check(tokenizer, ["a", "b", "c"], rows, _Answers(*rows))
    for position in range(3):
        answers = _Answers(*rows)
        answers.logits[position] += 0.1
        with pytest.raises(ArtifactError):
            _check(tokenizer, ["a", "b", "c"], rows, answers)


@_BOTH
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_does_not_agree(
    tokenizer: TextTokenizer, precision: str, wrong: float
) -> None:
    with pytest.raises(ArtifactError):
        _check(tokenizer, ["good"], [[1.0, 2.0]], _Answers([1.0, wrong]), precision)


@pytest.mark.parametrize("stored", [[1.0, 2.0], [1.0], [1.0, 2.0, 3.0, 4.0]])
def test_another_number_of_labels_does_not_agree(
    tokenizer: TextTokenizer, stored: list[float]
) -> None:
    with pytest.raises(ArtifactError):
        _check(tokenizer, ["good"], [stored], _Answers([1.0, 2.0, 3.0]))


def test_the_message_says_how_far_off_where_and_what_to_do(tokenizer: TextTokenizer) -> None:
    with pytest.raises(ArtifactError) as raised:
        _check(tokenizer, ["a", "b"], [[0.0], [1.0]], _Answers([0.0], [1.5]), "int8")
    message = str(raised.value)
    assert "max |Δlogit| 0.5 on 2 golden texts in int8, over the limit of 0.1" in message
    for advice in ("install the onnxruntime", "load another precision", "export the model again"):
        assert advice in message


# What is asked


def test_texts_and_pairs_are_asked_as_the_classifier_asks_them(tokenizer: TextTokenizer) -> None:
    answers = _Answers([1.0], [2.0])
    _check(tokenizer, ["good", ["good", "bad film"]], [[1.0], [2.0]], answers)
    assert answers.batch is not None
    assert answers.batch.lengths.tolist() == [3, 6]
    assert answers.batch.token_type_ids.tolist() == [0, 0, 0, 0, 0, 0, 1, 1, 1]
    good, bad, film = 2204, 2919, 2143
    assert answers.batch.input_ids.tolist() == [101, good, 102, 101, good, 102, bad, film, 102]


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        pytest.param([62, 62, 1], [64, 64], id="up to 128 tokens"),
        pytest.param([62, 63, 1], [64], id="not over 128 tokens"),
        pytest.param([300, 1], [302], id="the first, however long"),
    ],
)
def test_few_tokens_are_asked(tokenizer: TextTokenizer, words: list[int], asked: list[int]) -> None:
    """Where the first texts have those lengths: so a check takes milliseconds."""
    texts = ["good " * number for number in words]
    answers = _Answers(*[[1.0]] * len(asked))
    _check(tokenizer, texts, [[1.0]] * len(texts), answers)
    assert answers.batch is not None
    assert answers.batch.lengths.tolist() == asked


# In an artifact


def _golden(folder: Path) -> list[dict[str, Any]]:
    golden: list[dict[str, Any]] = json.loads((folder / MANIFEST).read_text("utf-8"))["golden"]
    return golden


def _shift(folder: Path, precision: str, by: float) -> None:
    """Change one stored logit of this precision."""
    golden = _golden(folder)
    golden[3]["logits"][precision][0] += by
    edit_manifest(folder, {"golden": golden})


def _largest(folder: Path, precision: str) -> float:
    return float(np.abs([entry["logits"][precision] for entry in _golden(folder)]).max())


@_TOLERANCES
def test_an_artifact_answers_as_the_exporter_did(
    copied_int8_artifact: Callable[[], Path], precision: str, tolerance: float
) -> None:
    folder = copied_int8_artifact()
    Classifier(folder, "cpu", precision=precision)
    _shift(folder, precision, 0.5 * tolerance)
    Classifier(folder, "cpu", precision=precision)


@_TOLERANCES
def test_an_artifact_that_answers_otherwise_is_refused_unless_the_check_is_off(
    copied_int8_artifact: Callable[[], Path], precision: str, tolerance: float
) -> None:
    folder = copied_int8_artifact()
    _shift(folder, precision, 1.5 * tolerance * max(1, _largest(folder, precision)))
    with pytest.raises(ArtifactError, match=rf"kernels .* golden texts in {precision}, over"):
        Classifier(folder, "cpu", precision=precision)
    unchecked = Classifier(folder, "cpu", precision=precision, check_answers=False)
    assert np.isfinite(unchecked.logits("good")).all()


@pytest.mark.parametrize(("tampered", "other"), [("fp32", "int8"), ("int8", "fp32")])
def test_only_the_precision_that_is_loaded_is_compared(
    copied_int8_artifact: Callable[[], Path], tampered: str, other: str
) -> None:
    folder = copied_int8_artifact()
    _shift(folder, tampered, 100)
    assert Classifier(folder, "cpu", precision=other).precision == other
    with pytest.raises(ArtifactError):
        Classifier(folder, "cpu", precision=tampered)


def test_a_tokenizer_that_was_changed_is_noticed(copied_int8_artifact: Callable[[], Path]) -> None:
    folder = copied_int8_artifact()
    normalizer = json.loads((folder / "tokenizer.json").read_text("utf-8"))["normalizer"]
    edit_config(folder, {"normalizer": {**normalizer, "lowercase": False}}, name="tokenizer.json")
    with pytest.raises(ArtifactError, match="golden texts"):
        Classifier(folder, "cpu")


def test_an_artifact_without_golden_logits_is_incomplete(
    copied_int8_artifact: Callable[[], Path],
) -> None:
    folder = copied_int8_artifact()
    edit_manifest(folder, {}, remove=["golden"])
    for check_answers in (True, False):
        with pytest.raises(ArtifactError, match="it has no golden; export the model again"):
            Classifier(folder, "cpu", check_answers=check_answers)


@pytest.mark.parametrize(
    "golden",
    [
        pytest.param([], id="none"),
        pytest.param(None, id="null"),
        pytest.param({}, id="an object"),
        pytest.param([{"text": "a", "logits": {"other": [1, 2, 3]}}], id="another precision"),
        pytest.param([{"logits": {"fp32": [1, 2, 3]}}], id="no text"),
        pytest.param([{"text": 7, "logits": {"fp32": [1, 2, 3]}}], id="a number for a text"),
        pytest.param([{"text": ["a"], "logits": {"fp32": [1, 2, 3]}}], id="half a pair"),
        pytest.param([{"text": "a", "logits": {"fp32": [1, "x", 3]}}], id="a word for a logit"),
        pytest.param([{"text": "a", "logits": {"fp32": [1, float("inf"), 3]}}], id="infinity"),
        pytest.param(
            [{"text": t, "logits": {"fp32": row}} for t, row in (("a", [1]), ("b", [1, 2]))],
            id="rows of unequal length",
        ),
        pytest.param([{"text": "a", "logits": {"fp32": [[[1, 2]]]}}], id="too many axes"),
    ],
)
def test_malformed_golden_texts_are_an_artifact_error(
    copied_int8_artifact: Callable[[], Path], golden: Any
) -> None:
    folder = copied_int8_artifact()
    edit_manifest(folder, {"golden": golden})
    with pytest.raises(ArtifactError, match=r"no usable golden texts with logits for fp32"):
        Classifier(folder, "cpu", precision="fp32")


def test_another_number_of_labels_is_said_to_be_that(tokenizer: TextTokenizer) -> None:
    with pytest.raises(ArtifactError, match=r"gives 2 labels, .* logits of 3"):
        _check(tokenizer, ["good"], [[1.0, 2.0, 3.0]], _Answers([1.0, 2.0]))


def test_rows_of_tokens_are_compared_one_by_one(tokenizer: TextTokenizer) -> None:
    """A token classifier's golden logits have a row a token; `good` has three."""
    rows = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    golden = [{"text": "good", "logits": {"fp32": rows}}]
    check_golden(golden, "fp32", tokenizer, cast(Session, _Answers(*rows)))
    other = _Answers(*rows[:2], [5.0, 6.5])
    with pytest.raises(ArtifactError, match=r"max \|Δlogit\| 0.5 on 1 golden texts"):
        check_golden(golden, "fp32", tokenizer, cast(Session, other))


def test_another_number_of_tokens_is_said_to_be_that(tokenizer: TextTokenizer) -> None:
    golden = [{"text": "good", "logits": {"fp32": [[1.0, 2.0], [3.0, 4.0]]}}]
    answers = _Answers([1.0, 2.0], [3.0, 4.0], [5.0, 6.0])
    with pytest.raises(ArtifactError, match=r"gives 3 rows of logits .* keeps 2: the tokenizer"):
        check_golden(golden, "fp32", tokenizer, cast(Session, answers))
