"""float16 on an NVIDIA GPU: the answers, whatever is in the batch, and the errors."""

import json
import re
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bertrt import Classifier
from bertrt.artifact import MANIFEST, load_artifact
from bertrt.errors import ArtifactError, DeviceError
from bertrt.packing import pack
from bertrt.session import Session
from bertrt.tokenizer import Encoding

from tests.helpers import edit_manifest

pytestmark = pytest.mark.gpu

_CUDA = "CUDAExecutionProvider"
_TEXTS = 200

# |Δlogit| of float16 with logits of about 1; and the margin within which a label may change.
_TOLERANCE = 0.02
_MARGIN = 2 * _TOLERANCE

# A text's |Δlogit| with its company, on average, of logits of about 1.
_MEAN_APART = 1e-3


@pytest.fixture(scope="module")
def artifact(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny_checkpoint` in fp32 and fp16. Read only."""
    from bertrt_export import export_model

    folder = tmp_path_factory.mktemp("fp16") / "model"
    export_model(str(tiny_checkpoint), folder, precision="fp32,fp16")
    return folder


@pytest.fixture(scope="module")
def classifier(artifact: Path) -> Classifier:
    return Classifier(artifact, "cuda", precision="fp16")


@pytest.fixture(scope="module")
def texts(sst2_dev: list[tuple[str, int]]) -> list[str]:
    """Sentences, and texts as short and as long as there can be."""
    sentences = [text for text, _ in sst2_dev[:_TEXTS]]
    return [*sentences, "", "a", "long " * 600, " ".join(sentences[:12])]


@pytest.fixture(scope="module")
def encodings(classifier: Classifier, texts: list[str]) -> list[Encoding]:
    return classifier.tokenizer.encode(texts)


@pytest.fixture(scope="module")
def right(tiny_checkpoint: Path, encodings: list[Encoding]) -> np.ndarray:
    """PyTorch's logits in float32 on the CPU."""
    from bertrt_export.checkpoint import load_checkpoint
    from bertrt_export.verify import pytorch_logits

    checkpoint = load_checkpoint(str(tiny_checkpoint))
    return np.concatenate(pytorch_logits(checkpoint, encodings, lambda *_: None))


@pytest.fixture(scope="module")
def alone(classifier: Classifier, encodings: list[Encoding]) -> np.ndarray:
    """The logits of each text by itself."""
    return np.concatenate([classifier.session.run(pack([encoding])) for encoding in encodings])


def test_it_runs_on_the_gpu(classifier: Classifier) -> None:
    assert (classifier.provider, classifier.precision) == (_CUDA, "fp16")


@pytest.mark.parametrize(("precision", "tolerance"), [("fp16", _TOLERANCE), ("fp32", 1e-3)])
def test_answers_are_pytorchs(
    artifact: Path, texts: list[str], right: np.ndarray, precision: str, tolerance: float
) -> None:
    logits = Classifier(artifact, "cuda", precision=precision).logits(texts)
    scale = max(1.0, float(np.abs(right).max()))
    assert np.abs(logits - right).max() <= tolerance * scale
    ordered = np.sort(right, axis=1)
    decided = ordered[:, -1] - ordered[:, -2] > _MARGIN * scale
    assert decided.sum() > _TEXTS / 2
    assert (logits.argmax(axis=1) == right.argmax(axis=1))[decided].all()


@pytest.mark.parametrize("size", [2, 32, 204])
def test_a_text_is_answered_alike_in_any_batch_and_order(
    classifier: Classifier, encodings: list[Encoding], alone: np.ndarray, size: int
) -> None:
    order = np.random.default_rng(size).permutation(len(encodings))
    apart = []
    for start in range(0, len(order), size):
        positions = order[start : start + size]
        logits = classifier.session.run(pack([encodings[position] for position in positions]))
        apart.append((logits, alone[positions]))
    assert _apart(*map(np.concatenate, zip(*apart, strict=True))) <= _MEAN_APART


@pytest.mark.parametrize("max_batch_tokens", [64, 1_024, 65_536])
def test_the_size_of_batches_changes_no_answer(
    artifact: Path, texts: list[str], alone: np.ndarray, max_batch_tokens: int
) -> None:
    classifier = Classifier(artifact, "cuda", precision="fp16", max_batch_tokens=max_batch_tokens)
    assert _apart(classifier.logits(texts), alone) <= _MEAN_APART


def test_cuda_graphs_change_no_answer(
    artifact: Path, encodings: list[Encoding], alone: np.ndarray
) -> None:
    """Each shape several times, and one after another: a replay reads what it is given now."""
    graph = load_artifact(artifact).graphs["fp16"]
    session_of: Any = Session
    on, off = (session_of(graph, device="cuda", threads=1, cuda_graphs=c) for c in (True, False))
    for _ in range(3):
        for chosen in (slice(0, 40), slice(40, 60), slice(60, None)):
            for session in (on, off):
                logits = _each(session, encodings[chosen])
                assert _apart(logits, alone[chosen]) <= _MEAN_APART


def test_threads_may_share_a_classifier(
    classifier: Classifier, texts: list[str], alone: np.ndarray
) -> None:
    """Several shapes at a time, single texts among them: CUDA graphs are replayed by turns."""

    def ask(number: int) -> np.ndarray:
        mine = texts[number::8]
        singles = np.concatenate([classifier.logits([text]) for text in mine[:10]])
        together = classifier.logits(mine)
        assert _apart(singles, together[:10]) <= _MEAN_APART
        return together

    with ThreadPoolExecutor(8) as pool:
        for number, logits in enumerate(pool.map(ask, range(8))):
            assert _apart(logits, alone[number::8]) <= _MEAN_APART


def test_the_first_gpu_may_be_named(artifact: Path, texts: list[str], alone: np.ndarray) -> None:
    named = Classifier(artifact, "cuda:0", precision="fp16")
    assert named.provider == _CUDA
    assert _apart(named.logits(texts), alone) <= _MEAN_APART


def test_a_gpu_that_is_not_there_is_an_error(artifact: Path) -> None:
    with pytest.raises(DeviceError, match=re.escape("cuda:99")):
        Classifier(artifact, "cuda:99", precision="fp16")


def test_golden_answers_are_checked_on_the_gpu(artifact: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(artifact, tmp_path / "model"))
    golden = json.loads((artifact / MANIFEST).read_text(encoding="utf-8"))["golden"]
    golden[1]["logits"]["fp16"][0] += 100
    edit_manifest(folder, {"golden": golden})
    with pytest.raises(ArtifactError, match="golden texts in fp16"):
        Classifier(folder, "cuda", precision="fp16")
    Classifier(folder, "cuda", precision="fp16", check_answers=False)


def _each(session: Session, encodings: Sequence[Encoding]) -> np.ndarray:
    return np.concatenate([session.run(pack([encoding])) for encoding in encodings])


def _apart(logits: np.ndarray, others: np.ndarray) -> float:
    """The mean |Δlogit|, as a part of the largest where that is over 1."""
    return float(np.abs(logits - others).mean()) / max(1.0, float(np.abs(others).max()))
