"""PyTorch compiled, with bfloat16 as well: its fastest setting for a CPU.

https://docs.pytorch.org/docs/stable/generated/torch.compile.html
"""

from pathlib import Path

import torch

from bertrt_bench.peers.padded import PaddedModel
from bertrt_bench.peers.pytorch_fp32 import module_of, padded_model, prepare, run

__all__ = ["load", "prepare", "run"]


def load(folder: Path, checkpoint: Path, threads: int) -> PaddedModel:
    """Compile for any shape, so that texts of other lengths do not compile again."""
    module = torch.compile(module_of(checkpoint, threads), dynamic=True)
    return padded_model(module, checkpoint, autocast=torch.bfloat16)
