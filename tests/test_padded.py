"""--layout padded: graphs of either exporter answer as PyTorch, whatever a text's batch is."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from bertrt import Classifier
from bertrt.backend import create_session
from bertrt.packing import pack
from bertrt.tokenizer import Encoding, TextTokenizer
from bertrt_export import (
    ExportError,
    UnsupportedModelError,
    VerificationError,
    export_model,
    exporter,
    padded,
)
from bertrt_export.checkpoint import Checkpoint, load_checkpoint
from bertrt_export.cli import main
from bertrt_export.golden import GOLDEN_TEXTS
from bertrt_export.sessions import open_graph
from bertrt_export.verify import pytorch_logits
from transformers import AutoModelForTokenClassification, AutoTokenizer, MobileBertConfig

from tests.tiny_models import SMALL, deberta_checkpoint, roberta_checkpoint, save_model

_FAMILIES = ("bert", "roberta", "deberta-v2", "token classifier")


@pytest.fixture(scope="module")
def checkpoint(
    request: pytest.FixtureRequest, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Checkpoint:
    """With segments, positions that depend on padding, relative positions, an answer a token."""
    folder = tmp_path_factory.mktemp("padded")
    made = {
        "bert": lambda: tiny_checkpoint,
        "roberta": lambda: roberta_checkpoint(folder),
        "deberta-v2": lambda: deberta_checkpoint(folder),
        "token classifier": lambda: _token_classifier(tiny_checkpoint, folder),
    }
    return load_checkpoint(str(made[request.param]()))


def _token_classifier(classifier: Path, folder: Path) -> Path:
    """The encoder and tokenizer of a text classifier with a head for tokens."""
    torch.manual_seed(0)
    AutoModelForTokenClassification.from_pretrained(classifier).save_pretrained(folder)
    AutoTokenizer.from_pretrained(classifier).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def graph_file(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Checkpoint], Path]:
    """Gives the file of torch's export of a checkpoint, which is traced once: it takes seconds."""
    files: dict[str, Path] = {}

    def file(checkpoint: Checkpoint) -> Path:
        if checkpoint.name not in files:
            files[checkpoint.name] = tmp_path_factory.mktemp("graph") / "model.onnx"
            ir.save(padded.graph_of_torch(checkpoint), files[checkpoint.name])
        return files[checkpoint.name]

    return file


