"""Running a graph: providers, graphs that are none, and failures while it runs."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from bertrt import ArtifactError, BackendError, BertrtError, DeviceError
from bertrt.backend import create_session
from bertrt.devices import Device
from bertrt.packing import PackedBatch
from bertrt.session import Session
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


def _packed_graph(file: Path, output: str, shape: list[int | str | None]) -> Path:
    """A graph that answers its lengths, as an output of this shape."""
    made = helper.make_graph(
        [helper.make_node("Cast", ["lengths"], [output], to=TensorProto.FLOAT)],
        "one node",
        [helper.make_tensor_value_info("lengths", TensorProto.INT32, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
    )
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)]), file)
    return file


# Devices


def test_cpu_is_the_cpu_provider(session: Session) -> None:
    assert session.provider == "CPUExecutionProvider"


@_cpu_build
def test_cuda_without_the_cuda_build_says_how_to_get_it(graph: Path) -> None:
    with pytest.raises(DeviceError) as raised:
        Session(graph, device="cuda", threads=1)
    message = str(raised.value)
    assert "pip install 'bertrt[gpu]'" in message and "device='cpu'" in message


def test_a_graph_that_cannot_be_captured_runs_as_it_is(
    graph: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """On the CPU instead of a GPU, which refuses as one does that lacks an operator."""

    def create(file: Path, device: Device, *, cuda_graphs: bool = False) -> Any:
        if cuda_graphs:
            raise ArtifactError("this session cannot use the graph capture feature")
        return create_session(file, ["CPUExecutionProvider"], 1)

    monkeypatch.setattr("bertrt.session.create_gpu_session", create)
    session = Session(graph, device="cuda", threads=1, cuda_graphs=True)
    assert "graph capture feature" in caplog.text
    batch = _batch([101, 7, 102, 101, 102], [3, 2])
    expected = Session(graph, device="cpu", threads=1).run(batch)
    np.testing.assert_array_equal(session.run(batch), expected)


def test_a_session_is_on_one_device(graph: Path) -> None:
    with pytest.raises(ValueError, match="load_model"):
        Session(graph, device="auto", threads=1)


@pytest.mark.parametrize("device", ["gpu", "CPU", "cuda:x", ""])
def test_unknown_device_names_the_known_ones(graph: Path, device: str) -> None:
    with pytest.raises(ValueError, match="auto, cpu, cuda") as raised:
        Session(graph, device=device, threads=1)
    assert repr(device) in str(raised.value)
    assert not isinstance(raised.value, BertrtError)


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


_Axes = Sequence[int | str | None]
_Value = tuple[str, _Axes]
_IDS: _Value = ("input_ids", ["texts", "longest"])
_MASK: _Value = ("attention_mask", ["texts", "longest"])


def _padded_graph(
    file: Path,
    inputs: Sequence[_Value],
    *,
    output: str = "logits",
    shape: _Axes | None = ("texts", "labels"),
    kinds: Mapping[str, int] | None = None,
    per_token: bool = False,
    hidden: str | None = None,
) -> Path:
    """A graph whose logits are what it is fed, to see it: a column an input.

    The columns are sums over each row, or with `per_token` the inputs themselves.
    shape: of the output as the file states it; None for no statement. kinds: the inputs' types
    where they are not int64. hidden: what onnxruntime cannot infer of the output's shape either:
    `labels`, or `rank`.
    """
    kinds = kinds or {}
    nodes, columns = [], []
    for name, _ in inputs:
        cast = helper.make_node("Cast", [name], [f"{name} float"], to=TensorProto.FLOAT)
        taken = (
            helper.make_node("Unsqueeze", [f"{name} float", "last"], [f"{name} column"])
            if per_token
            else helper.make_node("ReduceSum", [f"{name} float", "one"], [f"{name} column"])
        )
        nodes += [cast, taken]
        columns.append(f"{name} column")
    joined = output if hidden is None else "joined"
    nodes.append(helper.make_node("Concat", columns, [joined], axis=-1))
    if hidden == "labels":
        nodes.append(helper.make_node("Compress", [joined, "every"], [output], axis=1))
    elif hidden == "rank":
        nodes += [
            helper.make_node("Shape", [joined], ["axes"]),
            helper.make_node("Compress", ["axes", "every"], ["some axes"], axis=0),
            helper.make_node("Reshape", [joined, "some axes"], [output]),
        ]
    made = helper.make_graph(
        nodes,
        "what is fed",
        [
            helper.make_tensor_value_info(name, kinds.get(name, TensorProto.INT64), axes)
            for name, axes in inputs
        ],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
        [
            helper.make_tensor("one", TensorProto.INT64, [1], [-1]),
            helper.make_tensor("every", TensorProto.BOOL, [2], [True, True]),
            helper.make_tensor("last", TensorProto.INT64, [1], [2]),
        ],
    )
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)]), file)
    return file


def _error(file: Path, **options: Any) -> str:
    with pytest.raises(ArtifactError) as raised:
        Session(file, device="cpu", threads=1, **options)
    message = str(raised.value)
    assert str(file) in message
    return message


# The padded layout


_FOUR: list[_Value] = [
    _IDS,
    _MASK,
    ("token_type_ids", ["texts", "longest"]),
    ("position_ids", ["texts", "longest"]),
]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    "kinds",
    [
        pytest.param({}, id="int64"),
        pytest.param({name: TensorProto.INT32 for name, _ in _FOUR}, id="int32"),
        pytest.param({"attention_mask": TensorProto.FLOAT}, id="float mask"),
        pytest.param({"attention_mask": TensorProto.BOOL}, id="bool mask"),
    ],
)
def test_a_padded_graph_gets_what_it_asks_for(
    tmp_path: Path, kinds: dict[str, int], threads: int
) -> None:
    file = _padded_graph(tmp_path / "model.onnx", _FOUR, shape=["texts", 4], kinds=kinds)
    session = Session(file, device="cpu", threads=threads, pad_token_id=100, first_position=2)
    batch = PackedBatch(
        np.array([1, 2, 3, 4, 5, 6]), np.array([0, 1, 0, 0, 1, 1]), np.array([2, 4], np.int32)
    )
    expected = [[203, 2, 1, 14], [18, 4, 2, 14]]
    assert session.layout == "padded"
    assert session.labels == 4
    assert session.run(batch).tolist() == expected
    assert [rows.tolist() for rows in session.run_all([batch, batch])] == [expected, expected]
    assert {values.shape for values in session.feeds(batch).values()} == {(2, 4)}


def test_a_padded_graph_without_segments(tmp_path: Path) -> None:
    file = _padded_graph(tmp_path / "model.onnx", [_IDS, _MASK], shape=["texts", 2])
    session = Session(file, device="cpu", threads=1)
    assert session.run(_batch([7, 8, 9], [1, 2])).tolist() == [[7, 1], [17, 2]]


@pytest.mark.parametrize("threads", [1, 2])
def test_a_padded_graph_for_tokens_answers_without_padding(tmp_path: Path, threads: int) -> None:
    shape: _Axes = ["texts", "longest", 2]
    file = _padded_graph(tmp_path / "model.onnx", [_IDS, _MASK], shape=shape, per_token=True)
    session = Session(file, device="cpu", threads=threads, task="token-classification")
    first, second = _batch([7, 8, 9, 10], [1, 3]), _batch([5, 6], [2])
    expected = [[[7, 1], [8, 1], [9, 1], [10, 1]], [[5, 1], [6, 1]]]
    assert session.labels == 2
    assert session.run(first).tolist() == expected[0]
    assert [rows.tolist() for rows in session.run_all([first, second])] == expected


@pytest.mark.parametrize("hidden", ["labels", "rank"])
@pytest.mark.parametrize("shape", [None, ["texts", "labels"], ["texts", None]])
def test_labels_that_the_graph_does_not_count_are_counted(
    tmp_path: Path, shape: _Axes | None, hidden: str
) -> None:
    file = _padded_graph(tmp_path / "model.onnx", [_IDS, _MASK], shape=shape, hidden=hidden)
    stated = onnxruntime.InferenceSession(file).get_outputs()[0].shape
    assert 2 not in stated, "there is nothing to count"
    assert Session(file, device="cpu", threads=1).labels == 2


def test_the_only_output_needs_no_name(tmp_path: Path) -> None:
    file = _padded_graph(tmp_path / "model.onnx", [_IDS, _MASK], output="scores", shape=None)
    session = Session(file, device="cpu", threads=1)
    assert session.run(_batch([7], [1])).tolist() == [[7, 1]]
    assert session.run_all([_batch([7], [1])])[0].tolist() == [[7, 1]]


def test_lengths_that_a_padded_batch_does_not_have(tmp_path: Path) -> None:
    file = _padded_graph(tmp_path / "model.onnx", [_IDS, _MASK], shape=["texts", 2])
    session = Session(file, device="cpu", threads=1)
    with pytest.raises(BackendError, match="failed on 1 texts"):
        session.run(_batch([7, 8], [1]))
    with pytest.raises(BackendError, match="failed on a batch"):
        session.run_all([_batch([7, 8], [1])])


# Graphs that cannot be fed, or whose answers are of another kind


@pytest.mark.parametrize("name", ["pixel_values", "bbox", "past_key_values.0.key"])
def test_an_input_that_cannot_be_fed(tmp_path: Path, name: str) -> None:
    other: _Value = (name, ["texts", "longest"])
    message = _error(_padded_graph(tmp_path / "model.onnx", [_IDS, _MASK, other]))
    assert f"has an input {name} of type tensor(int64), which bertrt cannot feed" in message
    assert "it feeds input_ids, attention_mask, token_type_ids, position_ids" in message


def test_an_input_of_a_type_that_cannot_be_fed(tmp_path: Path) -> None:
    kinds = {"input_ids": TensorProto.DOUBLE}
    message = _error(_padded_graph(tmp_path / "model.onnx", [_IDS], kinds=kinds))
    assert "has an input input_ids of type tensor(double)" in message


@pytest.mark.parametrize(
    "shape", [[1, "longest"], ["texts", 128], [1, 128], ["tokens"], ["texts", "choices", "longest"]]
)
def test_an_input_of_a_fixed_or_other_shape(tmp_path: Path, shape: list[int | str | None]) -> None:
    file = _padded_graph(tmp_path / "model.onnx", [("input_ids", shape)], shape=None)
    message = _error(file)
    assert f"has an input input_ids of shape {shape}" in message
    assert "export the model with dynamic axes" in message


def test_a_graph_that_takes_no_text(tmp_path: Path) -> None:
    message = _error(_padded_graph(tmp_path / "model.onnx", [_MASK]))
    assert "has no input input_ids" in message


def test_a_graph_of_several_outputs_without_logits(tmp_path: Path) -> None:
    file = _padded_graph(tmp_path / "model.onnx", [_IDS, _MASK], output="pooled", shape=None)
    graph = onnx.load(file)
    other = helper.make_tensor_value_info("input_ids column", TensorProto.FLOAT, ["texts", 1])
    graph.graph.output.append(other)
    onnx.save(graph, file)
    message = _error(file)
    assert "has the outputs pooled, input_ids column and none is called logits" in message


@pytest.mark.parametrize("stated", [True, False])
@pytest.mark.parametrize(
    ("task", "per_token", "wanted"),
    [
        ("text-classification", True, "[texts, labels]"),
        ("token-classification", False, "[texts, longest, labels]"),
    ],
)
def test_a_graph_for_another_task(
    tmp_path: Path, task: str, per_token: bool, wanted: str, stated: bool
) -> None:
    shape: _Axes = ["texts", "longest", 2] if per_token else ["texts", 2]
    file = _padded_graph(
        tmp_path / "model.onnx",
        [_IDS, _MASK],
        shape=shape if stated else None,
        per_token=per_token,
    )
    message = _error(file, task=task)
    assert f"has no output logits {wanted}" in message and f"no model for {task}" in message


def test_a_graph_that_fails_when_its_labels_are_counted(tmp_path: Path) -> None:
    file = _padded_graph(tmp_path / "model.onnx", [_IDS, _MASK], hidden="labels")
    made = onnx.load(file)
    made.graph.initializer.append(helper.make_tensor("table", TensorProto.FLOAT, [3], [1, 2, 3]))
    gather = helper.make_node("Gather", ["table", "input_ids"], ["input_ids float"])
    made.graph.node[0].CopyFrom(gather)
    onnx.save(made, file)
    assert Session(file, device="cpu", threads=1, pad_token_id=2).labels == 2
    message = _error(file, pad_token_id=3)
    assert "does not say how many labels it has, and fails on a text of two tokens: " in message


@pytest.mark.parametrize(
    ("output", "shape"),
    [
        pytest.param("logits", ["texts", "tokens", 3], id="a label a token"),
        pytest.param("logits", ["texts"], id="no label axis"),
        pytest.param("last_hidden_state", ["texts", "tokens", 3], id="another name"),
    ],
)
def test_packed_graph_that_is_no_classifier(
    tmp_path: Path, output: str, shape: list[int | str | None]
) -> None:
    file = _packed_graph(tmp_path / "model.onnx", output, shape)
    assert "has no output logits [texts, labels]" in _error(file)
