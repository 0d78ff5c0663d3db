"""Real models on real text: the artifact answers as PyTorch does, whatever shares the batch."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bertrt import Classifier
from bertrt_export import export_model
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

_TEXTS = 500
_TOLERANCE = 1e-4

Model = tuple[Classifier, np.ndarray, list[str]]


def _minilm(encoder: Path) -> BertForSequenceClassification:
    """The pretrained MiniLM-L6 with a classification head."""
    return BertForSequenceClassification.from_pretrained(encoder, num_labels=2)


def _bert_base(encoder: Path) -> BertForSequenceClassification:
    """BERT-base by size; random weights."""
    return BertForSequenceClassification(BertConfig())


@pytest.fixture(scope="module", params=[_minilm, _bert_base], ids=["MiniLM-L6", "BERT-base"])
def model(
    request: pytest.FixtureRequest,
    encoder_folder: Path,
    sst2_dev: list[tuple[str, int]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Model:
    """The loaded artifact, PyTorch's logits of each text alone, and the texts."""
    build: Callable[[Path], BertForSequenceClassification] = request.param
    torch.manual_seed(0)
    module = build(encoder_folder)
    # A fresh head gives logits near 0, on which any difference would be small.
    torch.nn.init.normal_(module.classifier.weight, std=0.5)
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder)
    checkpoint = tmp_path_factory.mktemp("checkpoint")
    module.save_pretrained(checkpoint)
    tokenizer.save_pretrained(checkpoint)
    artifact = tmp_path_factory.mktemp("artifact") / "model"
    export_model(str(checkpoint), artifact)
    texts = [text for text, _ in sst2_dev[:_TEXTS]]
    return Classifier(artifact, "cpu"), _pytorch_logits(module, tokenizer, texts), texts


def _pytorch_logits(
    module: BertForSequenceClassification, tokenizer: Any, texts: list[str]
) -> np.ndarray:
    """Logits of each text without padding; texts of equal length share a batch, to save time."""
    module.eval()  # type: ignore[no-untyped-call]
    ids = [tokenizer(text)["input_ids"] for text in texts]
    expected = np.empty((len(texts), 2), dtype=np.float32)
    with torch.inference_mode():
        for length in sorted({len(row) for row in ids}):
            positions = [position for position, row in enumerate(ids) if len(row) == length]
            batch = torch.tensor([ids[position] for position in positions])
            expected[positions] = module(input_ids=batch).logits.numpy()
    return expected


def test_reference_logits_are_not_trivial(model: Model) -> None:
    _, expected, texts = model
    assert len(texts) == _TEXTS
    assert np.abs(expected).max() > 1
    assert expected.std(axis=0).min() > 0.01


def test_each_text_alone_equals_pytorch(model: Model) -> None:
    classifier, expected, texts = model
    alone = np.concatenate([classifier.logits(text) for text in texts])
    assert np.abs(alone - expected).max() <= _TOLERANCE


def test_all_texts_in_batches_equal_pytorch(model: Model) -> None:
    classifier, expected, texts = model
    assert np.abs(classifier.logits(texts) - expected).max() <= _TOLERANCE


def test_shuffled_texts_equal_pytorch(model: Model) -> None:
    classifier, expected, texts = model
    order = list(range(len(texts)))
    random.Random(0).shuffle(order)
    shuffled = classifier.logits([texts[position] for position in order])
    assert np.abs(shuffled - expected[order]).max() <= _TOLERANCE
