"""bertrt's padded exports in Optimum, and Optimum's exports in bertrt."""

import importlib.metadata
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from bertrt import Classifier
from bertrt.tokenizer import TextInput
from bertrt_export import export_model, padded
from bertrt_export.checkpoint import load_checkpoint
from bertrt_export.golden import GOLDEN_TEXTS
from optimum.exporters.onnx import main_export
from optimum.onnxruntime import ORTModelForSequenceClassification
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from tests.tiny_models import deberta_checkpoint, roberta_checkpoint

# Optimum and transformers take no empty second text.
_TEXTS: list[TextInput] = list(GOLDEN_TEXTS)


def _split(texts: list[TextInput]) -> tuple[list[str], list[str]]:
    pairs = [(text, "") if isinstance(text, str) else text for text in texts]
    return [first for first, _ in pairs], [second for _, second in pairs]


@pytest.fixture(scope="module", params=["bert", "roberta", "deberta-v2"])
def checkpoint(
    request: pytest.FixtureRequest, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    if request.param == "roberta":
        return roberta_checkpoint(folder)
    return tiny_checkpoint if request.param == "bert" else deberta_checkpoint(folder)


@pytest.fixture(scope="module")
def artifact(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifact") / "model"
    export_model(str(checkpoint), folder, layout="padded")
    return folder


def test_this_is_the_environment_that_is_meant() -> None:
    assert transformers.__version__.startswith("4.57.")


def test_optimum_exports_where_it_is_installed(artifact: Path) -> None:
    manifest = json.loads((artifact / "bertrt.json").read_text(encoding="utf-8"))
    assert manifest["exporter"] == f"optimum-onnx {importlib.metadata.version('optimum-onnx')}"
    assert manifest["layout"] == "padded"


def test_our_padded_export_loads_in_optimum(artifact: Path, checkpoint: Path) -> None:
    """One padded batch of all texts, with the tokenizer that is in the folder."""
    model = ORTModelForSequenceClassification.from_pretrained(artifact)
    tokenizer = AutoTokenizer.from_pretrained(artifact)
    texts = [text for text in _TEXTS if isinstance(text, str)]
    inputs = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    logits = model(**inputs).logits.numpy()
    np.testing.assert_allclose(logits, Classifier(artifact, "cpu").logits(texts), atol=2e-5)
    original = AutoModelForSequenceClassification.from_pretrained(checkpoint).eval()
    with torch.inference_mode():
        for text, row in zip(texts, logits, strict=True):
            alone = AutoTokenizer.from_pretrained(checkpoint)(
                text, truncation=True, max_length=tokenizer.model_max_length, return_tensors="pt"
            )
            np.testing.assert_allclose(row, original(**alone).logits[0].numpy(), atol=2e-5)


def test_our_padded_export_runs_in_a_pipeline_of_optimum(artifact: Path) -> None:
    texts = [text for text in _TEXTS if isinstance(text, str) and text]
    classify = pipeline(
        "text-classification",
        model=ORTModelForSequenceClassification.from_pretrained(artifact),
        tokenizer=AutoTokenizer.from_pretrained(artifact),
    )
    theirs = classify(texts, truncation=True, batch_size=3)
    for answer, ours in zip(theirs, Classifier(artifact, "cpu")(texts), strict=True):
        assert answer["label"] == ours.label
        assert answer["score"] == pytest.approx(ours.score, abs=1e-4)


def test_torchs_export_loads_in_optimum_too(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its weights inside; those of `artifact` are in a file beside it."""
    monkeypatch.setattr(padded, "graph_of_optimum", lambda _: None)
    folder = tmp_path / "out"
    export_model(str(tiny_checkpoint), folder, layout="padded", external_data=False)
    manifest = json.loads((folder / "bertrt.json").read_text(encoding="utf-8"))
    assert manifest["exporter"] == f"torch {torch.__version__}"
    model = ORTModelForSequenceClassification.from_pretrained(folder)
    texts = [text for text in _TEXTS if isinstance(text, str)]
    inputs = AutoTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="pt")
    np.testing.assert_allclose(
        model(**inputs).logits.numpy(), Classifier(folder, "cpu").logits(texts), atol=2e-5
    )


def test_architecture_that_optimum_does_not_know_is_torchs(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_checkpoint(str(tiny_checkpoint))
    assert padded.graph_of_optimum(loaded) is not None
    monkeypatch.setattr(loaded.config, "model_type", "nystromformer-of-tomorrow")
    assert padded.graph_of_optimum(loaded) is None


def test_optimums_own_export_loads_in_bertrt(checkpoint: Path, tmp_path: Path) -> None:
    """A folder that bertrt did not make, with no bertrt.json in it."""
    main_export(str(checkpoint), tmp_path, task="text-classification", do_validation=False)
    classifier = Classifier(tmp_path, "cpu")
    assert classifier.artifact.manifest is None and classifier.artifact.layout == "padded"
    model = ORTModelForSequenceClassification.from_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    for text in _TEXTS:
        parts = (text,) if isinstance(text, str) else text
        limit = classifier.artifact.max_length
        inputs = tokenizer(*parts, truncation=True, max_length=limit, return_tensors="pt")
        np.testing.assert_allclose(
            classifier.logits([text]), model(**inputs).logits.numpy(), atol=2e-5
        )
