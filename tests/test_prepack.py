"""Artifacts whose weights are stored as the kernels want them."""

import json
import logging
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from bertrt import ArtifactError, BackendError, Classifier, DeviceError, loading, prepacked
from bertrt import precision as precisions
from bertrt import prepack as module
from bertrt.artifact import load_artifact
from bertrt.cli import main
from bertrt.devices import Device
from bertrt.model_files import file_sha256
from bertrt.precision import choose_precision, devices_to_try
from bertrt.prepack import prepack

from tests.helpers import edit_manifest, full_disk

_TEXTS = ["good", "", "a waste of time , from the start to the very end", "café 好", "x " * 90]

# Loads a model, answers, prints its anonymous memory in kB, and waits.
_PROCESS = """
import re, sys
from bertrt import Classifier
classifier = Classifier(sys.argv[1], "cpu", threads=1)
classifier("good")
memory = open("/proc/self/smaps_rollup").read()
print(re.search(r"^Anonymous: +([0-9]+)", memory, re.MULTILINE)[1])
"""


@pytest.fixture(scope="module")
def packed(tiny_int8_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny_int8_artifact`, prepacked. Read only."""
    folder = tmp_path_factory.mktemp("prepacked") / "model"
    prepack(tiny_int8_artifact, folder)
    return folder


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_answers_are_the_same_bit_by_bit(
    tiny_int8_artifact: Path, packed: Path, precision: str
) -> None:
    before, after = (
        Classifier(folder, "cpu", precision=precision).logits(_TEXTS)
        for folder in (tiny_int8_artifact, packed)
    )
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("name", ["model.onnx", "model_int8.onnx"])
def test_packed_weights_are_in_the_file_beside_the_graph(packed: Path, name: str) -> None:
    graph = onnx.load(packed / name, load_external_data=False).graph
    stored = [
        entry.value
        for weight in graph.initializer
        for entry in weight.external_data
        if entry.key.startswith("prepacked_")
    ]
    # "OPERATOR+HASH|OFFSET;LENGTH;..", within the file
    ends = [sum(map(int, text.split("|")[1].split(";")[:2])) for text in stored]
    assert len(stored) >= 2 * 5  # at least those of each layer's products
    assert max(ends) <= (packed / f"{name}.data").stat().st_size


def test_the_folder_is_a_whole_artifact(tiny_int8_artifact: Path, packed: Path) -> None:
    before, after = (
        json.loads((folder / "bertrt.json").read_text()) for folder in (tiny_int8_artifact, packed)
    )
    assert after.pop("prepacked") == prepacked.this_machine()
    files = after.pop("files")
    assert files.keys() == before.pop("files").keys() and after == before
    for name, facts in files.items():
        assert facts["sha256"] == file_sha256(packed / name)
    assert {file.name for file in packed.iterdir()} == {
        file.name for file in tiny_int8_artifact.iterdir()
    }


def test_weights_within_the_graph_come_to_a_file_of_their_own(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    from bertrt_export import export_model

    export_model(str(tiny_checkpoint), tmp_path / "model", external_data=False)
    written = prepack(tmp_path / "model", tmp_path / "packed")
    assert not (tmp_path / "model" / "model.onnx.data").exists()
    assert "model.onnx.data" in json.loads((written.path / "bertrt.json").read_text())["files"]
    Classifier(written.path, "cpu")("good")


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_process_has_less_memory_of_its_own(tmp_path: Path, tokenizer_folder: Path) -> None:
    from bertrt_export import export_model
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    config = BertConfig(hidden_size=512, num_hidden_layers=2, num_attention_heads=8)
    BertForSequenceClassification(config).save_pretrained(tmp_path / "checkpoint")
    AutoTokenizer.from_pretrained(tokenizer_folder).save_pretrained(tmp_path / "checkpoint")
    export_model(str(tmp_path / "checkpoint"), tmp_path / "model")
    written = prepack(tmp_path / "model", tmp_path / "packed")
    own = {}
    for name in ("model", "packed"):
        command = [sys.executable, "-c", _PROCESS, str(tmp_path / name)]
        own[name] = 1024 * int(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    # 2 layers of 512 x (4 x 512 + 2 x 3072) float32 weights
    assert written.added_bytes["fp32"] > 33.5e6
    assert own["packed"] < own["model"] - 0.8 * written.added_bytes["fp32"]


def test_on_another_machine_it_says_so_and_answers(
    tiny_int8_artifact: Path,
    packed: Path,
    copy_of: Callable[[Path], Path],
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, "bertrt"):
        Classifier(packed, "cpu")
        assert caplog.messages == []
        for fact, value in (("onnxruntime", "1.20.0"), ("instructions", ["sve"])):
            moved = copy_of(packed)
            edit_manifest(moved, {"prepacked": {**prepacked.this_machine(), fact: value}})
            np.testing.assert_array_equal(
                Classifier(moved, "cpu").logits(_TEXTS),
                Classifier(tiny_int8_artifact, "cpu").logits(_TEXTS),
            )
            (message,) = caplog.messages
            assert "run `bertrt prepack` here" in message and str(moved) in message
            caplog.clear()


def test_it_is_for_the_cpu_but_for_fp16(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = load_artifact(packed)
    monkeypatch.setattr(precisions, "cuda_is_available", lambda: True)
    assert devices_to_try(artifact, "auto", Device("auto")) == [Device("cpu")]
    for asked in ("auto", "fp32", "int8"):
        with pytest.raises(DeviceError, match="packed for the CPU: use device='cpu'"):
            choose_precision(artifact, asked, Device("cuda"))
    held = replace(artifact, graphs={**artifact.graphs, "fp16": packed / "model_fp16.onnx"})
    assert devices_to_try(held, "auto", Device("auto"))[0] == Device("cuda")
    assert choose_precision(held, "auto", Device("cuda")) == "fp16"


def test_fp16_is_copied_as_it_is(copied_artifact: Callable[[], Path], tmp_path: Path) -> None:
    model = copied_artifact()
    (model / "model_fp16.onnx").write_bytes(b"for CUDA")
    files = json.loads((model / "bertrt.json").read_text())["files"]
    fp16 = {"size": 8, "sha256": file_sha256(model / "model_fp16.onnx")}
    edit_manifest(
        model,
        {
            "graphs": {"fp32": "model.onnx", "fp16": "model_fp16.onnx"},
            "files": {**files, "model_fp16.onnx": fp16},
        },
    )
    written = prepack(model, tmp_path / "packed")
    assert (written.path / "model_fp16.onnx").read_bytes() == b"for CUDA"
    assert list(written.added_bytes) == ["fp32"]
    assert Classifier(written.path, "cpu").precision == "fp32"


def test_other_answers_are_not_put_in_place(
    tiny_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = loading.load_model

    class _Wrong:
        def __init__(self, session: Any) -> None:
            self._session = session

        def run(self, batch: Any) -> np.ndarray:
            logits: np.ndarray = self._session.run(batch)
            return np.asarray(np.nextafter(logits, np.float32(np.inf)))

    def wrong(folder: Path, *arguments: Any, **options: Any) -> Any:
        loaded = load(folder, *arguments, **options)
        if folder == tiny_artifact:
            return loaded
        return replace(loaded, session=_Wrong(loaded.session))  # type: ignore[arg-type]

    monkeypatch.setattr(module, "load_model", wrong)
    with pytest.raises(BackendError, match=r"answers otherwise than .* nothing was written"):
        prepack(tiny_artifact, tmp_path / "packed")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_called_so_and_nothing_is_left(tiny_artifact: Path, tmp_path: Path) -> None:
    wanted = r"cannot write the packed weights \(is the disk"
    # Files as large as the tokenizer's, and not as the weights.
    with full_disk(2_000_000), pytest.raises(ArtifactError, match=wanted):
        prepack(tiny_artifact, tmp_path / "packed")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("file", "is a file: choose another output directory"),
        ("others", "is no bertrt artifact, so it is never overwritten"),
        ("artifact", "exists: pass --overwrite to replace it"),
    ],
)
def test_an_output_that_may_not_be_written(
    tiny_artifact: Path, tmp_path: Path, output: str, message: str
) -> None:
    (tmp_path / "file").write_text("")
    for folder in ("others", "artifact"):
        (tmp_path / folder).mkdir()
    (tmp_path / "others" / "mine.txt").write_text("")
    (tmp_path / "artifact" / "bertrt.json").write_text("{}")
    with pytest.raises(ArtifactError, match=message):
        prepack(tiny_artifact, tmp_path / output)
    if output == "artifact":
        prepack(tiny_artifact, tmp_path / output, overwrite=True)
        Classifier(tmp_path / output, "cpu")


def test_an_output_that_no_folder_can_be_is_named(tiny_artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    output = tmp_path / "file" / "packed"
    with pytest.raises(OSError, match=f"{output} cannot be written: .*File exists"):
        prepack(tiny_artifact, output)


def test_the_model_itself_is_never_the_output(
    copied_artifact: Callable[[], Path], tmp_path: Path
) -> None:
    model = copied_artifact()
    (tmp_path / "link").symlink_to(model)
    with pytest.raises(ArtifactError, match="is the model itself"):
        prepack(model, tmp_path / "link", overwrite=True)
    Classifier(model, "cpu")


def test_the_output_never_holds_the_model(copied_artifact: Callable[[], Path]) -> None:
    model = copied_artifact()
    within = Path(shutil.copytree(model, model / "within"))
    with pytest.raises(ArtifactError, match="is the model itself, or holds it"):
        prepack(within, model, overwrite=True)
    Classifier(within, "cpu")


def test_what_cannot_be_packed(
    packed: Path,
    copied_foreign: Callable[[str], Path],
    copied_artifact: Callable[[], Path],
    tmp_path: Path,
) -> None:
    with pytest.raises(ArtifactError, match="is packed already: give the folder that it was"):
        prepack(packed, tmp_path / "again")
    with pytest.raises(ArtifactError, match="was not exported by bertrt"):
        prepack(copied_foreign("bert"), tmp_path / "foreign")
    for_cuda = copied_artifact()
    edit_manifest(for_cuda, {"graphs": {"fp16": "model.onnx"}})
    with pytest.raises(ArtifactError, match="holds fp16 only, which runs on CUDA"):
        prepack(for_cuda, tmp_path / "cuda")


def test_the_command(
    tiny_int8_artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["prepack", str(tiny_int8_artifact), str(tmp_path / "packed")]
    assert main(words) == 0
    output, errors = capsys.readouterr()
    assert errors == ""
    assert re.match(
        r"fp32: \d+\.\d MB of packed weights, answers unchanged\n"
        r"int8: \d+\.\d MB of packed weights, answers unchanged\n"
        r".*packed: processes of this machine that load it share its weights\n$",
        output,
    )
    assert main(words) == 1
    assert capsys.readouterr().err == (
        f"bertrt: error: {tmp_path / 'packed'} exists: pass --overwrite to replace it\n"
    )
    assert main([*words, "--overwrite"]) == 0
    capsys.readouterr()
    for model, line in (
        (tiny_int8_artifact, "prepacked +no: each process has packed weights of its own"),
        (tmp_path / "packed", "prepacked +on .+, by onnxruntime [0-9.]+"),
    ):
        assert main(["info", str(model)]) == 0
        assert re.search(f"^{line}$", capsys.readouterr().out, re.MULTILINE)
    assert main(["info", "--json", str(tmp_path / "packed")]) == 0
    assert json.loads(capsys.readouterr().out)["prepacked"] == prepacked.this_machine()
