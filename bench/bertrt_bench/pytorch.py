"""PyTorch as its users run it: padded batches, in the order the texts come."""

from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, logging

from bertrt_bench.measure import Classify

__all__ = ["load_pytorch"]


def load_pytorch(checkpoint: Path, threads: int, batch_size: int = 32) -> Classify:
    """Load a checkpoint with Transformers, to be run in padded batches."""
    torch.set_num_threads(threads)
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint, dtype=torch.float32)
    model.eval()

    def classify(texts: list[str]) -> np.ndarray:
        logits = []
        with torch.inference_mode():
            for start in range(0, len(texts), batch_size):
                batch = texts[start : start + batch_size]
                inputs = tokenizer(batch, padding=True, truncation=True, return_tensors="pt")
                logits.append(model(**inputs).logits.numpy())
        return np.concatenate(logits)

    return classify
