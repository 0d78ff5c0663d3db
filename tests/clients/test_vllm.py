"""vLLM's /classify, over plain HTTP and through OpenAI's client, which vLLM's users have."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from bertrt import Classifier

from tests.clients.expected import TOLERANCE, TOPICS, scores

_PATHS = ["/classify", "/v1/classify"]
_TEXTS = ["good", "a gripping film 好", ""]


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url) as client:
        yield client


@pytest.fixture(scope="module")
def openai_client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        yield client


def _ids(classifier: Classifier, texts: Sequence[str]) -> list[list[int]]:
    return [encoding.input_ids.tolist() for encoding in classifier.tokenizer.encode(texts)]


def _check(
    answer: dict[str, Any],
    classifier: Classifier,
    texts: Sequence[str],
    *,
    model: str = "sentiment",
    labels: Sequence[str] | None = None,
    function: str = "softmax",
    truncated: Sequence[bool] | None = None,
) -> None:
    """Assert that an answer is vLLM's, field by field, with the classifier's numbers."""
    names = labels or classifier.labels
    expected = scores(classifier.logits(texts), function)
    assert answer.keys() == {"id", "object", "created", "model", "data", "usage"}
    assert answer["id"].startswith("classify-") and answer["object"] == "list"
    assert abs(answer["created"] - time.time()) < 60
    assert answer["model"] == model
    tokens = sum(len(encoding) for encoding in classifier.tokenizer.encode(texts))
    assert answer["usage"] == {
        "prompt_tokens": tokens,
        "total_tokens": tokens,
        "completion_tokens": 0,
    }
    cut = truncated or [False] * len(texts)
    assert [{**each, "probs": None} for each in answer["data"]] == [
        {
            "index": index,
            "label": names[row.argmax()],
            "probs": None,
            "num_classes": len(names),
            "truncated": cut[index],
        }
        for index, row in enumerate(expected)
    ]
    # In the model's order of labels, not by score.
    probabilities = [each["probs"] for each in answer["data"]]
    np.testing.assert_allclose(probabilities, expected, rtol=0, atol=TOLERANCE)


def _answer(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    content: dict[str, Any] = response.json()
    return content


@pytest.mark.parametrize("path", _PATHS)
def test_texts(client: httpx.Client, classifier: Classifier, path: str) -> None:
    answer = _answer(client.post(path, json={"input": _TEXTS[1]}))
    _check(answer, classifier, _TEXTS[1:2])
    answer = _answer(client.post(path, json={"input": _TEXTS, "model": "sentiment"}))
    _check(answer, classifier, _TEXTS)


@pytest.mark.parametrize("path", _PATHS)
def test_token_ids(client: httpx.Client, classifier: Classifier, path: str) -> None:
    ids = _ids(classifier, _TEXTS)
    _check(_answer(client.post(path, json={"input": ids[1]})), classifier, _TEXTS[1:2])
    _check(_answer(client.post(path, json={"input": ids})), classifier, _TEXTS)


@pytest.mark.parametrize("path", _PATHS)
@pytest.mark.parametrize("name", ["use_activation", "activation", "softmax"])
def test_without_activation_probs_are_logits(
    client: httpx.Client, classifier: Classifier, path: str, name: str
) -> None:
    answer = _answer(client.post(path, json={"input": _TEXTS, name: False}))
    _check(answer, classifier, _TEXTS, function="none")
    _check(_answer(client.post(path, json={"input": _TEXTS, name: True})), classifier, _TEXTS)


@pytest.mark.parametrize("path", _PATHS)
def test_another_model(client: httpx.Client, classifier: Classifier, path: str) -> None:
    for texts in (_TEXTS, _ids(classifier, _TEXTS)):
        answer = _answer(client.post(path, json={"input": texts, "model": "team/topics"}))
        _check(answer, classifier, _TEXTS, model="team/topics", labels=TOPICS, function="sigmoid")


@pytest.mark.parametrize("path", _PATHS)
def test_a_long_text(client: httpx.Client, classifier: Classifier, path: str) -> None:
    room = classifier.artifact.max_length - 2
    text = "good " * room + "bad " * (room // 2)
    right, left = "good " * room, "good " * (room - room // 2) + "bad " * (room // 2)
    for options, kept in (
        ({}, right),
        ({"truncate_prompt_tokens": -1}, right),
        ({"truncate_prompt_tokens": -1, "truncation_side": "left"}, left),
    ):
        answer = _answer(client.post(path, json={"input": [text, "good"], **options}))
        _check(answer, classifier, [kept, "good"], truncated=[True, False])


@pytest.mark.parametrize("path", _PATHS)
@pytest.mark.parametrize(
    ("body", "status", "kind", "message"),
    [
        ({"input": "a", "model": "absent"}, 404, "NotFoundError", "there is no model 'absent'"),
        ({"input": []}, 400, "BadRequestError", "`input` is empty"),
        ({"input": ["a", 7]}, 422, "BadRequestError", "`input` mixes texts and token ids"),
        ({"input": [101, -1]}, 422, "BadRequestError", "a token id outside 0 to"),
        ({"input": [[101], [10**9]]}, 422, "BadRequestError", "text 1 has a token id outside"),
        ({"input": [[101], []]}, 422, "BadRequestError", "text 1 has no tokens"),
        ({"input": [101] * 9_999}, 422, "BadRequestError", "9999 tokens"),
        ({"input": ["a"] * 257}, 413, "BadRequestError", "257 texts in one request"),
        ({"input": "a", "add_special_tokens": False}, 422, "BadRequestError", "add_special_tokens"),
        (
            {"input": "a", "truncate_prompt_tokens": 5},
            422,
            "BadRequestError",
            "is 5: texts are cut",
        ),
        ({"inputs": "a"}, 422, "BadRequestError", "input"),
    ],
)
def test_a_wrong_request(
    client: httpx.Client, path: str, body: dict[str, Any], status: int, kind: str, message: str
) -> None:
    response = client.post(path, json=body)
    assert response.status_code == status
    assert response.json().keys() == {"error"}
    error = response.json()["error"]
    assert message in error.pop("message")
    assert error == {"type": kind, "param": None, "code": status}


def test_openai_classifies(openai_client: openai.OpenAI, classifier: Classifier) -> None:
    body = {"input": _TEXTS, "model": "team/topics"}
    answer: Any = openai_client.post("/classify", cast_to=object, body=body)
    _check(answer, classifier, _TEXTS, model="team/topics", labels=TOPICS, function="sigmoid")


def test_openai_lists_the_models(openai_client: openai.OpenAI) -> None:
    models = list(openai_client.models.list())
    assert [model.id for model in models] == ["sentiment", "team/topics", "long"]
    assert all(abs(model.created - time.time()) < 3_600 for model in models)
    assert {(model.object, model.owned_by) for model in models} == {("model", "bertrt")}


def test_openai_explains_an_error(openai_client: openai.OpenAI) -> None:
    wrong = {"input": "a", "model": "absent"}
    with pytest.raises(openai.NotFoundError) as caught:
        openai_client.post("/classify", cast_to=object, body=wrong)
    known = "sentiment, team/topics, long"
    assert f"there is no model 'absent' here, only {known}" in caught.value.message
    assert (caught.value.type, caught.value.param) == ("NotFoundError", None)

    with pytest.raises(openai.UnprocessableEntityError, match="mixes texts and token ids"):
        openai_client.post("/classify", cast_to=object, body={"input": ["a", 7]})
