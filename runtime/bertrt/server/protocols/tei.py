"""text-embeddings-inference: /predict, /rerank, /info, /health, /metrics.

Source: router/src/http of huggingface/text-embeddings-inference, 1.9.
"""

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

from bertrt.errors import EmptyInputError
from bertrt.postprocess import Prediction
from bertrt.server.errors import Failure, MalformedError, UnsupportedError
from bertrt.server.exchange import Exchange, Reply
from bertrt.server.models import ServedModel
from bertrt.server.routes import Route
from bertrt.tokenizer import TextInput
from bertrt.version import __version__

__all__ = ["ROUTES", "Info", "Score", "TeiError", "error", "health", "info", "ranked_scores"]

TAG = "text-embeddings-inference"

Side = Literal["left", "right", "Left", "Right"]


class PredictRequest(Struct):
    """Texts to classify.

    `inputs`: a string is one text; a list of one or two strings is one text or one pair; a list of
    such lists is a batch.
    """

    inputs: str | list[str | list[str]]
    truncate: bool | None = None
    truncation_direction: Side | None = None
    raw_scores: bool = False


class Score(Struct):
    """A label and its score."""

    score: float
    label: str


class RerankRequest(Struct):
    """A query and the texts to rank for it."""

    query: str
    texts: list[str]
    truncate: bool | None = None
    truncation_direction: Side | None = None
    raw_scores: bool = False
    return_text: bool = False


class Rank(Struct):
    """A text's position in the request and its score."""

    index: int
    score: float
    text: str | UnsetType = UNSET


class TeiError(Struct):
    """What went wrong, and its kind."""

    error: str
    error_type: str


def error(failure: Failure) -> TeiError:
    """An error as text-embeddings-inference words it."""
    return TeiError(failure.message, failure.kind)


def ranked_scores(ranked: list[Prediction]) -> list[Score]:
    """One text's labels, best first."""
    return [Score(prediction.score, prediction.label) for prediction in ranked]


async def _predict(exchange: Exchange) -> list[Score] | list[list[Score]]:
    request: PredictRequest = exchange.message
    texts, single = _parsed(request.inputs)
    result = await exchange.classify(
        texts, truncate=request.truncate, side=_side(request.truncation_direction)
    )
    ranked = result.predictions("none" if request.raw_scores else None)
    answers = [ranked_scores(one) for one in ranked]
    return answers[0] if single else answers


def _parsed(inputs: str | list[str | list[str]]) -> tuple[list[TextInput], bool]:
    """The texts and pairs, and whether it is a single one and no batch."""
    if isinstance(inputs, str):
        return [inputs], True
    if not inputs:
        raise EmptyInputError("`inputs` is empty: give a text")
    strings = [item for item in inputs if isinstance(item, str)]
    if len(strings) == len(inputs):
        return [_text_or_pair(strings, "`inputs`")], True
    if strings:
        raise MalformedError(
            "`inputs` mixes strings and lists: a batch is a list of lists of one or two strings"
        )
    return [_text_or_pair(list(item), f"`inputs[{at}]`") for at, item in enumerate(inputs)], False


def _text_or_pair(strings: list[str], where: str) -> TextInput:
    if len(strings) == 1:
        return strings[0]
    if len(strings) == 2:
        return strings[0], strings[1]
    raise MalformedError(
        f"{where} is a list of {len(strings)} strings: one is a text, two are a pair, and a batch "
        'is a list of lists, as in [["first"], ["second"]]'
    )


def _side(direction: Side | None) -> str | None:
    return None if direction is None else direction.lower()


async def _rerank(exchange: Exchange) -> list[Rank]:
    request: RerankRequest = exchange.message
    model = exchange.service.models.get()
    if len(model.classifier.labels) != 1:
        raise UnsupportedError(
            f"/rerank is for models with one label and {model.name} has "
            f"{len(model.classifier.labels)}: use /predict"
        )
    if not request.texts:
        raise EmptyInputError("`texts` is empty: give the texts to rank")
    result = await exchange.classify(
        [(request.query, text) for text in request.texts],
        truncate=request.truncate,
        side=_side(request.truncation_direction),
    )
    scores = result.scores("none" if request.raw_scores else None)[:, 0]
    texts = request.texts if request.return_text else [UNSET] * len(scores)
    ranks = [Rank(index, float(score), texts[index]) for index, score in enumerate(scores)]
    return sorted(ranks, key=lambda rank: -rank.score)


