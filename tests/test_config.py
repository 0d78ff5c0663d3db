"""What config.json says: the task, the labels, the padding token, how many tokens."""

import logging
from pathlib import Path
from typing import Any

import pytest
from bertrt import ArtifactError
from bertrt.config import activation_of, first_position, labels_of, pad_token, task_of, token_limit

_SOURCE = Path("model/config.json")
_SENTINEL = int(1e30)


@pytest.mark.parametrize(
    ("architecture", "task"),
    [
        ("BertForSequenceClassification", "text-classification"),
        ("DebertaV2ForSequenceClassification", "text-classification"),
        ("XLMRobertaForTokenClassification", "token-classification"),
    ],
)
def test_task(architecture: str, task: str) -> None:
    assert task_of({"architectures": [architecture]}, _SOURCE) == task


@pytest.mark.parametrize(
    "architecture", ["BertModel", "BertForMaskedLM", "T5ForConditionalGeneration"]
)
def test_a_model_that_is_no_classifier(architecture: str) -> None:
    with pytest.raises(ArtifactError) as raised:
        task_of({"architectures": [architecture]}, _SOURCE)
    message = str(raised.value)
    assert f"{_SOURCE}: the model is a {architecture}" in message
    assert "ForSequenceClassification or ForTokenClassification" in message


@pytest.mark.parametrize("config", [{}, {"architectures": None}, {"architectures": []}])
def test_a_model_that_does_not_say_what_it_is(config: dict[str, Any]) -> None:
    with pytest.raises(ArtifactError, match=r'no architectures.*add e\.g\. "architectures"'):
        task_of(config, _SOURCE)


@pytest.mark.parametrize(
    ("config", "labels"),
    [
        ({}, ("LABEL_0", "LABEL_1")),
        ({"num_labels": 1}, ("LABEL_0",)),
        ({"num_labels": 3}, ("LABEL_0", "LABEL_1", "LABEL_2")),
        ({"id2label": {"1": "b", "0": "a"}}, ("a", "b")),
        ({"id2label": {"0": "a"}, "num_labels": 3}, ("a",)),
    ],
)
def test_labels(config: dict[str, Any], labels: tuple[str, ...]) -> None:
    assert labels_of(config, _SOURCE, default_names=True) == labels


@pytest.mark.parametrize("count", [0, -1, "two", 1.5])
def test_a_number_of_labels_that_is_none(count: object) -> None:
    with pytest.raises(ArtifactError, match=f"num_labels is {count!r}, not a number of labels"):
        labels_of({"num_labels": count}, _SOURCE, default_names=True)


def test_labels_must_be_named_where_that_was_promised() -> None:
    with pytest.raises(ArtifactError, match="no id2label"):
        labels_of({}, _SOURCE, default_names=False)


@pytest.mark.parametrize(
    ("config", "token"),
    [
        ({}, 0),
        ({"model_type": "bert", "pad_token_id": 3}, 3),
        ({"model_type": "bert", "pad_token_id": None}, 0),
        ({"model_type": "bert", "pad_token_id": -1}, 0),
        ({"model_type": "roberta"}, 1),
        ({"model_type": "xlm-roberta", "pad_token_id": 1}, 1),
        ({"model_type": "mpnet", "pad_token_id": None}, 1),
        ({"model_type": "modernbert", "pad_token_id": 50283}, 50283),
    ],
)
def test_padding_token(config: dict[str, Any], token: int) -> None:
    assert pad_token(config) == token


@pytest.mark.parametrize(
    ("model_type", "positions", "stated", "limit", "first"),
    [
        ("bert", 512, 512, 512, 0),
        ("bert", 512, 128, 128, 0),
        ("bert", 512, _SENTINEL, 512, 0),
        ("bert", 512, 1e30, 512, 0),
        ("bert", 512, None, 512, 0),
        ("bert", 128, 512, 128, 0),
        ("distilbert", 512, 512, 512, 0),
        ("roberta", 514, 512, 512, 2),
        ("roberta", 514, _SENTINEL, 512, 2),
        ("roberta", 514, None, 512, 2),
        ("xlm-roberta", 514, None, 512, 2),
        ("camembert", 514, None, 512, 2),
        ("mpnet", 514, None, 512, 2),
        ("longformer", 4098, _SENTINEL, 4096, 2),
        ("xlnet", None, 256, 256, 0),
        ("deberta-v2", -1, 256, 256, 0),
        ("modernbert", 8192, 8192, 8192, 0),
    ],
)
def test_limit_of_tokens(
    model_type: str,
    positions: int | None,
    stated: float | None,
    limit: int,
    first: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = {"model_type": model_type, "max_position_embeddings": positions}
    settings = {} if stated is None else {"model_max_length": stated}
    with caplog.at_level(logging.WARNING, logger="bertrt"):
        assert token_limit(config, settings, _SOURCE) == limit
    assert first_position(config) == first
    assert caplog.text == ""


def test_the_older_name_of_the_tokenizers_limit() -> None:
    assert token_limit({"max_position_embeddings": 512}, {"max_len": 64}, _SOURCE) == 64


@pytest.mark.parametrize("stated", [None, _SENTINEL])
def test_a_limit_that_nobody_states_is_512_and_said_so(
    stated: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {} if stated is None else {"model_max_length": stated}
    with caplog.at_level(logging.WARNING, logger="bertrt"):
        assert token_limit({"model_type": "xlnet"}, settings, _SOURCE) == 512
    assert f"{_SOURCE} has no max_position_embeddings" in caplog.text
    assert "cut to 512 tokens" in caplog.text


@pytest.mark.parametrize(
    ("problem_type", "labels", "activation"),
    [
        (None, 2, "softmax"),
        (None, 1, "sigmoid"),
        ("single_label_classification", 1, "sigmoid"),
        ("multi_label_classification", 2, "sigmoid"),
        ("regression", 1, "none"),
    ],
)
def test_activation(problem_type: str | None, labels: int, activation: str) -> None:
    assert activation_of({"problem_type": problem_type}, labels, _SOURCE) == activation
