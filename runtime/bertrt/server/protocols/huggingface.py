"""The Hugging Face Inference API's text classification: POST / and POST /models/NAME.

Source: huggingface_hub's InferenceClient.text_classification, which takes the first element of the
answer; so one text too is answered by a list of lists.
"""

from typing import Any, Literal

from msgspec import Struct

from bertrt.errors import EmptyInputError
from bertrt.server.errors import MalformedError, UnsupportedError
from bertrt.server.exchange import Exchange
from bertrt.server.protocols import tei
from bertrt.server.protocols.tei import Score, error, ranked_scores
from bertrt.server.routes import Route
from bertrt.tokenizer import TextInput

__all__ = ["ROUTES"]

TAG = "Hugging Face Inference API"


class Pair(Struct):
    """A pair of texts, as Transformers' pipeline takes it."""

    text: str
    text_pair: str | None = None


class Parameters(Struct):
    """`top_k`: how many labels, all by default. `function_to_apply`: the model's own by default."""

    top_k: int | None = None
    function_to_apply: Literal["softmax", "sigmoid", "none", "default"] | None = None
    truncation: bool | None = None
    candidate_labels: Any = None


class TextClassificationRequest(Struct):
    """A text, a pair or a list of them."""

    inputs: str | Pair | list[str | Pair]
    parameters: Parameters | None = None


async def _classify(exchange: Exchange) -> list[list[Score]]:
    request: TextClassificationRequest = exchange.message
    parameters = request.parameters or Parameters()
    if parameters.candidate_labels is not None:
        raise UnsupportedError(
            "candidate_labels are for zero-shot classification, which this server does not do: "
            "leave them out for the scores of the model's own labels"
        )
    if parameters.top_k is not None and parameters.top_k < 1:
        raise MalformedError(f"top_k is {parameters.top_k}: give 1 or more, or leave it out")
    inputs = request.inputs if isinstance(request.inputs, list) else [request.inputs]
    if not inputs:
        raise EmptyInputError("`inputs` is empty: give a text")
    result = await exchange.classify(
        [_text(item) for item in inputs],
        model=exchange.path.get("name"),
        truncate=parameters.truncation,
    )
    function = parameters.function_to_apply
    activation = None if function == "default" else function
    return [ranked_scores(one) for one in result.predictions(activation, parameters.top_k)]


def _text(item: str | Pair) -> TextInput:
    if isinstance(item, str):
        return item
    return item.text if item.text_pair is None else (item.text, item.text_pair)


def _route(path: str, summary: str) -> Route:
    return Route(
        path=path,
        handle=_classify,
        summary=summary,
        tag=TAG,
        error=error,
        request=TextClassificationRequest,
        response=list[list[Score]],
    )


def _get(
    word: str, handle: Any, summary: str, response: Any = None, *, open: bool = False
) -> Route:
    return Route(
        method="GET",
        path=f"/models/{{name:path}}/{word}",
        handle=handle,
        summary=summary,
        tag=TAG,
        error=error,
        response=response,
        open=open,
    )


ROUTES = (
    _route("/", "Every label's score, one list a text"),
    _route("/models/{name:path}", "The same for a model by its name"),
    _get("health", tei.health, "200 when the model answers, else 503", open=True),
    _get("info", tei.info, "What the model is, and its limits", tei.Info),
)
