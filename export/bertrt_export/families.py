"""What differs between model families. The graph passes know nothing of it."""

from dataclasses import dataclass

__all__ = ["FAMILIES", "Family"]


@dataclass(frozen=True, slots=True)
class Family:
    """How to trace one family of Hugging Face sequence classifiers.

    encoder: path of the submodule whose output is the last hidden state; everything after it
        reads the first token of each text only.
    segments: whether the model takes `token_type_ids`.
    """

    encoder: str
    segments: bool


FAMILIES = {
    "bert": Family(encoder="bert.encoder", segments=True),
}
