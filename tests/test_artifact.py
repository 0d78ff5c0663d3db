"""Finding and checking a model folder: what is wrong is said, and with which file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import huggingface_hub.constants
import pytest
from bertrt import ArtifactError
from bertrt.artifact import FORMAT_VERSION, MANIFEST, file_sha256, load_artifact, read_json
from huggingface_hub.errors import LocalEntryNotFoundError

from tests.helpers import edit_config, edit_manifest, replace_file

CopiedArtifact = Callable[[], Path]


def _message(model: str | Path, *, check_files: bool = True) -> str:
    """What the ArtifactError says that loading this model raises."""
    with pytest.raises(ArtifactError) as raised:
        load_artifact(model, check_files=check_files)
    message = str(raised.value)
    assert "\n" not in message
    return message


def _manifest(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    return content


def test_reads_what_the_export_wrote(tiny_artifact: Path) -> None:
    artifact = load_artifact(tiny_artifact)
    assert artifact.path == tiny_artifact
    assert artifact.labels == ("negative", "neutral", "positive")
    assert artifact.activation == "softmax"
    assert artifact.max_length == 512
    assert artifact.manifest is not None
    assert artifact.manifest["format_version"] == FORMAT_VERSION
    assert artifact.graphs == {"fp32": tiny_artifact / "model.onnx"}
    assert (artifact.task, artifact.layout) == ("text-classification", "packed")
    assert artifact.thresholds is None
    assert artifact.pad_token_id == 0


def test_takes_a_string_and_a_home_folder(
    tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tiny_artifact.parent))
    assert load_artifact(str(tiny_artifact)) == load_artifact(tiny_artifact)
    assert load_artifact("~/model") == load_artifact(tiny_artifact)


# Where the model is sought


@pytest.mark.parametrize(
    "model", ["nope", "./nope", "no/such/folder", "/no/folder", "~/nope", "a/"]
)
def test_missing_folder_that_is_no_hub_id(model: str) -> None:
    message = _message(model)
    assert f"no folder '{model}'" in message
    assert "no hub id" in message and "user/name" in message


def test_an_existing_file_is_not_sought_on_the_hub(
    tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub, "snapshot_download", _must_not_download)
    monkeypatch.chdir(tiny_artifact.parent)
    assert "model/model.onnx" in _message("model/model.onnx")


def test_a_local_folder_is_not_sought_on_the_hub(
    tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub, "snapshot_download", _must_not_download)
    monkeypatch.chdir(tiny_artifact.parent.parent)
    assert load_artifact(f"{tiny_artifact.parent.name}/model").max_length == 512


def _must_not_download(repository: str, **_: object) -> str:
    raise AssertionError(f"the hub was asked for {repository}")


def test_hub_model_in_no_cache_and_without_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    message = _message("user/name")
    assert "no folder 'user/name'" in message and "hub gave no such model" in message


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(LocalEntryNotFoundError("no connection\nmore lines"), id="not in the cache"),
        pytest.param(ConnectionError("no connection"), id="connection"),
        pytest.param(TimeoutError("no connection"), id="timeout"),
        pytest.param(RuntimeError("no connection"), id="of an HTTP library"),
    ],
)
def test_hub_failure_names_the_model_and_the_reason(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(repository: str, **_: object) -> str:
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    message = _message("user/name")
    assert "no folder 'user/name'" in message
    assert message.endswith("no connection")


def test_name_that_the_hub_does_not_allow() -> None:
    message = _message("user/na me")
    assert "no folder 'user/na me'" in message and "alphanumeric" in message


# The manifest


def test_missing_manifest(tmp_path: Path) -> None:
    message = _message(tmp_path)
    assert f"{tmp_path} has no {MANIFEST} and no ONNX file" in message
    assert "export-model" in message and "onnx/model.onnx" in message


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"{", id="cut short"),
        pytest.param(b"", id="empty"),
        pytest.param(b"\xff\xfe{}", id="not UTF-8"),
    ],
)
def test_manifest_that_is_no_json(tmp_path: Path, content: bytes) -> None:
    (tmp_path / MANIFEST).write_bytes(content)
    assert f"{tmp_path / MANIFEST} cannot be read as JSON" in _message(tmp_path)


def test_manifest_that_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).mkdir()
    assert f"{tmp_path / MANIFEST} cannot be read" in _message(tmp_path)


@pytest.mark.parametrize("content", ["[]", "1", "null", '"text"'])
def test_manifest_that_is_no_object(tmp_path: Path, content: str) -> None:
    (tmp_path / MANIFEST).write_text(content)
    assert f"{tmp_path / MANIFEST} is not a JSON object" in _message(tmp_path)


def test_newer_format_says_to_upgrade(copied_artifact: CopiedArtifact) -> None:
    folder = copied_artifact()
    edit_manifest(folder, {"format_version": FORMAT_VERSION + 1})
    message = _message(folder)
    assert f"artifact format {FORMAT_VERSION + 1}" in message
    assert f"reads up to {FORMAT_VERSION}" in message
    assert "pip install --upgrade bertrt" in message


def test_newer_format_is_told_before_anything_else(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text(json.dumps({"format_version": FORMAT_VERSION + 1}))
    assert "upgrade" in _message(tmp_path)


@pytest.mark.parametrize("manifest", [{}, {"format_version": None}, {"format_version": "1"}])
def test_missing_format_version(tmp_path: Path, manifest: dict[str, Any]) -> None:
    (tmp_path / MANIFEST).write_text(json.dumps(manifest))
    message = _message(tmp_path)
    assert "no format_version" in message and "export the model again" in message


@pytest.mark.parametrize("name", ["files", "max_length", "graphs"])
def test_incomplete_manifest_names_what_is_missing(
    copied_artifact: CopiedArtifact, name: str
) -> None:
    folder = copied_artifact()
    edit_manifest(folder, {}, remove=[name])
    message = _message(folder)
    assert str(folder / MANIFEST) in message
    assert "incomplete" in message and name in message and "export the model again" in message


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"files": ["model.onnx"]}, id="files is a list"),
        pytest.param({"files": {"model.onnx": None}}, id="a file without facts"),
        pytest.param({"files": {"model.onnx": {}}}, id="a file without size"),
        pytest.param({"max_length": "many"}, id="max_length is a word"),
        pytest.param({"max_length": None}, id="max_length is null"),
        pytest.param({"graphs": 1}, id="graphs is a number"),
    ],
)
def test_malformed_manifest(copied_artifact: CopiedArtifact, changes: dict[str, Any]) -> None:
    folder = copied_artifact()
    edit_manifest(folder, changes)
    message = _message(folder)
    assert str(folder / MANIFEST) in message and "malformed" in message


def test_file_without_a_checksum(copied_artifact: CopiedArtifact) -> None:
    folder = copied_artifact()
    size = (folder / "model.onnx").stat().st_size
    edit_manifest(folder, {"files": {"model.onnx": {"size": size}}})
    message = _message(folder)
    assert "incomplete" in message and "sha256" in message


@pytest.mark.parametrize(
    ("name", "value", "known"),
    [
        ("task", "fill-mask", "text-classification, token-classification"),
        ("layout", "ragged", "packed, padded"),
    ],
)
def test_words_of_a_later_bertrt(
    copied_artifact: CopiedArtifact, name: str, value: str, known: str
) -> None:
    folder = copied_artifact()
    edit_manifest(folder, {name: value})
    message = _message(folder)
    assert f"the {name} is {value!r} and this bertrt knows {known}" in message
    assert "pip install --upgrade bertrt" in message


def test_an_older_manifest_states_no_task(copied_artifact: CopiedArtifact) -> None:
    folder = copied_artifact()
    edit_manifest(folder, {}, remove=["task"])
    assert load_artifact(folder).task == "text-classification"


def test_thresholds_stand_in_logit_order(copied_artifact: CopiedArtifact) -> None:
    folder = copied_artifact()
    edit_manifest(folder, {"thresholds": {"positive": 1, "negative": 0.25, "neutral": 0.5}})
    assert load_artifact(folder).thresholds == (0.25, 0.5, 1.0)


@pytest.mark.parametrize(
    ("thresholds", "why"),
    [
        ({"negative": 0.5, "neutral": 0.5}, "exactly the labels negative, neutral, positive"),
        ({"negative": 0, "neutral": 0, "positive": 0, "x": 0}, "exactly the labels"),
        ([0.5, 0.5, 0.5], "exactly the labels"),
        ({"negative": 0.5, "neutral": 1.5, "positive": 0.5}, "of neutral is 1.5, not 0 to 1"),
        ({"negative": 0.5, "neutral": "x", "positive": 0.5}, "of neutral is 'x', not 0 to 1"),
        ({"negative": True, "neutral": 0.5, "positive": 0.5}, "of negative is True"),
    ],
)
def test_malformed_thresholds(
    copied_artifact: CopiedArtifact, thresholds: object, why: str
) -> None:
    folder = copied_artifact()
    edit_manifest(folder, {"thresholds": thresholds})
    message = _message(folder)
    assert str(folder / MANIFEST) in message and "malformed" in message and why in message


def test_manifest_without_a_graph(copied_artifact: CopiedArtifact) -> None:
    folder = copied_artifact()
    edit_manifest(folder, {"graphs": {}})
    assert "lists no graph" in _message(folder)


@pytest.mark.parametrize(
    "name", ["model.onnx", "config.json", "tokenizer.json", "tokenizer_config.json"]
)
def test_every_file_that_is_read_must_be_listed(copied_artifact: CopiedArtifact, name: str) -> None:
    folder = copied_artifact()
    files = _manifest(folder)["files"]
    del files[name]
    edit_manifest(folder, {"files": files})
    message = _message(folder)
    assert str(folder / MANIFEST) in message and f"lists no {name}" in message


# The files


@pytest.mark.parametrize("name", ["model.onnx", "config.json", "tokenizer.json"])
@pytest.mark.parametrize("check_files", [True, False])
def test_missing_file(copied_artifact: CopiedArtifact, name: str, check_files: bool) -> None:
    folder = copied_artifact()
    (folder / name).unlink()
    message = _message(folder, check_files=check_files)
    assert f"{folder / name} is missing" in message


@pytest.mark.parametrize("check_files", [True, False])
def test_truncated_file(copied_artifact: CopiedArtifact, check_files: bool) -> None:
    folder = copied_artifact()
    file = folder / "model.onnx"
    content = file.read_bytes()
    file.write_bytes(content[:-100])
    message = _message(folder, check_files=check_files)
    assert str(file) in message and "cut short" in message
    assert f"{len(content) - 100} bytes" in message and str(len(content)) in message


def _tamper(file: Path) -> None:
    """Change one byte."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_tampered_file_of_the_same_size(copied_artifact: CopiedArtifact, name: str) -> None:
    folder = copied_artifact()
    _tamper(folder / name)
    message = _message(folder)
    assert str(folder / name) in message and "SHA-256 differs" in message


