"""Texts over the limit, read in windows: equal to PyTorch on the same windows."""

import itertools
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bertrt import Classifier, EmptyInputError, InputError, Prediction
from bertrt.long_text import LongTextOptions, combine_windows
from bertrt.tokenizer import TextInput
from transformers import AutoModelForSequenceClassification, AutoTokenizer

_TOLERANCE = 1e-4
_LIMIT, _STRIDE = 512, 64

Logits = Callable[..., np.ndarray]


@pytest.fixture(scope="module")
def classifier(tiny_artifact: Path) -> Classifier:
    return Classifier(tiny_artifact, "cpu")


@pytest.fixture(scope="module")
def long_text(sst2_dev: list[tuple[str, int]]) -> str:
    """More than three times the limit."""
    return " ".join(text for text, _ in sst2_dev[:90])


@pytest.fixture(scope="module")
def torch_logits(tiny_checkpoint: Path) -> Logits:
    """PyTorch's logits of each window that Transformers' tokenizer makes of a text or pair."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_checkpoint)
    model = AutoModelForSequenceClassification.from_pretrained(tiny_checkpoint).eval()

    def of_windows(*text: str, truncation: Any = True, stride: int = _STRIDE) -> np.ndarray:
        encoded = tokenizer(
            *text,
            truncation=truncation,
            max_length=_LIMIT,
            stride=stride,
            return_overflowing_tokens=True,
        )
        rows = []
        with torch.no_grad():
            for ids, types in zip(encoded["input_ids"], encoded["token_type_ids"], strict=True):
                logits = model(torch.tensor([ids]), token_type_ids=torch.tensor([types])).logits
                rows.append(logits[0].numpy())
        return np.stack(rows)

    return of_windows


def _close(left: np.ndarray, right: np.ndarray) -> bool:
    return left.shape == right.shape and float(np.abs(left - right).max()) <= _TOLERANCE


@pytest.mark.parametrize("combine", ["mean", "max"])
@pytest.mark.parametrize("stride", [None, 0, 200])
def test_a_long_texts_logits_are_combined_from_pytorchs_of_its_windows(
    classifier: Classifier, torch_logits: Logits, long_text: str, combine: Any, stride: int | None
) -> None:
    windows = torch_logits(long_text, stride=_STRIDE if stride is None else stride)
    assert len(windows) >= 4
    expected = windows.mean(axis=0) if combine == "mean" else windows.max(axis=0)
    found = classifier.logits(long_text, long_text="window", stride=stride, combine=combine)
    assert _close(found, expected[None])
    # It is neither the first window, which truncation keeps, nor the other way to combine.
    other = windows.max(axis=0) if combine == "mean" else windows.mean(axis=0)
    assert np.abs(expected - windows[0]).max() > 0.01 and np.abs(expected - other).max() > 0.01


@pytest.mark.parametrize("longer", [0, 1])
def test_of_a_pair_the_longer_text_is_read_in_windows(
    classifier: Classifier, torch_logits: Logits, long_text: str, longer: int
) -> None:
    pair = (long_text, "a good film") if longer == 0 else ("a good film", long_text)
    windows = torch_logits(*pair, truncation="only_second" if longer else "only_first")
    assert len(windows) >= 4
    found = classifier.logits(pair, long_text="window", stride=_STRIDE)
    assert _close(found, windows.mean(axis=0)[None])


def test_one_call_takes_short_and_long_texts_and_pairs(
    classifier: Classifier, long_text: str
) -> None:
    texts: list[TextInput] = ["good", long_text, "", ("a", "b"), "bad", (long_text, "x"), long_text]
    alone = np.concatenate([classifier.logits(text, long_text="window") for text in texts])
    together = classifier.logits(texts, long_text="window")
    assert _close(together, alone)
    truncated = classifier.logits(texts)
    for position in (0, 2, 3, 4):
        assert _close(together[position], truncated[position])
    for position in (1, 5, 6):
        assert np.abs(together[position] - truncated[position]).max() > 0.01
    # And so every other way to ask.
    expected = classifier(texts, top_k=None, long_text="window")
    streamed = classifier.stream(texts, None, chunk_size=2, long_text="window")
    for found, row in zip(streamed, expected, strict=True):
        assert {p.label: p.score for p in found} == pytest.approx(
            {p.label: p.score for p in row}, abs=_TOLERANCE
        )
    best = classifier(texts, long_text="window")
    assert [p.label for p in best] == [row[0].label for row in expected]


def test_a_long_text_needs_no_session_of_its_own(
    classifier: Classifier, long_text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All windows of all texts share one plan of batches."""
    runs: list[int] = []
    run_all = classifier.session.run_all

    def counted(batches: Any) -> Any:
        listed = list(batches)
        runs.append(sum(len(batch.lengths) for batch in listed))
        return run_all(listed)

    monkeypatch.setattr(classifier.session, "run_all", counted)
    classifier.logits([long_text, "good", long_text], long_text="window", stride=_STRIDE)
    windows = len(classifier.windows(long_text, stride=_STRIDE))
    assert runs[0] == 2 * windows + 1


