"""The Hugging Face Inference API's text classification: POST / and POST /models/NAME.

Source: huggingface_hub's InferenceClient.text_classification, which takes the first element of the
answer; so one text too is answered by a list of lists. With `candidate_labels` it is zero-shot
classification: there InferenceClient.zero_shot_classification and @huggingface/inference's
zeroShotClassification want the labels of one text as a flat list.
"""

from typing import Any, Literal

from msgspec import Struct

from bertrt.errors import EmptyInputError
from bertrt.server.errors import MalformedError
from bertrt.server.exchange import Exchange
from bertrt.server.protocols import tei
from bertrt.server.protocols.tei import Score, error, ranked_scores
from bertrt.server.routes import Route
from bertrt.server.zero_shot import question
from bertrt.tokenizer import TextInput

__all__ = ["ROUTES"]

TAG = "Hugging Face Inference API"


class Pair(Struct):
    """A pair of texts, as Transformers' pipeline takes it."""

    text: str
    text_pair: str | None = None


class Parameters(Struct):
    """`top_k`: how many labels, all by default. `function_to_apply`: the model's own by default.

    `candidate_labels`: choose from these instead (zero-shot; a list, or a string with commas), with
    a model trained on natural language inference. `multi_label`: score each by itself.
    `hypothesis_template`: `This example is {}.` by default, with `{}` for the label.
    """

    top_k: int | None = None
    function_to_apply: Literal["softmax", "sigmoid", "none", "default"] | None = None
    truncation: bool | None = None
    candidate_labels: str | list[str] | None = None
    multi_label: bool | None = None
    hypothesis_template: str | None = None


class TextClassificationRequest(Struct):
    """A text, a pair or a list of them."""

    inputs: str | Pair | list[str | Pair]
    parameters: Parameters | None = None


async def _classify(exchange: Exchange) -> list[Any]:
    """Of each text all labels, best first; of one text with candidate_labels, that list alone."""
    request: TextClassificationRequest = exchange.message
    parameters = request.parameters or Parameters()
    inputs = request.inputs if isinstance(request.inputs, list) else [request.inputs]
    if not inputs:
        raise EmptyInputError("`inputs` is empty: give a text")
    if parameters.candidate_labels is not None:
        found = await _zero_shot(exchange, inputs, parameters, parameters.candidate_labels)
        return found if isinstance(request.inputs, list) else found[0]
    if parameters.multi_label or parameters.hypothesis_template is not None:
        raise MalformedError(
            "multi_label and hypothesis_template are for zero-shot classification: "
            "give candidate_labels too, or leave them out"
        )
    if parameters.top_k is not None and parameters.top_k < 1:
        raise MalformedError(f"top_k is {parameters.top_k}: give 1 or more, or leave it out")
    result = await exchange.classify(
        [_text(item) for item in inputs],
        model=exchange.path.get("name"),
        truncate=parameters.truncation,
    )
    function = parameters.function_to_apply
    activation = None if function == "default" else function
    return [ranked_scores(one) for one in result.predictions(activation, parameters.top_k)]


async def _zero_shot(
    exchange: Exchange,
    inputs: list[str | Pair],
    parameters: Parameters,
    candidate_labels: str | list[str],
) -> list[list[Score]]:
    if parameters.top_k is not None or parameters.function_to_apply is not None:
        raise MalformedError(
            "top_k and function_to_apply are for the model's own labels: leave them out, or "
            "candidate_labels"
        )
    asked = question(
        [_alone(item, position) for position, item in enumerate(inputs)],
        candidate_labels,
        hypothesis_template=parameters.hypothesis_template,
        multi_label=bool(parameters.multi_label),
        settings=exchange.service.settings,
    )
    result = await exchange.zero_shot(
        asked, model=exchange.path.get("name"), truncate=parameters.truncation
    )
    return [ranked_scores(one) for one in asked.predictions(result)]


def _alone(item: str | Pair, position: int) -> str:
    """A text that is no pair."""
    text = _text(item)
    if isinstance(text, tuple):
        raise MalformedError(
            f"text {position} is a pair: zero-shot classification takes texts, and makes a pair of "
            "each text and each label's hypothesis itself"
        )
    return text


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
        response=list[Score | list[Score]],
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
    _route("/", "Every label's score, one list a text; with candidate_labels, zero-shot"),
    _route("/models/{name:path}", "The same for a model by its name"),
    _get("health", tei.health, "200 when the model answers, else 503", open=True),
    _get("info", tei.info, "What the model is, and its limits", tei.Info),
)
