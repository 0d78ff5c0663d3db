"""bertrt itself on an NVIDIA GPU."""

from pathlib import Path

from bertrt import Classifier

from bertrt_bench.peers.bertrt_fp32 import prepare, run

__all__ = ["load", "prepare", "run"]


def load(folder: Path, checkpoint: Path, threads: int) -> Classifier:
    """Load the artifact on CUDA, which is an error where CUDA cannot be had."""
    return Classifier(folder / "artifact", "cuda", threads=threads)
