"""The comparison with PyTorch that every export must pass: what it covers, and that it can fail."""

from pathlib import Path

import pytest
import torch
from bertrt.tokenizer import TextTokenizer
from bertrt_export.checkpoint import Checkpoint, load_checkpoint
from bertrt_export.errors import VerificationError
from bertrt_export.verify import TOLERANCE, Verification, verify


@pytest.fixture
def checkpoint(tiny_checkpoint: Path) -> Checkpoint:
    """Loaded anew for each test, which may change its weights."""
    return load_checkpoint(str(tiny_checkpoint))


def _change(weights: torch.Tensor) -> None:
    """Add small random values: the same to all of a token's values, a norm would take out."""
    with torch.no_grad():
        weights.add_(0.05 * torch.randn_like(weights))


def _verify(checkpoint: Checkpoint, artifact: Path, max_length: int = 512) -> Verification:
    tokenizer = TextTokenizer(artifact, max_length)
    return verify(checkpoint, tokenizer, artifact / "model.onnx", lambda *_: None)


def test_faithful_artifact_passes(checkpoint: Checkpoint, tiny_artifact: Path) -> None:
    result = _verify(checkpoint, tiny_artifact)
    assert 0 < result.max_abs_diff <= 1e-5
    assert result.max_abs_diff == max(result.alone, result.batched, result.shuffled)
    assert result.tolerance == TOLERANCE == 1e-4


def test_lengths_from_one_token_to_the_maximum(checkpoint: Checkpoint, tiny_artifact: Path) -> None:
    lengths = _verify(checkpoint, tiny_artifact).lengths
    assert list(lengths) == sorted(lengths)
    assert {1, 2, 3, 4, 8, 9, 16, 17, 32, 33, 64, 65, 128, 129, 256, 257, 512} <= set(lengths)
    assert lengths[-1] == 512


@pytest.mark.parametrize("max_length", [8, 100])
def test_no_text_is_longer_than_asked_for(
    checkpoint: Checkpoint, tiny_artifact: Path, max_length: int
) -> None:
    lengths = _verify(checkpoint, tiny_artifact, max_length).lengths
    assert lengths[0] == 1 and lengths[-1] == max_length


def test_progress_counts_up_to_all_texts(checkpoint: Checkpoint, tiny_artifact: Path) -> None:
    calls: list[tuple[int, int]] = []
    result = verify(
        checkpoint,
        TextTokenizer(tiny_artifact, 512),
        tiny_artifact / "model.onnx",
        lambda done, total: calls.append((done, total)),
    )
    texts = len(result.lengths)
    done = [count for count, _ in calls]
    assert {total for _, total in calls} == {texts}
    assert done == sorted(set(done)) and done[-1] == texts


@pytest.mark.parametrize(
    "name",
    [
        "bert.embeddings.word_embeddings.weight",
        "bert.embeddings.position_embeddings.weight",
        "bert.embeddings.token_type_embeddings.weight",
        "bert.embeddings.LayerNorm.bias",
        "bert.encoder.layer.0.attention.self.query.weight",
        "bert.encoder.layer.0.output.dense.bias",
        "bert.encoder.layer.1.attention.self.value.bias",
        "bert.encoder.layer.1.intermediate.dense.weight",
        "bert.pooler.dense.weight",
        "classifier.bias",
    ],
)
def test_any_other_weight_is_noticed(
    checkpoint: Checkpoint, tiny_artifact: Path, name: str
) -> None:
    _change(checkpoint.model.get_parameter(name))
    with pytest.raises(VerificationError) as raised:
        _verify(checkpoint, tiny_artifact)
    message = str(raised.value)
    assert "max |Δlogit|" in message and "the limit is 1e-04" in message
    assert "1 to 512 tokens" in message and "nothing was written" in message


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_answers_that_are_no_numbers_are_no_agreement(
    checkpoint: Checkpoint, tiny_artifact: Path, value: float
) -> None:
    """The original overflows, say, and the export need not answer the same."""
    with torch.no_grad():
        checkpoint.model.get_parameter("classifier.bias")[0] = value
    with pytest.raises(VerificationError, match=r"nan|inf"):
        _verify(checkpoint, tiny_artifact)


def test_position_that_only_long_texts_reach(checkpoint: Checkpoint, tiny_artifact: Path) -> None:
    _change(checkpoint.model.get_parameter("bert.embeddings.position_embeddings.weight")[511])
    with pytest.raises(VerificationError):
        _verify(checkpoint, tiny_artifact)
    assert _verify(checkpoint, tiny_artifact, max_length=511).max_abs_diff <= 1e-5


def test_second_segment_is_covered(checkpoint: Checkpoint, tiny_artifact: Path) -> None:
    _change(checkpoint.model.get_parameter("bert.embeddings.token_type_embeddings.weight")[1])
    with pytest.raises(VerificationError):
        _verify(checkpoint, tiny_artifact)


def test_tokenizer_that_splits_otherwise_is_noticed(
    checkpoint: Checkpoint, tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = TextTokenizer.encode

    def swapped(self: TextTokenizer, texts: object, **options: object) -> object:
        encoded = original(self, texts, **options)  # type: ignore[arg-type]
        encoded[1].input_ids[1] += 1
        return encoded

    monkeypatch.setattr(TextTokenizer, "encode", swapped)
    with pytest.raises(VerificationError, match="splits 'good' otherwise than the original"):
        _verify(checkpoint, tiny_artifact)
