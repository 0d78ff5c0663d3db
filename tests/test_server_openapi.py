"""The server's own OpenAPI description, and requests that schemathesis makes up from it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from bertrt.server.openapi import openapi
from bertrt.server.protocols import routes
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.serving import serving

_CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def url(tiny_artifact: Path) -> Iterator[str]:
    """A server's address."""
    with serving(f"tiny={tiny_artifact}") as server:
        yield server.url


_SCHEMA = schemathesis.openapi.from_dict(openapi(routes("vllm"), with_key=False))
_FOUND = [found.ok() for found in _SCHEMA.get_all_operations() if isinstance(found, Ok)]
_OPERATIONS = {operation.label: operation for operation in _FOUND}


_WITH_BODY = [label for label in _OPERATIONS if _OPERATIONS[label].body]
_WITHOUT = [label for label in _OPERATIONS if label not in _WITH_BODY]


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
@pytest.mark.parametrize("label", _WITH_BODY)
def test_no_request_is_answered_otherwise_than_described(
    url: str, label: str, mode: GenerationMode
) -> None:
    @settings(max_examples=60, suppress_health_check=list(HealthCheck))
    @given(_OPERATIONS[label].as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        case.call_and_validate(base_url=url, checks=_CHECKS)

    ask()


@pytest.mark.parametrize("label", _WITHOUT)
def test_what_is_read_is_as_described(url: str, label: str) -> None:
    for name in ("tiny", "other", "a/b"):
        case = _OPERATIONS[label].Case(path_parameters={"name": name, "version": "1"})
        case.call_and_validate(base_url=url, checks=_CHECKS)


def test_both_kinds_are_there() -> None:
    assert "POST /predict" in _WITH_BODY and "GET /info" in _WITHOUT
    assert len(_WITH_BODY) >= 9 and len(_WITHOUT) >= 15


def test_every_route_and_type_is_described(url: str) -> None:
    description = httpx.get(f"{url}/openapi.json").json()
    paths = description["paths"]
    for path in ("/predict", "/rerank", "/", "/models/{name}", "/classify", "/v1/classify"):
        operation = paths[path]["post"]
        assert operation["requestBody"]["content"]["application/json"]["schema"], path
        assert {"200", "400", "413", "422", "429", "500", "503"} <= operation["responses"].keys()
        assert "x-truncated" in operation["responses"]["200"]["headers"]
    assert {"get"} == paths["/v2/models/{name}"].keys()
    identifiers = [each["operationId"] for path in paths.values() for each in path.values()]
    assert len(identifiers) == len(set(identifiers))
    request = description["components"]["schemas"]["PredictRequest"]
    assert set(request["required"]) == {"inputs"} and request["description"]
    parameters = description["components"]["schemas"]["Parameters"]
    assert "zero-shot" in parameters["description"]
    assert {"candidate_labels", "multi_label", "hypothesis_template"} <= set(
        parameters["properties"]
    )
    answer = paths["/"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    score = {"$ref": "#/components/schemas/Score"}
    assert score in answer["items"]["anyOf"]
    assert {"type": "array", "items": score} in answer["items"]["anyOf"]