def test_contents_go_unread_where_the_check_is_off(copied_artifact: CopiedArtifact) -> None:
    folder = copied_artifact()
    _tamper(folder / "model.onnx")
    assert load_artifact(folder, check_files=False).path == folder


def test_files_that_the_manifest_does_not_name_are_free_to_change(
    copied_artifact: CopiedArtifact,
) -> None:
    folder = copied_artifact()
    (folder / "notes.txt").write_text("mine")
    (folder / "report.md").write_text("mine too")
    assert load_artifact(folder).path == folder


def test_file_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    file = tmp_path / "abc"
    file.write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    assert file_sha256(file) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_read_json_gives_the_hint_of_its_caller(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"has no x\.json: look elsewhere"):
        read_json(tmp_path, "x.json", "look elsewhere")


# config.json


def test_config_that_is_no_json(copied_artifact: CopiedArtifact) -> None:
    folder = copied_artifact()
    replace_file(folder, "config.json", b"{,}")
    assert f"{folder / 'config.json'} cannot be read as JSON" in _message(folder)


@pytest.mark.parametrize("id2label", [None, {}, ["negative", "positive"]])
def test_missing_labels(copied_artifact: CopiedArtifact, id2label: object) -> None:
    folder = copied_artifact()
    edit_config(folder, {"id2label": id2label})
    message = _message(folder)
    assert str(folder / "config.json") in message and "no id2label" in message


