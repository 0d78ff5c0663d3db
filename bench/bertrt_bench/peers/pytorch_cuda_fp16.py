"""PyTorch in float16 on an NVIDIA GPU, which is what there is to beat there."""

from pathlib import Path

from bertrt_bench.peers.padded import PaddedModel
from bertrt_bench.peers.pytorch_fp32 import module_of, padded_model, prepare, run

__all__ = ["load", "prepare", "run"]


def load(folder: Path, checkpoint: Path, threads: int) -> PaddedModel:
    """Load the checkpoint and move it to the GPU."""
    return padded_model(module_of(checkpoint, threads).half().cuda(), checkpoint, device="cuda")
