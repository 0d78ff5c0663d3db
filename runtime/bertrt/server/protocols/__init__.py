"""The protocols that clients speak: each file translates one to and from `Exchange.classify`."""

from collections.abc import Callable
from typing import Any

from bertrt.server.errors import Failure
from bertrt.server.protocols import huggingface, infinity, kserve, openai, tei, vllm
from bertrt.server.routes import Route

__all__ = ["routes", "wording_at"]


def routes(classify_dialect: str) -> list[Route]:
    """All protocols' routes; `/classify` as vLLM or Infinity has it."""
    classify = infinity.CLASSIFY if classify_dialect == "infinity" else vllm.CLASSIFY
    return [
        *tei.ROUTES,
        *huggingface.ROUTES,
        classify,
        *vllm.ROUTES,
        *kserve.ROUTES,
    ]


def wording_at(path: str) -> Callable[[Failure], Any]:
    """How the protocol that a path belongs to words errors."""
    first = path.split("/")[1]
    return {"v2": kserve.error, "v1": openai.error, "classify": openai.error}.get(first, tei.error)
