"""bertrt_export: convert PyTorch BERT classifiers to bertrt artifacts."""

from typing import TYPE_CHECKING, Any

from bertrt_export.errors import (
    CalibrationError,
    CheckpointError,
    ExportError,
    QuantizationError,
    UnsupportedModelError,
    VerificationError,
)

if TYPE_CHECKING:
    from bertrt_export.exporter import (
        CalibrationFile,
        ExportResult,
        LabelledFile,
        Limits,
        export_model,
    )

__all__ = [
    "CalibrationError",
    "CalibrationFile",
    "CheckpointError",
    "ExportError",
    "ExportResult",
    "LabelledFile",
    "Limits",
    "QuantizationError",
    "UnsupportedModelError",
    "VerificationError",
    "export_model",
]

_LAZY = ("CalibrationFile", "ExportResult", "LabelledFile", "Limits", "export_model")


def __getattr__(name: str) -> Any:
    """Import torch and transformers, which take seconds, only where an export is wanted."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from bertrt_export import exporter

    return getattr(exporter, name)
