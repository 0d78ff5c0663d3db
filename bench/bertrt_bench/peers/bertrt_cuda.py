"""bertrt itself on an NVIDIA GPU, in float16."""

from collections.abc import Sequence
from pathlib import Path

from bertrt import Classifier

from bertrt_bench.gpu import api
from bertrt_bench.peers.bertrt_fp32 import run

__all__ = ["load", "prepare", "run"]


def prepare(checkpoint: Path, folder: Path, calibration: Sequence[str]) -> None:
    """Export in float32 and float16, which needs no calibration."""
    api.export(checkpoint, folder / "artifact")


def load(folder: Path, checkpoint: Path, threads: int) -> Classifier:
    """Load the artifact on CUDA, which is an error where CUDA cannot be had."""
    return api.classifier(folder / "artifact", threads=threads)
