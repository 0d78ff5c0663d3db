"""Whether a Triton that serves a repository answers as the exporter did."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bertrt.errors import BackendError, MissingDependencyError
from bertrt.golden import golden_logits, tolerance
from bertrt.tokenizer import TextInput
from bertrt.triton.host import MINIMUM_TRITON
from bertrt.triton.marker import read_marker

__all__ = ["Checked", "check_server"]

# Each golden text so often, all of them on their way at a time: what waits is batched, and it is in
# batches of unlike texts that an onnxruntime may go wrong.
_ROUNDS = 8


@dataclass(frozen=True, slots=True)
class Checked:
    """How a server did: requests sent, the largest difference of a logit, and its limit."""

    name: str
    requests: int
    difference: float
    limit: float


def check_server(repository: Path, url: str) -> Checked:
    """Send the golden texts of a repository to the Triton at `url`, many at a time.

    url: host:port of its HTTP endpoint, with or without http:// or https:// before it.
    Raises BackendError where it cannot be reached, fails, or gives other logits than the exporter
    got; ArtifactError for a folder that is no repository; MissingDependencyError without
    tritonclient.
    """
    marker = read_marker(repository)
    texts, expected = golden_logits(marker.golden, marker.precision)
    # The longest first: while they run, the others gather.
    order = sorted(range(len(texts)), key=lambda at: -len("".join(texts[at]))) * _ROUNDS
    answers = _ask(url, marker.name, [texts[at] for at in order])
    limit = tolerance(marker.precision, np.concatenate(expected))
    difference = 0.0
    for at, logits in zip(order, answers, strict=True):
        if logits.size != expected[at].size:
            raise BackendError(
                f"{marker.name} at {url} gives {logits.size} logits a text, and the repository's "
                f"model has {expected[at].size}: it serves another model"
            )
        difference = max(difference, _distance(logits.reshape(-1), expected[at].reshape(-1)))
    if not difference <= limit:
        raise BackendError(
            f"{marker.name} at {url} answers otherwise than the exporter: max |Δlogit| "
            f"{difference:.2g}, over the limit of {limit:.2g}; it serves another model, or its "
            f"onnxruntime is at fault (Triton {MINIMUM_TRITON} is the first that is not)"
        )
    return Checked(marker.name, len(order), difference, limit)


def _distance(actual: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference; infinite where any number is none."""
    difference = float(np.abs(actual - expected).max())
    return difference if np.isfinite(difference) else np.inf


def _ask(url: str, model: str, texts: list[TextInput]) -> list[np.ndarray]:
    """The logits of each text, all requests on their way at a time."""
    try:
        import tritonclient.http as triton
        from tritonclient.utils import InferenceServerException
    except ImportError as error:
        raise MissingDependencyError(
            "to ask Triton needs its client: install it with `pip install 'tritonclient[http]'`"
        ) from error
    scheme, _, address = url.rpartition("://")
    try:
        with triton.InferenceServerClient(
            address, concurrency=len(texts), ssl=scheme == "https"
        ) as client:
            # Where nobody is there, each request on its way would print a traceback.
            client.is_server_live()
            waiting = [client.async_infer(model, _inputs(triton, text)) for text in texts]
            return [request.get_result().as_numpy("logits") for request in waiting]
    except (InferenceServerException, OSError) as error:
        raise BackendError(f"{model} at {url} does not answer: {error}") from error


def _inputs(triton: Any, text: TextInput) -> list[Any]:
    """A request's tensors: one text, or one pair."""
    tensors = []
    for name, part in zip(
        ("text", "text_pair"), (text,) if isinstance(text, str) else text, strict=False
    ):
        tensor = triton.InferInput(name, [1, 1], "BYTES")
        tensor.set_data_from_numpy(np.array([[part.encode("utf-8")]], dtype=np.object_))
        tensors.append(tensor)
    return tensors
