"""Errors that the exporter raises for its users."""

__all__ = ["CheckpointError", "ExportError", "UnsupportedModelError", "VerificationError"]


class ExportError(Exception):
    """Anything that stops an export. The message says what was wrong and how to go on."""


class CheckpointError(ExportError):
    """The checkpoint is missing, incomplete, unsafe to read or not a text classifier."""


class UnsupportedModelError(ExportError):
    """The checkpoint is a text classifier that bertrt cannot convert."""


class VerificationError(ExportError):
    """The exported model does not answer as PyTorch does; the message carries the figures."""
