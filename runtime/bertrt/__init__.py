"""bertrt: serve BERT-style text classifiers without PyTorch."""

import importlib
from typing import TYPE_CHECKING, Any

from bertrt.errors import (
    ArtifactError,
    BackendError,
    BertrtError,
    DeviceError,
    EmptyInputError,
    InputError,
    MissingDependencyError,
    TextTooLongError,
)
from bertrt.version import __version__

if TYPE_CHECKING:
    from bertrt.aggregation import Entity
    from bertrt.classifier import Classifier, classify_text
    from bertrt.jobs.api import classify_files
    from bertrt.jobs.formats import Dialect
    from bertrt.jobs.job import JobReport
    from bertrt.postprocess import Prediction, Ranked, WindowPrediction
    from bertrt.token_classifier import TokenClassifier
    from bertrt.zero_shot import ZeroShotClassifier

__all__ = [
    "ArtifactError",
    "BackendError",
    "BertrtError",
    "Classifier",
    "DeviceError",
    "Dialect",
    "EmptyInputError",
    "Entity",
    "InputError",
    "JobReport",
    "MissingDependencyError",
    "Prediction",
    "Ranked",
    "TextTooLongError",
    "TokenClassifier",
    "WindowPrediction",
    "ZeroShotClassifier",
    "__version__",
    "classify_files",
    "classify_text",
]

# Where each of these is defined.
_LAZY = {
    "Classifier": "classifier",
    "Dialect": "jobs.formats",
    "Entity": "aggregation",
    "JobReport": "jobs.job",
    "Prediction": "postprocess",
    "Ranked": "postprocess",
    "TokenClassifier": "token_classifier",
    "WindowPrediction": "postprocess",
    "ZeroShotClassifier": "zero_shot",
    "classify_files": "jobs.api",
    "classify_text": "classifier",
}


def __getattr__(name: str) -> Any:
    """Import what needs onnxruntime at its first use: `bertrt doctor` runs where it is missing."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"bertrt.{_LAZY[name]}"), name)
    globals()[name] = value
    return value
