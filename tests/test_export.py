"""export_model: what it writes, what it refuses, and that nothing is ever half-written."""

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from bertrt import Classifier
from bertrt.artifact import FORMAT_VERSION, file_sha256
from bertrt.version import __version__
from bertrt_export import ExportError, VerificationError, artifact_writer, export_model, exporter
from bertrt_export.artifact_writer import staged_folder
from bertrt_export.checkpoint import load_checkpoint
from bertrt_export.golden import GOLDEN_TEXTS

from tests.helpers import edit_json

_FILES = {"bertrt.json", "config.json", "model.onnx", "report.md", "tokenizer.json"}


def _manifest(artifact: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((artifact / "bertrt.json").read_text(encoding="utf-8"))
    return content


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# What is written


def test_folder_holds_everything_a_client_needs(tiny_artifact: Path) -> None:
    names = {path.name for path in tiny_artifact.iterdir()}
    assert names >= _FILES
    assert not any(path.is_dir() for path in tiny_artifact.iterdir())
    assert not any(name.startswith(".") for name in names)


def test_folder_can_be_read_by_others(tiny_artifact: Path) -> None:
    assert stat.S_IMODE(tiny_artifact.stat().st_mode) == 0o755


def test_manifest_lists_every_file_that_the_runtime_reads(tiny_artifact: Path) -> None:
    files = _manifest(tiny_artifact)["files"]
    assert set(files) == {path.name for path in tiny_artifact.iterdir()} - {
        "bertrt.json",
        "report.md",
    }
    for name, entry in files.items():
        file = tiny_artifact / name
        assert entry == {"size": file.stat().st_size, "sha256": file_sha256(file)}


def test_manifest_says_what_was_exported_and_verified(
    tiny_checkpoint: Path, tiny_artifact: Path
) -> None:
    manifest = _manifest(tiny_artifact)
    assert manifest["format_version"] == FORMAT_VERSION
    assert manifest["bertrt_version"] == __version__
    assert manifest["layout"] == "packed" and manifest["graphs"] == {"fp32": "model.onnx"}
    assert manifest["max_length"] == 512
    source = manifest["source"]
    assert source["model"] == str(tiny_checkpoint) and source["revision"] is None
    assert source["weights_sha256"] == load_checkpoint(str(tiny_checkpoint)).sha256
    assert set(manifest["verified"]) == {"fp32"}
    verified = manifest["verified"]["fp32"]
    assert verified["texts"] == len(verified["lengths"]) >= 20
    assert 0 < verified["max_abs_diff"] <= verified["tolerance"] == 1e-4


def test_golden_logits_are_pytorchs(tiny_checkpoint: Path, tiny_artifact: Path) -> None:
    golden = _manifest(tiny_artifact)["golden"]
    texts = [tuple(g["text"]) if isinstance(g["text"], list) else g["text"] for g in golden]
    assert tuple(texts) == GOLDEN_TEXTS
    checkpoint = load_checkpoint(str(tiny_checkpoint))
    for text, entry in zip(texts, golden, strict=True):
        parts = (text,) if isinstance(text, str) else text
        inputs = checkpoint.tokenizer(*parts, return_tensors="pt")
        with torch.inference_mode():
            expected = checkpoint.model(**inputs).logits[0].numpy()
        np.testing.assert_allclose(entry["logits"]["fp32"], expected, rtol=0, atol=1e-5)


def test_graph_is_valid_onnx_with_the_documented_inputs(tiny_artifact: Path) -> None:
    onnx.checker.check_model(tiny_artifact / "model.onnx", full_check=True)
    graph = onnx.load(tiny_artifact / "model.onnx").graph
    inputs = {value.name: value.type.tensor_type for value in graph.input}
    assert set(inputs) == {"input_ids", "token_type_ids", "lengths"}
    int64, int32 = onnx.TensorProto.INT64, onnx.TensorProto.INT32
    assert inputs["input_ids"].elem_type == inputs["token_type_ids"].elem_type == int64
    assert inputs["lengths"].elem_type == int32
    assert [value.name for value in graph.output] == ["logits"]


def test_labels_with_default_names_are_written_out(
    copied_checkpoint: Callable[[], Path], tmp_path: Path
) -> None:
    checkpoint = copied_checkpoint()
    labels = {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}
    edit_json(checkpoint / "config.json", {"id2label": labels}, ["label2id"])
    export_model(str(checkpoint), tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))
    assert config["id2label"] == labels
    assert "_name_or_path" not in config  # a path of the machine it was made on


def test_report_has_the_figures(tiny_artifact: Path) -> None:
    report = (tiny_artifact / "report.md").read_text(encoding="utf-8")
    verified = _manifest(tiny_artifact)["verified"]["fp32"]
    for name in ("max_abs_diff_alone", "max_abs_diff_batched", "max_abs_diff_shuffled"):
        assert f"{verified[name]:.2e}" in report
    assert "`positive`" in report and "BertForSequenceClassification" in report


