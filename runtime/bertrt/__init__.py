"""bertrt: serve BERT-style text classifiers without PyTorch."""

from bertrt.classifier import Classifier, classify_text
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
from bertrt.postprocess import Prediction, Ranked, WindowPrediction
from bertrt.version import __version__
from bertrt.zero_shot import ZeroShotClassifier

__all__ = [
    "ArtifactError",
    "BackendError",
    "BertrtError",
    "Classifier",
    "DeviceError",
    "EmptyInputError",
    "InputError",
    "MissingDependencyError",
    "Prediction",
    "Ranked",
    "TextTooLongError",
    "WindowPrediction",
    "ZeroShotClassifier",
    "__version__",
    "classify_text",
]
