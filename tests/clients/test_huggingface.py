"""Hugging Face's own clients: huggingface_hub's InferenceClient, and @huggingface/inference."""

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from bertrt import Classifier, Prediction, __version__
from bertrt.artifact import MANIFEST, file_sha256
from huggingface_hub import AsyncInferenceClient, InferenceClient, TextClassificationOutputElement
from huggingface_hub.errors import HfHubHTTPError

from tests.clients.expected import TOPICS, Ranked, assert_ranked, ranked
from tests.clients.node import run_node

_TEXT = "a gripping film with a café 好 ending , and it is never dull"


def _check(answer: Iterable[TextClassificationOutputElement], expected: Ranked) -> None:
    assert_ranked([{"label": item.label, "score": item.score} for item in answer], expected)


def _as_ranked(predictions: Iterable[Prediction]) -> Ranked:
    return [(prediction.label, prediction.score) for prediction in predictions]


def test_all_labels_best_first(url: str, classifier: Classifier) -> None:
    answer = InferenceClient(url).text_classification(_TEXT)
    _check(answer, _as_ranked(classifier(_TEXT, None)))
    _check(answer, ranked(classifier.logits(_TEXT)[0], classifier.labels, "softmax"))


@pytest.mark.parametrize("top_k", [1, 2, 3, 9])
def test_top_k(url: str, classifier: Classifier, top_k: int) -> None:
    answer = InferenceClient(url).text_classification(_TEXT, top_k=top_k)
    _check(answer, _as_ranked(classifier(_TEXT, top_k)))


@pytest.mark.parametrize("function", ["softmax", "sigmoid", "none"])
def test_function_to_apply(url: str, classifier: Classifier, function: Any) -> None:
    client = InferenceClient(url)
    expected = ranked(classifier.logits(_TEXT)[0], classifier.labels, function)
    _check(client.text_classification(_TEXT, function_to_apply=function), expected)
    answer = client.text_classification(_TEXT, function_to_apply=function, top_k=2)
    _check(answer, expected[:2])


def test_another_model_by_its_url(url: str, classifier: Classifier) -> None:
    client = InferenceClient(f"{url}/models/team/topics")
    logits = classifier.logits(_TEXT)[0]
    _check(client.text_classification(_TEXT), ranked(logits, TOPICS, "sigmoid"))
    answer = client.text_classification(_TEXT, top_k=1, function_to_apply="softmax")
    _check(answer, ranked(logits, TOPICS, "softmax")[:1])
    # A client may name the model at each call.
    answer = client.text_classification(_TEXT, model=f"{url}/models/sentiment")
    _check(answer, ranked(logits, classifier.labels, "softmax"))


def test_a_wrong_request_is_explained(url: str) -> None:
    with pytest.raises(HfHubHTTPError, match="422") as caught:
        InferenceClient(url).text_classification(_TEXT, top_k=0)
    assert "top_k is 0: give 1 or more, or leave it out" in str(caught.value)
    # The client appends the body of a 422, and of no other status.
    assert '"error_type":"Validation"' in str(caught.value)

    function: Any = "tanh"
    with pytest.raises(HfHubHTTPError, match="422") as caught:
        InferenceClient(url).text_classification(_TEXT, function_to_apply=function)
    assert "tanh" in str(caught.value) and "function_to_apply" in str(caught.value)


def test_an_unknown_model_is_explained(url: str) -> None:
    with pytest.raises(HfHubHTTPError, match="404") as caught:
        InferenceClient(f"{url}/models/absent").text_classification(_TEXT)
    message = "there is no model 'absent' here, only sentiment, team/topics, long"
    assert message in str(caught.value)