def test_result_says_where_and_how_large(tiny_checkpoint: Path, tmp_path: Path) -> None:
    result = export_model(str(tiny_checkpoint), tmp_path / "out")
    assert result.path == tmp_path / "out"
    files = _manifest(result.path)["files"]
    assert result.size == sum(entry["size"] for entry in files.values())
    assert result.precisions == ("fp32",) and result.int8 is None
    verified = _manifest(result.path)["verified"]["fp32"]
    assert result.verification.max_abs_diff == verified["max_abs_diff"]


def test_exporting_again_gives_the_same_bytes(
    tiny_checkpoint: Path, tiny_artifact: Path, tmp_path: Path
) -> None:
    export_model(str(tiny_checkpoint), tmp_path / "again")
    assert _contents(tmp_path / "again") == _contents(tiny_artifact)


def test_external_data(tiny_checkpoint: Path, tiny_artifact: Path, tmp_path: Path) -> None:
    """The weights stand beside the graph, or within it where that is asked for."""
    files = _manifest(tiny_artifact)["files"]
    assert files["model.onnx.data"]["size"] > 1_000_000 > files["model.onnx"]["size"]
    export_model(str(tiny_checkpoint), tmp_path / "out", external_data=False)
    files = _manifest(tmp_path / "out")["files"]
    assert "model.onnx.data" not in files and files["model.onnx"]["size"] > 1_000_000
    assert not (tmp_path / "out" / "model.onnx.data").exists()
    texts = ["a gorgeous film", "dull"]
    np.testing.assert_array_equal(
        Classifier(tmp_path / "out", "cpu").logits(texts),
        Classifier(tiny_artifact, "cpu").logits(texts),
    )


@pytest.mark.parametrize("max_length", [8, 100, 512])
def test_max_length(tiny_checkpoint: Path, tmp_path: Path, max_length: int) -> None:
    export_model(str(tiny_checkpoint), tmp_path / "out", max_length=max_length)
    manifest = _manifest(tmp_path / "out")
    assert manifest["max_length"] == manifest["verified"]["fp32"]["lengths"][-1] == max_length
    settings = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert settings["model_max_length"] == max_length
    assert Classifier(tmp_path / "out", "cpu").artifact.max_length == max_length


def test_progress_names_each_stage(tiny_checkpoint: Path, tmp_path: Path) -> None:
    stages: list[str] = []
    export_model(
        str(tiny_checkpoint), tmp_path / "out", on_progress=lambda what, *_: stages.append(what)
    )
    expected = ["loading the checkpoint", "tracing", "saving", "comparing with PyTorch"]
    assert list(dict.fromkeys(stages)) == expected


# What is refused, before anything is loaded


def _refused(model: str | Path, output: Path, **options: Any) -> str:
    before = sorted(output.parent.rglob("*"))
    with pytest.raises(ExportError) as raised:
        export_model(str(model), output, **options)
    assert sorted(output.parent.rglob("*")) == before
    return str(raised.value)


@pytest.mark.parametrize("precision", ["fp64", "fp32,fp8", "int4", "", "int8,"])
def test_other_precisions_are_not_accepted_silently(
    tiny_checkpoint: Path, tmp_path: Path, precision: str
) -> None:
    message = _refused(tiny_checkpoint, tmp_path / "out", precision=precision)
    assert "is not available" in message and "fp32, int8" in message


@pytest.mark.parametrize("max_length", [-1, 0, 1, 7, 513, 100_000])
def test_max_length_out_of_range(tiny_checkpoint: Path, tmp_path: Path, max_length: int) -> None:
    message = _refused(tiny_checkpoint, tmp_path / "out", max_length=max_length)
    assert f"--max-length {max_length}" in message and "8 to 512 tokens" in message


def test_existing_artifact_is_kept_without_overwrite(
    tiny_checkpoint: Path, copied_artifact: Callable[[], Path]
) -> None:
    artifact = copied_artifact()
    before = _contents(artifact)
    message = _refused(tiny_checkpoint, artifact)
    assert str(artifact) in message and "--overwrite" in message
    assert _contents(artifact) == before


@pytest.mark.parametrize("overwrite", [False, True])
def test_folder_of_other_things_is_never_overwritten(
    tiny_checkpoint: Path, tmp_path: Path, overwrite: bool
) -> None:
    output = tmp_path / "thesis"
    output.mkdir()
    (output / "chapter1.txt").write_text("years of work")
    message = _refused(tiny_checkpoint, output, overwrite=overwrite)
    assert "is no bertrt artifact" in message and "never overwritten" in message


