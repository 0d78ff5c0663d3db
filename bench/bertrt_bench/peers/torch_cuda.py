"""What the peers in PyTorch on a GPU share: a module in float16, and few shapes to run it with."""

from pathlib import Path

import numpy as np
import torch

from bertrt_bench.peers.device import DEVICE
from bertrt_bench.peers.padded import MAX_TOKENS
from bertrt_bench.peers.pytorch_fp32 import module_of

__all__ = ["few_shapes", "half_module", "tensors"]

# A user who compiles or captures each shape pads to a few: lengths to multiples of 16, and batches
# to 32 texts, the last one filled up. One text by itself stays one.
_LENGTH_STEP, _BATCH = 16, 32


def half_module(checkpoint: Path, threads: int) -> torch.nn.Module:
    """The checkpoint in float16 on the GPU; Transformers takes SDPA for its attention."""
    return module_of(checkpoint, threads).to(device=DEVICE, dtype=torch.float16)


def few_shapes(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A padded batch, int64 [texts, longest], made larger to one of a few shapes.

    Where no place is left empty there is no `attention_mask`: attention is faster without.
    """
    texts, longest = inputs["input_ids"].shape
    rows = 1 if texts == 1 else _BATCH * -(-texts // _BATCH)
    width = min(_LENGTH_STEP * -(-longest // _LENGTH_STEP), max(MAX_TOKENS, longest))
    shaped = {name: np.zeros((rows, width), dtype=np.int64) for name in inputs}
    for name, array in inputs.items():
        shaped[name][:texts, :longest] = array
    mask = shaped["attention_mask"]
    if mask.all():
        del shaped["attention_mask"]
    else:
        mask[texts:, 0] = 1  # a text must have a token, or its softmax has nothing to divide by
    return shaped


def tensors(inputs: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """The arrays on the GPU."""
    return {name: torch.from_numpy(array).to(DEVICE) for name, array in inputs.items()}
