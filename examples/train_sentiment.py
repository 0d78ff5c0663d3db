"""Train the example classifier: a two-layer BERT for SST-2, distilled from MiniLM.

The pretrained encoder is fine-tuned on SST-2 (the teacher). The student takes some of the teacher's
layers, the strongest neurons of their feed-forward blocks and the most useful rows of its
vocabulary, and learns to reproduce the teacher on the training sentences and on sentences made from
them. Epochs are chosen by dev accuracy; the test sentences are read once, after saving.
"""

import argparse
import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional
from transformers import BertConfig, BertForSequenceClassification

HERE = Path(__file__).parent
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
MAX_TOKENS = 128  # while training; the saved model takes as many as it has positions
EVAL_BATCH = 64
console = Console()


class Data(NamedTuple):
    """Sentences with their labels."""

    texts: list[str]
    labels: Tensor


class Outputs(NamedTuple):
    """What a model says of a batch: the pooled [CLS] state and the logits."""

    pooled: Tensor
    logits: Tensor


Loss = Callable[[Outputs, list[int]], Tensor]


def read_tsv(path: Path) -> Data:
    """Read lines of `sentence<TAB>label`."""
    rows = [line.rsplit("\t", 1) for line in path.read_text(encoding="utf-8").splitlines()]
    return Data([text for text, _ in rows], torch.tensor([int(label) for _, label in rows]))


def encode(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    """Token ids of each text."""
    return [encoding.ids for encoding in tokenizer.encode_batch(texts)]


def batches(ids: list[list[int]], size: int, rng: np.random.Generator) -> list[list[int]]:
    """Indices in batches of similar length, in random order."""
    order = np.argsort([len(row) + rng.uniform(0, 4) for row in ids])
    chunks = [order[start : start + size].tolist() for start in range(0, len(ids), size)]
    return [chunks[i] for i in rng.permutation(len(chunks))]


def forward(model: BertForSequenceClassification, rows: list[list[int]]) -> Outputs:
    """Run the model over one padded batch."""
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    pooled = model.bert(input_ids=ids, attention_mask=mask).pooler_output
    return Outputs(pooled, model.classifier(model.dropout(pooled)))


@torch.inference_mode()
def predict(model: BertForSequenceClassification, ids: list[list[int]]) -> Outputs:
    """Run the model over everything, without dropout, in the order given."""
    model.eval()
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    chunks = [order[start : start + EVAL_BATCH] for start in range(0, len(ids), EVAL_BATCH)]
    parts = [forward(model, [ids[i] for i in chunk]) for chunk in chunks]
    back = torch.argsort(torch.tensor(order))
    return Outputs(*(torch.cat(part)[back] for part in zip(*parts, strict=True)))


def accuracy(model: BertForSequenceClassification, tokenizer: Tokenizer, data: Data) -> float:
    """Share of sentences labelled correctly."""
    found = predict(model, encode(tokenizer, data.texts)).logits.argmax(-1)
    return (found == data.labels).float().mean().item()


def fit(
    name: str,
    model: BertForSequenceClassification,
    tokenizer: Tokenizer,
    draw: Callable[[], tuple[list[str], Loss]],
    dev: Data,
    *,
    epochs: int,
    batch: int,
    lr: float,
    rng: np.random.Generator,
) -> None:
    """Train on what `draw` gives for each epoch; keep the weights of the best dev epoch."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.01)
    best, kept = -1.0, {}
    for epoch in range(epochs):
        texts, loss_of = draw()
        ids = encode(tokenizer, texts)
        plan = batches(ids, batch, rng)
        model.train()
        total = 0.0
        for step, chunk in enumerate(track(plan, f"{name} {epoch + 1}/{epochs}", console=console)):
            done = (epoch + step / len(plan)) / epochs
            optimizer.param_groups[0]["lr"] = lr * min(done / 0.06 + 0.01, (1 - done) / 0.94)
            loss = loss_of(forward(model, [ids[i] for i in chunk]), chunk)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            total += loss.item()
        score = accuracy(model, tokenizer, dev)
        console.print(f"{name} {epoch + 1}: loss {total / len(plan):.4f}, dev {score:.4f}")
        if score > best:
            best = score
            kept = {key: value.clone() for key, value in model.state_dict().items()}
    model.load_state_dict(kept)


def load_teacher(encoder: Path) -> tuple[BertForSequenceClassification, Tokenizer]:
    """Put a fresh classification head on the pretrained encoder."""
    config = BertConfig.from_pretrained(
        encoder,
        num_labels=2,
        id2label={0: "NEGATIVE", 1: "POSITIVE"},
        label2id={"NEGATIVE": 0, "POSITIVE": 1},
        problem_type="single_label_classification",
        attn_implementation="sdpa",
    )
    model = BertForSequenceClassification.from_pretrained(
        encoder, config=config, dtype=torch.float32
    )
    tokenizer = Tokenizer.from_file(str(encoder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    return model, tokenizer
