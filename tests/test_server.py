"""What the server does beside any protocol: limits, keys, compression, headers, metrics, logs."""

import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.serving import Server, serving

_LONG = "word " * 2_000


@pytest.fixture(scope="module")
def server(tiny_artifact: Path) -> Iterator[Server]:
    """A server with low limits."""
    options = (
        *("--max-client-batch-size", "4", "--max-text-chars", "20000", "--max-body-bytes", "50000"),
        *("--api-key", "secret", "--cors-origin", "https://example.org", "--log-format", "json"),
    )
    with serving(f"tiny={tiny_artifact}", options=options) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[httpx.Client]:
    """A client that has the key."""
    headers = {"authorization": "Bearer secret"}
    with httpx.Client(base_url=server.url, headers=headers) as opened:
        yield opened


def _error(answer: httpx.Response) -> tuple[int, str, str]:
    """The status, the kind and the sentence of an error in TEI's words."""
    body = answer.json()
    assert body.keys() == {"error", "error_type"}, body
    return answer.status_code, body["error_type"], body["error"]


def _log_entries(server: Server) -> list[dict[str, object]]:
    return [json.loads(line) for line in server.log.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(
    "key", [None, "Bearer wrong", "secret", "Bearer x", "Basic secret", "Bearer sécret"]
)
def test_without_the_key_only_health_is_told(server: Server, key: str | None) -> None:
    headers = {} if key is None else {b"authorization": key.encode("latin-1")}
    with httpx.Client(base_url=server.url, headers=headers) as stranger:
        for path in ("/predict", "/", "/classify", "/v1/classify", "/v2/models/tiny/infer"):
            answer = stranger.post(path, json={"inputs": "x", "input": "x"})
            assert answer.status_code == 401, path
            assert answer.headers["www-authenticate"] == "Bearer" and "API key" in answer.text
        assert stranger.get("/info").status_code == 401
        for path in ("/health", "/ping", "/metrics", "/v2/health/live", "/v2/health/ready"):
            assert stranger.get(path).status_code == 200, path


def test_too_much_is_refused_with_the_limit_that_it_breaks(client: httpx.Client) -> None:
    status, kind, sentence = _error(client.post("/predict", json={"inputs": [["x"]] * 5}))
    assert (status, kind) == (413, "Validation") and "max_client_batch_size is 4" in sentence
    status, _, sentence = _error(client.post("/predict", json={"inputs": "x" * 20_001}))
    assert status == 413 and "20001 characters and max_text_chars is 20000" in sentence
    status, _, sentence = _error(client.post("/predict", json={"inputs": ["x" * 15_000] * 4}))
    assert status == 413 and "50000 bytes" in sentence and "max_body_bytes" in sentence


def test_a_body_without_its_length_is_counted_as_it_comes(client: httpx.Client) -> None:
    def parts() -> Iterator[bytes]:
        yield b'{"inputs": "'
        for _ in range(100):
            yield b"x" * 1_000
        yield b'"}'

    answer = client.post("/predict", content=parts())
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", lambda body: zlib.compress(body)[2:-4]),
        ("identity", bytes),
    ],
)
def test_bodies_may_be_compressed(
    client: httpx.Client, encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    plain = client.post("/predict", json={"inputs": "fun"}).json()
    headers = {"content-encoding": encoding}
    answer = client.post("/predict", content=pack(b'{"inputs": "fun"}'), headers=headers)
    assert answer.json() == plain


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        ("gzip", gzip.compress(b" " * 60_000, mtime=0), 413),  # 90 bytes that unpack to too many
        ("gzip", b"no gzip", 422),
        ("deflate", b"\x00", 422),
        ("gzip", gzip.compress(b'{"inputs": "fun"}', mtime=0)[:-9], 422),
        ("br", b"x", 415),
    ],
)
def test_bodies_that_do_not_unpack_are_refused(
    client: httpx.Client, encoding: str, body: bytes, status: int
) -> None:
    answer = client.post("/predict", content=body, headers={"content-encoding": encoding})
    assert answer.status_code == status, answer.text


@pytest.mark.parametrize("accepted", ["gzip", "deflate", "gzip;q=0, deflate", "identity"])
def test_long_answers_are_compressed_if_the_client_likes(server: Server, accepted: str) -> None:
    tensors = [{"name": "text", "shape": [4], "datatype": "BYTES", "data": ["fun"] * 4}]
    wanted = [{"name": name} for name in ("scores", "logits", "tokens")] * 12
    headers = {"authorization": "Bearer secret", "accept-encoding": accepted}
    with httpx.Client(base_url=server.url, headers=headers) as client:
        answer = client.post("/v2/models/tiny/infer", json={"inputs": tensors, "outputs": wanted})
        expected = {"gzip;q=0, deflate": "deflate", "identity": None}.get(accepted, accepted)
        assert answer.headers.get("content-encoding") == expected
        assert len(answer.json()["outputs"]) == 36
        # tritonclient.http.aio accepts gzip for these too, and could not read them.
        assert "content-encoding" not in client.get("/metrics").headers


