"""PyTorch with automatic mixed precision in bfloat16.

https://docs.pytorch.org/docs/stable/amp.html#cpu-training-and-inference
"""

from pathlib import Path

import torch

from bertrt_bench.peers.padded import PaddedModel
from bertrt_bench.peers.pytorch_fp32 import module_of, padded_model, prepare, run

__all__ = ["load", "prepare", "run"]


def load(folder: Path, checkpoint: Path, threads: int) -> PaddedModel:
    """Load the checkpoint, to be run under autocast."""
    return padded_model(module_of(checkpoint, threads), checkpoint, autocast=torch.bfloat16)
