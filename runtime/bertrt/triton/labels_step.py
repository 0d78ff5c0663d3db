"""The last step of the ensemble: logits to scores and the best label, in Triton's Python backend.

Source: https://github.com/triton-inference-server/python_backend (README.md).
"""

import importlib
import json
from typing import Any

import numpy as np

from bertrt.postprocess import scores
from bertrt.triton.parameters import from_config

__all__ = ["LabelsStep"]


class LabelsStep:
    """A Python model of Triton's: the base of `TritonPythonModel` in the repository.

    Input: `logits` float32 [texts, labels]. Outputs: `label` BYTES [texts, 1] and `score` float32
    [texts, 1], of the best label; `scores` float32 [texts, labels].
    """

    def initialize(self, args: dict[str, str]) -> None:
        """Read the labels and the activation."""
        # Triton alone has it, and only in the process that runs a model.
        self._triton: Any = importlib.import_module("triton_python_backend_utils")
        settings = from_config(args["model_config"])
        self._activation = settings["activation"]
        labels = [label.encode("utf-8") for label in json.loads(settings["labels"])]
        self._labels = np.array(labels, dtype=np.object_)

    def execute(self, requests: list[Any]) -> list[Any]:
        """A response for each request."""
        return [self._response(request) for request in requests]

    def _response(self, request: Any) -> Any:
        triton = self._triton
        logits = triton.get_input_tensor_by_name(request, "logits").as_numpy()
        # A copy: the tensors of a request live in memory that Triton takes back.
        values = np.array(scores(logits, self._activation), dtype=np.float32)
        best = values.argmax(axis=1)[:, np.newaxis]
        arrays = {
            "label": self._labels[best],
            "score": np.take_along_axis(values, best, axis=1),
            "scores": values,
        }
        tensors = [triton.Tensor(name, array) for name, array in arrays.items()]
        return triton.InferenceResponse(output_tensors=tensors)
