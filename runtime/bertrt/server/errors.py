"""What can go wrong with a request, and the one table that says which HTTP status it is."""

from dataclasses import dataclass

from bertrt.errors import (
    BackendError,
    BertrtError,
    EmptyInputError,
    InputError,
)

__all__ = [
    "AuthenticationError",
    "BatchTooLargeError",
    "BodyTooLargeError",
    "ClientGoneError",
    "DeadlineError",
    "EncodingError",
    "Failure",
    "HttpError",
    "MalformedError",
    "NotReadyError",
    "OverloadedError",
    "QueueTimeoutError",
    "TextTooLargeError",
    "UnknownModelError",
    "UnsupportedError",
    "failure_of",
]


class MalformedError(InputError):
    """A body that is not what the route takes."""


class UnsupportedError(InputError):
    """A valid request for what this model or server does not do."""


class BodyTooLargeError(InputError):
    """A body of more bytes than the server takes."""


class BatchTooLargeError(InputError):
    """More texts in one request than the server takes."""


class TextTooLargeError(InputError):
    """A text of more characters than the server takes."""


class EncodingError(InputError):
    """A body in a Content-Encoding that the server does not know."""


class UnknownModelError(BertrtError):
    """A model that is not served here."""


class AuthenticationError(BertrtError):
    """The API key is missing or wrong."""


class OverloadedError(BertrtError):
    """As many requests as the server takes are on their way."""


class QueueTimeoutError(BertrtError):
    """A request that waited for the model for too long."""


class DeadlineError(BertrtError):
    """A request that was not answered within the time that its client gave it."""


class NotReadyError(BertrtError):
    """The server is starting or stopping."""


class ClientGoneError(BertrtError):
    """A client that closed the connection before it had its answer."""


class HttpError(BertrtError):
    """An HTTP status of the router's own: no such path, or another method."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)

    # Exceptions are pickled with their message, which is not all that this one is made of.
    def __reduce__(self) -> tuple[type, tuple[int, str]]:
        return type(self), (self.status, str(self))


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as clients see it.

    kind: text-embeddings-inference's `error_type`. retry: whether the same request may be sent
    again a little later.
    """

    status: int
    kind: str
    message: str
    retry: bool = False


# The most specific class that an error is of decides. Anything else is our own bug: 500.
_TABLE: dict[type[BaseException], tuple[int, str]] = {
    EmptyInputError: (400, "Empty"),
    AuthenticationError: (401, "Unauthorized"),
    UnknownModelError: (404, "NotFound"),
    BodyTooLargeError: (413, "Validation"),
    BatchTooLargeError: (413, "Validation"),
    TextTooLargeError: (413, "Validation"),
    EncodingError: (415, "Validation"),
    InputError: (422, "Validation"),
    OverloadedError: (429, "Overloaded"),
    ClientGoneError: (499, "ClientGone"),  # nginx's; nobody receives it, but it is counted
    BackendError: (500, "Backend"),
    NotReadyError: (503, "Unhealthy"),
    QueueTimeoutError: (503, "Overloaded"),
    DeadlineError: (504, "Timeout"),
}
_RETRY = (OverloadedError, QueueTimeoutError, NotReadyError)


def failure_of(error: BaseException) -> Failure:
    """What a client is told of an error. Of one that is not ours it learns nothing."""
    if isinstance(error, HttpError):
        return Failure(
            error.status, "NotFound" if error.status == 404 else "Validation", str(error)
        )
    for kind in type(error).__mro__:
        if kind in _TABLE:
            status, name = _TABLE[kind]
            return Failure(status, name, str(error), isinstance(error, _RETRY))
    return Failure(500, "Backend", "internal error: the server's log has it under the request's id")
