"""Texts that are tokenized while a GPU runs those before: pretended on the CPU."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from bertrt import Classifier, InputError, TextTooLongError
from bertrt.session import Session


@pytest.fixture(scope="module")
def classifier(tiny_artifact: Path) -> Classifier:
    return Classifier(tiny_artifact, "cpu")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Session, "on_gpu", True)
    monkeypatch.setattr("bertrt.classifier._CHUNK", 3)


@pytest.fixture(scope="module")
def texts(sst2_dev: list[tuple[str, int]]) -> list[str]:
    return [text for text, _ in sst2_dev[:20]]


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("count", [1, 2, 3, 4, 6, 20])
def test_logits_are_those_of_one_go(
    classifier: Classifier, texts: list[str], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunked = classifier.logits(texts[:count])
    with monkeypatch.context() as patch:
        patch.setattr(Session, "on_gpu", False)
        expected = classifier.logits(texts[:count])
    np.testing.assert_allclose(chunked, expected, atol=1e-5)


@pytest.mark.usefixtures("gpu")
def test_one_chunk_needs_no_thread(
    classifier: Classifier, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bertrt.classifier.prefetch", lambda chunks: pytest.fail("a thread"))
    assert len(classifier.logits(texts[:3])) == 3


@pytest.mark.usefixtures("gpu")
def test_long_texts_are_windows_there_too(classifier: Classifier, texts: list[str]) -> None:
    mixed = [*texts[:4], "word " * 1200, *texts[4:7]]
    together = classifier.logits(mixed, long_text="window")
    alone = np.concatenate([classifier.logits(text, long_text="window") for text in mixed])
    np.testing.assert_allclose(together, alone, atol=1e-5)


@pytest.mark.usefixtures("gpu")
def test_errors_count_all_texts(classifier: Classifier, texts: list[str]) -> None:
    with pytest.raises(TextTooLongError) as raised:
        classifier.logits([*texts[:7], "word " * 600, "b"], truncate=False)
    assert raised.value.position == 7
    with pytest.raises(InputError, match="text 10 "):
        classifier.logits([*texts[:10], 3])  # type: ignore[list-item]


@pytest.mark.usefixtures("gpu")
def test_a_stream_is_read_on_a_thread_of_its_own_and_stays_in_order(
    classifier: Classifier, texts: list[str]
) -> None:
    readers: set[str] = set()

    def read() -> Iterator[str]:
        for text in texts:
            readers.add(threading.current_thread().name)
            yield text

    streamed = list(classifier.stream(read(), chunk_size=4))
    assert readers == {"bertrt-prefetch"}
    expected = classifier(texts)
    assert [p.label for p in streamed] == [p.label for p in expected]
    np.testing.assert_allclose([p.score for p in streamed], [p.score for p in expected], atol=1e-5)


@pytest.mark.usefixtures("gpu")
def test_an_error_of_the_stream_comes_after_what_was_before(
    classifier: Classifier, texts: list[str]
) -> None:
    def read() -> Iterator[str]:
        yield from texts[:4]
        raise OSError("the disk is gone")

    results = classifier.stream(read(), chunk_size=4)
    for _ in range(4):
        next(results)
    with pytest.raises(OSError, match="the disk is gone"):
        next(results)
