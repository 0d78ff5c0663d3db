"""The devices that a model can be asked to run on."""

import re
from dataclasses import dataclass
from typing import Literal

__all__ = ["CPU", "CUDA", "TENSORRT", "Device"]

# onnxruntime's execution providers.
CPU, CUDA, TENSORRT = (
    "CPUExecutionProvider",
    "CUDAExecutionProvider",
    "TensorrtExecutionProvider",
)

_NAME = re.compile(r"(auto|cpu|cuda|tensorrt)(?::(\d{1,3}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Device:
    """Where to run.

    kind: `auto` is CUDA where it works, else the CPU. index: which of several GPUs.
    """

    kind: Literal["auto", "cpu", "cuda", "tensorrt"]
    index: int = 0

    @classmethod
    def parse(cls, name: str) -> "Device":
        """`cpu`, `cuda`, `cuda:1`, `tensorrt`, `tensorrt:1` or `auto`; ValueError for others."""
        match = _NAME.fullmatch(name) if isinstance(name, str) else None
        if match is None or (match[2] is not None and match[1] in ("auto", "cpu")):
            raise ValueError(
                f"device is {name!r}: choose one of auto, cpu, cuda, tensorrt, or of several GPUs "
                "one by its number, as in cuda:1"
            )
        return cls(match[1], int(match[2] or 0))  # type: ignore[arg-type]  # one of the four

    def __str__(self) -> str:
        return f"{self.kind}:{self.index}" if self.index else self.kind

    @property
    def on_gpu(self) -> bool:
        """Whether a GPU was asked for by name."""
        return self.kind in ("cuda", "tensorrt")
