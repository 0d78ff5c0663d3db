"""Infinity: POST /classify, in the place of vLLM's with --classify-dialect infinity.

Source: infinity_emb/fastapi_schemas/pymodels.py. Infinity ignores `raw_scores`; here it works.
"""

from msgspec import Struct

from bertrt.errors import EmptyInputError
from bertrt.server.exchange import Exchange
from bertrt.server.protocols import openai
from bertrt.server.protocols.tei import Score, ranked_scores
from bertrt.server.routes import Route

__all__ = ["CLASSIFY"]

# What Infinity's clients send where they name no model.
_NO_NAME = "default/not-specified"


class InfinityRequest(Struct):
    """Texts to classify."""

    input: list[str]
    model: str = _NO_NAME
    raw_scores: bool = False


class InfinityResponse(Struct):
    """Every label of each text, best first; `truncated`: which texts were cut."""

    data: list[list[Score]]
    model: str
    usage: openai.Usage
    id: str
    created: int
    truncated: list[bool]
    object: str = "classify"


async def _classify(exchange: Exchange) -> InfinityResponse:
    request: InfinityRequest = exchange.message
    if not request.input:
        raise EmptyInputError("`input` is empty: give a text")
    result = await exchange.classify(
        request.input, model=None if request.model == _NO_NAME else request.model
    )
    ranked = result.predictions("none" if request.raw_scores else None)
    cut = set(result.truncated)
    return InfinityResponse(
        data=[ranked_scores(one) for one in ranked],
        model=result.model.name,
        usage=openai.usage_of(result),
        id=openai.new_id("infinity"),
        created=openai.now(),
        truncated=[at in cut for at in range(len(ranked))],
    )


CLASSIFY = Route(
    path="/classify",
    handle=_classify,
    summary="Every label's score, one list a text",
    tag="Infinity",
    error=openai.error,
    request=InfinityRequest,
    response=InfinityResponse,
)
