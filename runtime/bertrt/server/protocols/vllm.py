"""vLLM: POST /classify and /v1/classify, GET /v1/models.

Source: vllm/entrypoints/pooling/classify/protocol.py. vLLM applies softmax to every model with
several labels; here `probs` follow the model's `problem_type`.
"""

from typing import Literal

from msgspec import Struct

from bertrt.errors import EmptyInputError
from bertrt.server.classification import Classification
from bertrt.server.errors import MalformedError, UnsupportedError
from bertrt.server.exchange import Exchange
from bertrt.server.protocols import openai
from bertrt.server.routes import Route

__all__ = ["CLASSIFY", "ROUTES"]

TAG = "vLLM"


class ClassifyRequest(Struct):
    """`input`: a text, a list of texts, or their token ids, special tokens included.

    `truncate_prompt_tokens`: -1, or any number that is not below the model's limit, cuts texts to
    the limit; left out, the server's own setting holds.
    """

    input: str | list[str | int | list[int]]
    model: str | None = None
    truncate_prompt_tokens: int | None = None
    truncation_side: Literal["left", "right"] | None = None
    use_activation: bool | None = None
    activation: bool | None = None
    softmax: bool | None = None
    add_special_tokens: bool = True


class Classified(Struct):
    """One text: its best label, and the scores of all labels in the model's order."""

    index: int
    label: str
    probs: list[float]
    num_classes: int
    truncated: bool


class ClassifyResponse(Struct):
    """The texts in input order."""

    id: str
    created: int
    model: str
    data: list[Classified]
    usage: openai.Usage
    object: str = "list"


class Model(Struct):
    """A model that is served."""

    id: str
    created: int
    object: str = "model"
    owned_by: str = "bertrt"
    max_model_len: int = 0


class Models(Struct):
    """The models that are served, the default first."""

    data: list[Model]
    object: str = "list"


async def _classify(exchange: Exchange) -> ClassifyResponse:
    request: ClassifyRequest = exchange.message
    result = await _result(exchange, request)
    asked = (request.use_activation, request.activation, request.softmax)
    scores = result.scores("none" if False in asked else None)
    labels = result.model.classifier.labels
    cut = set(result.truncated)
    return ClassifyResponse(
        id=openai.new_id("classify"),
        created=openai.now(),
        model=result.model.name,
        data=[
            Classified(at, labels[row.argmax()], row.tolist(), len(labels), at in cut)
            for at, row in enumerate(scores)
        ],
        usage=openai.usage_of(result),
    )


async def _result(exchange: Exchange, request: ClassifyRequest) -> Classification:
    """Classify what `input` is: texts or token ids."""
    given = request.input
    if isinstance(given, str):
        given = [given]
    if not given:
        raise EmptyInputError("`input` is empty: give a text")
    kinds = {type(item) for item in given}
    if len(kinds) > 1:
        raise MalformedError("`input` mixes texts and token ids: give a list of one kind")
    if kinds == {int}:
        return await exchange.classify_ids([given], model=request.model)  # type: ignore[list-item]
    if kinds == {list}:
        return await exchange.classify_ids(given, model=request.model)  # type: ignore[arg-type]
    if not request.add_special_tokens:
        raise UnsupportedError(
            "add_special_tokens=false is for texts with special tokens of their own: "
            "send their token ids"
        )
    return await exchange.classify(
        given,  # type: ignore[arg-type]
        model=request.model,
        truncate=_truncate(exchange, request),
        side=request.truncation_side,
    )


def _truncate(exchange: Exchange, request: ClassifyRequest) -> bool | None:
    """Whether to cut texts; None leaves that to the server."""
    wanted = request.truncate_prompt_tokens
    if wanted is None:
        return None
    limit = exchange.service.models.get(request.model).classifier.artifact.max_length
    if wanted != -1 and wanted < limit:
        raise UnsupportedError(
            f"truncate_prompt_tokens is {wanted}: texts are cut to the model's limit of {limit} "
            "tokens (-1), not to fewer"
        )
    return True


async def _models(exchange: Exchange) -> Models:
    return Models(
        [
            Model(model.name, model.created, max_model_len=model.classifier.artifact.max_length)
            for model in exchange.service.models
        ]
    )


def _classify_at(path: str) -> Route:
    return Route(
        path=path,
        handle=_classify,
        summary="The best label and all scores of each text",
        tag=TAG,
        error=openai.error,
        request=ClassifyRequest,
        response=ClassifyResponse,
    )


CLASSIFY = _classify_at("/classify")
ROUTES = (
    _classify_at("/v1/classify"),
    Route(
        method="GET",
        path="/v1/models",
        handle=_models,
        summary="The models that are served",
        tag=TAG,
        error=openai.error,
        response=Models,
    ),
)
