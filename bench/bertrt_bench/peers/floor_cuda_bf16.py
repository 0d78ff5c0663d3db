"""The floor of bfloat16 on an NVIDIA GPU: a BERT's matrix products alone."""

from collections.abc import Sequence
from pathlib import Path

import torch

from bertrt_bench.peers import torch_products
from bertrt_bench.peers.torch_products import TorchProducts, run

__all__ = ["load", "prepare", "run"]


def prepare(checkpoint: Path, folder: Path, calibration: Sequence[str]) -> None:
    """Nothing: the matrices are made when they are loaded."""


def load(folder: Path, checkpoint: Path, threads: int) -> TorchProducts:
    """Load the products."""
    return torch_products.load(checkpoint, torch.bfloat16)
