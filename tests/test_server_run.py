"""The server's life: start, readiness, load, overload, reload, drain."""

import asyncio
import json
import re
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from bertrt.server.app import create_app
from bertrt.server.service import Service
from bertrt.server.settings import Settings
from bertrt_bench.serving.load import Load, LoadResult, generate

from tests.helpers import edit_config, run_bertrt
from tests.serving import Server, serving

pytestmark = pytest.mark.alone  # it watches the clock

_TEXT = {"inputs": "a good film"}
_HEAVY = {"inputs": [["word " * 600]] * 200}  # about a second for the tiny model


def _port(server: Server) -> int:
    port = httpx.URL(server.url).port
    assert port is not None
    return port


def _load(
    server: Server, connections: int, seconds: float, rate: float | None = None
) -> LoadResult:
    bodies = [json.dumps({"inputs": "word " * count}) for count in range(1, 40)]
    return generate(
        Load(
            port=_port(server),
            path="/predict",
            bodies=bodies,
            connections=connections,
            seconds=seconds,
            rate=rate,
        )
    )


def test_while_the_model_loads_nothing_is_ready(tiny_artifact: Path) -> None:
    async def ask() -> dict[str, int]:
        service = Service({"tiny": str(tiny_artifact)}, Settings())
        transport = httpx.ASGITransport(create_app(service))
        found = {}
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            for path in ("/health", "/v2/health/ready", "/v2/health/live", "/info"):
                found[path] = (await client.get(path)).status_code
            refused = await client.post("/predict", json=_TEXT)
            assert "loading" in refused.json()["error"] and refused.headers["retry-after"]
            found["/predict"] = refused.status_code
            await service.load()
            found["loaded"] = (await client.get("/health")).status_code
            found["answered"] = (await client.post("/predict", json=_TEXT)).status_code
        await service.close()
        return found

    assert asyncio.run(ask()) == {
        "/health": 503,
        "/v2/health/ready": 503,
        "/v2/health/live": 200,
        "/info": 503,
        "/predict": 503,
        "loaded": 200,
        "answered": 200,
    }


def test_more_requests_than_permits_get_429(tiny_artifact: Path) -> None:
    with serving(tiny_artifact, options=("--max-concurrent-requests", "2")) as server:
        with ThreadPoolExecutor(8) as pool:
            answers = list(
                pool.map(
                    lambda _: httpx.post(f"{server.url}/predict", json=_HEAVY, timeout=60), range(8)
                )
            )
        statuses = [answer.status_code for answer in answers]
        assert statuses.count(200) >= 2 and set(statuses) == {200, 429}
        refused = answers[statuses.index(429)]
        assert refused.headers["retry-after"] == "1"
        assert refused.json()["error_type"] == "Overloaded"
        assert "max_concurrent_requests" in refused.json()["error"]


def _wait_for_a_queue(server: Server) -> None:
    """Until texts wait: how long tokenization takes differs between machines."""
    for _ in range(2000):
        metrics = httpx.get(f"{server.url}/metrics").text
        (waiting,) = re.findall(r"^bertrt_queue_texts{.*} (.*)$", metrics, re.MULTILINE)
        if float(waiting) > 0:
            return
        time.sleep(0.005)
    pytest.fail("no text was queued within 10 seconds")


def test_a_request_that_waits_too_long_gets_503(tiny_artifact: Path) -> None:
    options = ("--queue-timeout", "0.05", "--threads", "1")
    with serving(tiny_artifact, options=options) as server, ThreadPoolExecutor(4) as pool:
        heavy = [
            pool.submit(httpx.post, f"{server.url}/predict", json=_HEAVY, timeout=60)
            for _ in range(2)
        ]
        _wait_for_a_queue(server)
        began = time.monotonic()
        answer = httpx.post(f"{server.url}/predict", json=_TEXT, timeout=60)
        waited = time.monotonic() - began
        assert answer.status_code == 503 and "queue_timeout" in answer.json()["error"]
        assert answer.headers["retry-after"] == "1" and 0.05 <= waited < 0.5
        assert 200 in [each.result().status_code for each in heavy]


def test_the_time_that_a_client_gives_is_kept(tiny_artifact: Path) -> None:
    with serving(tiny_artifact) as server:
        url = f"{server.url}/predict"
        began = time.monotonic()
        late = httpx.post(url, json=_HEAVY, headers={"x-request-timeout-ms": "150"}, timeout=60)
        assert late.status_code == 504 and 0.15 <= time.monotonic() - began < 0.6
        enough = {"x-request-timeout-ms": "30000"}
        assert httpx.post(url, json=_TEXT, headers=enough).status_code == 200
        for wrong in ("soon", "-1", "0", "1.5"):
            answer = httpx.post(url, json=_TEXT, headers={"x-request-timeout-ms": wrong})
            assert answer.status_code == 422, wrong


