"""Fetching from the hub: what is asked for, in which order, and what is said where it is not there.

The hub is a folder here: `snapshot_download` is replaced by one that copies from it.
"""

import shutil
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path

import huggingface_hub
import pytest
from bertrt import ArtifactError, Classifier
from bertrt.artifact import load_artifact

from tests.foreign import LABELS, Foreign

# Puts a folder on the hub as user/name; the list gets the names of the files that are fetched.
Publish = Callable[[Path], list[str]]


@pytest.fixture
def publish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Publish:
    def publish(folder: Path) -> list[str]:
        cache = tmp_path / "snapshots" / "0123abc"
        fetched: list[str] = []
        names = [f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file()]

        def download(repository: str, revision: str | None, allow_patterns: list[str]) -> str:
            assert repository == "user/name"
            assert revision == (None if not fetched else "0123abc"), "another commit's files"
            for name in names:
                if any(fnmatch(name, pattern) for pattern in allow_patterns):
                    (cache / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(folder / name, cache / name)
                    fetched.append(name)
            return str(cache)

        monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
        monkeypatch.setattr(huggingface_hub, "list_repo_files", lambda *_, **__: names)
        return fetched

    return publish


def _message(file_name: str | None = None) -> str:
    with pytest.raises(ArtifactError) as raised:
        load_artifact("user/name", file_name=file_name)
    return str(raised.value)


def test_an_artifact_comes_whole(tiny_artifact: Path, publish: Publish) -> None:
    fetched = publish(tiny_artifact)
    artifact = load_artifact("user/name")
    assert artifact.manifest is not None
    assert set(artifact.manifest["files"]) <= set(fetched)


@pytest.mark.parametrize(
    ("file_name", "graph"),
    [(None, "onnx/model.onnx"), ("onnx/model_fp16.onnx", "onnx/model_fp16.onnx")],
)
def test_only_the_graph_that_will_run_is_fetched(
    foreign: Callable[[str], Foreign], publish: Publish, file_name: str | None, graph: str
) -> None:
    fetched = publish(foreign("bert").path)
    classifier = Classifier("user/name", "cpu", file_name=file_name)
    assert classifier.labels == LABELS
    assert [name for name in fetched if name.endswith(".onnx")] == [graph]
    assert len(fetched) == len(set(fetched)) == 4


def test_weights_beside_the_graph_are_fetched(
    foreign: Callable[[str], Foreign], publish: Publish
) -> None:
    fetched = publish(foreign("roberta").path)
    assert Classifier("user/name", "cpu").labels == ("LABEL_0", "LABEL_1")
    assert {"model.onnx", "model.onnx_data", "vocab.json", "merges.txt"} <= set(fetched)


def test_a_repository_without_onnx(foreign: Callable[[str], Foreign], publish: Publish) -> None:
    publish(foreign("bert").checkpoint)
    message = _message()
    assert "'user/name' holds no bertrt artifact and no ONNX file" in message
    assert "`export-model user/name OUTPUT`" in message


@pytest.mark.parametrize("file_name", [None, "onnx/model_q4.onnx"])
def test_a_repository_with_other_graphs_lists_them(
    copied_foreign: Callable[[str], Path], publish: Publish, file_name: str | None
) -> None:
    folder = copied_foreign("bert")
    (folder / "onnx/model.onnx").unlink()
    publish(folder)
    message = _message(file_name)
    assert f"holds no {file_name or 'model.onnx or onnx/model.onnx'}, but " in message
    assert "onnx/model_fp16.onnx, onnx/model_quantized.onnx: pick one with --file-name" in message


def test_a_repository_that_cannot_be_listed(
    foreign: Callable[[str], Foreign], publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(foreign("bert").path)

    def fail(*_: object, **__: object) -> list[str]:
        raise ConnectionError("no connection\nmore lines")

    monkeypatch.setattr(huggingface_hub, "list_repo_files", fail)
    message = _message(file_name="model_q4.onnx")
    assert "local copy of the hub repository 'user/name' holds no model_q4.onnx" in message
    assert message.endswith("cannot be asked: no connection")
