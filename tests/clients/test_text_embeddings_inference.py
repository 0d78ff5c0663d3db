"""text-embeddings-inference's routes, whose clients write the JSON by themselves."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from bertrt import Classifier, __version__
from bertrt.artifact import MANIFEST, file_sha256
from bertrt.tokenizer import TextInput
from prometheus_client.parser import text_string_to_metric_families

from tests.clients.expected import assert_ranked, ranked

_PREDICT = ["/predict", "/invocations"]
_TIMES = ("x-tokenization-time", "x-queue-time", "x-inference-time")


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url) as client:
        yield client


def _answer(response: httpx.Response) -> Any:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    return response.json()


def _assert_error(response: httpx.Response, status: int, kind: str, message: str) -> None:
    content = response.json()
    assert (response.status_code, content.keys()) == (status, {"error", "error_type"})
    assert content["error_type"] == kind
    assert message in content["error"]


def _assert_scores(
    answer: Any, classifier: Classifier, text: TextInput, function: str = "softmax"
) -> None:
    """Assert that one text's answer has all labels, best first, with the classifier's scores."""
    assert_ranked(answer, ranked(classifier.logits(text)[0], classifier.labels, function))


@pytest.mark.parametrize("path", _PREDICT)
@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ("a gripping film 好", "a gripping film 好"),
        (["good"], "good"),
        (["good", "bad"], ("good", "bad")),
        ("", ""),
    ],
)
def test_one_text_or_pair(
    client: httpx.Client, classifier: Classifier, path: str, inputs: Any, text: TextInput
) -> None:
    answer = _answer(client.post(path, json={"inputs": inputs}))
    _assert_scores(answer, classifier, text)
    best = classifier(text)
    assert answer[0] == {"score": pytest.approx(best.score, abs=1e-5), "label": best.label}


@pytest.mark.parametrize("path", _PREDICT)
def test_a_batch_of_texts_and_pairs(
    client: httpx.Client, classifier: Classifier, path: str
) -> None:
    inputs = [["good"], ["good", "bad"], ["a waste of time"], ["bad", "good"]]
    texts: list[TextInput] = ["good", ("good", "bad"), "a waste of time", ("bad", "good")]
    answers = _answer(client.post(path, json={"inputs": inputs}))
    assert len(answers) == len(texts)
    for answer, text in zip(answers, texts, strict=True):
        _assert_scores(answer, classifier, text)
    # A batch of one is a batch.
    (answer,) = _answer(client.post(path, json={"inputs": [["good", "bad"]]}))
    _assert_scores(answer, classifier, ("good", "bad"))


@pytest.mark.parametrize("path", _PREDICT)
def test_raw_scores_are_logits(client: httpx.Client, classifier: Classifier, path: str) -> None:
    answer = _answer(client.post(path, json={"inputs": "good", "raw_scores": True}))
    _assert_scores(answer, classifier, "good", "none")
    (answer,) = _answer(client.post(path, json={"inputs": [["good"]], "raw_scores": True}))
    _assert_scores(answer, classifier, "good", "none")


def test_a_long_text_is_cut_on_the_side_that_is_asked_for(
    client: httpx.Client, classifier: Classifier
) -> None:
    room = classifier.artifact.max_length - 2  # beside the two special tokens
    text = "good " * room + "bad " * (room // 2)
    right, left = "good " * room, "good " * (room - room // 2) + "bad " * (room // 2)
    for kept in (right, left):
        (encoding,) = classifier.tokenizer.encode([kept], truncate=False)
        assert len(encoding) == room + 2
    _assert_scores(_answer(client.post("/predict", json={"inputs": text})), classifier, right)
    answers = {}
    for direction, kept in (("right", right), ("Right", right), ("left", left), ("Left", left)):
        body = {"inputs": text, "truncate": True, "truncation_direction": direction}
        answers[direction] = _answer(client.post("/predict", json=body))
        _assert_scores(answers[direction], classifier, kept)
    assert answers["left"] != answers["right"]


def test_a_long_text_is_an_error_where_it_may_not_be_cut(
    client: httpx.Client, classifier: Classifier
) -> None:
    limit = classifier.artifact.max_length
    body = {"inputs": [["good"], ["good " * limit]], "truncate": False}
    message = f"{limit + 2} tokens"
    _assert_error(client.post("/predict", json=body), 422, "Validation", message)
    answer = _answer(client.post("/predict", json={**body, "truncate": None}))
    _assert_scores(answer[1], classifier, "good " * (limit - 2))


def test_headers_tell_tokens_times_and_cuts(client: httpx.Client, classifier: Classifier) -> None:
    long = "good " * classifier.artifact.max_length
    inputs = [["good"], [long], ["good", "bad"], [long, "bad"]]
    response = client.post("/predict", json={"inputs": inputs})
    encodings = classifier.tokenizer.encode(["good", long, ("good", "bad"), (long, "bad")])
    headers = response.headers
    assert headers["x-compute-tokens"] == str(sum(len(encoding) for encoding in encodings))
    assert headers["x-compute-type"] == "cpu"
    assert headers["x-truncated"] == "1,3"
    parts = [float(headers[name]) for name in _TIMES]
    assert min(parts) >= 0 and sum(parts) > 0
    assert sum(parts) - 0.01 <= float(headers["x-total-time"])
    assert float(headers["x-total-time"]) <= response.elapsed.total_seconds() * 1000 + 1

    headers = client.post("/predict", json={"inputs": "good"}).headers
    assert headers["x-compute-tokens"] == "3"
    assert "x-truncated" not in headers


@pytest.mark.parametrize(
    ("body", "status", "kind", "message"),
    [
        ({"inputs": ["a", "b", "c"]}, 422, "Validation", "`inputs` is a list of 3 strings"),
        ({"inputs": [["a"], ["a", "b", "c"]]}, 422, "Validation", "`inputs[1]` is a list of 3"),
        ({"inputs": [["a"], "b"]}, 422, "Validation", "`inputs` mixes strings and lists"),
        ({"inputs": [[]]}, 422, "Validation", "`inputs[0]` is a list of 0"),
        ({"inputs": []}, 400, "Empty", "`inputs` is empty"),
        ({"inputs": 7}, 422, "Validation", "inputs"),
        ({}, 422, "Validation", "inputs"),
        ({"inputs": "a", "truncation_direction": "up"}, 422, "Validation", "up"),
        ({"inputs": "a", "truncate": "yes"}, 422, "Validation", "truncate"),
        ({"inputs": [["a"]] * 257}, 413, "Validation", "257 texts in one request"),
    ],
)
def test_a_wrong_request(
    client: httpx.Client, body: dict[str, Any], status: int, kind: str, message: str
) -> None:
    for path in _PREDICT:
        _assert_error(client.post(path, json=body), status, kind, message)


def test_what_is_no_json(client: httpx.Client) -> None:
    headers = {"content-type": "application/json"}
    for content, message in (
        (b"{", "not valid JSON"),
        (b"", "no body"),
        (b'{"inputs": "\xff"}', "the request is not UTF-8"),
        (b'{"inputs": "\\ud800"}', "lone surrogate"),
    ):
        response = client.post("/predict", content=content, headers=headers)
        _assert_error(response, 422, "Validation", message)


def test_information(client: httpx.Client, classifier: Classifier, tiny_artifact: Path) -> None:
    facts = _answer(client.get("/info"))
    expected = {
        "model_id": "sentiment",
        "model_sha": file_sha256(tiny_artifact / MANIFEST),
        "model_dtype": "float32",
        "served_model_name": "sentiment",
        "model_type": {
            "classifier": {
                "id2label": {"0": "negative", "1": "neutral", "2": "positive"},
                "label2id": {"negative": 0, "neutral": 1, "positive": 2},
            }
        },
        "max_concurrent_requests": 512,
        "max_input_length": classifier.artifact.max_length,
        "max_batch_tokens": 512,
        "max_batch_requests": None,
        "max_client_batch_size": 256,
        "auto_truncate": True,
        "tokenization_workers": 1,
        "version": __version__,
        "execution_provider": classifier.provider,
        "activation": "softmax",
        "models": ["sentiment", "team/topics", "long"],
        "truncation_direction": "right",
    }
    assert {name: facts.get(name, "missing") for name in expected} == expected


@pytest.mark.parametrize("path", ["/health", "/ping"])
def test_health(client: httpx.Client, path: str) -> None:
    response = client.get(path)
    assert (response.status_code, response.content) == (200, b"")


def test_metrics_count_what_is_answered(client: httpx.Client, classifier: Classifier) -> None:
    def samples() -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        response = client.get("/metrics")
        assert response.headers["content-type"].startswith("text/plain")
        families = text_string_to_metric_families(response.text)
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in families
            for sample in family.samples
        }

    before = samples()
    long = "good " * classifier.artifact.max_length
    assert client.post("/predict", json={"inputs": [["good"], [long]]}).status_code == 200
    assert client.post("/predict", json={"inputs": "good"}).status_code == 200
    assert client.post("/predict", json={"inputs": []}).status_code == 400
    after = samples()

    model = {"model": "sentiment"}
    tokens = 3 + classifier.artifact.max_length + 3
    for name, labels, growth in (
        ("bertrt_requests_total", {"route": "/predict", "status": "200"}, 2),
        ("bertrt_requests_total", {"route": "/predict", "status": "400"}, 1),
        ("bertrt_rejected_requests_total", {"reason": "EmptyInputError"}, 1),
        ("bertrt_texts_total", model, 3),
        ("bertrt_tokens_total", model, tokens),
        ("bertrt_truncated_texts_total", model, 1),
        ("bertrt_batch_texts_sum", model, 3),
        ("bertrt_batch_tokens_sum", model, tokens),
        ("bertrt_stage_seconds_count", {**model, "stage": "tokenize"}, 2),
        ("bertrt_stage_seconds_count", {**model, "stage": "queue"}, 2),
        ("bertrt_stage_seconds_count", {**model, "stage": "inference"}, 2),
        ("bertrt_stage_seconds_count", {**model, "stage": "total"}, 2),
        ("bertrt_texts_total", {"model": "team/topics"}, 0),
    ):
        key = name, frozenset(labels.items())
        assert after.get(key, 0) - before.get(key, 0) == growth, key
    seconds = "bertrt_stage_seconds_sum", frozenset({**model, "stage": "total"}.items())
    assert after[seconds] > before[seconds]


def test_rerank_is_for_models_with_one_label(client: httpx.Client) -> None:
    response = client.post("/rerank", json={"query": "good", "texts": ["a", "b"]})
    message = "/rerank is for models with one label and sentiment has 3: use /predict"
    _assert_error(response, 422, "Validation", message)