def test_file_in_the_place_of_the_output(tiny_checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    message = _refused(tiny_checkpoint, tmp_path / "out", overwrite=True)
    assert "is a file" in message


def test_file_in_the_place_of_a_parent(tiny_checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    message = _refused(tiny_checkpoint, tmp_path / "file" / "out")
    assert "cannot be written" in message and str(tmp_path / "file") in message


# Overwriting


def test_overwrite_replaces_the_whole_folder(
    tiny_checkpoint: Path, copied_artifact: Callable[[], Path]
) -> None:
    artifact = copied_artifact()
    (artifact / "stale.txt").write_text("of the old export")
    export_model(str(tiny_checkpoint), artifact, max_length=64, overwrite=True)
    assert not (artifact / "stale.txt").exists()
    assert _manifest(artifact)["max_length"] == 64
    assert [path.name for path in artifact.parent.iterdir()] == [artifact.name]


def test_an_artifact_that_holds_the_checkpoint_is_kept(
    copied_checkpoint: Callable[[], Path], copied_artifact: Callable[[], Path]
) -> None:
    artifact = copied_artifact()
    checkpoint = copied_checkpoint().rename(artifact / "checkpoint")
    message = _refused(checkpoint, artifact, overwrite=True)
    assert "holds it: choose another output directory" in message
    assert (checkpoint / "config.json").is_file()


def test_empty_folder_needs_no_overwrite(tiny_checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    export_model(str(tiny_checkpoint), tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} >= _FILES


def test_link_stays_and_what_it_points_to_is_replaced(
    tiny_checkpoint: Path, copied_artifact: Callable[[], Path]
) -> None:
    artifact = copied_artifact()
    link = artifact.parent / "current"
    link.symlink_to(artifact.name)
    export_model(str(tiny_checkpoint), link, max_length=64, overwrite=True)
    assert link.is_symlink() and _manifest(artifact)["max_length"] == 64


def test_parents_are_made(tiny_checkpoint: Path, tmp_path: Path) -> None:
    export_model(str(tiny_checkpoint), tmp_path / "a" / "b" / "out")
    assert (tmp_path / "a" / "b" / "out" / "bertrt.json").is_file()


# Failing half-way


def _fails(*_: object, **__: object) -> None:
    raise VerificationError("the figures")


def _interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def _disk_full(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("step", "failure", "error"),
    [
        ("verify", _fails, VerificationError),
        ("verify", _interrupted, KeyboardInterrupt),
        ("write_tokenizer", _interrupted, KeyboardInterrupt),
        ("save_graph", _disk_full, ExportError),
        ("write_manifest", _disk_full, ExportError),
    ],
)
def test_failure_leaves_nothing_behind(
    tiny_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    failure: Callable[..., None],
    error: type[BaseException],
) -> None:
    monkeypatch.setattr(exporter, step, failure)
    with pytest.raises(error):
        export_model(str(tiny_checkpoint), tmp_path / "new" / "folder" / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("failure", [_fails, _interrupted])
def test_failure_keeps_the_old_artifact(
    tiny_checkpoint: Path,
    copied_artifact: Callable[[], Path],
    monkeypatch: pytest.MonkeyPatch,
    failure: Callable[..., None],
) -> None:
    artifact = copied_artifact()
    before = _contents(artifact)
    monkeypatch.setattr(exporter, "verify", failure)
    with pytest.raises((VerificationError, KeyboardInterrupt)):
        export_model(str(tiny_checkpoint), artifact, overwrite=True)
    assert _contents(artifact) == before
    assert [path.name for path in artifact.parent.iterdir()] == [artifact.name]


def test_old_artifact_comes_back_if_the_new_one_cannot_take_its_place(
    copied_artifact: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = copied_artifact()
    before = _contents(artifact)
    rename = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if Path(target) == artifact and self.parent == artifact.parent:
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with (
        pytest.raises(ExportError, match="cannot be written"),
        staged_folder(artifact) as stage,
    ):
        (stage / "bertrt.json").write_text("{}")
    assert _contents(artifact) == before
    assert [path.name for path in artifact.parent.iterdir()] == [artifact.name]


def test_artifact_that_the_runtime_refuses_is_not_put_in_place(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = artifact_writer.write_manifest

    def forget_the_graph(*arguments: Any, **options: Any) -> dict[str, Any]:
        manifest = write(*arguments, **options)
        stage = arguments[1]
        edit_json(stage / "bertrt.json", {"graphs": {"fp32": "elsewhere.onnx"}})
        return manifest

    monkeypatch.setattr(exporter, "write_manifest", forget_the_graph)
    message = _refused(tiny_checkpoint, tmp_path / "out")
    assert "the runtime cannot load what was exported" in message
