"""`bertrt serve`: texts over the limit, files of models, thresholds, models that are refused."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import httpx
import numpy as np
import pytest
from bertrt import Classifier
from bertrt.server.encoded import Encoded
from bertrt.server.models import rank
from bertrt.server.scheduler import Job
from bertrt.server.settings import Settings
from bertrt.tokenizer import Encoding

from tests.foreign import Foreign
from tests.helpers import edit_manifest, run_bertrt
from tests.serving import serving
from tests.tiny_problems import MAX_LENGTH

_STRIDE = 6
# A part of each half alone, so that what is cut off matters.
_LONG = "a gorgeous film " * 30 + "dull and slow " * 40
_TEXTS = ["a good film", _LONG, "", "short"]

Problem = Callable[[str], tuple[Path, Path]]


@pytest.fixture(scope="module")
def model(tiny_problem: Problem) -> Path:
    return tiny_problem("single")[1]


@pytest.fixture(scope="module")
def classifier(model: Path) -> Classifier:
    return Classifier(model, "cpu")


@pytest.fixture(scope="module")
def url(model: Path, tiny_problem: Problem) -> Iterator[str]:
    """A server that reads long texts in windows; its second model ranks texts."""
    options = ("--long-text", "window", "--stride", str(_STRIDE), "--combine", "max")
    models = (f"m={model}", f"ranks={tiny_problem('reranker')[1]}")
    with serving(*models, options=options) as server:
        yield server.url


def _predict(url: str, texts: list[str], **options: Any) -> httpx.Response:
    body = {"inputs": [[text] for text in texts], "raw_scores": True, **options}
    return httpx.post(f"{url}/predict", json=body)


def _logits(answer: httpx.Response, classifier: Classifier) -> np.ndarray:
    rows = [{one["label"]: one["score"] for one in row} for row in answer.json()]
    return np.array([[row[label] for label in classifier.labels] for row in rows])


def _window_logits(classifier: Classifier, combine: Literal["mean", "max"] = "max") -> np.ndarray:
    return classifier.logits(_TEXTS, long_text="window", stride=_STRIDE, combine=combine)


# Windows


def test_long_texts_are_read_in_windows(url: str, classifier: Classifier) -> None:
    expected = _window_logits(classifier)
    # What the test would not see otherwise.
    assert np.abs(expected[1] - classifier.logits(_LONG)[0]).max() > 0.05
    assert np.abs(expected[1] - _window_logits(classifier, "mean")[1]).max() > 0.05
    answer = _predict(url, _TEXTS)
    np.testing.assert_allclose(_logits(answer, classifier), expected, atol=1e-5)
    assert "x-truncated" not in answer.headers
    windows = classifier.tokenizer.windows(_TEXTS, stride=_STRIDE)
    tokens = sum(len(window) for of_text in windows for window in of_text)
    assert answer.headers["x-compute-tokens"] == str(tokens)


def test_scores_are_those_of_the_combined_logits(url: str, classifier: Classifier) -> None:
    (row,) = httpx.post(url, json={"inputs": _LONG}).json()
    expected = classifier(_LONG, None, long_text="window", stride=_STRIDE, combine="max")
    assert [one["label"] for one in row] == [one.label for one in expected]
    assert [one["score"] for one in row] == pytest.approx([p.score for p in expected], abs=1e-5)


@pytest.mark.parametrize("truncate", [True, False])
def test_a_request_that_says_whether_to_cut_is_obeyed(
    url: str, classifier: Classifier, truncate: bool
) -> None:
    answer = _predict(url, _TEXTS, truncate=truncate)
    if truncate:
        np.testing.assert_allclose(
            _logits(answer, classifier), classifier.logits(_TEXTS), atol=1e-5
        )
        assert answer.headers["x-truncated"] == "1"
    else:
        assert answer.status_code == 422 and "text 1 has" in answer.json()["error"]


def test_every_value_stands_with_its_text(url: str, classifier: Classifier) -> None:
    tensor = {"name": "text", "shape": [4], "datatype": "BYTES", "data": _TEXTS}
    wanted = ["logits", "tokens", "truncated", "label"]
    body = {"inputs": [tensor], "outputs": [{"name": name} for name in wanted]}
    outputs = httpx.post(f"{url}/v2/models/m/infer", json=body).json()["outputs"]
    found = {output["name"]: output["data"] for output in outputs}
    expected = _window_logits(classifier)
    np.testing.assert_allclose(np.reshape(found["logits"], (4, -1)), expected, atol=1e-5)
    windows = classifier.tokenizer.windows(_TEXTS, stride=_STRIDE)
    assert found["tokens"] == [sum(map(len, of_text)) for of_text in windows]
    assert found["truncated"] == [False] * 4
    assert found["label"] == [classifier.labels[at] for at in expected.argmax(axis=1)]


def test_a_long_text_is_ranked_by_its_best_passage(url: str, tiny_problem: Problem) -> None:
    ranks = Classifier(tiny_problem("reranker")[1], "cpu")
    expected = ranks.rerank("good?", _TEXTS, long_text="window", stride=_STRIDE, combine="max")
    body = {"query": "good?", "texts": _TEXTS}
    # /rerank is the default model's: `ranks` is asked by its pairs.
    pairs = {"inputs": [{"text": "good?", "text_pair": text} for text in body["texts"]]}
    rows = httpx.post(f"{url}/models/ranks", json=pairs).json()
    for one in expected:
        assert rows[one.index][0]["score"] == pytest.approx(one.score, abs=1e-5)


def test_windows_by_default_are_as_classifiers_are(model: Path, classifier: Classifier) -> None:
    with serving(f"m={model}", env={"BERTRT_LONG_TEXT": "window"}) as server:
        answer = _predict(server.url, _TEXTS)
    expected = classifier.logits(_TEXTS, long_text="window")
    np.testing.assert_allclose(_logits(answer, classifier), expected, atol=1e-5)


def _encoding(tokens: int, *, truncated: bool) -> Encoding:
    return Encoding(np.zeros(tokens, np.int64), np.zeros(tokens, np.int64), truncated)


def test_tokens_and_cuts_are_counted_by_text() -> None:
    encodings = [_encoding(n, truncated=n == 3) for n in (1, 2, 3, 4)]
    assert (Encoded(encodings).tokens(), Encoded(encodings).truncated()) == ([1, 2, 3, 4], [2])
    grouped = Encoded(encodings, [1, 3])
    assert (grouped.tokens(), grouped.truncated()) == ([1, 9], [1])


def test_combined_logits_that_are_no_numbers_fail_their_job_alone() -> None:
    def summed(logits: np.ndarray) -> np.ndarray:
        return np.asarray(logits.sum(axis=0, keepdims=True))

    encodings = [_encoding(1, truncated=False)] * 2
    good, bad, plain = (Job(encodings, 2, combine=each) for each in (summed, summed, None))
    good.logits[:], bad.logits[:], plain.logits[:] = [[1, 2], [3, 5]], np.nan, 1
    rank([bad, good, plain], "none")
    assert good.error is None and good.scores.tolist() == [[4, 7]]
    assert good.order.tolist() == [[1, 0]] and plain.scores.shape == (2, 2)
    assert bad.error is not None and "no numbers" in str(bad.error)


# Files and thresholds


def test_the_file_of_a_foreign_model_is_chosen(foreign: Callable[[str], Foreign]) -> None:
    folder, name = foreign("bert").path, "onnx/model_quantized.onnx"
    quantized, usual = Classifier(folder, "cpu", file_name=name), Classifier(folder, "cpu")
    # One text a batch: the others change what such a graph answers.
    expected = quantized.logits(_TEXTS[0])
    assert np.abs(expected - usual.logits(_TEXTS[0])).max() > 1e-4
    env = {"BERTRT_FILE_NAME": name}
    for options, variables in ((("--file-name", name), {}), ((), env)):
        with serving(f"m={folder}", options=options, env=variables) as server:
            answer = _predict(server.url, _TEXTS[:1])
            told = httpx.get(f"{server.url}/v2/models/m").json()["parameters"]
        np.testing.assert_allclose(_logits(answer, quantized), expected, atol=1e-5)
        assert told["precision"] == quantized.precision != usual.precision


def test_tuned_thresholds_are_told_and_answers_have_all_scores(
    tiny_problem: Problem, copy_of: Callable[[Path], Path], model: Path
) -> None:
    folder = copy_of(tiny_problem("multi")[1])
    labels = Classifier(folder, "cpu").labels
    thresholds = {label: (at + 1) / 8 for at, label in enumerate(labels)}
    edit_manifest(folder, {"thresholds": thresholds})
    with serving(f"tuned={folder}", f"plain={model}") as server:
        told = httpx.get(f"{server.url}/v2/models/tuned").json()["parameters"]
        assert told["thresholds"] == thresholds and told["activation"] == "sigmoid"
        assert "thresholds" not in httpx.get(f"{server.url}/v2/models/plain").json()["parameters"]
        rows = httpx.post(f"{server.url}/predict", json={"inputs": "good"}).json()
    assert {one["label"] for one in rows} == set(labels)


# What is refused


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--stride", "3"), "stride and combine are for windows: set long_text to 'window' too"),
        (("--combine", "max"), "stride and combine are for windows"),
        (("--long-text", "window", "--no-auto-truncate"), "and truncation is off"),
        (("--long-text", "window", "--stride", "-1"), "stride is -1: give 0 or more"),
        (("--long-text", "window", "--stride", "x"), "--stride is 'x': give a whole number"),
        (
            ("--long-text", "window", "--stride", str(MAX_LENGTH - 2)),
            f"model m: stride is {MAX_LENGTH - 2}: give 0 to {MAX_LENGTH - 3}",
        ),
        (("--file-name", "absent.onnx"), "whose graphs are model.onnx, not absent.onnx"),
    ],
    ids=str,
)
def test_options_that_do_not_go_are_said(
    model: Path, words: tuple[str, ...], sentence: str
) -> None:
    done = run_bertrt("serve", f"m={model}", "--port", "0", *words)
    said = done.stderr.decode()
    assert done.returncode == 1 and sentence in said and "Traceback" not in said, said


def test_unknown_words_in_the_environment_are_said(model: Path) -> None:
    done = run_bertrt("serve", str(model), BERTRT_LONG_TEXT="split")
    assert done.returncode == 1
    assert "long_text is 'split': choose one of truncate, window" in done.stderr.decode()
    with pytest.raises(ValueError, match="combine is 'sum': choose one of mean, max"):
        Settings(long_text="window", combine="sum")


def test_a_token_classifier_is_refused_at_the_start(tagger_artifact: Path) -> None:
    done = run_bertrt("serve", str(tagger_artifact), "--port", "0")
    said = done.stderr.decode()
    assert done.returncode == 1 and "Traceback" not in said, said
    assert "is a model for token-classification" in said
    assert "use TokenClassifier, or `bertrt tag`" in said
    assert "`bertrt serve` are for models that label whole texts" in said
