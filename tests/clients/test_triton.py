"""Triton's own client: what it asks a server beside inference, and its asynchronous twin."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bertrt import Classifier, __version__
from bertrt.artifact import MANIFEST, file_sha256
from tritonclient.http import InferenceServerClient, InferRequestedOutput
from tritonclient.http.aio import InferenceServerClient as AsyncClient
from tritonclient.utils import InferenceServerException

from tests.clients.expected import LONG_LABELS, TOPICS
from tests.clients.triton import OUTPUTS, TEXTS, check, tensor

_MODELS = ["sentiment", "team/topics", "long"]


@pytest.fixture(scope="module")
def address(url: str) -> str:
    return url.removeprefix("http://")


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[InferenceServerClient]:
    with InferenceServerClient(address) as client:
        yield client


def test_health(client: InferenceServerClient) -> None:
    assert client.is_server_live() is True
    assert client.is_server_ready() is True
    for name in _MODELS:
        assert client.is_model_ready(name) is True
        assert client.is_model_ready(name, "1") is True
        assert client.is_model_ready(name, "2") is False
    assert client.is_model_ready("absent") is False


def test_metadata_of_the_server(client: InferenceServerClient) -> None:
    metadata = client.get_server_metadata()
    assert (metadata["name"], metadata["version"]) == ("bertrt", __version__)
    assert {"binary_tensor_data", "classification", "statistics"} <= set(metadata["extensions"])


def test_metadata_of_a_model(
    client: InferenceServerClient, classifier: Classifier, tiny_artifact: Path
) -> None:
    metadata = client.get_model_metadata("sentiment")
    assert (metadata["name"], metadata["versions"]) == ("sentiment", ["1"])
    assert [(each["name"], each["datatype"], each["shape"]) for each in metadata["inputs"]] == [
        ("text", "BYTES", [-1]),
        ("text_pair", "BYTES", [-1]),
    ]
    shapes = [[-1], [-1], [-1, 3], [-1, 3], [-1], [-1]]
    assert [
        (each["name"], each["datatype"], each["shape"]) for each in metadata["outputs"]
    ] == list(zip(OUTPUTS, OUTPUTS.values(), shapes, strict=True))
    assert metadata["parameters"] == {
        "execution_provider": classifier.provider,
        "precision": "fp32",
        "labels": list(classifier.labels),
        "activation": "softmax",
        "max_length": classifier.artifact.max_length,
        "sha256": file_sha256(tiny_artifact / MANIFEST),
    }
    assert client.get_model_metadata("sentiment", "1") == metadata
    other = client.get_model_metadata("team/topics")["parameters"]
    assert (other["labels"], other["activation"]) == (list(TOPICS), "sigmoid")


def test_configuration_of_a_model(client: InferenceServerClient) -> None:
    configuration = client.get_model_config("team/topics", "1")
    assert configuration["name"] == "team/topics"
    assert configuration["max_batch_size"] == 256
    assert [(each["name"], each["data_type"]) for each in configuration["input"]] == [
        ("text", "TYPE_STRING"),
        ("text_pair", "TYPE_STRING"),
    ]
    types = ["TYPE_STRING", "TYPE_FP32", "TYPE_FP32", "TYPE_FP32", "TYPE_INT32", "TYPE_BOOL"]
    dimensions = [[1], [1], [3], [3], [1], [1]]
    assert [
        (each["name"], each["data_type"], each["dims"]) for each in configuration["output"]
    ] == list(zip(OUTPUTS, types, dimensions, strict=True))


def test_repository_index(client: InferenceServerClient) -> None:
    index = client.get_model_repository_index()
    assert [(each["name"], each["version"], each["state"]) for each in index] == [
        (name, "1", "READY") for name in _MODELS
    ]


def test_statistics_count_texts_batches_and_time(client: InferenceServerClient) -> None:
    before = client.get_inference_statistics("team/topics")["model_stats"][0]
    others_before = client.get_inference_statistics("sentiment")
    client.infer("team/topics", [tensor(TEXTS)])
    client.infer("team/topics", [tensor(TEXTS[:1])])
    after = client.get_inference_statistics("team/topics", "1")["model_stats"][0]
    assert (after["name"], after["version"]) == ("team/topics", "1")
    assert after["inference_count"] - before["inference_count"] == len(TEXTS) + 1
    # The texts of one request may be in one batch or in several.
    assert 2 <= after["execution_count"] - before["execution_count"] <= len(TEXTS) + 1
    for stage in ("success", "queue", "compute_input", "compute_infer"):
        was, now = before["inference_stats"][stage], after["inference_stats"][stage]
        assert now["count"] - was["count"] == 2, stage
        assert now["ns"] > was["ns"], stage
    assert client.get_inference_statistics("sentiment") == others_before


def test_statistics_of_all_models(client: InferenceServerClient) -> None:
    statistics = client.get_inference_statistics()
    assert [each["name"] for each in statistics["model_stats"]] == _MODELS


@pytest.mark.parametrize(
    "method", ["get_model_metadata", "get_model_config", "get_inference_statistics"]
)
def test_an_unknown_model_or_version(client: InferenceServerClient, method: str) -> None:
    ask = getattr(client, method)
    for arguments, message in (
        (("absent",), "there is no model 'absent' here, only sentiment, team/topics, long"),
        (("sentiment", "2"), "there is no version '2' of a model here, only 1"),
    ):
        with pytest.raises(InferenceServerException) as caught:
            ask(*arguments)
        assert caught.value.status() == "404"
        assert caught.value.message() == message


def test_the_asynchronous_client_asks_the_same(address: str, client: InferenceServerClient) -> None:
    async def ask() -> None:
        async with AsyncClient(address) as other:
            assert await other.is_server_live() is True
            assert await other.is_server_ready() is True
            assert await other.is_model_ready("team/topics", "1") is True
            assert await other.is_model_ready("absent") is False
            assert await other.get_server_metadata() == client.get_server_metadata()
            for name in ("sentiment", "team/topics"):
                assert await other.get_model_metadata(name) == client.get_model_metadata(name)
                assert await other.get_model_config(name) == client.get_model_config(name)
                statistics = await other.get_inference_statistics(name)
                assert statistics == client.get_inference_statistics(name)
            index = await other.get_model_repository_index()
            assert index == client.get_model_repository_index()
            with pytest.raises(InferenceServerException, match="there is no model 'absent'"):
                await other.get_model_metadata("absent")

    asyncio.run(ask())


def test_the_asynchronous_client_infers(address: str, classifier: Classifier) -> None:
    many = [f"好 {number}" for number in range(200)]

    async def ask() -> None:
        async with AsyncClient(address) as client:
            check(await client.infer("sentiment", [tensor(TEXTS)]), classifier, TEXTS)
            for algorithm in (None, "gzip", "deflate"):
                result = await client.infer(
                    "sentiment",
                    [tensor(many, column=True)],
                    request_compression_algorithm=algorithm,
                    response_compression_algorithm=algorithm,
                )
                check(result, classifier, many)
            logits = [InferRequestedOutput("logits", binary_data=False)]
            inputs = [tensor(TEXTS, binary=False)]
            result = await client.infer("team/topics", inputs, outputs=logits)
            check(result, classifier, TEXTS, outputs=["logits"])
            with pytest.raises(InferenceServerException, match="there is no model 'absent'"):
                await client.infer("absent", inputs)
            absent = [InferRequestedOutput("absent")]
            with pytest.raises(InferenceServerException, match="there is no output 'absent'"):
                await client.infer("sentiment", inputs, outputs=absent)

    asyncio.run(ask())


def test_the_asynchronous_client_reads_long_metadata(
    address: str, client: InferenceServerClient
) -> None:
    # It accepts gzip and deflate with every request, but decompresses what `infer` gets alone.
    async def ask() -> Any:
        async with AsyncClient(address) as other:
            return await other.get_model_metadata("long")

    metadata = client.get_model_metadata("long")
    assert metadata["parameters"]["labels"] == list(LONG_LABELS)
    assert asyncio.run(ask()) == metadata
