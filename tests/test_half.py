"""Exports in float16, for CUDA: verified without a GPU."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from bertrt import Classifier, DeviceError
from bertrt.packing import pack
from bertrt.tokenizer import TextTokenizer
from bertrt_export import (
    CalibrationFile,
    ExportError,
    ExportResult,
    Limits,
    QuantizationError,
    export_model,
)
from bertrt_export.artifact_writer import GRAPH_FILES
from bertrt_export.cli import main
from bertrt_export.half import check_cuda_graph
from bertrt_export.quantization.graph_session import GraphSession

from tests.cuda_operators import on_cpu
from tests.tiny_models import deberta_checkpoint, roberta_checkpoint


@pytest.fixture(scope="module")
def result(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> ExportResult:
    return export_model(
        str(tiny_checkpoint), tmp_path_factory.mktemp("half") / "model", precision="fp32,fp16"
    )


def _weights(file: Path) -> dict[str, Any]:
    model = onnx.load(file)
    return {i.name: onnx.numpy_helper.to_array(i) for i in model.graph.initializer}


def test_the_artifact_holds_both(result: ExportResult) -> None:
    assert result.precisions == ("fp32", "fp16")
    manifest = json.loads((result.path / "bertrt.json").read_text(encoding="utf-8"))
    assert manifest["graphs"] == {"fp32": "model.onnx", "fp16": "model_fp16.onnx"}
    assert {"model_fp16.onnx", "model_fp16.onnx.data"} <= manifest["files"].keys()
    floats = [a for a in _weights(result.path / "model_fp16.onnx").values() if a.dtype.kind == "f"]
    assert {array.dtype for array in floats} == {np.dtype(np.float16)}
    half, full = (
        (result.path / f"{GRAPH_FILES[name]}.data").stat().st_size for name in ("fp16", "fp32")
    )
    assert half == pytest.approx(full / 2, rel=0.02)


def test_the_graph_is_for_cuda(result: ExportResult) -> None:
    graph = onnx.load(result.path / "model_fp16.onnx", load_external_data=False).graph
    operators = [node.op_type for node in graph.node]
    assert "PackedMultiHeadAttention" in operators and "Attention" not in operators
    assert [value.name for value in graph.input] == [
        "input_ids",
        "token_type_ids",
        "lengths",
        "column_index",
    ]
    # A shape that is made of a value would stop the CPU until the GPU has it.
    assert not {"ReduceMax", "NonZero"} & set(operators)


def test_what_was_verified_is_in_the_manifest_the_report_and_the_result(
    result: ExportResult,
) -> None:
    assert result.half is not None
    fidelity = result.half.fidelity
    assert fidelity.agreement >= 0.99 and 0 < fidelity.mean_abs_diff < 0.01
    manifest = json.loads((result.path / "bertrt.json").read_text(encoding="utf-8"))
    facts = manifest["verified"]["fp16"]
    assert facts["agreement"] == fidelity.agreement and facts["texts"] == fidelity.texts
    assert "rounded to float16" in facts["by"]
    report = (result.path / "report.md").read_text(encoding="utf-8")
    assert "## fp16" in report and f"{fidelity.agreement:.2%} (limit 99.00%)" in report


def test_the_graph_answers_as_was_verified(result: ExportResult) -> None:
    """On the CPU, with CUDA's attention written out."""
    tokenizer = TextTokenizer(result.path, 512)
    golden = json.loads((result.path / "bertrt.json").read_text(encoding="utf-8"))["golden"]
    texts = [g["text"] if isinstance(g["text"], str) else tuple(g["text"]) for g in golden]
    session = GraphSession(on_cpu(ir.from_proto(onnx.load(result.path / "model_fp16.onnx"))))
    (logits,) = session.run(pack(tokenizer.encode(texts)))
    for name, limit in (("fp16", 5e-3), ("fp32", 1e-2)):
        expected = np.array([g["logits"][name] for g in golden])
        np.testing.assert_allclose(logits, expected, atol=limit * max(1, np.abs(expected).max()))


