"""int8 from the checkpoint to the artifact: what is measured, written, refused and served."""

import dataclasses
import hashlib
import json
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from bertrt import Classifier
from bertrt.tokenizer import TextTokenizer
from bertrt_bench.outliers import with_outliers
from bertrt_bench.peers.ort_dynamic_int8 import export_padded, load_padded, quantize_per_tensor
from bertrt_bench.workloads import EXAMPLES
from bertrt_export import (
    CalibrationFile,
    ExportResult,
    Limits,
    QuantizationError,
    export_model,
    exporter,
)
from bertrt_export.artifact_writer import write_tokenizer
from bertrt_export.calibration import read_calibration
from bertrt_export.candidates import Timing
from bertrt_export.checkpoint import load_checkpoint
from bertrt_export.cli import main
from bertrt_export.packed import packed_graph
from bertrt_export.quantization.fidelity import Fidelity
from bertrt_export.quantization.graph_session import GraphSession
from bertrt_export.quantization.int8 import quantize
from bertrt_export.verify import pytorch_logits

_OUT_OF_REACH = Limits(min_agreement=1.01)
_ANY = Limits(min_agreement=0.0, max_accuracy_drop=1.0)


def test_the_manifest_has_what_was_measured(
    tiny_int8_export: ExportResult, calibration_file: Path
) -> None:
    manifest = json.loads((tiny_int8_export.path / "bertrt.json").read_text())
    facts, int8 = manifest["verified"]["int8"], tiny_int8_export.int8
    assert int8 is not None
    assert manifest["graphs"] == {"fp32": "model.onnx", "int8": "model_int8.onnx"}
    fidelity = dataclasses.asdict(int8.fidelity)
    assert {name: facts[name] for name in fidelity} == fidelity
    assert facts["accuracy"] is not None
    sha256 = hashlib.sha256(calibration_file.read_bytes()).hexdigest()
    assert facts["calibration"]["sha256"] == sha256
    assert facts["calibration"]["calibration_texts"] + facts["texts"] == 120
    assert {unit["form"] for unit in facts["units"].values()} <= {
        *("static", "per-token", "float", "int8", "fp16")
    }
    assert len(facts["units"]) == len(int8.choice) > 10
    for golden in manifest["golden"]:
        assert set(golden["logits"]) == {"fp32", "int8"}


def test_the_report_shows_it(tiny_int8_export: ExportResult) -> None:
    report = (tiny_int8_export.path / "report.md").read_text(encoding="utf-8")
    int8 = tiny_int8_export.int8
    assert int8 is not None
    assert f"{int8.fidelity.agreement:.2%}" in report
    assert int8.texts.sha256 is not None and int8.texts.sha256 in report
    assert [name for name in int8.choice if name not in report] == []
    picture = matplotlib.image.imread(tiny_int8_export.path / "report.png")
    assert picture.shape[0] > 300 and picture.shape[1] > 800
    assert picture.std() > 0.05  # not an empty page


def test_the_measured_fidelity_is_that_of_the_artifact(
    tiny_int8_export: ExportResult, tiny_checkpoint: Path
) -> None:
    int8 = tiny_int8_export.int8
    assert int8 is not None
    classifier = Classifier(tiny_int8_export.path, "cpu", precision="int8")
    logits = classifier.logits(list(int8.texts.verification))
    np.testing.assert_allclose(logits, int8.logits, atol=1e-5)
    texts = TextTokenizer(tiny_int8_export.path, 512).encode(int8.texts.verification)
    checkpoint = load_checkpoint(str(tiny_checkpoint))
    reference = np.concatenate(pytorch_logits(checkpoint, texts, lambda *_: None))
    again = Fidelity.measure(logits, reference, int8.texts.labels, single_label=True)
    assert again.agreement == int8.fidelity.agreement
    assert again.mean_abs_diff == pytest.approx(int8.fidelity.mean_abs_diff, abs=1e-5)


def test_no_batch_changes_an_answer(
    tiny_int8_artifact: Path, sst2_dev: list[tuple[str, int]]
) -> None:
    texts = [text for text, _ in sst2_dev[:60]]
    classifier = Classifier(tiny_int8_artifact, "cpu", precision="int8")
    alone = np.concatenate([classifier.logits(text) for text in texts])
    order = np.random.default_rng(0).permutation(len(texts))
    shuffled = classifier.logits([texts[position] for position in order])
    np.testing.assert_allclose(classifier.logits(texts), alone, atol=1e-6)
    np.testing.assert_allclose(shuffled, alone[order], atol=1e-6)


