"""What callers may give where only strings are texts, and no pairs."""

from collections.abc import Iterable

from bertrt.errors import InputError

__all__ = ["as_strings", "check_iterable"]


def as_strings(texts: str | Iterable[str]) -> list[str]:
    """One string, or an iterable of them, as a list; InputError for anything else."""
    if isinstance(texts, str):
        return [texts]
    check_iterable(texts)
    return list(texts)


def check_iterable(texts: object) -> None:
    """Raise InputError for what cannot be meant as several texts."""
    # A tuple would be a pair elsewhere, and here it is most likely meant as one.
    if isinstance(texts, (bytes, dict, tuple)) or not isinstance(texts, Iterable):
        raise InputError(
            f"texts is of type {type(texts).__name__}: give a string or a list of them"
        )
