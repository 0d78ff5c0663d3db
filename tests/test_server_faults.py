"""Clients that are broken or mean harm: each gets the right status, and the next one its answer."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from bertrt import Classifier

from tests.serving import Server, serving

pytestmark = pytest.mark.alone  # it watches the clock

_READ_TIMEOUT = 1.0


@pytest.fixture(scope="module")
def server(tiny_artifact: Path) -> Iterator[Server]:
    """A server that soon loses patience."""
    options = ("--read-timeout", str(_READ_TIMEOUT), "--max-body-bytes", "200000")
    with serving(f"tiny={tiny_artifact}", options=options) as running:
        yield running


@pytest.fixture(autouse=True)
def _next_request_is_answered(server: Server) -> Iterator[None]:
    """After whatever a test does, the server answers, with all permits free."""
    yield
    answer = httpx.post(f"{server.url}/predict", json={"inputs": "a good film"})
    assert answer.status_code == 200 and len(answer.json()) == 3
    assert "bertrt_requests_in_flight 0.0" in httpx.get(f"{server.url}/metrics").text
    log = server.log.read_text(encoding="utf-8")
    assert "Traceback" not in log and "Exception" not in log, log


_DEEP = b'{"inputs": ' + b"[" * 90_000 + b"]" * 90_000 + b"}"
_DEEP_UNKNOWN = b'{"x": ' + b'{"x": ' * 10_000 + b"1" + b"}" * 10_000 + b', "inputs": "x"}'
_BODIES = {
    "nothing": (b"", 422),
    "no JSON": (b"inputs=great", 422),
    "cut off": (b'{"inputs": "gre', 422),
    "not UTF-8": (b'{"inputs": "\xff\xfe"}', 422),
    "UTF-16": ('{"inputs": "x"}'.encode("utf-16"), 422),
    "lone surrogate": (b'{"inputs": "\\ud800 x"}', 422),
    "lone surrogate, low": (b'{"inputs": "\\udc00"}', 422),
    "NaN": (b'{"inputs": NaN}', 422),
    "NaN in a field": (b'{"inputs": "x", "truncate": NaN}', 422),
    "infinity": (b'{"inputs": 1e999}', 422),
    "an array": (b"[]", 422),
    "null": (b"null", 422),
    "a number": (b'{"inputs": 7}', 422),
    "an object": (b'{"inputs": {"a": {"b": 1}}}', 422),
    "null as text": (b'{"inputs": null}', 422),
    "null in a list": (b'{"inputs": [["x"], [null]]}', 422),
    "numbers in lists": (b'{"inputs": [[1, 2]]}', 422),
    "an empty list": (b'{"inputs": []}', 400),
    "an empty text in a batch": (b'{"inputs": [[]]}', 422),
    "no inputs": (b'{"texts": ["x"]}', 422),
    "wrong type of a field": (b'{"inputs": "x", "raw_scores": "yes"}', 422),
    "unknown side": (b'{"inputs": "x", "truncation_direction": "middle"}', 422),
    "deep": (_DEEP, 422),
    "deep where nobody looks": (_DEEP_UNKNOWN, 422),
    "too large": (b'{"inputs": "' + b"x" * 200_000 + b'"}', 413),
}


@pytest.mark.parametrize("body", _BODIES.values(), ids=_BODIES)
def test_bodies_that_are_none(server: Server, body: tuple[bytes, int]) -> None:
    content, status = body
    answer = httpx.post(f"{server.url}/predict", content=content)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"] and answer.json()["error_type"] in ("Validation", "Empty")


@pytest.mark.parametrize(
    ("headers", "parameters"),
    [
        ({"inference-header-content-length": "9" * 5_000}, {}),
        ({"inference-header-content-length": "-1"}, {}),
        ({"inference-header-content-length": "9999"}, {}),
        ({}, {"timeout": 10**400}),
        ({}, {"timeout": 1.5}),
        ({}, {"truncate": 1}),
        ({}, {"binary_data_size": 3}),
    ],
)
def test_numbers_that_are_none(
    server: Server, headers: dict[str, str], parameters: dict[str, object]
) -> None:
    tensor: dict[str, object] = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["x"]}
    if "binary_data_size" in parameters:
        headers, tensor = {"inference-header-content-length": "60"}, {**tensor, "data": None}
    body = json.dumps({"inputs": [tensor], "parameters": parameters})
    answer = httpx.post(f"{server.url}/v2/models/tiny/infer", content=body, headers=headers)
    assert answer.status_code == 422 and answer.json().keys() == {"error"}, answer.text


def test_texts_of_every_kind_are_answered(server: Server) -> None:
    texts = ["", " ", "\x00", "\ufffd", "\U0001f600" * 50, "\u202e\u0301", "a\nb\tc", "[SEP] [CLS]"]
    answer = httpx.post(f"{server.url}/predict", json={"inputs": [[text] for text in texts]})
    assert answer.status_code == 200 and len(answer.json()) == len(texts)


def test_the_surrogate_and_the_depth_are_named(server: Server) -> None:
    answer = httpx.post(f"{server.url}/predict", content=_BODIES["lone surrogate"][0])
    assert "lone surrogate" in answer.json()["error"]
    answer = httpx.post(f"{server.url}/predict", content=_DEEP_UNKNOWN)
    assert "nested too deeply" in answer.json()["error"]


def _connect(server: Server) -> socket.socket:
    address = httpx.URL(server.url)
    return socket.create_connection((address.host, address.port or 80), timeout=10)


def _answer(connection: socket.socket) -> bytes:
    """All that the server sends until it closes the connection."""
    received = b""
    try:
        while part := connection.recv(65_536):
            received += part
    except ConnectionResetError:
        pass  # it may close before it has read all that was sent
    return received


@pytest.mark.parametrize(
    ("start", "status"),
    [
        (b"POST /predict HTTP/1.1\r\nhost: x\r\n", b"408"),  # no end of the headers
        (b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 20\r\n\r\n{", b"408"),
        (b"", b""),  # nothing at all: it is closed
    ],
)
def test_slow_clients_are_given_up(server: Server, start: bytes, status: bytes) -> None:
    with closing(_connect(server)) as connection:
        connection.sendall(start)
        began = time.monotonic()
        answer = _answer(connection)
        assert answer[9:12] == status
        assert 0.8 * _READ_TIMEOUT < time.monotonic() - began < 5 * _READ_TIMEOUT


def test_a_client_that_dribbles_is_given_up_too(server: Server) -> None:
    with closing(_connect(server)) as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\n")
        began = time.monotonic()
        with pytest.raises(OSError, match=r"."):
            _dribble(connection, until=began + 5 * _READ_TIMEOUT)
        assert time.monotonic() - began < 3 * _READ_TIMEOUT


def _dribble(connection: socket.socket, until: float) -> None:
    while time.monotonic() < until:
        connection.sendall(b"a: b\r\n")
        time.sleep(0.05)


def test_endless_headers_are_refused(server: Server) -> None:
    with closing(_connect(server)) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\n")
        try:
            for number in range(2_000):
                connection.sendall(b"a%d: %s\r\n" % (number, b"x" * 100))
        except OSError:
            return  # refused while we still sent
        assert _answer(connection)[9:12] == b"431"


def test_what_is_no_http_gets_400(server: Server) -> None:
    with closing(_connect(server)) as connection:
        connection.sendall(b"\x16\x03\x01\x02\x00\x01 hello\r\n\r\n")
        assert _answer(connection)[9:12] == b"400"


def test_hundreds_of_idle_and_slow_connections_do_no_harm(server: Server) -> None:
    idle = [_connect(server) for _ in range(300)]
    for number, connection in enumerate(idle):
        if number % 2:
            connection.sendall(b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{")
    began = time.monotonic()
    answer = httpx.post(f"{server.url}/predict", json={"inputs": "x"})
    assert answer.status_code == 200 and time.monotonic() - began < 1
    for connection in idle:
        connection.close()


def _open_files(server: Server) -> int:
    return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))


def test_clients_that_are_killed_leak_nothing(server: Server) -> None:
    body = json.dumps({"inputs": [["word " * 500]] * 60}).encode()
    request = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body
    _wait_until(lambda: "in_flight 0.0" in httpx.get(f"{server.url}/metrics").text)
    before = _open_files(server)
    for _ in range(3):
        connections = [_connect(server) for _ in range(20)]
        for number, connection in enumerate(connections):
            connection.sendall(request[: len(request) // 2] if number % 3 == 0 else request)
        time.sleep(0.1)
        for connection in connections:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            connection.close()  # with a reset, as a killed process does
    _wait_until(lambda: "in_flight 0.0" in httpx.get(f"{server.url}/metrics").text)
    _wait_until(lambda: _open_files(server) <= before + 1)
    metrics = httpx.get(f"{server.url}/metrics").text
    assert 'bertrt_rejected_requests_total{reason="ClientGoneError"}' in metrics
    assert 'bertrt_queue_texts{model="tiny"} 0.0' in metrics


def _wait_until(condition: Callable[[], bool], timeout: float = 20.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(scope="module")
def many_labels(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 10,000 labels."""
    from bertrt_export import export_model
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    folder = tmp_path_factory.mktemp("many")
    labels = {number: f"label {number}" for number in range(10_000)}
    config = BertConfig(
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        id2label=labels,
        label2id={label: number for number, label in labels.items()},
    )
    BertForSequenceClassification(config).save_pretrained(folder / "checkpoint")
    AutoTokenizer.from_pretrained(tiny_checkpoint).save_pretrained(folder / "checkpoint")
    export_model(str(folder / "checkpoint"), folder / "model")
    return folder / "model"


def test_ten_thousand_labels(many_labels: Path) -> None:
    expected = Classifier(many_labels).logits(["good", "bad"])
    with serving(f"many={many_labels}") as server, httpx.Client(base_url=server.url) as client:
        ranked = client.post("/predict", json={"inputs": [["good"], ["bad"]], "raw_scores": True})
        for row, found in zip(expected, ranked.json(), strict=True):
            assert len(found) == 10_000
            assert found[0]["label"] == f"label {row.argmax()}"
            assert found[0]["score"] == pytest.approx(row.max(), abs=1e-4)
        best = client.post("/", json={"inputs": "good", "parameters": {"top_k": 2}}).json()
        assert [entry["label"] for entry in best[0]] == [
            f"label {at}" for at in (-expected[0]).argsort(kind="stable")[:2]
        ]
        info = client.get("/info").json()
        assert len(info["model_type"]["classifier"]["id2label"]) == 10_000
        answer = client.post("/v1/classify", json={"input": ["good"]}).json()
        assert answer["data"][0]["num_classes"] == len(answer["data"][0]["probs"]) == 10_000