@pytest.mark.slow
def test_outliers_break_dynamic_int8_and_not_ours(tmp_path: Path) -> None:
    """The same float function with 40 times the activations in a few channels."""
    checkpoint = load_checkpoint(str(EXAMPLES / "sentiment"))
    hard = dataclasses.replace(checkpoint, model=with_outliers(checkpoint.model))
    write_tokenizer(hard, tmp_path, hard.max_length)
    tokenizer = TextTokenizer(tmp_path, hard.max_length)
    texts = read_calibration(
        EXAMPLES / "data/sst2/dev.tsv",
        text_column="1",
        label_column="2",
        label2id=dict(hard.config.label2id),
    )
    encodings = tokenizer.encode(texts.verification)
    easy = np.concatenate(pytorch_logits(checkpoint, encodings, lambda *_: None))
    reference = np.concatenate(pytorch_logits(hard, encodings, lambda *_: None))
    np.testing.assert_allclose(reference, easy, atol=1e-3)

    graph = packed_graph(hard)
    int8 = quantize(hard, graph, tokenizer, texts, reference, Limits(), lambda *_: None)
    ours = GraphSession(int8.graph).logits(encodings)
    export_padded(hard.model, tmp_path / "fp32.onnx")
    quantize_per_tensor(tmp_path / "fp32.onnx", tmp_path / "int8.onnx")
    run = load_padded(tmp_path / "int8.onnx")
    theirs = np.concatenate([run([encoding]) for encoding in encodings])
    error, naive = np.abs(ours - reference).mean(), np.abs(theirs - reference).mean()
    assert int8.fidelity.agreement >= 0.99
    assert error < naive / 10
    forms = [step.name for step in int8.choice.values()]
    assert forms.count("float") <= 1


@pytest.mark.parametrize("limits", [_OUT_OF_REACH, Limits(max_accuracy_drop=-1.0)])
def test_limits_that_cannot_hold_leave_nothing(
    tiny_checkpoint: Path, calibration_file: Path, tmp_path: Path, limits: Limits
) -> None:
    calibration = CalibrationFile(calibration_file, text_column="1", label_column="2")
    with pytest.raises(QuantizationError, match="does not hold the limits") as raised:
        export_model(
            str(tiny_checkpoint),
            tmp_path / "out",
            precision="int8",
            calibration=calibration,
            limits=limits,
        )
    assert "agreement" in str(raised.value) and "dense" in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_the_command_exits_1_with_the_table(
    tiny_checkpoint: Path,
    calibration_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Fidelity, "within", lambda *_: False)
    status = main(
        [
            *(str(tiny_checkpoint), str(tmp_path / "out"), "--precision", "int8"),
            *("--calibration", str(calibration_file), "--text-column", "1"),
        ]
    )
    assert status == 1
    assert "does not hold the limits" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("faster", ["fp32", "int8"])
def test_auto_keeps_the_faster_one(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faster: str
) -> None:
    def timed(graphs: dict[str, Path], *_: object) -> dict[str, Timing]:
        return {
            name: Timing((1.0, 1.0), (100.0, 100.0) if name == faster else (50.0, 50.0))
            for name in graphs
        }

    monkeypatch.setattr(exporter, "time_candidates", timed)
    result = export_model(str(tiny_checkpoint), tmp_path / "out", precision="auto", limits=_ANY)
    assert result.precisions == (faster,) and result.timings is not None
    manifest = json.loads((result.path / "bertrt.json").read_text())
    assert list(manifest["graphs"]) == [faster]
    assert len(list(result.path.glob("model*.onnx"))) == 1
    assert "The faster precision" in (result.path / "report.md").read_text(encoding="utf-8")
    assert Classifier(result.path, "cpu").precision == faster


def test_auto_keeps_fp32_where_int8_misses_the_limits(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    result = export_model(
        str(tiny_checkpoint), tmp_path / "out", precision="auto", limits=_OUT_OF_REACH
    )
    assert (result.precisions, result.int8, result.timings) == (("fp32",), None, None)
    assert result.refused is not None
    assert result.refused in (result.path / "report.md").read_text(encoding="utf-8")


def test_built_in_texts_come_with_a_warning_and_no_accuracy(
    tiny_checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    result = export_model(str(tiny_checkpoint), tmp_path / "out", precision="int8", limits=_ANY)
    assert result.int8 is not None and result.int8.fidelity.accuracy is None
    assert [r.levelname for r in caplog.records if r.name == "bertrt_export"] == ["WARNING"]
    assert "--calibration" in caplog.text