def test_a_request_keeps_its_id(client: httpx.Client) -> None:
    given = client.post("/predict", json={"inputs": "x"}, headers={"x-request-id": "abc-1"})
    assert given.headers["x-request-id"] == "abc-1"
    unfit = client.post("/predict", json={"inputs": "x"}, headers={"x-request-id": "x" * 200})
    assert re.fullmatch("[0-9a-f]{32}", unfit.headers["x-request-id"])


def test_headers_say_what_was_done(client: httpx.Client, tiny_artifact: Path) -> None:
    answer = client.post("/predict", json={"inputs": [["fun"], [_LONG], ["a b"], [_LONG]]})
    headers = answer.headers
    assert headers["x-truncated"] == "1,3"
    assert headers["x-compute-tokens"] == str(3 + 512 + 4 + 512)
    stages = [float(headers[f"x-{n}-time"]) for n in ("tokenization", "queue", "inference")]
    assert all(stage > 0 for stage in stages) and sum(stages) <= float(headers["x-total-time"])
    assert "x-truncated" not in client.post("/predict", json={"inputs": "fun"}).headers


def test_other_origins_may_call_only_if_they_are_named(client: httpx.Client) -> None:
    named = client.post("/predict", json={"inputs": "x"}, headers={"origin": "https://example.org"})
    assert named.headers["access-control-allow-origin"] == "https://example.org"
    assert "x-truncated" in named.headers["access-control-expose-headers"]
    other = client.post("/predict", json={"inputs": "x"}, headers={"origin": "https://evil.org"})
    assert "access-control-allow-origin" not in other.headers


def test_paths_and_methods_that_are_not_there(client: httpx.Client) -> None:
    assert _error(client.get("/nothing"))[:2] == (404, "NotFound")
    wrong = client.get("/predict")
    assert wrong.status_code == 405 and wrong.headers["allow"] == "POST"
    assert _error(client.post("/models/other", json={"inputs": "x"}))[0] == 404
    # Each in the words of its protocol.
    assert client.get("/v1/classify").json()["error"]["code"] == 405
    assert client.post("/v1/embeddings").json()["error"]["type"] == "NotFoundError"
    assert client.get("/v2/nothing").json().keys() == {"error"}
    assert client.post("/classify", json={"input": "x", "model": "other"}).status_code == 404


def test_the_log_has_the_request_and_neither_text_nor_path(
    server: Server, client: httpx.Client, tiny_artifact: Path
) -> None:
    secret = "extremely private words"
    client.post("/predict", json={"inputs": [secret] * 3}, headers={"x-request-id": "logged-1"})
    client.post("/v1/classify", json={"input": 1, "model": secret})
    entries = _log_entries(server)
    (entry,) = [each for each in entries if each.get("request_id") == "logged-1"]
    assert entry["level"] == "warning" and entry["status"] == 422
    assert entry["route"] == "/predict" and entry["error"] == "Validation"
    written = server.log.read_text(encoding="utf-8")
    assert secret not in written and str(tiny_artifact) not in written
    assert "Traceback" not in written and "secret" not in written


def test_the_root_is_health_and_for_browsers_the_playground(client: httpx.Client) -> None:
    assert client.get("/").status_code == 200 and client.get("/").text == ""
    browser = client.get("/", headers={"accept": "text/html,*/*"})
    assert browser.status_code == 307 and browser.headers["location"] == "ui"


def test_metrics_count_requests_texts_and_stages(client: httpx.Client) -> None:
    def read() -> dict[tuple[str, ...], float]:
        families = text_string_to_metric_families(client.get("/metrics").text)
        return {
            (
                sample.name,
                *(f"{name}={value}" for name, value in sorted(sample.labels.items())),
            ): sample.value
            for family in families
            for sample in family.samples
        }

    before = read()
    client.post("/predict", json={"inputs": [["fun"], [_LONG]]})
    client.post("/predict", json={"inputs": []})
    after = read()

    def grown(*key: str) -> float:
        return after[key] - before.get(key, 0.0)

    assert grown("bertrt_requests_total", "route=/predict", "status=200") == 1
    assert grown("bertrt_requests_total", "route=/predict", "status=400") == 1
    assert grown("bertrt_rejected_requests_total", "reason=EmptyInputError") == 1
    assert grown("bertrt_texts_total", "model=tiny") == 2
    assert grown("bertrt_tokens_total", "model=tiny") == 515
    assert grown("bertrt_truncated_texts_total", "model=tiny") == 1
    assert grown("bertrt_batch_tokens_sum", "model=tiny") == 515
    for stage in ("tokenize", "queue", "inference", "total"):
        assert grown("bertrt_stage_seconds_count", "model=tiny", f"stage={stage}") == 1
    assert after["bertrt_requests_in_flight",] == 0
    assert after["process_resident_memory_bytes",] > 1e6


def test_pages_ask_nothing_of_other_hosts(client: httpx.Client) -> None:
    for path in ("/ui", "/docs"):
        page = client.get(path)
        assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
        assert "default-src 'self'" in page.headers["content-security-policy"]
        links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert links
        for link in links:
            assert "//" not in link, link
            assert client.get(f"/{link}", headers={}).status_code == 200, link
