"""The first step of the ensemble: text to tokens, in Triton's Python backend.

Source: https://github.com/triton-inference-server/python_backend (README.md).
"""

import importlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from bertrt.errors import InputError
from bertrt.tokenizer import Encoding, TextInput, TextTokenizer
from bertrt.triton.host import why_unfit
from bertrt.triton.parameters import from_config

__all__ = ["TokenizerStep"]


@dataclass(frozen=True, slots=True)
class _Asked:
    """The text or pair of a request, and whether it may be cut to the model's limit."""

    text: TextInput
    truncate: bool


class TokenizerStep:
    """A Python model of Triton's: the base of `TritonPythonModel` in the repository.

    Each request has one text, BYTES [1, 1] `text` and perhaps `text_pair`, in UTF-8. Triton hands
    over as many requests at a time as wait. A request that cannot be served gets an error of its
    own; the others are answered.
    Outputs: `input_ids` and, where the model has segments, `token_type_ids`, int64 [1, tokens];
    `tokens` int32 [1, 1], how many there are; `truncated` bool [1, 1].
    """

    # Where the tokenizer's files are.
    folder: ClassVar[Path]

    def initialize(self, args: dict[str, str]) -> None:
        """Load the tokenizer. Raises TritonModelException where answers would be wrong here."""
        # Triton alone has it, and only in the process that runs a model.
        self._triton: Any = importlib.import_module("triton_python_backend_utils")
        settings = from_config(args["model_config"])
        version = os.environ.get("NVIDIA_TRITON_SERVER_VERSION")
        reason = why_unfit(settings["precision"], version)
        if reason is not None:
            raise self._triton.TritonModelException(reason)
        self._truncate = settings["truncate"] == "true"
        self._tokenizer = TextTokenizer(self.folder, int(settings["max_length"]))
        outputs = json.loads(args["model_config"])["output"]
        self._segments = any(output["name"] == "token_type_ids" for output in outputs)

    def execute(self, requests: list[Any]) -> list[Any]:
        """A response for each request."""
        asked = [self._asked(request) for request in requests]
        encoded = iter(self._encoded([one for one in asked if isinstance(one, _Asked)]))
        return [self._response(next(encoded) if isinstance(one, _Asked) else one) for one in asked]

    def _asked(self, request: Any) -> _Asked | InputError:
        try:
            texts = [self._text(request, name) for name in ("text", "text_pair")]
            truncate = json.loads(request.parameters() or "{}").get("truncate", self._truncate)
        except InputError as error:
            return error
        first, second = texts
        if first is None:
            return InputError("there is no input `text`")
        if not isinstance(truncate, bool):
            return InputError("the parameter truncate is neither true nor false")
        return _Asked(first if second is None else (first, second), truncate)

    def _text(self, request: Any, name: str) -> str | None:
        tensor = self._triton.get_input_tensor_by_name(request, name)
        if tensor is None:
            return None
        strings = tensor.as_numpy().reshape(-1)
        if len(strings) != 1:
            raise InputError(
                f"`{name}` has {len(strings)} strings: send one text a request, and several "
                "requests at a time; Triton makes batches of them"
            )
        try:
            return bytes(strings[0]).decode("utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"`{name}` is not UTF-8: {error}") from error

    def _encoded(self, asked: list[_Asked]) -> list[Encoding | InputError]:
        """The tokens of each text, or what is wrong with it."""
        try:  # all at a time, beside one another
            encodings = self._tokenizer.encode([one.text for one in asked])
        except InputError:
            return [self._encoded_alone(one) for one in asked]
        return [
            self._encoded_alone(one) if encoding.truncated and not one.truncate else encoding
            for one, encoding in zip(asked, encodings, strict=True)
        ]

    def _encoded_alone(self, asked: _Asked) -> Encoding | InputError:
        try:
            return self._tokenizer.encode([asked.text], truncate=asked.truncate)[0]
        except InputError as error:
            return error

    def _response(self, result: Encoding | InputError) -> Any:
        triton = self._triton
        if isinstance(result, InputError):
            error = triton.TritonError(str(result), triton.TritonError.INVALID_ARG)
            return triton.InferenceResponse(output_tensors=[], error=error)
        arrays = {
            "input_ids": result.input_ids[np.newaxis],
            "tokens": np.array([[len(result)]], dtype=np.int32),
            "truncated": np.array([[result.truncated]], dtype=np.bool_),
        }
        if self._segments:
            arrays["token_type_ids"] = result.token_type_ids[np.newaxis]
        tensors = [triton.Tensor(name, array) for name, array in arrays.items()]
        return triton.InferenceResponse(output_tensors=tensors)
