"""Tune a checkpoint's thresholds with its exported graph."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from bertrt.postprocess import scores
from bertrt.tokenizer import TextTokenizer

from bertrt_export.checkpoint import Checkpoint
from bertrt_export.errors import ExportError
from bertrt_export.labelled_texts import LabelledFile, LabelledTexts, read_labelled
from bertrt_export.quantization.graph_session import batches
from bertrt_export.sessions import open_graph
from bertrt_export.thresholds import TunedThresholds, tuned

__all__ = ["labelled_texts", "tune"]


def labelled_texts(file: LabelledFile, checkpoint: Checkpoint) -> LabelledTexts:
    """Read a file for a checkpoint; ExportError where that is no multi-label model."""
    problem_type = checkpoint.config.problem_type
    if checkpoint.task != "text-classification" or problem_type != "multi_label_classification":
        raise ExportError(
            f"--tune-thresholds is for multi-label models, and {checkpoint.name} is none (problem_"
            f"type in its config.json is {problem_type}, not multi_label_classification): leave it "
            "out, or correct config.json"
        )
    names = checkpoint.config.id2label.values()
    if len(set(names)) < len(names):
        raise ExportError(
            f"{checkpoint.name} has labels of the same name, so thresholds cannot be told apart: "
            "give each its own in id2label of config.json"
        )
    return read_labelled(
        file.path.expanduser(),
        text_column=file.text_column,
        text_pair_column=file.text_pair_column,
        label2id={name: number for number, name in checkpoint.config.id2label.items()},
    )


def tune(
    checkpoint: Checkpoint,
    graph: Path,
    precision: str,
    tokenizer: TextTokenizer,
    labelled: LabelledTexts,
    on_progress: Callable[[int, int], None],
) -> TunedThresholds:
    """Tune the thresholds on what the graph in a file, of this precision, answers."""
    session = open_graph(checkpoint, graph)
    encodings = tokenizer.encode(labelled.texts)
    logits = np.empty(labelled.targets.shape, dtype=np.float32)
    done = 0
    for positions, batch in batches(encodings):
        on_progress(done, len(encodings))
        logits[positions] = session.run(batch)
        done += len(positions)
    labels = [name for _, name in sorted(checkpoint.config.id2label.items())]
    return tuned(scores(logits, "sigmoid"), labelled, labels, precision)
