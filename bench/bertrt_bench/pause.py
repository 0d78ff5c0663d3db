"""Between one turn and the next."""

__all__ = ["PAUSE"]

PAUSE = 0.3  # seconds: threads that spin, as PyTorch's and onnxruntime's do, have stopped by then
