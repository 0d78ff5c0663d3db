"""Transformers' text-classification pipeline, with batches as its documentation shows.

https://huggingface.co/docs/transformers/main_classes/pipelines#pipeline-batching
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import Pipeline, pipeline

from bertrt_bench.peers.padded import max_tokens
from bertrt_bench.peers.pytorch_fp32 import prepare

__all__ = ["load", "prepare", "run"]

_BATCH_SIZE = 32


def load(folder: Path, checkpoint: Path, threads: int) -> Pipeline:
    """Load the checkpoint in float32 with the pipeline's own tokenizer."""
    torch.set_num_threads(threads)
    classify = pipeline(
        "text-classification",
        model=str(checkpoint),
        tokenizer=str(checkpoint),
        dtype=torch.float32,
        device="cpu",
        batch_size=_BATCH_SIZE,
    )
    assert classify.tokenizer is not None
    classify.tokenizer.model_max_length = max_tokens(checkpoint)
    return classify


def run(model: Pipeline, texts: Sequence[str]) -> np.ndarray:
    """All labels' raw scores, put back into the order of the label ids."""
    ids: dict[str, int] = model.model.config.label2id  # type: ignore[assignment]
    answers = model(list(texts), top_k=None, function_to_apply="none", truncation=True)
    logits = np.empty((len(texts), len(ids)), dtype=np.float32)
    for row, scores in zip(logits, answers, strict=True):
        for score in scores:
            row[ids[score["label"]]] = score["score"]
    return logits
