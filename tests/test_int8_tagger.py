"""Token classifiers are verified and quantized by their tokens, not by their texts."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from bertrt.tokenizer import Encoding, TextTokenizer
from bertrt_export import CalibrationFile, Limits, export_model
from bertrt_export.artifact_writer import save_graph, write_tokenizer
from bertrt_export.calibration import CalibrationTexts
from bertrt_export.checkpoint import Checkpoint, load_checkpoint
from bertrt_export.errors import CalibrationError, VerificationError
from bertrt_export.packed import packed_graph
from bertrt_export.quantization.graph_session import GraphSession
from bertrt_export.quantization.int8 import Int8Result, quantize
from bertrt_export.quantization.search import quantized
from bertrt_export.verify import Verification, pytorch_logits, reference_logits, verify

from tests.tiny_taggers import LABELS, MAX_LENGTH, save_tagger

# Random weights leave many tokens at a narrow margin.
_LIMITS = Limits(min_agreement=0.8, max_accuracy_drop=0.0)


@dataclass(frozen=True)
class _Tagger:
    """A token classifier on its way to an artifact. Read only."""

    checkpoint: Checkpoint
    graph: ir.Model
    folder: Path
    tokenizer: TextTokenizer

    def verify(self, checkpoint: Checkpoint | None = None) -> Verification:
        file = self.folder / "model.onnx"
        return verify(checkpoint or self.checkpoint, self.tokenizer, file, lambda *_: None)


@pytest.fixture(scope="module")
def tagger(sst2_dev: list[tuple[str, int]], tmp_path_factory: pytest.TempPathFactory) -> _Tagger:
    folder, saved = tmp_path_factory.mktemp("tagger"), tmp_path_factory.mktemp("saved")
    save_tagger("wordpiece", [text for text, _ in sst2_dev], folder)
    checkpoint = load_checkpoint(str(folder))
    graph = packed_graph(checkpoint)
    save_graph(graph, saved, external_data=False)
    write_tokenizer(checkpoint, saved, MAX_LENGTH)
    return _Tagger(checkpoint, graph, saved, TextTokenizer(saved, MAX_LENGTH))


@pytest.fixture(scope="module")
def texts(sst2_dev: list[tuple[str, int]]) -> CalibrationTexts:
    """More than the 96 that sensitivity is measured on, among them some of few tokens."""
    found = [text for text, _ in sst2_dev]
    verification = ("", "good", *found[100:218])
    return CalibrationTexts(tuple(found[:60]), verification, None, "dev.tsv", None)


@pytest.fixture(scope="module")
def int8(tagger: _Tagger, texts: CalibrationTexts) -> Int8Result:
    return _quantized(tagger, texts)


def _quantized(tagger: _Tagger, texts: CalibrationTexts) -> Int8Result:
    reference = reference_logits(tagger.checkpoint, _encoded(tagger, texts), lambda *_: None)
    return quantize(
        tagger.checkpoint,
        tagger.graph,
        tagger.tokenizer,
        texts,
        reference,
        _LIMITS,
        lambda *_: None,
    )


def _encoded(tagger: _Tagger, texts: CalibrationTexts) -> list[Encoding]:
    return tagger.tokenizer.encode(texts.verification)


# Verification


def test_faithful_tagger_passes(tagger: _Tagger) -> None:
    result = tagger.verify()
    assert 0 < result.max_abs_diff <= 1e-5
    assert {1, 2, 3, 4, 8, 9, 16, 17, 32, 33, MAX_LENGTH} <= set(result.lengths)


@pytest.mark.parametrize(
    "name", ["classifier.bias", "classifier.weight", "bert.encoder.layer.1.output.dense.bias"]
)
def test_any_other_weight_of_a_tagger_is_noticed(tagger: _Tagger, name: str) -> None:
    other = load_checkpoint(tagger.checkpoint.name)
    with torch.no_grad():
        weights = other.model.get_parameter(name)
        weights.add_(0.05 * torch.randn_like(weights))
    with pytest.raises(VerificationError, match="does not answer as PyTorch does"):
        tagger.verify(other)


def test_last_token_of_a_text_counts(tagger: _Tagger) -> None:
    """Not the first alone, as in a text classifier."""
    other = load_checkpoint(tagger.checkpoint.name)
    with torch.no_grad():
        positions = other.model.get_parameter("bert.embeddings.position_embeddings.weight")
        positions[MAX_LENGTH - 1] += 0.5 * torch.randn_like(positions[0])
    with pytest.raises(VerificationError):
        tagger.verify(other)


def test_pytorch_has_a_row_for_each_token(tagger: _Tagger) -> None:
    random = np.random.default_rng(0)
    lengths = [5, 1, 9, 5, 1]
    encodings = [
        Encoding(random.integers(0, 1000, n), np.zeros(n, dtype=np.int64), truncated=False)
        for n in lengths
    ]
    told: list[tuple[int, int]] = []
    found = pytorch_logits(tagger.checkpoint, encodings, lambda *step: told.append(step))
    assert [logits.shape for logits in found] == [(n, len(LABELS)) for n in lengths]
    assert told[-1] == (5, 5)
    logits = GraphSession(tagger.graph).logits(encodings)
    np.testing.assert_allclose(logits, np.concatenate(found), rtol=0, atol=1e-4)


# int8


def test_fidelity_is_that_of_the_tokens(
    int8: Int8Result, tagger: _Tagger, texts: CalibrationTexts
) -> None:
    encodings = _encoded(tagger, texts)
    tokens = sum(map(len, encodings))
    fidelity = int8.fidelity
    assert (fidelity.texts, fidelity.tokens) == (120, tokens)
    assert fidelity.compared == f"{tokens:,} tokens"
    assert (fidelity.accuracy, fidelity.reference_accuracy) == (None, None)
    assert int8.reference.shape == int8.logits.shape == (tokens, len(LABELS))
    reference = np.concatenate(pytorch_logits(tagger.checkpoint, encodings, lambda *_: None))
    np.testing.assert_array_equal(int8.reference, reference)
    logits = GraphSession(int8.graph).logits(encodings)
    np.testing.assert_allclose(int8.logits, logits, rtol=0, atol=1e-3)
    same = int8.logits.argmax(axis=1) == reference.argmax(axis=1)
    assert 0.8 <= fidelity.agreement == same.mean() < 1
    assert fidelity.mean_abs_diff == pytest.approx(np.abs(int8.logits - reference).mean())


def test_int8_tagger_has_int8_products(int8: Int8Result) -> None:
    found = [node.op_type for node in int8.graph.graph]
    assert found.count("MatMulIntegerToFloat") == 13, "6 in each of 2 layers, and the head's"
    assert not any(step.name == "float" for step in int8.choice.values())


def test_tokens_do_not_depend_on_the_batch(int8: Int8Result) -> None:
    assert int8.independence.texts == 64
    assert int8.independence.mean_abs_diff < 1e-3


def test_sensitivity_compares_the_first_texts_with_themselves(
    int8: Int8Result, tagger: _Tagger, texts: CalibrationTexts
) -> None:
    """Their rows come first in the reference, as many as they have tokens."""
    few = _encoded(tagger, texts)[:96]
    reference = np.concatenate(pytorch_logits(tagger.checkpoint, few, lambda *_: None))
    name = "bert.encoder.layer.0.intermediate.dense"
    logits = GraphSession(quantized(tagger.graph, {name: int8.search.start[name]})).logits(few)
    expected = float(np.abs(logits - reference).mean())
    assert int8.search.sensitivity[name] == pytest.approx(expected, rel=1e-3)
    shifted = float(np.abs(logits[1:] - reference[:-1]).mean())
    assert shifted > 10 * expected, "rows of another token would be noticed"


def test_labels_of_texts_say_nothing_of_tokens(tagger: _Tagger, texts: CalibrationTexts) -> None:
    """A file has a column of that name, say, whose values are ids of the model as well."""
    few = replace(texts, verification=texts.verification[:40], labels=(0,) * 40)
    found = _quantized(tagger, few)
    assert found.fidelity.accuracy is None and found.fidelity.texts == 40


def test_label_column_for_a_tagger_is_refused(
    tagger: _Tagger, calibration_file: Path, tmp_path: Path
) -> None:
    name = tagger.checkpoint.name
    file = CalibrationFile(calibration_file, text_column="1", label_column="2")
    with pytest.raises(CalibrationError) as raised:
        export_model(name, tmp_path / "model", precision="int8", calibration=file)
    assert str(raised.value) == (
        f"--label-column is for text classifiers, and {name} is a token classifier: the label of a "
        "text says nothing of its tokens; leave the option out"
    )
    assert not (tmp_path / "model").exists()
