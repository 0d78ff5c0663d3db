"""Every error that bertrt raises for its users.

BertrtError
├── ArtifactError        the model folder is missing, damaged or not one that this version reads
├── InputError           the caller's text cannot be classified (also a ValueError)
│   ├── EmptyInputError  there is no text at all
│   └── TextTooLongError the text is over the limit and truncation is off
├── DeviceError          the device that was asked for cannot be had
├── MissingDependencyError   a package that the request needs is not installed
└── BackendError         onnxruntime failed on a valid batch
"""

__all__ = [
    "ArtifactError",
    "BackendError",
    "BertrtError",
    "DeviceError",
    "EmptyInputError",
    "InputError",
    "MissingDependencyError",
    "TextTooLongError",
]


class BertrtError(Exception):
    """The base of all errors that bertrt raises on purpose."""


class ArtifactError(BertrtError):
    """The model folder is missing, incomplete, altered, or of a format this version cannot read."""


class InputError(BertrtError, ValueError):
    """A text that cannot be classified: not a string, not valid Unicode, an unknown form."""


class EmptyInputError(InputError):
    """A call without any text. (An empty string is a text.)"""


class TextTooLongError(InputError):
    """A text of more tokens than the model takes, with truncation off.

    length, limit: tokens, special tokens included.
    """

    def __init__(self, position: int, length: int, limit: int) -> None:
        self.position, self.length, self.limit = position, length, limit
        super().__init__(
            f"text {position} has {length} tokens and the model takes {limit}: "
            "shorten it, or let it be truncated"
        )

    # Exceptions are pickled with their message, which is not what this one is made of.
    def __reduce__(self) -> tuple[type, tuple[int, int, int]]:
        return type(self), (self.position, self.length, self.limit)


class DeviceError(BertrtError):
    """The execution device that was asked for is not to be had here."""


class MissingDependencyError(BertrtError, ImportError):
    """A package is not installed; the message names the extra that brings it."""


class BackendError(BertrtError):
    """onnxruntime failed while it ran a batch."""
