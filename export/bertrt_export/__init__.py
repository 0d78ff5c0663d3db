"""bertrt_export: convert PyTorch BERT classifiers to bertrt artifacts."""

from bertrt_export.errors import (
    CheckpointError,
    ExportError,
    UnsupportedModelError,
    VerificationError,
)
from bertrt_export.exporter import ExportResult, export_model

__all__ = [
    "CheckpointError",
    "ExportError",
    "ExportResult",
    "UnsupportedModelError",
    "VerificationError",
    "export_model",
]
