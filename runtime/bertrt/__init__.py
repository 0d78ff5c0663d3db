"""bertrt: serve BERT-style text classifiers without PyTorch."""

from bertrt.aggregation import Entity
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
from bertrt.token_classifier import TokenClassifier
from bertrt.version import __version__
from bertrt.zero_shot import ZeroShotClassifier

__all__ = [
    "ArtifactError",
    "BackendError",
    "BertrtError",
    "Classifier",
    "DeviceError",
    "EmptyInputError",
    "Entity",
    "InputError",
    "MissingDependencyError",
    "Prediction",
    "Ranked",
    "TextTooLongError",
    "TokenClassifier",
    "WindowPrediction",
    "ZeroShotClassifier",
    "__version__",
    "classify_text",
]
