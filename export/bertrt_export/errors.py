"""Errors that the exporter raises for its users."""

__all__ = [
    "CalibrationError",
    "CheckpointError",
    "ExportError",
    "QuantizationError",
    "UnsupportedModelError",
    "VerificationError",
]


class ExportError(Exception):
    """Anything that stops an export. The message says what was wrong and how to go on."""


class CalibrationError(ExportError):
    """The texts for calibration or thresholds are missing, unreadable or too few."""


class CheckpointError(ExportError):
    """The checkpoint is missing, incomplete, unsafe to read or not a text classifier."""


class QuantizationError(ExportError):
    """No int8 form keeps the limits on fidelity; the message carries what was tried, as a table."""


class UnsupportedModelError(ExportError):
    """The checkpoint is a text classifier that bertrt cannot convert."""


class VerificationError(ExportError):
    """The exported model does not answer as PyTorch does; the message carries the figures."""
