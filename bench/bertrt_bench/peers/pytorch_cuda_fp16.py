"""PyTorch in float16 on an NVIDIA GPU, eager and padded: what there is to beat there.

Transformers takes `scaled_dot_product_attention` by default, which chooses a fused kernel.
"""

from pathlib import Path

from bertrt_bench.peers.device import DEVICE
from bertrt_bench.peers.padded import PaddedModel
from bertrt_bench.peers.pytorch_fp32 import padded_model, prepare, run
from bertrt_bench.peers.torch_cuda import half_module

__all__ = ["load", "prepare", "run"]


def load(folder: Path, checkpoint: Path, threads: int) -> PaddedModel:
    """Load the checkpoint and move it to the GPU."""
    return padded_model(half_module(checkpoint, threads), checkpoint, device=DEVICE)