def test_what_a_client_that_left_had_asked_for_does_not_run(tiny_artifact: Path) -> None:
    with serving(tiny_artifact, options=("--threads", "1")) as server:
        body = json.dumps(_HEAVY).encode()
        head = f"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
        leaving = [socket.create_connection(("127.0.0.1", _port(server))) for _ in range(20)]
        for connection in leaving:
            connection.sendall(head.encode() + body)
        time.sleep(0.3)
        for connection in leaving:
            connection.close()
        assert httpx.post(f"{server.url}/predict", json=_TEXT, timeout=60).status_code == 200
        metrics = httpx.get(f"{server.url}/metrics").text
        (texts,) = [
            line for line in metrics.splitlines() if line.startswith("bertrt_batch_texts_sum")
        ]
        assert float(texts.split()[-1]) < 20 * 200 / 2


def test_overload_is_refused_in_time(tiny_artifact: Path) -> None:
    options = ("--queue-timeout", "0.5", "--max-concurrent-requests", "100", "--threads", "1")
    heavy = json.dumps({"inputs": "word " * 500})
    with serving(tiny_artifact, options=options) as server:
        closed = generate(
            Load(port=_port(server), path="/predict", bodies=[heavy], connections=8, seconds=1)
        )
        result = generate(
            Load(
                port=_port(server),
                path="/predict",
                bodies=[heavy],
                connections=1_000,
                seconds=3,
                rate=3 * closed.rate,
            )
        )
        assert set(result.statuses) <= {"200", "429", "503"}, result.statuses
        assert result.answered > 0 and result.statuses.get("429", 0) > 0
        assert max(result.latencies) < 0.5 + 1.0


def test_sigterm_in_full_load_loses_no_request(tiny_artifact: Path) -> None:
    options = ("--access-log", "--log-format", "json", "--drain-delay", "0.5")
    with serving(tiny_artifact, options=options) as server:
        found: list[LoadResult] = []
        load = threading.Thread(target=lambda: found.append(_load(server, 32, 2.5)))
        load.start()
        time.sleep(1.2)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        draining = httpx.get(f"{server.url}/health")
        assert draining.status_code == 503 and draining.headers["connection"] == "close"
        assert server.process.wait(timeout=20) == 0
        load.join()
        entries = [json.loads(line) for line in server.log.read_text().splitlines()]
        statuses = [entry["status"] for entry in entries if entry.get("route") == "/predict"]
        (result,) = found
        # Every request that the server began has its answer, and the client got every answer.
        assert result.statuses["200"] == len(statuses) > 500 and set(statuses) == {200}
        assert set(result.statuses) <= {"200", "refused", "lost"}


def test_sighup_loads_anew_without_dropping_a_request(
    copied_artifact: Callable[[], Path], tmp_path: Path
) -> None:
    served = copied_artifact()
    with serving(f"m={served}") as server:
        found: list[LoadResult] = []
        load = threading.Thread(target=lambda: found.append(_load(server, 16, 3.0)))
        load.start()
        sha = httpx.get(f"{server.url}/info").json()["model_sha"]
        edit_config(served, {"id2label": {"0": "eins", "1": "zwei", "2": "drei"}})
        server.process.send_signal(signal.SIGHUP)
        _wait_for(server, "loaded again")
        info = httpx.get(f"{server.url}/info").json()
        assert info["model_sha"] != sha
        assert info["model_type"]["classifier"]["id2label"]["0"] == "eins"
        labels = {
            entry["label"] for entry in httpx.post(f"{server.url}/predict", json=_TEXT).json()
        }
        assert labels == {"eins", "zwei", "drei"}
        load.join()
        assert set(found[0].statuses) == {"200"} and found[0].answered > 500


def test_a_model_that_does_not_load_anew_leaves_the_old_one(
    copied_artifact: Callable[[], Path],
) -> None:
    served = copied_artifact()
    with serving(f"m={served}") as server:
        before = httpx.post(f"{server.url}/predict", json=_TEXT).json()
        shutil.rmtree(served)
        server.process.send_signal(signal.SIGHUP)
        _wait_for(server, "the old one stays")
        assert httpx.post(f"{server.url}/predict", json=_TEXT).json() == before
        assert httpx.get(f"{server.url}/health").status_code == 200
        assert str(served) not in server.log.read_text()


