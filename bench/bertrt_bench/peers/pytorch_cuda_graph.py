"""PyTorch in float16 with a CUDA graph captured for each shape: no launches from Python.

https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs. A shape is captured at its first
coming: time it after that.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bertrt_bench.peers.device import ON_GPU
from bertrt_bench.peers.padded import PaddedModel
from bertrt_bench.peers.pytorch_fp32 import prepare, run
from bertrt_bench.peers.torch_cuda import few_shapes, half_module, tensors

__all__ = ["captured", "load", "memory_pool", "prepare", "run"]

_WARM_UP = 3  # before a capture: libraries choose their kernels and allocate their workspaces


@dataclass(frozen=True, slots=True)
class _Shape:
    """Inputs that stay where they are, what runs on them, and the logits that it writes."""

    inputs: dict[str, torch.Tensor]
    replay: Callable[[], object]
    logits: torch.Tensor


@dataclass(frozen=True, slots=True)
class _Graphs:
    """The captured shapes of a module; they share their memory, for one runs at a time."""

    module: torch.nn.Module
    pool: Any
    shapes: dict[tuple[int, ...], _Shape] = field(default_factory=dict)

    @torch.inference_mode()
    def run(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        """A padded batch to logits, float32 [texts, labels]."""
        shaped = few_shapes(inputs)
        key = (*shaped["input_ids"].shape, len(shaped))
        shape = self.shapes.get(key)
        if shape is None:
            shape = self.shapes[key] = self._capture(shaped)
        for name, array in shaped.items():
            shape.inputs[name].copy_(torch.from_numpy(array))
        shape.replay()
        logits: np.ndarray = shape.logits[: len(inputs["input_ids"])].float().cpu().numpy()
        return logits

    def _capture(self, shaped: dict[str, np.ndarray]) -> _Shape:
        held = tensors(shaped)
        replay, logits = captured(lambda: self.module(**held).logits, self.pool)
        return _Shape(held, replay, logits)


def load(folder: Path, checkpoint: Path, threads: int) -> PaddedModel:
    """Load the checkpoint; graphs are captured as shapes come."""
    graphs = _Graphs(half_module(checkpoint, threads), memory_pool())
    return PaddedModel.of(graphs.run, checkpoint)


def memory_pool() -> Any:
    """Memory that graphs may share, of which one runs at a time."""
    return torch.cuda.graph_pool_handle() if ON_GPU else None


def captured(
    action: Callable[[], torch.Tensor], pool: Any
) -> tuple[Callable[[], object], torch.Tensor]:
    """What replays an action, and the tensor that its result is in after each replay.

    Call it in inference mode. Without a GPU the action is run anew each time.
    """
    if not ON_GPU:
        result = action().clone()
        return lambda: result.copy_(action()), result
    cuda: Any = torch.cuda  # some of it has no types
    side = cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(_WARM_UP):
            action()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool):
        result = action()
    return graph.replay, result
