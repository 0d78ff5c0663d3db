"""bertrt itself on an NVIDIA GPU, in float32: what float16 is to be compared with."""

from pathlib import Path

from bertrt import Classifier

from bertrt_bench.gpu import api
from bertrt_bench.peers.bertrt_cuda import prepare
from bertrt_bench.peers.bertrt_fp32 import run

__all__ = ["load", "prepare", "run"]


def load(folder: Path, checkpoint: Path, threads: int) -> Classifier:
    """Load the artifact on CUDA, which is an error where CUDA cannot be had."""
    return api.classifier(folder / "artifact", threads=threads, precision="fp32")