@pytest.mark.parametrize(
    ("id2label", "missing"),
    [
        pytest.param({"1": "a", "2": "b", "3": "c"}, "'0'", id="numbered from 1"),
        pytest.param({"0": "a", "1": "b", "3": "c"}, "'2'", id="one left out"),
        pytest.param({"a": "0", "b": "1", "c": "2"}, "'0'", id="the wrong way round"),
    ],
)
def test_misnumbered_labels(
    copied_artifact: CopiedArtifact, id2label: dict[str, str], missing: str
) -> None:
    folder = copied_artifact()
    edit_config(folder, {"id2label": id2label})
    message = _message(folder)
    assert f"3 entries but none for {missing}" in message
    assert "number the labels 0 to 2" in message


def test_labels_stand_in_the_order_of_their_numbers(copied_artifact: CopiedArtifact) -> None:
    folder = copied_artifact()
    edit_config(folder, {"id2label": {str(index): f"label {index}" for index in (10, 2, 1, 0)}})
    assert "4 entries but none for '3'" in _message(folder)
    edit_config(
        folder, {"id2label": {str(index): f"label {index}" for index in reversed(range(11))}}
    )
    assert load_artifact(folder).labels == tuple(f"label {index}" for index in range(11))


@pytest.mark.parametrize(
    ("problem_type", "labels", "activation"),
    [
        ("single_label_classification", 3, "softmax"),
        ("multi_label_classification", 3, "sigmoid"),
        ("regression", 3, "none"),
        (None, 3, "softmax"),
        ("single_label_classification", 1, "sigmoid"),
        ("multi_label_classification", 1, "sigmoid"),
        ("regression", 1, "none"),
        (None, 1, "sigmoid"),
    ],
)
def test_activation(
    copied_artifact: CopiedArtifact, problem_type: str | None, labels: int, activation: str
) -> None:
    folder = copied_artifact()
    id2label = {str(index): f"label {index}" for index in range(labels)}
    edit_config(folder, {"id2label": id2label, "problem_type": problem_type})
    assert load_artifact(folder).activation == activation


def test_unknown_problem_type(copied_artifact: CopiedArtifact) -> None:
    folder = copied_artifact()
    edit_config(folder, {"problem_type": "ranking"})
    message = _message(folder)
    assert str(folder / "config.json") in message and "'ranking'" in message
    assert "single_label_classification" in message and "regression" in message
