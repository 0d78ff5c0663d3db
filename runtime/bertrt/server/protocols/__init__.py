"""The protocols that clients speak: each file translates one to and from `Exchange.classify`."""

from bertrt.server.protocols import huggingface, infinity, kserve, tei, vllm
from bertrt.server.routes import Route

__all__ = ["routes"]


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
