"""PyTorch's dynamic int8 quantization of all linear layers.

https://docs.pytorch.org/tutorials/recipes/recipes/dynamic_quantization.html
"""

import warnings
from pathlib import Path

import torch

from bertrt_bench.peers.padded import PaddedModel
from bertrt_bench.peers.pytorch_fp32 import module_of, padded_model, prepare, run

__all__ = ["load", "prepare", "run"]


def load(folder: Path, checkpoint: Path, threads: int) -> PaddedModel:
    """Quantize the loaded checkpoint, which takes no time worth keeping the result."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # in favour of torchao
        module = torch.ao.quantization.quantize_dynamic(  # type: ignore[no-untyped-call]
            module_of(checkpoint, threads), {torch.nn.Linear}, dtype=torch.qint8
        )
    return padded_model(module, checkpoint)
