"""What one request may ask for."""

from collections.abc import Sequence

from bertrt.errors import EmptyInputError
from bertrt.server.errors import BatchTooLargeError, TextTooLargeError
from bertrt.server.settings import Settings
from bertrt.tokenizer import TextInput

__all__ = ["check_count", "checked_size"]


def check_count(count: int, settings: Settings) -> None:
    """EmptyInputError for no texts, BatchTooLargeError for too many."""
    limit = settings.max_client_batch_size
    if not count:
        raise EmptyInputError("there is no text to classify: the list is empty")
    if count > limit:
        raise BatchTooLargeError(
            f"{count} texts in one request and max_client_batch_size is {limit}: send fewer"
        )


def checked_size(texts: Sequence[TextInput], settings: Settings) -> int:
    """The characters of all texts; raises what `check_count` raises, and TextTooLargeError."""
    check_count(len(texts), settings)
    limit, total = settings.max_text_chars, 0
    for position, text in enumerate(texts):
        size = len(text) if isinstance(text, str) else len(text[0]) + len(text[1])
        if size > limit:
            raise TextTooLargeError(
                f"text {position} has {size} characters and max_text_chars is {limit}"
            )
        total += size
    return total