def _wait_for(server: Server, words: str) -> None:
    deadline = time.monotonic() + 20
    while words not in server.log.read_text():
        assert time.monotonic() < deadline, server.log.read_text()
        time.sleep(0.02)


def test_several_models_by_name(
    tiny_artifact: Path, tiny_int8_artifact: Path, copied_artifact: Callable[[], Path]
) -> None:
    other = copied_artifact()
    edit_config(other, {"id2label": {"0": "a", "1": "b", "2": "c"}})
    with serving(f"first={tiny_artifact}", f"team/second={other}") as server:
        url = server.url
        assert httpx.get(f"{url}/info").json()["models"] == ["first", "team/second"]
        assert {entry["label"] for entry in httpx.post(f"{url}/predict", json=_TEXT).json()} == {
            "negative", "neutral", "positive",
        }  # fmt: skip
        named = httpx.post(f"{url}/models/team/second", json=_TEXT).json()
        assert {entry["label"] for entry in named[0]} == {"a", "b", "c"}
        answer = httpx.post(f"{url}/classify", json={"input": "x", "model": "team/second"}).json()
        assert answer["model"] == "team/second" and answer["data"][0]["label"] in "abc"
        metadata = httpx.get(f"{url}/v2/models/team/second").json()
        assert metadata["parameters"]["labels"] == ["a", "b", "c"]


def test_texts_are_logged_only_if_asked_for(tiny_artifact: Path) -> None:
    options = ("--log-texts", "--access-log", "--log-format", "json")
    with serving(tiny_artifact, options=options) as server:
        httpx.post(f"{server.url}/predict", json=_TEXT)
        httpx.post(f"{server.url}/predict", json={"inputs": 7})
        # A request is logged after it has been answered.
        until = time.monotonic() + 30
        while server.log.read_text().count('"route"') < 2 and time.monotonic() < until:
            time.sleep(0.05)
        entries = [json.loads(line) for line in server.log.read_text().splitlines()]
    good, bad = (entry for entry in entries if "route" in entry)
    assert json.loads(good["body"]) == _TEXT and good["texts"] == 1
    assert json.loads(bad["body"]) == {"inputs": 7} and "Expected" in bad["error"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("MODEL", "--port", "99999"), "port is 99999: give 65535 at most"),
        (("MODEL", "--queue-timeout", "0"), "queue_timeout is 0.0: give 0.001 or more"),
        (("MODEL", "--max-batch-tokens", "x"), "--max-batch-tokens is 'x': give a whole number"),
        (("MODEL", "--queue-timeout", "nan"), "queue_timeout is nan"),
        (("a=MODEL", "a=MODEL"), "two models are called 'a'"),
        (("a b=MODEL",), "write NAME=MODEL"),
        (("MODEL", "--host", "256.1.1.1"), "cannot listen at 256.1.1.1"),
        (("no-such-folder",), "there is no folder"),
        (("MODEL", "--precision", "int8"), "holds no int8 graph"),
        (("MODEL", "--device", "cuda"), "CUDA"),
    ],
)
def test_what_cannot_be_served_is_said_and_ends_with_1(
    tiny_artifact: Path, words: tuple[str, ...], sentence: str
) -> None:
    given = [word.replace("MODEL", str(tiny_artifact)) for word in words]
    done = run_bertrt("serve", *given, *(() if "--port" in words else ("--port", "0")))
    said = done.stderr.decode()
    assert done.returncode == 1 and sentence in said and "Traceback" not in said, said


def test_a_port_that_is_taken_is_said(tiny_artifact: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run_bertrt("serve", str(tiny_artifact), "--port", port)
    assert done.returncode == 1
    assert f"cannot listen at 127.0.0.1 port {port}: Address already in use" in done.stderr.decode()


def test_settings_come_from_the_environment_and_flags_go_first(tiny_artifact: Path) -> None:
    env = {
        "BERTRT_MAX_CLIENT_BATCH_SIZE": "3",
        "BERTRT_MAX_TEXT_CHARS": "50",
        "BERTRT_PORT": "tcp://10.0.0.1:80",  # as Kubernetes sets it beside a Service `bertrt`
    }
    options = ("--max-text-chars", "60")
    with serving(tiny_artifact, options=options, env=env) as server:
        info = httpx.get(f"{server.url}/info").json()
        assert (info["max_client_batch_size"], info["max_text_chars"]) == (3, 60)
    done = run_bertrt("serve", str(tiny_artifact), BERTRT_AUTO_TRUNCATE="perhaps")
    assert done.returncode == 1
    assert "BERTRT_AUTO_TRUNCATE is 'perhaps': give true or false" in done.stderr.decode()
