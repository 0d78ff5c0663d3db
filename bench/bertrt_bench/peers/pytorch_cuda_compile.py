"""PyTorch compiled for an NVIDIA GPU in the mode for small batches, which captures CUDA graphs.

https://docs.pytorch.org/docs/stable/generated/torch.compile.html. Each shape is compiled at its
first coming (10 to 30 seconds) and captured at its second: time it after that.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch._dynamo

from bertrt_bench.peers.device import ON_GPU
from bertrt_bench.peers.padded import PaddedModel
from bertrt_bench.peers.pytorch_fp32 import prepare, run
from bertrt_bench.peers.torch_cuda import few_shapes, half_module, tensors

__all__ = ["load", "prepare", "run"]

# Dynamo gives up, and runs eagerly, past so many shapes of a module; its own limit is 8.
_SHAPES = 64


def load(folder: Path, checkpoint: Path, threads: int) -> PaddedModel:
    """Compile, for one shape at a time: those of any shape cannot be captured."""
    limits: Any = torch._dynamo.config
    limits.recompile_limit = _SHAPES
    module = half_module(checkpoint, threads)
    # Without a GPU there is nothing to capture, and compiling would take minutes.
    how: dict[str, Any] = {"mode": "reduce-overhead"} if ON_GPU else {"backend": "eager"}
    compiled: Any = torch.compile(module, dynamic=False, **how)
    compiler: Any = torch.compiler

    @torch.no_grad()
    def engine(inputs: dict[str, np.ndarray]) -> np.ndarray:
        # What the last run gave may be overwritten: it has been copied.
        compiler.cudagraph_mark_step_begin()
        output = compiled(**tensors(few_shapes(inputs)))
        logits: np.ndarray = output.logits[: len(inputs["input_ids"])].float().cpu().numpy()
        return logits

    return PaddedModel.of(engine, checkpoint)
