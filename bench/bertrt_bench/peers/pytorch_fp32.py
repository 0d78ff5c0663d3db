"""PyTorch in float32, which all others are compared with."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification

from bertrt_bench.peers.padded import PaddedModel, run

__all__ = ["load", "module_of", "padded_model", "prepare", "run"]


def prepare(checkpoint: Path, folder: Path, calibration: Sequence[str]) -> None:
    """Nothing: the checkpoint is run as it is, and `folder` is the checkpoint itself."""


def load(folder: Path, checkpoint: Path, threads: int) -> PaddedModel:
    """Load the checkpoint with Transformers."""
    return padded_model(module_of(checkpoint, threads), checkpoint)


def module_of(checkpoint: Path, threads: int) -> torch.nn.Module:
    """The checkpoint as a module in float32, ready to answer."""
    torch.set_num_threads(threads)
    module: torch.nn.Module = AutoModelForSequenceClassification.from_pretrained(
        checkpoint, dtype=torch.float32
    )
    return module.eval()


def padded_model(
    module: Callable[..., "object"],
    checkpoint: Path,
    *,
    device: str = "cpu",
    autocast: torch.dtype | None = None,
) -> PaddedModel:
    """A module behind NumPy arrays, its products in `autocast` if that is given."""

    @torch.inference_mode()
    def engine(inputs: dict[str, np.ndarray]) -> np.ndarray:
        tensors = {name: torch.from_numpy(array).to(device) for name, array in inputs.items()}
        with torch.autocast(device, dtype=autocast, enabled=autocast is not None):
            output = module(**tensors)
        logits: np.ndarray = output.logits.float().cpu().numpy()  # type: ignore[attr-defined]
        return logits

    return PaddedModel.of(engine, checkpoint)