# Where the windows are


def test_windows_say_where_they_are_and_what_they_say(
    classifier: Classifier, torch_logits: Logits, long_text: str
) -> None:
    windows = classifier.windows(long_text, stride=_STRIDE)
    logits = torch_logits(long_text)
    assert len(windows) == len(logits) >= 4
    assert (windows[0].start, windows[-1].end) == (0, len(long_text))
    for before, after in itertools.pairwise(windows):
        assert before.start < after.start < before.end < after.end
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    for window, row in zip(windows, probabilities, strict=True):
        scores = {prediction.label: prediction.score for prediction in window.predictions}
        assert [scores[label] for label in classifier.labels] == pytest.approx(row, abs=_TOLERANCE)
        assert window.predictions[0].score == max(scores.values())


def test_the_text_between_start_and_end_is_what_the_window_is_of(classifier: Classifier) -> None:
    # Words of one token each: a window that begins within a word is of another text.
    words = ["good", "bad", "film", "the", "story", "and", "music"]
    text = " ".join(random.Random(0).choices(words, k=1500))
    for window in classifier.windows(text):
        part = classifier(text[window.start : window.end], top_k=None)
        expected = {p.label: p.score for p in window.predictions}
        assert {p.label: p.score for p in part} == pytest.approx(expected, abs=_TOLERANCE)


def test_windows_of_short_texts_pairs_and_lists(classifier: Classifier, long_text: str) -> None:
    pair = ("ein kurzer", long_text)
    found = classifier.windows(["  caf\u00e9 \U0001f44d ", pair, ""], 1)
    assert [len(windows) for windows in found] == [1, len(classifier.windows(pair)), 1]
    (short,), of_pair, (empty,) = found
    assert (short.start, short.end) == (2, 8)
    assert len(of_pair) >= 4 and of_pair[-1].end == len(long_text)
    assert (empty.start, empty.end) == (0, 0)
    assert short.predictions == (classifier("  caf\u00e9 \U0001f44d "),)
    assert isinstance(empty.predictions[0], Prediction)


# What is wrong


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"long_text": "cut"}, "long_text is 'cut': choose one of truncate, window"),
        ({"long_text": "window", "combine": "min"}, "combine is 'min': choose one of mean, max"),
        ({"long_text": "window", "truncate": False}, "long_text is 'window'.*truncation is off"),
        ({"stride": 3}, "stride and combine are for windows: set long_text to 'window'"),
        ({"combine": "max"}, "stride and combine are for windows: set long_text to 'window'"),
        ({"long_text": "window", "stride": -1}, "stride is -1: give 0 to 509"),
        ({"long_text": "window", "stride": 510}, "stride is 510: give 0 to 509"),
        ({"long_text": "window", "stride": 1.5}, "stride is 1.5: give a whole number"),
    ],
    ids=str,
)
def test_options_out_of_range_are_refused_at_once(
    classifier: Classifier, options: dict[str, Any], words: str
) -> None:
    for call in (classifier, classifier.logits, classifier.stream):
        with pytest.raises(ValueError, match=words):
            call(["good"], **options)


def test_windows_refuse_what_calls_refuse(classifier: Classifier) -> None:
    with pytest.raises(EmptyInputError, match="empty"):
        classifier.windows([])
    with pytest.raises(InputError, match="text 1 is of type int"):
        classifier.windows(["good", 7])  # type: ignore[list-item]  # what is tested
    with pytest.raises(ValueError, match="stride is 510"):
        classifier.windows("good", stride=510)
    with pytest.raises(ValueError, match="top_k is 0"):
        classifier.windows("good", 0)


def test_a_pair_that_leaves_no_room_is_named_by_its_place_in_the_stream(
    classifier: Classifier,
) -> None:
    texts: list[TextInput] = ["good"] * 5 + [("x " * 500, "y " * 500)]
    stream = classifier.stream(texts, chunk_size=2, long_text="window")
    assert [next(stream) for _ in range(4)] == [classifier("good")] * 4
    with pytest.raises(InputError, match=r"^text 5 is a pair whose shorter text leaves .* 9 of"):
        next(stream)


def test_windows_combine_label_by_label_and_a_single_one_stays_as_it_is() -> None:
    logits = np.array([[1, 5], [3, 2], [0.1, 0.7], [-4, 4], [-2, -8]], dtype=np.float32)
    mean = combine_windows(logits, [2, 1, 2], "mean")
    assert mean.dtype == np.float32
    np.testing.assert_array_equal(
        mean, np.array([[2, 3.5], [0.1, 0.7], [-3, -2]], dtype=np.float32)
    )
    largest = combine_windows(logits, [2, 1, 2], "max")
    np.testing.assert_array_equal(
        largest, np.array([[3, 5], [0.1, 0.7], [-2, 4]], dtype=np.float32)
    )
    assert largest.dtype == np.float32


def test_the_default_cuts_texts() -> None:
    assert LongTextOptions() == LongTextOptions("truncate", truncate=True, combine="mean")