class Info(Struct):
    """What is served, and its limits."""

    model_id: str
    model_sha: str
    model_dtype: str
    served_model_name: str
    model_type: dict[str, Any]
    max_concurrent_requests: int
    max_input_length: int
    max_batch_tokens: int
    max_batch_requests: int | None
    max_client_batch_size: int
    auto_truncate: bool
    tokenization_workers: int
    version: str
    execution_provider: str
    activation: str
    models: list[str]
    max_text_chars: int
    max_body_bytes: int
    truncation_direction: str


async def info(exchange: Exchange) -> Info:
    """What the model of the path is, or the default one, and the limits."""
    settings = exchange.service.settings
    model = exchange.service.models.get(exchange.path.get("name"))
    classifier = model.classifier
    return Info(
        model_id=model.name,
        model_sha=model.sha256,
        model_dtype={"fp32": "float32", "fp16": "float16"}.get(
            classifier.precision, classifier.precision
        ),
        served_model_name=model.name,
        model_type=_model_type(model),
        max_concurrent_requests=settings.max_concurrent_requests,
        max_input_length=classifier.artifact.max_length,
        max_batch_tokens=classifier.max_batch_tokens,
        max_batch_requests=settings.max_batch_requests,
        max_client_batch_size=settings.max_client_batch_size,
        auto_truncate=settings.auto_truncate,
        tokenization_workers=1,
        version=__version__,
        execution_provider=classifier.provider,
        activation=classifier.artifact.activation,
        models=[each.name for each in exchange.service.models],
        max_text_chars=settings.max_text_chars,
        max_body_bytes=settings.max_body_bytes,
        truncation_direction=classifier.tokenizer.truncation_side,
    )


def _model_type(model: ServedModel) -> dict[str, Any]:
    labels = model.classifier.labels
    names = {
        "id2label": {str(index): label for index, label in enumerate(labels)},
        "label2id": {label: index for index, label in enumerate(labels)},
    }
    return {"reranker" if len(labels) == 1 else "classifier": names}


async def health(exchange: Exchange) -> Reply:
    """200 with nothing, or NotReadyError."""
    exchange.service.require_ready()
    return Reply(media_type="text/plain")


async def _root(exchange: Exchange) -> Reply:
    """Health, as from text-embeddings-inference; a browser gets the playground."""
    if "text/html" in (exchange.header("accept") or ""):
        return Reply(status=307, media_type="text/plain", headers={"location": "ui"})
    return await health(exchange)


async def _metrics(exchange: Exchange) -> Reply:
    metrics = exchange.service.metrics
    return Reply(metrics.text(), metrics.content_type)


def _get(path: str, handle: Any, summary: str, response: Any = None, *, open: bool) -> Route:
    return Route(
        method="GET",
        path=path,
        handle=handle,
        summary=summary,
        tag=TAG,
        error=error,
        response=response,
        open=open,
    )


def _predict_at(path: str, summary: str) -> Route:
    return Route(
        path=path,
        handle=_predict,
        summary=summary,
        tag=TAG,
        error=error,
        request=PredictRequest,
        response=list[Score | list[Score]],
    )


ROUTES = (
    _predict_at("/predict", "Every label's score for a text, a pair or a batch"),
    _predict_at("/invocations", "The same, at SageMaker's path"),
    Route(
        path="/rerank",
        handle=_rerank,
        summary="Rank texts for a query (models with one label)",
        tag=TAG,
        error=error,
        request=RerankRequest,
        response=list[Rank],
    ),
    _get("/info", info, "What is served, and its limits", Info, open=False),
    _get("/health", health, "200 when the model answers, else 503", open=True),
    _get("/", _root, "The same; a browser is sent to the playground", open=True),
    _get("/ping", health, "The same, at SageMaker's path", open=True),
    _get("/metrics", _metrics, "Counters for Prometheus", open=True),
)
