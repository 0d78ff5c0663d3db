"""Encodings through a session, in batches of like length."""

from collections.abc import Iterator, Sequence

import numpy as np

from bertrt.packing import pack, plan_batches
from bertrt.session import Session
from bertrt.tokenizer import Encoding

__all__ = ["run_batches"]


def run_batches(
    session: Session, encodings: Sequence[Encoding], max_batch_tokens: int
) -> Iterator[tuple[list[int], np.ndarray]]:
    """The logits of each batch, and the positions in `encodings` of its texts, in its order.

    Logits: float32 [texts, labels], or [tokens, labels] of a token classifier, one text's tokens
    after another's. Batches are those of `plan_batches`, run as `Session.run_all` runs them.
    """
    plan = plan_batches([len(encoding) for encoding in encodings], max_batch_tokens)
    batches = (pack([encodings[position] for position in positions]) for positions in plan)
    yield from zip(plan, session.run_all(batches), strict=True)
