"""export_model with int8: what is written, measured, reported and refused."""

import hashlib
import json
import logging
import re
import struct
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from bertrt import Classifier
from bertrt.artifact import file_sha256
from bertrt_export import (
    CalibrationFile,
    ExportResult,
    Limits,
    QuantizationError,
    export_model,
    exporter,
)
from bertrt_export.builtin_texts import BUILTIN_TEXTS
from bertrt_export.cli import main
from bertrt_export.golden import GOLDEN_TEXTS
from bertrt_export.quantization.fidelity import Fidelity

_LOOSE = Limits(min_agreement=0.5, max_accuracy_drop=0.5)

Export = Callable[..., ExportResult]


def _manifest(artifact: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((artifact / "bertrt.json").read_text(encoding="utf-8"))
    return content


def _report(artifact: Path) -> str:
    return (artifact / "report.md").read_text(encoding="utf-8")


def _names(artifact: Path) -> set[str]:
    return {path.name for path in artifact.iterdir()}


@pytest.fixture
def traced(tiny_graph: ir.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spares each export the seconds of tracing `tiny_checkpoint` again."""
    monkeypatch.setattr(exporter, "packed_graph", lambda checkpoint: tiny_graph.clone())


@pytest.fixture
def export(traced: None, tiny_checkpoint: Path, calibration_file: Path, tmp_path: Path) -> Export:
    """Exports `tiny_checkpoint` with calibration texts and loose limits."""
    file = CalibrationFile(calibration_file, text_column="1")

    def export(**options: Any) -> ExportResult:
        settings = {"calibration": file, "limits": _LOOSE, **options}
        return export_model(str(tiny_checkpoint), tmp_path / "out", **settings)

    return export


def _holds_at(monkeypatch: pytest.MonkeyPatch, first: int | None) -> None:
    """Let the limits hold from the so-many-th graph on that is measured; None: never."""
    numbers: Iterator[int] = count()
    monkeypatch.setattr(Fidelity, "within", lambda *_: first is not None and next(numbers) >= first)


# What is written


def test_folder_holds_both_graphs_and_the_report(
    tiny_artifact: Path, tiny_int8_artifact: Path
) -> None:
    assert _names(tiny_int8_artifact) == {
        *_names(tiny_artifact),
        "model_int8.onnx",
        "model_int8.onnx.data",
        "report.png",
    }
    manifest = _manifest(tiny_int8_artifact)
    assert manifest["graphs"] == {"fp32": "model.onnx", "int8": "model_int8.onnx"}
    assert set(manifest["verified"]) == {"fp32", "int8"}
    assert set(manifest["files"]) == _names(tiny_int8_artifact) - {
        "bertrt.json",
        "report.md",
        "report.png",
    }
    fp32, int8 = (f"{manifest['graphs'][name]}.data" for name in ("fp32", "int8"))
    assert manifest["files"][int8]["size"] < 0.3 * manifest["files"][fp32]["size"]


def test_float_graph_is_the_one_of_a_float_export(
    tiny_artifact: Path, tiny_int8_artifact: Path
) -> None:
    one, other = (folder / "model.onnx" for folder in (tiny_artifact, tiny_int8_artifact))
    assert file_sha256(one) == file_sha256(other)
    facts = [
        _manifest(folder)["verified"]["fp32"] for folder in (tiny_artifact, tiny_int8_artifact)
    ]
    assert facts[0] == facts[1]


def test_manifest_has_the_figures_of_int8(
    tiny_int8_export: ExportResult, calibration_file: Path
) -> None:
    facts = _manifest(tiny_int8_export.path)["verified"]["int8"]
    int8 = tiny_int8_export.int8
    assert int8 is not None
    assert facts["texts"] == 60 == len(int8.logits) == len(int8.reference)
    difference = np.abs(int8.logits - int8.reference)
    assert facts["mean_abs_diff"] == pytest.approx(float(difference.mean()))
    assert facts["max_abs_diff"] == pytest.approx(float(difference.max()))
    answers, reference = int8.logits.argmax(axis=1), int8.reference.argmax(axis=1)
    assert facts["agreement"] == pytest.approx(float((answers == reference).mean()))
    assert facts["agreement"] >= 0.9 and 0 < facts["mean_abs_diff"] < 0.2
    labels = np.array(int8.texts.labels)
    assert facts["accuracy"] == pytest.approx(float((answers == labels).mean()))
    assert facts["reference_accuracy"] == pytest.approx(float((reference == labels).mean()))
    assert facts["limits"] == {"min_agreement": 0.9, "max_accuracy_drop": 0.1}
    assert facts["calibration"] == {
        "source": "train.tsv",
        "sha256": hashlib.sha256(calibration_file.read_bytes()).hexdigest(),
        "calibration_texts": 60,
        "verification_texts": 60,
    }


def test_figures_are_those_of_the_graph_that_was_written(tiny_int8_export: ExportResult) -> None:
    int8 = tiny_int8_export.int8
    assert int8 is not None
    classifier = Classifier(tiny_int8_export.path, "cpu", precision="int8")
    logits = classifier.logits(list(int8.texts.verification))
    np.testing.assert_allclose(logits, int8.logits, rtol=0, atol=1e-6)


def test_manifest_has_the_form_of_every_unit(tiny_int8_export: ExportResult) -> None:
    units = _manifest(tiny_int8_export.path)["verified"]["int8"]["units"]
    int8 = tiny_int8_export.int8
    assert int8 is not None and len(units) == 11
    for name, unit in units.items():
        assert unit["form"] == int8.choice[name].name
        assert unit["started_as"] == int8.search.start[name].name
        assert unit["form"] in ("static", "per-token", "float", "int8", "fp16")
        assert unit["sensitivity"] > 0
        assert (unit["error_alone"] == 0) == (unit["form"] == "float")


def test_golden_entries_have_the_logits_of_each_graph(tiny_int8_artifact: Path) -> None:
    golden = _manifest(tiny_int8_artifact)["golden"]
    assert len(golden) == len(GOLDEN_TEXTS)
    for precision in ("fp32", "int8"):
        classifier = Classifier(tiny_int8_artifact, "cpu", precision=precision)
        logits = np.concatenate([classifier.logits(text) for text in GOLDEN_TEXTS])
        held = [entry["logits"][precision] for entry in golden]
        np.testing.assert_allclose(held, logits, rtol=0, atol=1e-6)
    assert all(set(entry["logits"]) == {"fp32", "int8"} for entry in golden)
    assert all(entry["logits"]["fp32"] != entry["logits"]["int8"] for entry in golden)


def test_report_has_the_figures_of_int8(tiny_int8_export: ExportResult) -> None:
    report, facts = _report(tiny_int8_export.path), _manifest(tiny_int8_export.path)
    int8 = facts["verified"]["int8"]
    for expected in (
        "| precision | fp32, int8 |",
        "| `model_int8.onnx` |",
        f"| same answer | {int8['agreement']:.2%} (limit 90.00%) |",
        f"| accuracy | {int8['accuracy']:.2%} (PyTorch {int8['reference_accuracy']:.2%}, drop at",
        f"{int8['mean_abs_diff']:.4f}",
        f"{int8['max_abs_diff']:.4f}",
        f"train.tsv, SHA-256 `{int8['calibration']['sha256']}`: 60 to calibrate, 60 to verify",
        "](report.png)",
    ):
        assert expected in report
    for name, unit in int8["units"].items():
        assert re.search(
            rf"\| `{re.escape(name)}` \| {unit['form']} \| [^|]+ \| {unit['sensitivity']:.4f} \| "
            rf"{unit['error_alone']:.4f} \|",
            report,
        )


def test_report_has_a_picture(tiny_int8_artifact: Path) -> None:
    import matplotlib.image

    file = tiny_int8_artifact / "report.png"
    width, height = struct.unpack(">II", file.read_bytes()[16:24])
    assert 1000 <= width <= 2000 and 300 <= height <= 2000
    assert 10_000 < file.stat().st_size < 500_000
    pixels = matplotlib.image.imread(file)
    assert pixels.shape[:2] == (height, width) and pixels.std() > 0.05


def test_answers_do_not_depend_on_the_batch(
    tiny_int8_artifact: Path, sst2_dev: list[tuple[str, int]]
) -> None:
    classifier = Classifier(tiny_int8_artifact, "cpu", precision="int8")
    texts = [text for text, _ in sst2_dev[:40]]
    together = classifier.logits(texts)
    alone = np.concatenate([classifier.logits(text) for text in texts])
    order = np.random.default_rng(0).permutation(len(texts))
    shuffled = classifier.logits([texts[position] for position in order])
    np.testing.assert_allclose(alone, together, rtol=0, atol=1e-6)
    np.testing.assert_allclose(shuffled, together[order], rtol=0, atol=1e-6)
    independence = _manifest(tiny_int8_artifact)["verified"]["int8"]["batch_independence"]
    assert independence["texts"] == 60 and independence["max_abs_diff"] <= 1e-6


# Precisions


def test_int8_alone_without_labels(export: Export) -> None:
    result = export(precision="int8")
    assert result.precisions == ("int8",) and result.int8 is not None
    names = _names(result.path)
    assert {"model_int8.onnx", "model_int8.onnx.data"} <= names
    assert not {"model.onnx", "model.onnx.data"} & names
    manifest = _manifest(result.path)
    assert manifest["graphs"] == {"int8": "model_int8.onnx"}
    assert all(set(entry["logits"]) == {"int8"} for entry in manifest["golden"])
    facts = manifest["verified"]["int8"]
    assert facts["accuracy"] is None and facts["reference_accuracy"] is None
    assert "| accuracy | no labels were given |" in _report(result.path)
    assert Classifier(result.path, "cpu").precision == "int8"


def test_built_in_texts_warn_and_the_report_says_so(
    export: Export, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "bertrt_export"):
        result = export(precision="int8", calibration=CalibrationFile())
    (record,) = (r for r in caplog.records if r.name == "bertrt_export")
    assert "built-in sentences" in record.message and "--calibration" in record.message
    facts = _manifest(result.path)["verified"]["int8"]["calibration"]
    assert facts["source"] == "built-in" and facts["sha256"] is None
    assert facts["calibration_texts"] + facts["verification_texts"] == len(BUILTIN_TEXTS)
    assert "Note: int8 is set up and measured on" in _report(result.path)


def test_calibration_file_does_not_warn(
    export: Export, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    _holds_at(monkeypatch, None)
    with (
        caplog.at_level(logging.WARNING, "bertrt_export"),
        pytest.raises(QuantizationError),
    ):
        export(precision="int8")
    assert caplog.records == []


@pytest.mark.parametrize("kept", ["fp32", "int8"])
def test_auto_keeps_the_faster_one(
    export: Export, monkeypatch: pytest.MonkeyPatch, kept: str
) -> None:
    monkeypatch.setattr(exporter, "fastest", lambda timings: kept)
    result = export(precision="auto")
    assert result.precisions == (kept,) and result.refused is None
    assert result.timings is not None and set(result.timings) == {"fp32", "int8"}
    graphs = {"fp32": "model.onnx", "int8": "model_int8.onnx"}
    files = {graphs[kept], f"{graphs[kept]}.data"}
    assert {name for name in _names(result.path) if ".onnx" in name} == files
    manifest = _manifest(result.path)
    assert manifest["graphs"] == {kept: graphs[kept]}
    for precision, timing in result.timings.items():
        speed = manifest["verified"][precision]["speed"]
        assert speed == {
            "alone_ms": list(timing.alone),
            "texts_per_second": list(timing.batched),
        }
    assert Classifier(result.path, "cpu").precision == kept


def test_auto_falls_back_to_fp32_and_says_why(
    export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    _holds_at(monkeypatch, None)
    result = export(precision="auto")
    assert result.precisions == ("fp32",) and result.int8 is None and result.timings is None
    assert result.refused is not None and "does not hold the limits" in result.refused
    assert not {"model_int8.onnx", "report.png"} & _names(result.path)
    assert set(_manifest(result.path)["verified"]) == {"fp32"}
    report = _report(result.path)
    assert f"Not written:\n\n```\n{result.refused}\n```" in report


# Limits


def test_limits_promote_units_and_the_report_says_which(
    export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    _holds_at(monkeypatch, 3)  # 0, 1 and 2 promotions do not hold, 4 and then 3 do
    result = export(precision="int8")
    assert result.int8 is not None
    assert [number for number, _ in result.int8.search.tried] == [0, 1, 2, 4, 3]
    units = _manifest(result.path)["verified"]["int8"]["units"]
    promoted = {name: unit for name, unit in units.items() if unit["form"] != unit["started_as"]}
    assert 1 <= len(promoted) <= 3
    for name, unit in promoted.items():
        row = f"| `{name}` | {unit['form']} | promoted from {unit['started_as']} to hold the limits"
        assert row in _report(result.path)
    assert _report(result.path).count("promoted from") == len(promoted)


def _table(message: str) -> None:
    """A refusal: its limits, a line for each graph that was tried, the most sensitive units."""
    assert "int8 does not hold the limits (agreement at least " in message
    assert "60 texts of train.tsv; nothing was written" in message
    rows = re.findall(
        r"^ +(\d+) +\d+\.\d\d% +(?:-|\d+\.\d\d%) +\d+\.\d{4} +\d+\.\d{4}$", message, re.M
    )
    assert [int(row) for row in rows][:4] == [0, 1, 2, 4]
    assert len(re.findall(r"^  bert\.\S+ +\d+\.\d{4}$", message, re.M)) == 8
    for option in ("--calibration", "--min-agreement", "--max-accuracy-drop", "--precision fp32"):
        assert option in message


def test_limits_that_cannot_be_held_leave_nothing(export: Export, tmp_path: Path) -> None:
    with pytest.raises(QuantizationError) as raised:
        export(precision="fp32,int8", limits=Limits(min_agreement=1.01))
    _table(str(raised.value))
    assert "agreement at least 101.00%" in str(raised.value)
    assert list(tmp_path.iterdir()) == []


# The command


def test_command_passes_its_options_on(
    monkeypatch: pytest.MonkeyPatch, tiny_int8_export: ExportResult, calibration_file: Path
) -> None:
    given: dict[str, Any] = {}

    def record(model: str, output: str, **options: Any) -> ExportResult:
        given.update(options)
        return tiny_int8_export

    monkeypatch.setattr(exporter, "export_model", record)
    options = "--precision auto --text-column 1 --text-pair-column 3 --label-column 2".split()
    limits = "--min-agreement 0.8 --max-accuracy-drop 0.25".split()
    assert main(["model", "out", *options, *limits, "--calibration", str(calibration_file)]) == 0
    assert given["precision"] == "auto"
    assert given["calibration"] == CalibrationFile(calibration_file, "1", "3", "2")
    assert given["limits"] == Limits(0.8, 0.25)
    assert main(["model", "out", "--no-external-data"]) == 0
    assert given["external_data"] is False
    assert main(["model", "out"]) == 0
    assert given["external_data"] is True
    assert (given["precision"], given["calibration"]) == ("fp32", CalibrationFile())
    assert given["limits"] == Limits()


def test_command_prints_the_figures_of_int8(
    monkeypatch: pytest.MonkeyPatch,
    tiny_int8_export: ExportResult,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(exporter, "export_model", lambda *_, **__: tiny_int8_export)
    assert main(["model", "out"]) == 0
    printed, int8 = capsys.readouterr().out, tiny_int8_export.int8
    assert int8 is not None
    f = int8.fidelity
    assert f"int8      PyTorch's answer for {f.agreement:.2%} of 60 texts, accuracy" in printed
    assert f"{f.accuracy:.2%} ({f.reference_accuracy:.2%})" in printed
    assert f"mean |Δlogit| {f.mean_abs_diff:.4f}, max {f.max_abs_diff:.3f}" in printed
    assert re.search(r"MB, fp32, int8\n", printed) and re.search(r"\d+ (static|per-token)", printed)


def test_command_exits_1_with_the_table(
    traced: None,
    monkeypatch: pytest.MonkeyPatch,
    tiny_checkpoint: Path,
    calibration_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _holds_at(monkeypatch, None)
    arguments = [str(tiny_checkpoint), str(tmp_path / "new" / "out"), "--precision", "int8"]
    columns = ["--text-column", "1", "--label-column", "2"]
    assert main([*arguments, "--calibration", str(calibration_file), *columns]) == 1
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith("export-model: error: int8 does not hold")
    _table(printed.err)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["--min-agreement", "--max-accuracy-drop"])
@pytest.mark.parametrize("share", ["-0.1", "1.01", "99", "nan", "inf", "most", ""])
def test_limit_that_is_no_share_is_wrong_usage(
    capsys: pytest.CaptureFixture[str], option: str, share: str
) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["model", "out", f"{option}={share}"])
    assert raised.value.code == 2
    message = capsys.readouterr().err
    assert option in message and f"{share!r} is not a share between 0 and 1" in message


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--calibration", "nowhere.tsv"], ["there is no file nowhere.tsv"]),
        (["--calibration", "FILE", "--text-column", "9"], ["9", "column"]),
        (["--calibration", "FILE", "--text-column", "review"], ["'review'"]),
        (["--calibration", "FILE", "--text-column", "1", "--label-column", "7"], ["7", "column"]),
        (["--text-column", "1"], ["--text-column", "leave the option out"]),
        (["--label-column", "2"], ["--label-column", "leave the option out"]),
    ],
    ids=str,
)
def test_calibration_that_cannot_be_read_exits_1(
    tiny_checkpoint: Path,
    calibration_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: list[str],
) -> None:
    given = [str(calibration_file) if argument == "FILE" else argument for argument in arguments]
    assert main([str(tiny_checkpoint), str(tmp_path / "out"), "--precision", "int8", *given]) == 1
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith("export-model: error: ")
    for word in words:
        assert word in printed.err
    assert list(tmp_path.iterdir()) == []
