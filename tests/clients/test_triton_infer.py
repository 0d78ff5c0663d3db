"""Inference through Triton's own client, tritonclient.http: tensors, compression, errors."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from bertrt import Classifier
from tritonclient.http import InferenceServerClient, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from tests.clients.expected import TOLERANCE, TOPICS, scores
from tests.clients.triton import OUTPUTS, TEXTS, check, strings, tensor

_NAMES = tuple(OUTPUTS)


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[InferenceServerClient]:
    with InferenceServerClient(url.removeprefix("http://"), concurrency=4) as client:
        yield client


@pytest.mark.parametrize("column", [False, True], ids=["[N]", "[N,1]"])
@pytest.mark.parametrize("binary", [True, False], ids=["binary", "JSON"])
def test_without_requested_outputs_all_come(
    client: InferenceServerClient, classifier: Classifier, binary: bool, column: bool
) -> None:
    result = client.infer("sentiment", [tensor(TEXTS, column=column, binary=binary)])
    check(result, classifier, TEXTS)
    # The client asks for binary outputs where it names none.
    outputs = result.get_response()["outputs"]
    assert all(output["parameters"]["binary_data_size"] > 0 for output in outputs)


@pytest.mark.parametrize("names", [*[(name,) for name in _NAMES], _NAMES[::-1]])
@pytest.mark.parametrize("binary", [True, False], ids=["binary", "JSON"])
def test_the_requested_outputs_come_in_their_order(
    client: InferenceServerClient, classifier: Classifier, names: tuple[str, ...], binary: bool
) -> None:
    outputs = [InferRequestedOutput(name, binary_data=binary) for name in names]
    result = client.infer("sentiment", [tensor(TEXTS, binary=binary)], outputs=outputs)
    check(result, classifier, TEXTS, outputs=names)
    assert all(("data" in output) != binary for output in result.get_response()["outputs"])


def test_binary_and_json_outputs_beside_one_another(
    client: InferenceServerClient, classifier: Classifier
) -> None:
    names = ("logits", "label", "tokens")
    outputs = [InferRequestedOutput(name, binary_data=name == "label") for name in names]
    result = client.infer("sentiment", [tensor(TEXTS)], outputs=outputs, request_id="42")
    check(result, classifier, TEXTS, outputs=names)
    response = result.get_response()
    assert ["data" in output for output in response["outputs"]] == [True, False, True]
    assert (response["id"], response["model_name"]) == ("42", "sentiment")


@pytest.mark.parametrize("first_binary", [True, False])
@pytest.mark.parametrize("second_binary", [True, False])
def test_pairs(
    client: InferenceServerClient, classifier: Classifier, first_binary: bool, second_binary: bool
) -> None:
    seconds = ["bad", "好", "a second text", "é"]
    inputs = [
        tensor(seconds, "text_pair", binary=second_binary),
        tensor(TEXTS, column=True, binary=first_binary),
    ]
    result = client.infer("sentiment", inputs)
    check(result, classifier, list(zip(TEXTS, seconds, strict=True)))


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "JSON"])
@pytest.mark.parametrize("version", ["", "1"])
def test_a_model_whose_name_has_a_slash(
    client: InferenceServerClient, classifier: Classifier, binary: bool, version: str
) -> None:
    outputs = [InferRequestedOutput(name, binary_data=binary) for name in _NAMES]
    result = client.infer("team/topics", [tensor(TEXTS)], version, outputs)
    check(result, classifier, TEXTS, labels=TOPICS, function="sigmoid")
    assert result.get_response()["model_name"] == "team/topics"


@pytest.mark.parametrize("count", [1, 2, 3, 9])
@pytest.mark.parametrize("binary", [True, False], ids=["binary", "JSON"])
@pytest.mark.parametrize(("name", "function"), [("scores", "softmax"), ("logits", "none")])
def test_class_count(
    client: InferenceServerClient,
    classifier: Classifier,
    name: str,
    function: str,
    binary: bool,
    count: int,
) -> None:
    output = InferRequestedOutput(name, binary_data=binary, class_count=count)
    result = client.infer("sentiment", [tensor(TEXTS)], outputs=[output])
    assert result.get_output(name)["datatype"] == "BYTES"
    values = scores(classifier.logits(TEXTS), function)
    classes = [[str(item).split(":") for item in row] for row in strings(result.as_numpy(name))]
    best = np.argsort(-values, axis=1)[:, :count].tolist()
    assert [[(int(index), label) for _, index, label in row] for row in classes] == [
        [(index, classifier.labels[index]) for index in row] for row in best
    ]
    answered = [[float(value) for value, _, _ in row] for row in classes]
    np.testing.assert_allclose(
        answered, np.take_along_axis(values, np.array(best), axis=1), rtol=0, atol=TOLERANCE
    )


@pytest.mark.parametrize("answered", [None, "gzip", "deflate"])
@pytest.mark.parametrize("asked", [None, "gzip", "deflate"])
def test_compression(
    client: InferenceServerClient,
    classifier: Classifier,
    monkeypatch: pytest.MonkeyPatch,
    asked: str | None,
    answered: str | None,
) -> None:
    texts = [f"好 {number}" for number in range(200)]
    encodings: list[str | None] = []
    post = client._post

    def spy(*arguments: Any, **named: Any) -> Any:
        response = post(*arguments, **named)
        encodings.append(response.get("content-encoding"))
        return response

    monkeypatch.setattr(client, "_post", spy)
    result = client.infer(
        "sentiment",
        [tensor(texts)],
        request_compression_algorithm=asked,
        response_compression_algorithm=answered,
    )
    check(result, classifier, texts)
    assert encodings == [answered]


def test_a_text_over_the_limit(client: InferenceServerClient, classifier: Classifier) -> None:
    limit = classifier.artifact.max_length
    texts = ["good " * limit, "good " * (limit - 2), "good"]
    check(client.infer("sentiment", [tensor(texts)]), classifier, texts)
    whole = client.infer("sentiment", [tensor(texts[1:])], parameters={"truncate": False})
    check(whole, classifier, texts[1:])
    with pytest.raises(InferenceServerException) as caught:
        client.infer("sentiment", [tensor(texts)], parameters={"truncate": False})
    assert caught.value.status() == "422"
    assert f"{limit + 2} tokens" in caught.value.message()


def test_the_time_that_a_request_gives(
    client: InferenceServerClient, classifier: Classifier
) -> None:
    result = client.infer("sentiment", [tensor(TEXTS)], timeout=60_000_000)
    check(result, classifier, TEXTS)
    # Some seconds of work, of which the server gives up what it has not begun.
    with pytest.raises(InferenceServerException) as caught:
        client.infer("sentiment", [tensor(["good " * 1_000] * 256)], timeout=1_000)
    assert caught.value.status() == "504"
    assert "not answered within the time that the request gave" in caught.value.message()


def test_requests_beside_one_another(client: InferenceServerClient, classifier: Classifier) -> None:
    texts = [[f"good {number}", "bad"] for number in range(8)]
    pending = [client.async_infer("sentiment", [tensor(each)]) for each in texts]
    for request, each in zip(pending, texts, strict=True):
        check(request.get_result(timeout=30), classifier, each)


def _infer(
    model: str = "sentiment", *inputs: Any, **arguments: Any
) -> Callable[[InferenceServerClient], Any]:
    return lambda client: client.infer(model, list(inputs) or [tensor(TEXTS)], **arguments)


_ABSENT = [InferRequestedOutput("absent")]
_CLASSES = [InferRequestedOutput("label", class_count=2)]


@pytest.mark.parametrize(
    ("call", "status", "message"),
    [
        (_infer("absent"), 404, "no model 'absent' here, only sentiment, team/topics, long"),
        (_infer("sentiment", model_version="2"), 404, "there is no version '2' of a model"),
        (_infer(outputs=_ABSENT), 422, f"no output 'absent'; there are {', '.join(_NAMES)}"),
        (_infer(outputs=_CLASSES), 422, "classification is for `scores` and `logits`"),
        (_infer("sentiment", tensor(["a"], "texts")), 422, "the inputs are ['texts']: give `text`"),
        (
            _infer("sentiment", tensor(["a", "b"]), tensor(["c"], "text_pair")),
            422,
            "`text` has 2 strings and `text_pair` 1",
        ),
        (_infer("sentiment", tensor([])), 400, "there is no text to classify"),
        (_infer("sentiment", tensor(["a"] * 257)), 413, "257 texts in one request"),
        (_infer(parameters={"truncate": "no"}), 422, "parameters.truncate is neither true nor"),
    ],
)
def test_an_error_has_the_servers_message(
    client: InferenceServerClient,
    call: Callable[[InferenceServerClient], Any],
    status: int,
    message: str,
) -> None:
    with pytest.raises(InferenceServerException) as caught:
        call(client)
    assert caught.value.status() == str(status)
    assert message in caught.value.message()