@pytest.fixture
def traced_before(
    tiny_checkpoint: Path, graph_file: Callable[[Checkpoint], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch's exporter gives the graph of `tiny_checkpoint` that was traced before."""
    file = graph_file(load_checkpoint(str(tiny_checkpoint)))
    monkeypatch.setattr(padded, "graph_of_torch", lambda _: ir.load(file))


def _manifest(artifact: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((artifact / "bertrt.json").read_text(encoding="utf-8"))
    return content


def _texts(checkpoint: Checkpoint, lengths: list[int]) -> list[Encoding]:
    random = np.random.default_rng(len(lengths))
    segments = 2 if checkpoint.segments else 1
    return [
        Encoding(
            random.integers(10, checkpoint.config.vocab_size, length),
            np.sort(random.integers(0, segments, length)),
            truncated=False,
        )
        for length in lengths
    ]


def _expected(checkpoint: Checkpoint, texts: list[Encoding]) -> np.ndarray:
    """PyTorch's logits, each text without padding."""
    return np.concatenate(pytorch_logits(checkpoint, texts, lambda *_: None))


# The graph


@pytest.mark.parametrize("checkpoint", _FAMILIES, indirect=True)
def test_answers_do_not_depend_on_padding(
    checkpoint: Checkpoint, graph_file: Callable[[Checkpoint], Path]
) -> None:
    """torch's exporter: shapes that it was not traced with, no padding at all, and much of it."""
    session = open_graph(checkpoint, graph_file(checkpoint))
    assert session.layout == "padded" and session.labels == 3
    longest = checkpoint.max_length
    for lengths in ([1], [2], [longest], [1, 1], [9, 9, 9], [1, longest], [30, 2, 7, 7, 64, 1, 3]):
        texts = _texts(checkpoint, lengths)
        expected = _expected(checkpoint, texts)
        np.testing.assert_allclose(session.run(pack(texts)), expected, atol=2e-5)
    assert np.ptp(expected, axis=0).min() > 0.01  # texts have answers of their own


@pytest.mark.parametrize("checkpoint", _FAMILIES[:3], indirect=True)
def test_what_is_behind_the_mask_changes_nothing(
    checkpoint: Checkpoint, graph_file: Callable[[Checkpoint], Path]
) -> None:
    (text,) = _texts(checkpoint, [5])
    padding = np.full(4, 17)  # an ordinary token
    longer = Encoding(
        np.concatenate([text.input_ids, padding]), np.zeros(9, dtype=np.int64), truncated=False
    )
    session = create_session(graph_file(checkpoint), ["CPUExecutionProvider"], 1)
    inputs = {
        "input_ids": longer.input_ids[None],
        "attention_mask": np.array([[1] * 5 + [0] * 4]),
        "token_type_ids": np.zeros((1, 9), dtype=np.int64),
    }
    names = {value.name for value in session.get_inputs()}
    assert names == {"input_ids", "attention_mask"} | (
        {"token_type_ids"} if checkpoint.segments else set()
    )
    (masked,) = session.run(None, {name: inputs[name] for name in names})
    inputs["attention_mask"][:] = 1
    (unmasked,) = session.run(None, {name: inputs[name] for name in names})
    expected = _expected(
        checkpoint, [Encoding(text.input_ids, np.zeros(5, dtype=np.int64), truncated=False)]
    )
    np.testing.assert_allclose(masked, expected, atol=2e-5)
    assert np.abs(unmasked - masked).max() > 1e-3


@pytest.mark.usefixtures("traced_before")
@pytest.mark.parametrize("checkpoint", ["bert"], indirect=True)
def test_inputs_and_output_are_those_of_the_hub(checkpoint: Checkpoint) -> None:
    graph, made_by = padded.padded_graph(checkpoint)
    rectangle = ["batch_size", "sequence_length"]
    shapes = {
        value.name: [getattr(size, "value", size) for size in value.shape or ()]
        for value in (*graph.graph.inputs, *graph.graph.outputs)
    }
    assert shapes == {
        "input_ids": rectangle,
        "attention_mask": rectangle,
        "token_type_ids": rectangle,
        "logits": ["batch_size", 3],
    }
    assert {value.dtype for value in graph.graph.inputs} == {ir.DataType.INT64}
    assert graph.opset_imports[""] <= 18 and set(graph.opset_imports) <= {"", "pkg.onnxscript"}
    assert made_by.split()[0] in ("torch", "optimum-onnx")


@pytest.mark.usefixtures("traced_before")
@pytest.mark.parametrize("checkpoint", ["bert"], indirect=True)
def test_without_optimum_torch_exports(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optimum.exporters.onnx", None)
    assert padded.graph_of_optimum(checkpoint) is None
    assert padded.padded_graph(checkpoint)[1] == f"torch {torch.__version__}"


@pytest.mark.parametrize("checkpoint", ["bert"], indirect=True)
def test_model_that_cannot_be_traced(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("data-dependent\n  control flow")

    monkeypatch.setattr(torch.onnx, "export", fails)
    with pytest.raises(UnsupportedModelError) as raised:
        padded.graph_of_torch(checkpoint)
    assert "cannot be exported: torch.onnx.export fails on its architecture" in str(raised.value)
    assert "BertForSequenceClassification (data-dependent control flow)" in str(raised.value)


# The artifact


@pytest.fixture(scope="module")
def padded_artifact(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("padded-artifact") / "model"
    export_model(str(tiny_checkpoint), folder, layout="padded")
    return folder


def test_padded_artifact_says_so(padded_artifact: Path) -> None:
    manifest = _manifest(padded_artifact)
    assert manifest["layout"] == "padded" and manifest["format_version"] == 1
    assert manifest["exporter"].split()[0] in ("torch", "optimum-onnx")
    assert manifest["graphs"] == {"fp32": "model.onnx"} and "notices" not in manifest
    assert manifest["verified"]["fp32"]["max_abs_diff"] <= 1e-4
    report = (padded_artifact / "report.md").read_text(encoding="utf-8")
    assert f"| layout | padded, made by {manifest['exporter']} |" in report
    assert "## The padded graph in float32" in report and "in one padded batch" in report


def test_packed_artifact_says_so(tiny_artifact: Path) -> None:
    manifest = _manifest(tiny_artifact)
    assert manifest["layout"] == "packed" and manifest["exporter"].startswith("bertrt ")
    assert manifest["task"] == "text-classification"


def test_padded_and_packed_answer_alike(
    padded_artifact: Path, tiny_artifact: Path, sst2_dev: list[tuple[str, int]]
) -> None:
    texts = [*GOLDEN_TEXTS, *(text for text, _ in sst2_dev[:60])]
    np.testing.assert_allclose(
        Classifier(padded_artifact, "cpu").logits(texts),
        Classifier(tiny_artifact, "cpu").logits(texts),
        atol=2e-5,
    )


@pytest.mark.parametrize("precision", ["int8", "fp32,int8"])
def test_int8_needs_the_packed_layout(
    tiny_checkpoint: Path, tmp_path: Path, precision: str
) -> None:
    with pytest.raises(ExportError, match="int8 needs the packed layout: leave --layout padded"):
        export_model(str(tiny_checkpoint), tmp_path / "out", layout="padded", precision=precision)
    assert list(tmp_path.iterdir()) == []


def test_other_layouts_are_not_accepted_silently(tiny_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="there is no layout ragged; choose from auto, packed"):
        export_model(str(tiny_checkpoint), tmp_path / "out", layout="ragged")


# The fall-back


@pytest.fixture(scope="module")
def deberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return deberta_checkpoint(tmp_path_factory.mktemp("deberta") / "checkpoint")


def test_deberta_falls_back_to_the_padded_layout(
    deberta: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    sst2_dev: list[Any],
) -> None:
    output = tmp_path / "out"
    assert main([str(deberta), str(output), "--precision", "int8"]) == 0
    printed = capsys.readouterr().out
    manifest = _manifest(output)
    refused, int8 = manifest["notices"][:2]
    assert "cannot be packed" in refused or "cannot pack" in refused
    assert refused.endswith("; exporting the padded layout instead")
    assert int8 == "int8 needs the packed layout: fp32 was exported instead"
    report = (output / "report.md").read_text(encoding="utf-8")
    for notice in (refused, int8):
        assert f"Notice: {notice}" in caplog.text and f"Note: {notice}." in report
    assert "fp32, padded layout" in printed
    assert manifest["layout"] == "padded" and list(manifest["graphs"]) == ["fp32"]

    checkpoint = load_checkpoint(str(deberta))
    texts = [*GOLDEN_TEXTS, *(text for text, _ in sst2_dev[:30])]
    encodings = TextTokenizer(output, checkpoint.max_length).encode(texts)
    np.testing.assert_allclose(
        Classifier(output, "cpu").logits(texts),
        _expected(checkpoint, encodings),
        atol=2e-5,
    )


def test_packed_is_refused_where_it_cannot_be(deberta: Path, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="pack"):
        export_model(str(deberta), tmp_path / "out", layout="packed")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("traced_before")
def test_graph_that_the_passes_do_not_know_falls_back(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A known family too: the attempt decides, not the name."""

    def unknown(*_: object) -> ir.Model:
        raise UnsupportedModelError("the graph of X cannot be packed: for a reason")

    monkeypatch.setattr(exporter, "packed_graph", unknown)
    result = export_model(str(tiny_checkpoint), tmp_path / "out", precision="auto")
    assert result.layout == "padded" and result.precisions == ("fp32",)
    assert "the graph of X cannot be packed: for a reason" in result.notices[0]


def test_architecture_whose_packed_graph_answers_otherwise_falls_back(
    encoder_folder: Path, tmp_path: Path
) -> None:
    """MobileBERT reads a token's neighbours, which may be another text's; only comparing tells."""
    sizes: dict[str, Any] = {
        "embedding_size": 16,
        "intra_bottleneck_size": 16,
        "true_hidden_size": 16,
    }
    config = MobileBertConfig(**SMALL, **sizes, vocab_size=30522, max_position_embeddings=64)
    save_model(config, tmp_path / "checkpoint")
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder, model_max_length=64)
    tokenizer.save_pretrained(tmp_path / "checkpoint")
    with pytest.raises(VerificationError, match="does not answer as PyTorch does"):
        export_model(str(tmp_path / "checkpoint"), tmp_path / "out", layout="packed")
    result = export_model(str(tmp_path / "checkpoint"), tmp_path / "out")
    assert result.layout == "padded" and result.verification.max_abs_diff < 1e-4
    (notice,) = result.notices
    assert "does not answer as PyTorch does" in notice
    assert notice.endswith("; exporting the padded layout instead")


def test_wrong_mask_is_noticed(
    tiny_checkpoint: Path,
    graph_file: Callable[[Checkpoint], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A graph that attends to padding does not pass the comparison, which has a mixed batch."""
    graph = ir.load(graph_file(load_checkpoint(str(tiny_checkpoint))))
    ids, mask = graph.graph.inputs[:2]
    assert mask.name == "attention_mask"
    # Ones wherever it was read.
    equal = ir.Node("", "Equal", [ids, ids], name="equal")
    to = ir.AttrInt64("to", ir.DataType.INT64)
    ones = ir.Node("", "Cast", [equal.outputs[0]], [to], name="ones")
    mask.replace_all_uses_with(ones.outputs[0])
    graph.graph.insert_before(graph.graph[0], [equal, ones])
    monkeypatch.setattr(padded, "graph_of_optimum", lambda _: None)
    monkeypatch.setattr(padded, "graph_of_torch", lambda _: graph)
    with pytest.raises(VerificationError) as raised:
        export_model(str(tiny_checkpoint), tmp_path / "out", layout="padded")
    alone, batched = re.findall(r"([\d.]+e[-+]\d+) (?:alone|in a batch)", str(raised.value))
    assert float(alone) < 1e-4 < float(batched)