def test_health_and_information(url: str, classifier: Classifier, tiny_artifact: Path) -> None:
    # The client refuses both calls unless it is told this.
    client = InferenceClient(url, provider="hf-inference")
    assert client.health_check() is True
    facts = client.get_endpoint_info()
    labels = classifier.labels
    expected = {
        "model_id": "sentiment",
        "model_sha": file_sha256(tiny_artifact / MANIFEST),
        "model_dtype": "float32",
        "model_type": {
            "classifier": {
                "id2label": {str(index): label for index, label in enumerate(labels)},
                "label2id": {label: index for index, label in enumerate(labels)},
            }
        },
        "max_input_length": classifier.artifact.max_length,
        "version": __version__,
    }
    assert {name: facts[name] for name in expected} == expected


def test_health_and_information_of_another_model(url: str) -> None:
    client = InferenceClient(f"{url}/models/team/topics", provider="hf-inference")
    assert client.health_check() is True
    facts = client.get_endpoint_info()
    names = {str(index): label for index, label in enumerate(TOPICS)}
    assert facts["model_id"] == "team/topics"
    assert facts["model_type"]["classifier"]["id2label"] == names


def test_the_asynchronous_client(url: str, classifier: Classifier) -> None:
    texts = [_TEXT, "dull", "a waste of time , from the start to the very end"]

    async def ask() -> tuple[list[list[TextClassificationOutputElement]], bool, dict[str, Any]]:
        async with AsyncInferenceClient(url, provider="hf-inference") as client:
            calls = [client.text_classification(text, top_k=2) for text in texts]
            return (
                list(await asyncio.gather(*calls)),
                await client.health_check(),
                await client.get_endpoint_info(),
            )

    answers, healthy, facts = asyncio.run(ask())
    for answer, expected in zip(answers, classifier(texts, 2), strict=True):
        _check(answer, _as_ranked(expected))
    assert healthy is True
    assert facts == InferenceClient(url, provider="hf-inference").get_endpoint_info()


def test_the_asynchronous_client_explains_a_wrong_request(url: str) -> None:
    async def ask() -> None:
        async with AsyncInferenceClient(f"{url}/models/team/topics") as client:
            await client.text_classification(_TEXT, top_k=-1)

    with pytest.raises(HfHubHTTPError, match="422") as caught:
        asyncio.run(ask())
    assert "top_k is -1: give 1 or more" in str(caught.value)


def test_the_javascript_client(url: str, classifier: Classifier, node_folder: Path) -> None:
    def call(path: str = "", **arguments: Any) -> dict[str, Any]:
        return {"endpointUrl": url + path, "inputs": _TEXT, **arguments}

    logits, labels = classifier.logits(_TEXT)[0], classifier.labels
    one_sigmoid = {"top_k": 1, "function_to_apply": "sigmoid"}
    cases = [
        (call(), ranked(logits, labels, "softmax")),
        (call("/"), ranked(logits, labels, "softmax")),
        (call(parameters={"top_k": 2}), ranked(logits, labels, "softmax")[:2]),
        (call(parameters={"function_to_apply": "none"}), ranked(logits, labels, "none")),
        (call("/models/team/topics"), ranked(logits, TOPICS, "sigmoid")),
        (
            call("/models/sentiment", parameters=one_sigmoid),
            ranked(logits, labels, "sigmoid")[:1],
        ),
    ]
    outcomes = run_node(node_folder, "textClassification", [arguments for arguments, _ in cases])
    for outcome, (_, expected) in zip(outcomes, cases, strict=True):
        assert outcome.keys() == {"answer"}
        assert_ranked(outcome["answer"], expected)


def test_the_javascript_client_explains_a_wrong_request(url: str, node_folder: Path) -> None:
    wrong, unknown = run_node(
        node_folder,
        "textClassification",
        [
            {"endpointUrl": url, "inputs": _TEXT, "parameters": {"top_k": 0}},
            {"endpointUrl": f"{url}/models/absent", "inputs": _TEXT},
        ],
    )
    assert (wrong["name"], wrong["status"]) == ("ProviderApiError", 422)
    assert "top_k is 0: give 1 or more" in wrong["message"]
    assert (unknown["name"], unknown["status"]) == ("ProviderApiError", 404)
    assert "there is no model 'absent' here" in unknown["message"]
