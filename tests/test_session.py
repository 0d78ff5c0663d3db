"""Running a graph: providers, graphs that are none, and failures while it runs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from bertrt import ArtifactError, BackendError, BertrtError, DeviceError
from bertrt.packing import PackedBatch
from bertrt.session import DEVICES, Session
from onnx import TensorProto, helper

_HAS_CUDA = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
_cpu_build = pytest.mark.skipif(_HAS_CUDA, reason="onnxruntime is the CUDA build")


@pytest.fixture(scope="module")
def graph(tiny_artifact: Path) -> Path:
    return tiny_artifact / "model.onnx"


@pytest.fixture(scope="module")
def session(graph: Path) -> Session:
    return Session(graph, device="cpu", threads=1)


def _batch(ids: list[int], lengths: list[int]) -> PackedBatch:
    return PackedBatch(
        np.array(ids, dtype=np.int64),
        np.zeros(len(ids), dtype=np.int64),
        np.array(lengths, dtype=np.int32),
    )


def _save_graph(file: Path, output: str, shape: list[int | str | None]) -> Path:
    """A graph of one node that hands its input of this shape on as `output`."""
    node = helper.make_node("Identity", ["x"], [output])
    made = helper.make_graph(
        [node],
        "one node",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
    )
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)]), file)
    return file


# Devices


def test_cpu_is_the_cpu_provider(session: Session) -> None:
    assert session.provider == "CPUExecutionProvider"


@_cpu_build
def test_auto_takes_the_cpu_where_nothing_else_is(graph: Path) -> None:
    assert Session(graph, device="auto", threads=1).provider == "CPUExecutionProvider"


@_cpu_build
def test_cuda_without_the_cuda_build_names_the_extra(graph: Path) -> None:
    with pytest.raises(DeviceError) as raised:
        Session(graph, device="cuda", threads=1)
    message = str(raised.value)
    assert "CPU build" in message
    assert "pip uninstall onnxruntime" in message and "pip install 'bertrt[gpu]'" in message


@pytest.mark.parametrize("device", ["gpu", "CPU", "cuda:0", ""])
def test_unknown_device_names_the_known_ones(graph: Path, device: str) -> None:
    with pytest.raises(ValueError, match="auto, cpu, cuda") as raised:
        Session(graph, device=device, threads=1)
    assert repr(device) in str(raised.value)
    assert not isinstance(raised.value, BertrtError)


def test_devices_are_the_documented_ones() -> None:
    assert DEVICES == ("auto", "cpu", "cuda")


# Answers


def test_labels_are_those_of_the_graph(session: Session) -> None:
    assert session.labels == 3


def test_logits_have_a_row_a_text_and_a_column_a_label(session: Session) -> None:
    logits = session.run(_batch([101, 2204, 102, 101, 102], [3, 2]))
    assert logits.shape == (2, 3)
    assert logits.dtype == np.float32
    assert np.isfinite(logits).all()


def test_a_text_answers_the_same_in_a_batch_as_alone(session: Session) -> None:
    first, second = [101, 2204, 102], [101, 2919, 3185, 102]
    together = session.run(_batch(first + second, [3, 4]))
    alone = [session.run(_batch(ids, [len(ids)])) for ids in (first, second)]
    np.testing.assert_allclose(together, np.concatenate(alone), atol=1e-4)
    assert np.abs(together[0] - together[1]).max() > 0.01


def test_threads_do_not_change_the_answer(graph: Path, session: Session) -> None:
    batch = _batch([101, 2204, 2919, 3185, 102], [5])
    other = Session(graph, device="cpu", threads=2)
    np.testing.assert_allclose(other.run(batch), session.run(batch), atol=1e-5)


def test_several_batches_give_what_each_gives(graph: Path, session: Session) -> None:
    batches = [_batch([101, *range(1000, 1000 + size), 102], [size + 2]) for size in range(9)]
    together = Session(graph, device="cpu", threads=2).run_all(iter(batches))
    for rows, batch in zip(together, batches, strict=True):
        np.testing.assert_allclose(rows, session.run(batch), rtol=0, atol=1e-5)


def test_an_input_that_the_graph_does_not_have_is_not_fed(tmp_path: Path) -> None:
    """As in families without segments: here the graph has `lengths` alone."""
    cast = helper.make_node("Cast", ["lengths"], ["column"], to=TensorProto.FLOAT)
    reshape = helper.make_node("Reshape", ["column", "shape"], ["logits"])
    made = helper.make_graph(
        [cast, reshape],
        "lengths as logits",
        [helper.make_tensor_value_info("lengths", TensorProto.INT32, ["texts"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["texts", 1])],
        [helper.make_tensor("shape", TensorProto.INT64, [2], [-1, 1])],
    )
    file = tmp_path / "model.onnx"
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)]), file)
    logits = Session(file, device="cpu", threads=1).run(_batch([101, 7, 102, 101, 102], [3, 2]))
    assert logits.tolist() == [[3.0], [2.0]]


# Failures while it runs


@pytest.mark.parametrize(
    ("ids", "lengths"),
    [
        pytest.param([101, 99_999, 102], [3], id="token id out of range"),
        pytest.param([101, 7, 102, 101, 102], [3], id="lengths below the tokens"),
        pytest.param([101, 7, 102], [4], id="lengths above the tokens"),
        pytest.param([101, 7, 102], [3, 2], id="a text too many"),
        pytest.param([101, *[7] * 1100, 102], [1102], id="more tokens than positions"),
        pytest.param([], [], id="no text"),
    ],
)
def test_a_batch_that_cannot_be_run_is_a_backend_error(
    session: Session, ids: list[int], lengths: list[int]
) -> None:
    with pytest.raises(BackendError, match=f"onnxruntime failed on {len(lengths)} texts: ."):
        session.run(_batch(ids, lengths))


@pytest.mark.parametrize("threads", [1, 2])
def test_one_bad_batch_of_several_is_a_backend_error(graph: Path, threads: int) -> None:
    good = _batch([101, 2204, 102], [3])
    with pytest.raises(BackendError, match="onnxruntime failed on a batch: "):
        Session(graph, device="cpu", threads=threads).run_all(
            [good, good, _batch([101, 7, 102], [4]), good]
        )


def test_after_a_failure_the_session_still_answers(session: Session) -> None:
    before = session.run(_batch([101, 2204, 102], [3]))
    with pytest.raises(BackendError):
        session.run(_batch([101, 99_999, 102], [3]))
    np.testing.assert_array_equal(session.run(_batch([101, 2204, 102], [3])), before)


# Graphs that are none


@pytest.mark.parametrize("content", [b"", b"not a protobuf message", b"\x08" * 64])
def test_corrupt_graph(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(content)
    with pytest.raises(ArtifactError) as raised:
        Session(file, device="cpu", threads=1)
    assert str(file) in str(raised.value)


def test_graph_cut_short(copied_artifact: Callable[[], Path]) -> None:
    file = copied_artifact() / "model.onnx"
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(ArtifactError, match="cannot load"):
        Session(file, device="cpu", threads=1)


def test_missing_graph(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"cannot load .*model\.onnx"):
        Session(tmp_path / "model.onnx", device="cpu", threads=1)


@pytest.mark.parametrize(
    ("output", "shape"),
    [
        pytest.param("last_hidden_state", ["texts", 3], id="another name"),
        pytest.param("logits", ["texts", "tokens", 3], id="a label a token"),
        pytest.param("logits", ["texts", "labels"], id="any number of labels"),
        pytest.param("logits", ["texts"], id="no label axis"),
    ],
)
def test_graph_that_is_no_classifier(
    tmp_path: Path, output: str, shape: list[int | str | None]
) -> None:
    file = _save_graph(tmp_path / "model.onnx", output, shape)
    with pytest.raises(ArtifactError) as raised:
        Session(file, device="cpu", threads=1)
    message = str(raised.value)
    assert str(file) in message and "no output logits [texts, labels]" in message
