"""Models that softmax is wrong for, on every route; /rerank; Infinity's /classify."""

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from bertrt import Classifier
from huggingface_hub import InferenceClient
from tritonclient.http import InferenceServerClient

from tests.clients.expected import TOLERANCE, assert_ranked, ranked, scores
from tests.clients.triton import check, tensor
from tests.helpers import edit_config
from tests.serving import serving

_TEXTS = ["good", "a gripping film 好", "a waste of time"]


@pytest.fixture(scope="module")
def one_label_artifact(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that answers with one number: how relevant a text is."""
    import torch
    from bertrt_export import export_model
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(1)
    checkpoint = tmp_path_factory.mktemp("one-label-checkpoint")
    shutil.copytree(tiny_checkpoint, checkpoint, dirs_exist_ok=True)
    config = BertConfig.from_pretrained(
        tiny_checkpoint, id2label={0: "relevant"}, label2id={"relevant": 0}
    )
    BertForSequenceClassification(config).save_pretrained(checkpoint)
    folder = tmp_path_factory.mktemp("one-label-artifact") / "model"
    export_model(str(checkpoint), folder)
    return folder


@dataclass(frozen=True)
class _Served:
    """A server, what its default model is, and the function that its scores should be of."""

    url: str
    classifier: Classifier
    function: str

    def post(self, path: str, body: dict[str, Any]) -> Any:
        response = httpx.post(self.url + path, json=body)
        assert response.status_code == 200, response.text
        return response.json()


# problem_type as config.json has it, and the function.
_ONE_LABEL = {"one label": (None, "sigmoid"), "regression": ("regression", "none")}
_SEVERAL_LABELS = {"multi-label": ("multi_label_classification", "sigmoid")}


@pytest.fixture(scope="module", params=[*_ONE_LABEL, *_SEVERAL_LABELS])
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[_Served]:
    """A server that speaks as Infinity at /classify, with one model: `scorer`."""
    several = request.param in _SEVERAL_LABELS
    source = request.getfixturevalue("tiny_artifact" if several else "one_label_artifact")
    problem_type, function = (_SEVERAL_LABELS if several else _ONE_LABEL)[request.param]
    folder = tmp_path_factory.mktemp("problem") / "model"
    shutil.copytree(source, folder)
    edit_config(folder, {"problem_type": problem_type})
    with serving(f"scorer={folder}", options=["--classify-dialect", "infinity"]) as server:
        yield _Served(server.url, Classifier(folder, "cpu"), function)


def _logits(served: _Served) -> np.ndarray:
    return served.classifier.logits(_TEXTS)


@pytest.mark.parametrize("path", ["/predict", "/invocations"])
@pytest.mark.parametrize("raw", [False, True])
def test_predict(served: _Served, path: str, raw: bool) -> None:
    function = "none" if raw else served.function
    expected = [ranked(row, served.classifier.labels, function) for row in _logits(served)]
    body = {"inputs": [[text] for text in _TEXTS], "raw_scores": raw}
    for answer, each in zip(served.post(path, body), expected, strict=True):
        assert_ranked(answer, each)
    single = served.post(path, {"inputs": _TEXTS[0], "raw_scores": raw})
    assert_ranked(single, expected[0])


@pytest.mark.parametrize("path", ["", "/models/scorer"])
def test_huggingface(served: _Served, path: str) -> None:
    client = InferenceClient(served.url + path)
    for text, row in zip(_TEXTS, _logits(served), strict=True):
        answer = client.text_classification(text)
        expected = ranked(row, served.classifier.labels, served.function)
        assert_ranked([{"label": each.label, "score": each.score} for each in answer], expected)
    # What the client asks for goes before what the model says.
    answer = client.text_classification(_TEXTS[0], function_to_apply="softmax")
    expected = ranked(_logits(served)[0], served.classifier.labels, "softmax")
    assert_ranked([{"label": each.label, "score": each.score} for each in answer], expected)


@pytest.mark.parametrize(("options", "raw"), [({}, False), ({"use_activation": False}, True)])
def test_vllm(served: _Served, options: dict[str, Any], raw: bool) -> None:
    body = {"input": _TEXTS, "model": "scorer", **options}
    data = served.post("/v1/classify", body)["data"]
    logits, labels = _logits(served), served.classifier.labels
    np.testing.assert_allclose(
        [each["probs"] for each in data],
        scores(logits, "none" if raw else served.function),
        rtol=0,
        atol=TOLERANCE,
    )
    assert [each["label"] for each in data] == [labels[row.argmax()] for row in logits]
    assert [each["num_classes"] for each in data] == [len(labels)] * len(_TEXTS)


def test_triton(served: _Served) -> None:
    with InferenceServerClient(served.url.removeprefix("http://")) as client:
        result = client.infer("scorer", [tensor(_TEXTS)])
        check(result, served.classifier, _TEXTS, function=served.function)
        activation = client.get_model_metadata("scorer")["parameters"]["activation"]
        assert activation == served.function


@pytest.mark.parametrize(("options", "raw"), [({}, False), ({"raw_scores": True}, True)])
@pytest.mark.parametrize("model", [None, "default/not-specified", "scorer"])
def test_infinity(served: _Served, options: dict[str, Any], raw: bool, model: str | None) -> None:
    named = {} if model is None else {"model": model}
    answer = served.post("/classify", {"input": _TEXTS, **named, **options})
    assert answer.keys() == {"object", "data", "model", "usage", "id", "created", "truncated"}
    assert (answer["object"], answer["model"]) == ("classify", "scorer")
    assert answer["id"].startswith("infinity-")
    assert abs(answer["created"] - time.time()) < 60
    assert answer["truncated"] == [False] * len(_TEXTS)
    tokens = sum(len(encoding) for encoding in served.classifier.tokenizer.encode(_TEXTS))
    assert answer["usage"]["prompt_tokens"] == answer["usage"]["total_tokens"] == tokens
    function = "none" if raw else served.function
    for each, row in zip(answer["data"], _logits(served), strict=True):
        assert_ranked(each, ranked(row, served.classifier.labels, function))


@pytest.mark.parametrize(
    ("body", "status", "kind", "message"),
    [
        ({"input": ["a"], "model": "absent"}, 404, "NotFoundError", "no model 'absent' here"),
        ({"input": []}, 400, "BadRequestError", "`input` is empty"),
        ({"input": "a"}, 422, "BadRequestError", "input"),
    ],
)
def test_infinity_errors(
    served: _Served, body: dict[str, Any], status: int, kind: str, message: str
) -> None:
    response = httpx.post(f"{served.url}/classify", json=body)
    assert response.status_code == status
    error = response.json()["error"]
    assert message in error.pop("message")
    assert error == {"type": kind, "param": None, "code": status}


def test_information(served: _Served) -> None:
    facts = InferenceClient(served.url, provider="hf-inference").get_endpoint_info()
    assert facts["activation"] == served.function
    labels = served.classifier.labels
    names = {
        "id2label": {str(index): label for index, label in enumerate(labels)},
        "label2id": {label: index for index, label in enumerate(labels)},
    }
    assert facts["model_type"] == {"reranker" if len(labels) == 1 else "classifier": names}


_QUERY = "a good film"


@pytest.mark.parametrize("served", _ONE_LABEL, indirect=True)
@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("return_text", [False, True])
def test_rerank(served: _Served, raw: bool, return_text: bool) -> None:
    texts = [*_TEXTS, "", "a second film", "never dull"]
    body = {
        "query": _QUERY,
        "texts": texts,
        "raw_scores": raw,
        "return_text": return_text,
    }
    answer = served.post("/rerank", body)
    logits = served.classifier.logits([(_QUERY, text) for text in texts])[:, 0]
    order = np.argsort(-logits).tolist()
    assert order != sorted(order)  # else any order would do
    assert [each["index"] for each in answer] == order
    expected = scores(logits[order], "none" if raw else served.function)
    assert [each["score"] for each in answer] == pytest.approx(expected, abs=TOLERANCE)
    if return_text:
        assert [each["text"] for each in answer] == [texts[index] for index in order]
    else:
        assert all(each.keys() == {"index", "score"} for each in answer)


@pytest.mark.parametrize("served", _ONE_LABEL, indirect=True)
def test_rerank_cuts_long_texts(served: _Served) -> None:
    room = served.classifier.artifact.max_length - 3 - len(_QUERY.split())
    text = "good " * room + "bad " * (room // 2)
    left = "good " * (room - room // 2) + "bad " * (room // 2)
    for direction, kept in (("right", "good " * room), ("left", left)):
        body = {"query": _QUERY, "texts": [text], "truncation_direction": direction}
        (answer,) = served.post("/rerank", body)
        logits = served.classifier.logits((_QUERY, kept), truncate=False)[0]
        expected = scores(logits, served.function)[0]
        assert answer == {"index": 0, "score": pytest.approx(expected, abs=TOLERANCE)}

    uncut = {"query": _QUERY, "texts": ["good", text], "truncate": False}
    response = httpx.post(f"{served.url}/rerank", json=uncut)
    assert (response.status_code, response.json()["error_type"]) == (422, "Validation")
    assert "text 1 " in response.json()["error"]


@pytest.mark.parametrize("served", _ONE_LABEL, indirect=True)
def test_rerank_without_texts(served: _Served) -> None:
    response = httpx.post(f"{served.url}/rerank", json={"query": _QUERY, "texts": []})
    assert (response.status_code, response.json()["error_type"]) == (400, "Empty")