def test_the_cpu_takes_the_other_graph(result: ExportResult) -> None:
    assert Classifier(result.path, "cpu").precision == "fp32"
    with pytest.raises(DeviceError, match="fp16 runs on CUDA only"):
        Classifier(result.path, "cpu", precision="fp16")


def test_of_several_families_each_attention_is_recognised(tmp_path: Path) -> None:
    """Whose positions begin at 2, and which has no segments."""
    export_model(str(roberta_checkpoint(tmp_path / "roberta")), tmp_path / "a", precision="fp16")
    graph = onnx.load(tmp_path / "a" / "model_fp16.onnx", load_external_data=False).graph
    assert "PackedMultiHeadAttention" in {node.op_type for node in graph.node}
    assert sorted(path.name for path in (tmp_path / "a").glob("*.onnx")) == ["model_fp16.onnx"]


# What cannot be


@pytest.fixture
def export(tiny_checkpoint: Path, tmp_path: Path) -> Callable[..., ExportResult]:
    return lambda **options: export_model(str(tiny_checkpoint), tmp_path / "model", **options)


def test_bfloat16_has_no_kernel(export: Callable[..., ExportResult], tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no attention for packed rows in bfloat16: choose fp16"):
        export(precision="bf16")
    assert not list(tmp_path.iterdir())


def test_the_padded_layout_has_no_fp16(export: Callable[..., ExportResult]) -> None:
    with pytest.raises(ExportError, match="fp16 needs the packed layout"):
        export(precision="fp16", layout="padded")


def test_a_model_that_cannot_be_packed_gets_fp32(tmp_path: Path) -> None:
    checkpoint = deberta_checkpoint(tmp_path / "deberta")
    result = export_model(str(checkpoint), tmp_path / "model", precision="fp16")
    assert result.precisions == ("fp32",) and result.half is None
    assert "fp16 needs the packed layout: fp32 was exported instead" in result.notices


def test_limits_that_do_not_hold_leave_nothing(
    export: Callable[..., ExportResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bertrt_export.half.GraphSession", _Wrong)
    with pytest.raises(QuantizationError, match="fp16 does not hold the limits") as raised:
        export(precision="fp16", limits=Limits(min_agreement=0.9))
    message = str(raised.value)
    assert "at least 90.00%" in message and "Export fp32" in message
    assert "past float16's range" in message
    assert not list(tmp_path.iterdir())


class _Wrong:
    """Values past float16's range, as a graph would have them."""

    def __init__(self, graph: ir.Model) -> None:
        self._session = GraphSession(graph)

    def logits(self, encodings: list[Any]) -> np.ndarray:
        return np.full_like(self._session.logits(encodings), np.nan)


def test_texts_of_ones_own_are_compared(
    tiny_checkpoint: Path, sst2_dev: list[tuple[str, int]], tmp_path: Path
) -> None:
    file = tmp_path / "texts.txt"
    file.write_text("\n".join(text for text, _ in sst2_dev[:100]), encoding="utf-8")
    result = export_model(
        str(tiny_checkpoint),
        tmp_path / "model",
        precision="fp16",
        calibration=CalibrationFile(file),
    )
    assert result.half is not None
    assert (result.half.source, result.half.fidelity.texts) == ("texts.txt", 50)


def test_a_graph_that_onnxruntime_does_not_take_is_refused(tmp_path: Path) -> None:
    value = ir.val("x", dtype=ir.DataType.FLOAT, shape=[2])
    node = ir.node("NoSuchOperator", [value])
    graph = ir.Graph([value], node.outputs, nodes=[node], opset_imports={"": 20}, name="g")
    node.outputs[0].name = "logits"
    ir.save(ir.Model(graph, ir_version=10), tmp_path / "model.onnx")
    with pytest.raises(ExportError, match="onnxruntime does not take the fp16 graph"):
        check_cuda_graph(tmp_path / "model.onnx")


def test_the_command_says_what_fp16_keeps(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tiny_checkpoint), str(tmp_path / "model"), "--precision", "fp16"]) == 0
    printed = capsys.readouterr().out
    assert "  fp16      PyTorch's answer for 1" in printed and "for CUDA" in printed
