"""PyTorch in float32, which all others are compared with."""

from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification

from bertrt_bench.peers.model import Model
from bertrt_bench.peers.padded import padded_model

__all__ = ["load", "prepare"]


def prepare(checkpoint: Path, folder: Path, calibration: Path) -> None:
    """Nothing: the checkpoint is run as it is."""


def load(folder: Path, checkpoint: Path, threads: int) -> Model:
    """Load the checkpoint with Transformers."""
    torch.set_num_threads(threads)
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint, dtype=torch.float32)
    model.eval()

    @torch.inference_mode()
    def run(inputs: dict[str, np.ndarray]) -> np.ndarray:
        tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
        logits: np.ndarray = model(**tensors).logits.numpy()
        return logits

    return padded_model(run, checkpoint)
