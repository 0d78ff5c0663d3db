"""Tensors for Triton's client, and what the tensors of an answer should be."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from bertrt import Classifier
from bertrt.tokenizer import TextInput
from tritonclient.http import InferInput, InferResult

from tests.clients.expected import TOLERANCE, scores

__all__ = ["OUTPUTS", "TEXTS", "check", "strings", "tensor"]

TEXTS = ["good", "a gripping film 🙂", "好 café, naïve", ""]

# Names and datatypes, in the order in which they come where the client asks for none.
OUTPUTS = {
    "label": "BYTES",
    "score": "FP32",
    "scores": "FP32",
    "logits": "FP32",
    "tokens": "INT32",
    "truncated": "BOOL",
}


def tensor(
    texts: Sequence[str], name: str = "text", *, column: bool = False, binary: bool = True
) -> InferInput:
    """An input of shape [texts], or [texts, 1] as a column."""
    values = np.array([text.encode() for text in texts], dtype=np.object_)
    values = values.reshape(-1, 1) if column else values
    made = InferInput(name, list(values.shape), "BYTES")
    made.set_data_from_numpy(values, binary_data=binary)
    return made


def strings(values: np.ndarray) -> list[Any]:
    """A tensor of strings, which are bytes if it was binary, as lists."""
    flat = [item.decode() if isinstance(item, bytes) else item for item in values.ravel()]
    nested: list[Any] = np.array(flat, dtype=np.object_).reshape(values.shape).tolist()
    return nested


def check(
    result: InferResult,
    classifier: Classifier,
    texts: Sequence[TextInput],
    *,
    outputs: Sequence[str] = tuple(OUTPUTS),
    labels: Sequence[str] | None = None,
    function: str = "softmax",
) -> None:
    """Assert that an answer has these outputs, in order, with the classifier's numbers."""
    logits = classifier.logits(texts)
    probabilities = scores(logits, function)
    encodings = classifier.tokenizer.encode(texts)
    names = labels or classifier.labels
    expected: dict[str, Any] = {
        "label": [names[index] for index in logits.argmax(axis=1)],
        "score": probabilities.max(axis=1),
        "scores": probabilities,
        "logits": logits,
        "tokens": [len(encoding) for encoding in encodings],
        "truncated": [encoding.truncated for encoding in encodings],
    }
    answered = result.get_response()["outputs"]
    assert [(each["name"], each["datatype"]) for each in answered] == [
        (name, OUTPUTS[name]) for name in outputs
    ]
    for name in outputs:
        values = result.as_numpy(name)
        assert values.shape == np.shape(expected[name]), name
        if name == "label":
            assert strings(values) == expected[name]
        else:
            np.testing.assert_allclose(values, expected[name], rtol=0, atol=TOLERANCE, err_msg=name)
