"""`bertrt triton-repository`: what it writes is valid, fits the graph, and answers as Classifier.

No Triton server runs: tests/triton_server.py does what its sources say that it does.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import numpy as np
import onnx
import pytest
from bertrt import ArtifactError, BackendError, Classifier, MissingDependencyError
from bertrt.cli import main
from bertrt.instructions import may_saturate
from bertrt.postprocess import over_thresholds
from bertrt.tokenizer import TextInput
from bertrt.triton.check import check_server
from bertrt.triton.host import why_unfit
from bertrt.triton.marker import MARKER, read_marker
from bertrt.triton.parameters import to_parameters
from bertrt.triton.pbtxt import Word, to_pbtxt
from bertrt.triton.repository import write_repository
from bertrt.triton.signature import Signature, Tensor, read_signature
from bertrt_export import export_model
from google.protobuf import text_format  # type: ignore[import-untyped]
from onnx import TensorProto, helper, numpy_helper
from tritonclient.grpc import model_config_pb2

from tests.helpers import edit_config, edit_manifest, pretend_cpu, rehash, replace_file
from tests.serving import serving
from tests.tiny_models import roberta_checkpoint
from tests.triton_server import (
    Arrays,
    RefusedError,
    Request,
    TritonModelException,
    TritonServer,
    read_config,
)

_PAIR = ("A man is playing a guitar.", "Nobody is making any music at all.")
_TEXTS: list[TextInput] = [
    "",
    "good",
    "a gorgeous, witty, seductive movie " * 40,  # cut
    _PAIR,
    "¿Dónde está 这部电影 👍🏽?",
    "NUL \0 and\nlines\tand \u202eright to left",
    "a waste of time",
    ("", ""),
    "so laddish and juvenile, only teenage boys could possibly find it funny",
]


@pytest.fixture(autouse=True)
def _no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a Triton that somebody has built: nothing says which one it is."""
    monkeypatch.delenv("NVIDIA_TRITON_SERVER_VERSION", raising=False)


@pytest.fixture(scope="module")
def repository(tiny_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of `tiny_artifact`, called `m`. Read only."""
    return write_repository(
        tiny_artifact, tmp_path_factory.mktemp("triton") / "models", name="m"
    ).path


@pytest.fixture(scope="module")
def server(repository: Path) -> TritonServer:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("NVIDIA_TRITON_SERVER_VERSION", raising=False)
        return TritonServer(repository)


def _strings(text: str | bytes) -> np.ndarray:
    content = text.encode() if isinstance(text, str) else text
    return np.array([[content]], dtype=np.object_)


def _request(text: TextInput, **parameters: Any) -> Request:
    parts = (text,) if isinstance(text, str) else text
    names = ("text", "text_pair")
    return Request(
        {name: _strings(part) for name, part in zip(names, parts, strict=False)}, parameters
    )


def _answers(server: TritonServer, texts: Sequence[TextInput], name: str = "m") -> list[Arrays]:
    answers = server.infer(name, [_request(text) for text in texts])
    assert not [answer for answer in answers if isinstance(answer, RefusedError)]
    return [answer for answer in answers if not isinstance(answer, RefusedError)]


def _assert_answers_as(
    server: TritonServer, classifier: Classifier, texts: Sequence[TextInput], name: str = "m"
) -> None:
    answers = _answers(server, texts, name)
    logits = classifier.logits(texts)
    encodings = classifier.tokenizer.encode(texts)
    best = [predictions[0] for predictions in classifier(texts, top_k=1)]
    for at, answer in enumerate(answers):
        assert {key: array.shape for key, array in answer.items()} == {
            "label": (1, 1),
            "score": (1, 1),
            "scores": (1, len(classifier.labels)),
            "logits": (1, len(classifier.labels)),
            "tokens": (1, 1),
            "truncated": (1, 1),
        }
        np.testing.assert_allclose(answer["logits"][0], logits[at], atol=1e-5, rtol=0)
        assert answer["label"].item().decode() == best[at].label
        assert answer["score"].item() == pytest.approx(best[at].score, abs=1e-5)
        every = {p.label: p.score for p in classifier(texts[at], top_k=None)}
        expected = [every[label] for label in classifier.labels]
        np.testing.assert_allclose(answer["scores"][0], expected, atol=1e-5, rtol=0)
        assert answer["tokens"].item() == len(encodings[at])
        assert answer["truncated"].item() == encodings[at].truncated


def _errors(answers: Sequence[Arrays | RefusedError]) -> list[str]:
    return [str(answer) if isinstance(answer, RefusedError) else "" for answer in answers]


# What is written


def test_the_repository_holds_four_models_and_their_files(
    repository: Path, tiny_artifact: Path
) -> None:
    files = {file.relative_to(repository).as_posix() for file in repository.rglob("*.*")}
    assert {name for name in files if not name.endswith((".keep", ".pyc"))} == {
        "README.md",
        MARKER,
        "m/config.pbtxt",
        "m/labels.txt",
        "m_tokenizer/config.pbtxt",
        "m_tokenizer/1/model.py",
        "m_tokenizer/1/tokenizer.json",
        "m_tokenizer/1/tokenizer_config.json",
        "m_tokenizer/1/bertrt.json",
        "m_packed/config.pbtxt",
        "m_packed/1/model.onnx",
        "m_packed/1/model.onnx.data",
        "m_labels/config.pbtxt",
        "m_labels/labels.txt",
        "m_labels/1/model.py",
    }
    assert (repository / "m" / "1" / ".keep").is_file()  # stores of files keep no empty folder
    assert (repository / "m" / "labels.txt").read_text() == "negative\nneutral\npositive\n"
    for name in ("model.onnx", "model.onnx.data"):
        copied = repository / "m_packed" / "1" / name
        assert copied.read_bytes() == (tiny_artifact / name).read_bytes()


def test_the_graph_gets_ragged_rows_and_their_lengths(repository: Path) -> None:
    config = read_config(repository / "m_packed" / "config.pbtxt")
    assert {tensor.name: tensor.allow_ragged_batch for tensor in config.input} == {
        "input_ids": True,
        "token_type_ids": True,
    }
    assert len(config.batch_input) == 1 and config.batch_input[0].target_name == ["lengths"]
    assert config.HasField("dynamic_batching") and config.max_batch_size == 8
    (group,) = config.instance_group
    assert (group.count, group.kind) == (1, model_config_pb2.ModelInstanceGroup.KIND_CPU)
    assert {key: value.string_value for key, value in config.parameters.items()} == {
        "enable_mem_pattern": "0"
    }


def test_the_ensemble_says_what_is_served(repository: Path, tiny_artifact: Path) -> None:
    config = read_config(repository / "m" / "config.pbtxt")
    parameters = {key: value.string_value for key, value in config.parameters.items()}
    assert json.loads(parameters["labels"]) == ["negative", "neutral", "positive"]
    assert parameters["activation"] == "softmax" and parameters["max_length"] == "512"
    assert parameters["precision"] == "fp32" and "thresholds" not in parameters
    assert parameters["sha256"] == read_marker(repository).sha256


def test_options_reach_the_configuration(
    copied_artifact: Callable[[], Path], tmp_path: Path
) -> None:
    artifact = copied_artifact()
    _add_int8(artifact)
    options = ["--max-batch-size", "5", "--instances", "3", "--threads", "2", "--no-truncate"]
    arguments = [str(artifact), str(tmp_path / "models"), "--precision", "fp32"]
    assert main(["triton-repository", *arguments, "--name", "other-name_2", *options]) == 0
    config = read_config(tmp_path / "models" / "other-name_2_packed" / "config.pbtxt")
    assert config.max_batch_size == 5 and config.instance_group[0].count == 3
    assert config.default_model_filename == "model.onnx"
    assert {key: value.string_value for key, value in config.parameters.items()} == {
        "enable_mem_pattern": "0",
        "intra_op_thread_count": "2",
        "share_session_between_instances": "true",
    }
    tokenizer = read_config(tmp_path / "models" / "other-name_2_tokenizer" / "config.pbtxt")
    assert tokenizer.parameters["truncate"].string_value == "false"
    page = (tmp_path / "models" / "README.md").read_text(encoding="utf-8")
    assert "5 texts at most" in page and "3; threads of each: 2" in page and "are refused" in page


def test_a_gpu_gets_the_graph_for_it(copied_artifact: Callable[[], Path], tmp_path: Path) -> None:
    """Its `column_index` has a default, so nobody need give it."""
    artifact = copied_artifact()
    _add_fp16(artifact)
    folder = write_repository(artifact, tmp_path / "models", name="m", device="gpu").path
    config = read_config(folder / "m_packed" / "config.pbtxt")
    assert config.default_model_filename == "model_fp16.onnx" and config.max_batch_size == 64
    (group,) = config.instance_group
    assert group.kind == model_config_pb2.ModelInstanceGroup.KIND_GPU
    assert [tensor.name for tensor in config.input] == ["input_ids", "token_type_ids"]
    assert not config.parameters
    page = (folder / "README.md").read_text(encoding="utf-8")
    assert "--gpus all" in page and "x64quantprecision" not in page


def _add_fp16(artifact: Path) -> None:
    """Add a graph with the inputs and output of one for CUDA, and operators for nothing."""

    def value(name: str, kind: int, *shape: str | int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, list(shape))

    graph = helper.make_graph(
        [helper.make_node("Identity", ["logits_0"], ["logits"])],
        "g",
        [
            value("input_ids", TensorProto.INT64, "tokens"),
            value("token_type_ids", TensorProto.INT64, "tokens"),
            value("lengths", TensorProto.INT32, "texts"),
            value("column_index", TensorProto.INT64, "longest"),
        ],
        [value("logits", TensorProto.FLOAT, "texts", 3)],
        [
            numpy_helper.from_array(np.arange(4), "column_index"),
            numpy_helper.from_array(np.zeros((1, 3), dtype=np.float32), "logits_0"),
        ],
    )
    replace_file(artifact, "model_fp16.onnx", helper.make_model(graph).SerializeToString())
    manifest = json.loads((artifact / "bertrt.json").read_text(encoding="utf-8"))
    for golden in manifest["golden"]:
        golden["logits"]["fp16"] = golden["logits"]["fp32"]
    graphs = {**manifest["graphs"], "fp16": "model_fp16.onnx"}
    edit_manifest(artifact, {"graphs": graphs, "golden": manifest["golden"]})


def test_awkward_labels_survive(copied_artifact: Callable[[], Path], tmp_path: Path) -> None:
    artifact = copied_artifact()
    labels = ['q"uote\\', "two\nlines", "naïve 👍"]
    edit_config(artifact, {"id2label": dict(enumerate(labels)), "label2id": None})
    folder = write_repository(artifact, tmp_path / "models", name="m").path
    config = read_config(folder / "m" / "config.pbtxt")
    assert json.loads(config.parameters["labels"].string_value) == labels
    lines = (folder / "m" / "labels.txt").read_text(encoding="utf-8").splitlines()
    assert lines == ['q"uote\\', "two lines", "naïve 👍"]
    answers = _answers(TritonServer(folder), ["good", "bad", "a film"])
    assert {answer["label"].item().decode() for answer in answers} <= set(labels)


@hypothesis.given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_string_comes_back_from_the_text_format(text: str) -> None:
    written = to_pbtxt({"name": text, "parameters": to_parameters({"k": text})})
    config = text_format.Parse(written, model_config_pb2.ModelConfig())
    assert config.name == text and config.parameters["k"].string_value == text
    assert not [character for character in written if character < " " and character != "\n"]


def test_messages_are_written_as_protobuf_reads_them() -> None:
    written = to_pbtxt(
        {
            "max_batch_size": 3,
            "input": [
                {"name": "a", "data_type": Word("TYPE_FP32"), "dims": [-1, 2], "optional": True},
                {"name": "b", "optional": False},
            ],
            "dynamic_batching": {},
        }
    )
    config = text_format.Parse(written, model_config_pb2.ModelConfig())
    fp32 = model_config_pb2.DataType.Value("TYPE_FP32")
    assert [(t.name, t.data_type, list(t.dims), t.optional) for t in config.input] == [
        ("a", fp32, [-1, 2], True),
        ("b", 0, [], False),
    ]
    assert config.max_batch_size == 3 and config.HasField("dynamic_batching")


# The graph's signature


@pytest.mark.parametrize("inline", [False, True])
def test_the_signature_is_what_onnx_reads(
    tiny_artifact: Path, tmp_path: Path, inline: bool
) -> None:
    """With the weights in a second file, and within the graph."""
    file = tiny_artifact / "model.onnx"
    model = onnx.load(file, load_external_data=inline)
    if inline:
        file = tmp_path / "model.onnx"
        onnx.save_model(model, file)
    kinds = {TensorProto.INT64: "TYPE_INT64", TensorProto.INT32: "TYPE_INT32"}
    inputs = [(value.name, kinds[value.type.tensor_type.elem_type]) for value in model.graph.input]
    assert read_signature(file) == Signature(
        tuple(Tensor(name, kind, (-1,)) for name, kind in inputs),
        (Tensor("logits", "TYPE_FP32", (-1, 3)),),
    )


@pytest.mark.parametrize("content", [b"", b"no onnx", b"\x3a\xff\x01", b"\x0f", b"\x08" * 20])
def test_a_damaged_graph_has_no_signature(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"model\.onnx cannot be read as an ONNX file"):
        read_signature(file)


def test_a_graph_of_other_inputs_is_refused(
    copied_artifact: Callable[[], Path], tmp_path: Path
) -> None:
    artifact = copied_artifact()
    model = onnx.load(artifact / "model.onnx", load_external_data=False)
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 4
    replace_file(artifact, "model.onnx", model.SerializeToString())
    with pytest.raises(ArtifactError, match=r"logits TYPE_FP32\[-1, 4\], which is no packed"):
        write_repository(artifact, tmp_path / "models")
    assert not (tmp_path / "models").exists()


# What it answers


def test_answers_as_the_classifier(
    server: TritonServer, tiny_artifact: Path, sst2_dev: list[tuple[str, int]]
) -> None:
    classifier = Classifier(tiny_artifact, "cpu")
    _assert_answers_as(server, classifier, [*_TEXTS, *(text for text, _ in sst2_dev[:30])])


def test_texts_that_wait_share_batches_without_padding(server: TritonServer) -> None:
    server.batches.clear()
    texts = ["good", "a waste of time", "a film"] * 6
    tokens = [answer["tokens"].item() for answer in _answers(server, texts)]
    assert [len(batch) for batch in server.batches] == [8, 8, 2]
    assert [length for batch in server.batches for length in batch] == tokens


def test_a_graph_of_another_file_name_finds_its_weights(
    copied_artifact: Callable[[], Path], tmp_path: Path
) -> None:
    """int8 is taken where it is there, and refused on a CPU that would answer wrongly."""
    artifact = copied_artifact()
    _add_int8(artifact)
    folder = write_repository(artifact, tmp_path / "models", name="m").path
    files = {file.name for file in (folder / "m_packed" / "1").iterdir()}
    assert files == {"model_int8.onnx", "model_int8.onnx.data"}
    assert read_marker(folder).precision == "int8"
    if may_saturate():
        with pytest.raises(TritonModelException, match="no VNNI"):
            TritonServer(folder)
    else:
        classifier = Classifier(artifact, "cpu", precision="int8")
        _assert_answers_as(TritonServer(folder), classifier, _TEXTS)


def _add_int8(artifact: Path) -> None:
    """Add the float graph once more, by the names that int8 has."""
    model = onnx.load(artifact / "model.onnx")
    data = "model_int8.onnx.data"
    file = artifact / "model_int8.onnx"
    onnx.save_model(model, file, save_as_external_data=True, location=data, size_threshold=256)
    manifest = json.loads((artifact / "bertrt.json").read_text(encoding="utf-8"))
    for golden in manifest["golden"]:
        golden["logits"]["int8"] = golden["logits"]["fp32"]
    graphs = {**manifest["graphs"], "int8": file.name}
    edit_manifest(artifact, {"graphs": graphs, "golden": manifest["golden"]})
    rehash(artifact, file.name)
    rehash(artifact, data)


@pytest.mark.parametrize(
    ("problem", "activation"),
    [("multi_label_classification", "sigmoid"), ("regression", "none")],
)
def test_every_kind_of_problem(
    copied_artifact: Callable[[], Path], tmp_path: Path, problem: str, activation: str
) -> None:
    artifact = copied_artifact()
    edit_config(artifact, {"problem_type": problem})
    folder = write_repository(artifact, tmp_path / "models", name="m").path
    config = read_config(folder / "m_labels" / "config.pbtxt")
    assert config.parameters["activation"].string_value == activation
    _assert_answers_as(TritonServer(folder), Classifier(artifact, "cpu"), _TEXTS)


def test_thresholds_of_a_multi_label_model(
    copied_artifact: Callable[[], Path], tmp_path: Path
) -> None:
    """They are in the configuration, and give what Classifier gives."""
    artifact = copied_artifact()
    edit_config(artifact, {"problem_type": "multi_label_classification"})
    labels = Classifier(artifact, "cpu").labels
    thresholds = dict(zip(labels, (0.2, 0.8, 0.5), strict=True))
    edit_manifest(artifact, {"thresholds": thresholds})
    folder = write_repository(artifact, tmp_path / "models", name="m").path
    config = read_config(folder / "m" / "config.pbtxt")
    stated = json.loads(config.parameters["thresholds"].string_value)
    assert stated == thresholds
    scores = np.concatenate([a["scores"] for a in _answers(TritonServer(folder), _TEXTS)])
    limits = np.array([stated[label] for label in labels])
    found = over_thresholds(scores, limits, labels)
    expected: Any = Classifier(artifact, "cpu")(_TEXTS)
    assert [[p.label for p in row] for row in found] == [[p.label for p in row] for row in expected]
    assert len({len(row) for row in found}) > 1


def test_a_family_without_segments(tmp_path: Path) -> None:
    """Its graph takes no token types, so no step gives any; and its tokenizer is byte-level."""
    artifact = tmp_path / "model"
    export_model(str(roberta_checkpoint(tmp_path / "checkpoint")), artifact)
    folder = write_repository(artifact, tmp_path / "models", name="m").path
    assert "token_type_ids" not in (folder / "m" / "config.pbtxt").read_text()
    _assert_answers_as(TritonServer(folder), Classifier(artifact, "cpu"), _TEXTS)


# What it refuses


def test_a_bad_request_does_not_fail_the_others(server: TritonServer) -> None:
    bad = Request({"text": _strings(b"caf\xe9")})
    answers = server.infer("m", [_request("good"), bad, _request("a film")])
    alone = _answers(server, ["good", "a film"])
    assert _errors(answers)[1].startswith("in ensemble 'm', `text` is not UTF-8")
    for answer, expected in zip((answers[0], answers[2]), alone, strict=True):
        assert isinstance(answer, dict)
        np.testing.assert_array_equal(answer["logits"], expected["logits"])


def test_all_requests_may_be_bad(server: TritonServer) -> None:
    bad = Request({"text": _strings("good"), "text_pair": _strings(b"\xff")})
    assert all(
        "`text_pair` is not UTF-8" in error for error in _errors(server.infer("m", [bad] * 2))
    )


def test_a_text_that_cannot_be_cut_does_not_fail_the_others(
    copied_artifact: Callable[[], Path], tmp_path: Path
) -> None:
    """A pair whose first text is too long, where the tokenizer cuts only the second."""
    artifact = copied_artifact()
    truncation = {"direction": "Right", "max_length": 16, "strategy": "OnlySecond", "stride": 0}
    edit_config(artifact, {"truncation": truncation}, name="tokenizer.json")
    edit_manifest(artifact, {"max_length": 16})
    server = TritonServer(write_repository(artifact, tmp_path / "models", name="m").path)
    asked = [_request("good"), _request(("long " * 30, "b")), _request(("a", "long " * 30))]
    good, error, pair = server.infer("m", asked)
    assert "and to cut only the second of its texts is not enough" in _errors([error])[0]
    assert isinstance(good, dict) and good["tokens"].item() == 3
    assert isinstance(pair, dict) and pair["tokens"].item() == 16


def test_a_request_has_one_text(server: TritonServer) -> None:
    two = Request({"text": np.array([[b"one"], [b"two"]], dtype=np.object_)})
    assert "batch-size must be <= 1" in _errors(server.infer("m", [two]))[0]
    answers = server.infer("m_tokenizer", [two, _request("good")])
    assert "`text` has 2 strings: send one text a request" in _errors(answers)[0]
    assert isinstance(answers[1], dict)


def test_truncation_is_the_requests_choice(server: TritonServer) -> None:
    long = "a film that goes on and on " * 200
    asked = [_request(long), _request(long, truncate=False), _request("good", truncate=False)]
    answers = server.infer("m", [*asked, _request(long, truncate=True), _request("", truncate=1)])
    first, error, _, last, malformed = _errors(answers)
    assert (first, last) == ("", "") and "and the model takes 512" in error
    assert "truncate is neither true nor false" in malformed
    assert isinstance(answers[2], dict) and answers[2]["tokens"].item() == 3


def test_truncation_may_be_off(copied_artifact: Callable[[], Path], tmp_path: Path) -> None:
    artifact = copied_artifact()
    edit_manifest(artifact, {"max_length": 16})
    folder = write_repository(artifact, tmp_path / "models", name="m", truncate=False).path
    long = "a gorgeous film " * 30
    answers = TritonServer(folder).infer("m", [_request(long), _request(long, truncate=True)])
    assert "and the model takes 16" in _errors(answers)[0]
    assert isinstance(answers[1], dict) and answers[1]["truncated"].item()


def test_rows_of_ids_are_a_text_each(server: TritonServer) -> None:
    """A request of two rows, which shares its batch with another's, gets its own two answers."""
    (ids, other), (types, others) = (
        [np.array(rows, dtype=np.int64) for rows in pair]
        for pair in (
            ([[101, 5, 102], [101, 9, 102]], [[101, 7, 8, 102]]),
            ([[0] * 3] * 2, [[0] * 4]),
        )
    )
    asked = [
        Request({"input_ids": ids, "token_type_ids": types}),
        Request({"input_ids": other, "token_type_ids": others}),
    ]
    both, single = server.infer("m_packed", asked)
    assert isinstance(both, dict) and isinstance(single, dict)
    for row in range(2):
        (alone,) = server.infer(
            "m_packed",
            [Request({"input_ids": ids[row : row + 1], "token_type_ids": types[row : row + 1]})],
        )
        assert isinstance(alone, dict)
        np.testing.assert_allclose(both["logits"][row], alone["logits"][0], atol=1e-5)


def test_counting_elements_would_hand_out_anothers_answer(
    repository: Path, tmp_path: Path, copy_of: Callable[[Path], Path]
) -> None:
    """Why `lengths` is no BATCH_ELEMENT_COUNT: two rows count as one text of as many tokens."""
    folder = copy_of(repository)
    file = folder / "m_packed" / "config.pbtxt"
    file.write_text(file.read_text().replace("BATCH_ITEM_SHAPE_FLATTEN", "BATCH_ELEMENT_COUNT"))
    server = TritonServer(folder)
    _answers(server, ["good", "a film"])  # one row a request: no difference
    two = np.array([[101, 5, 102], [101, 9, 102]], dtype=np.int64)
    one = np.array([[101, 7, 8, 102]], dtype=np.int64)
    (alone,) = server.infer(
        "m_packed", [Request({"input_ids": one, "token_type_ids": np.zeros_like(one)})]
    )
    both, error = server.infer(
        "m_packed",
        [Request({"input_ids": i, "token_type_ids": np.zeros_like(i)}) for i in (two, one)],
    )
    assert isinstance(alone, dict) and isinstance(both, dict) and isinstance(error, RefusedError)
    np.testing.assert_allclose(both["logits"][1], alone["logits"][0], atol=1e-5)


@pytest.mark.parametrize("version", ["24.12", "26.01", "26.06", "26.02-py3"])
def test_a_triton_that_answers_wrongly_is_refused(
    repository: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setenv("NVIDIA_TRITON_SERVER_VERSION", version)
    with pytest.raises(TritonModelException, match=rf"Triton {version}, .* use Triton 26\.07"):
        TritonServer(repository)


@pytest.mark.parametrize("version", ["26.07", "26.11", "27.01", "", "dev", None])
def test_other_versions_are_not(version: str | None) -> None:
    assert why_unfit("fp32", version) is None


def test_int8_wants_vnni(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_cpu(monkeypatch, tmp_path, "x86_64", "flags : avx2 fma")
    reason = why_unfit("int8", "26.07")
    assert reason is not None and "--precision fp32" in reason
    assert why_unfit("fp32", "26.07") is None
    pretend_cpu(monkeypatch, tmp_path, "x86_64", "flags : avx2 fma avx512_vnni")
    assert why_unfit("int8", "26.07") is None


def test_the_steps_need_no_onnxruntime(repository: Path) -> None:
    """Triton's Python gets bertrt with numpy and tokenizers alone."""
    program = (
        "import sys; sys.modules.update(dict.fromkeys(('onnxruntime', 'tritonclient', 'google')));"
        "import importlib.util as u\n"
        "for file in sys.argv[1:]:\n"
        "    spec = u.spec_from_file_location('model', file); module = u.module_from_spec(spec)\n"
        "    spec.loader.exec_module(module); print(module.TritonPythonModel.folder)\n"
    )
    files = [str(repository / name / "1" / "model.py") for name in ("m_tokenizer", "m_labels")]
    ran = subprocess.run(
        [sys.executable, "-c", program, *files], capture_output=True, text=True, check=True
    )
    assert ran.stdout.splitlines() == [str(Path(file).parent) for file in files]


def test_a_triton_without_bertrt_is_told_so(repository: Path) -> None:
    program = "import sys, runpy; sys.modules['bertrt'] = None; runpy.run_path(sys.argv[1])"
    file = repository / "m_tokenizer" / "1" / "model.py"
    ran = subprocess.run(
        [sys.executable, "-c", program, str(file)], capture_output=True, text=True, check=False
    )
    assert "ImportError: Triton's Python needs bertrt" in ran.stderr
    assert "README.md of the model repository" in ran.stderr


# The command


def test_the_command_says_what_it_wrote(
    tiny_artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "a folder" / "models"
    assert main(["triton-repository", str(tiny_artifact), str(output)]) == 0
    said = capsys.readouterr().out
    assert "model: an ensemble of model_tokenizer, model_packed, model_labels" in said
    assert "fp32 on the CPU" in said and "Triton 26.07 or later" in said
    assert f"tritonserver --model-repository '{output}'" in said
    assert (output / "model" / "config.pbtxt").is_file()


def test_only_its_own_folders_are_replaced(
    tiny_artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "models"
    command = ["triton-repository", str(tiny_artifact), str(output)]
    assert main([*command, "--name", "first"]) == 0
    assert main([*command, "--name", "second"]) == 1
    assert "pass --overwrite to replace it" in capsys.readouterr().err
    assert (output / "first").is_dir()
    assert main([*command, "--name", "second", "--overwrite"]) == 0
    assert (output / "second").is_dir() and not (output / "first").exists()
    (output / MARKER).unlink()
    assert main([*command, "--overwrite"]) == 1
    assert "is no Triton repository of bertrt's" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["models"]


def test_an_artifact_is_not_overwritten(
    copied_artifact: Callable[[], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    artifact = copied_artifact()
    command = ["triton-repository", str(artifact), str(artifact), "--overwrite"]
    assert main(command) == 1
    assert "it is never overwritten" in capsys.readouterr().err
    assert (artifact / "bertrt.json").is_file()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--precision", "int8"], "holds no int8 graph, only fp32"),
        (["--name", "a.b"], "give letters, digits, - and _"),
        (["--name", ""], "give letters, digits, - and _"),
        (["--name", "_a"], "beginning with neither"),
    ],
)
def test_an_option_out_of_range_is_refused(
    tiny_artifact: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    reason: str,
) -> None:
    command = ["triton-repository", str(tiny_artifact), str(tmp_path / "models"), *options]
    assert main(command) == 1
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "models").exists()


def test_precision_and_device_go_together(
    copied_artifact: Callable[[], Path], tmp_path: Path
) -> None:
    output, int8, fp16 = tmp_path / "models", copied_artifact(), copied_artifact()
    _add_int8(int8)
    with pytest.raises(ArtifactError, match="int8 does not run on a GPU: choose fp16 or fp32"):
        write_repository(int8, output, device="gpu", precision="int8")
    written = write_repository(int8, output, device="gpu", instances=2)
    assert written.deployment.precision == "fp32" and written.path == output
    _add_fp16(fp16)
    edit_manifest(fp16, {"graphs": {"fp16": "model_fp16.onnx"}})
    with pytest.raises(ArtifactError, match=r"fp16 only, which does not run on a CPU: .*int8"):
        write_repository(fp16, output)
    with pytest.raises(ValueError, match="instances is 0: give 1 or more"):
        write_repository(fp16, output, instances=0)


@pytest.mark.parametrize(
    ("given", "name"),
    [("my model (v2)", "my-model-v2"), ("été", "t"), ("__", "model"), ("plain-1", "plain-1")],
)
def test_the_name_is_the_folders_own(
    copied_artifact: Callable[[], Path], tmp_path: Path, given: str, name: str
) -> None:
    artifact = copied_artifact().rename(tmp_path / given)
    assert write_repository(artifact, tmp_path / "models").deployment.name == name


def test_a_padded_model_is_refused(copied_artifact: Callable[[], Path], tmp_path: Path) -> None:
    padded, foreign = copied_artifact(), copied_artifact()
    edit_manifest(padded, {"layout": "padded"})
    (foreign / "bertrt.json").unlink()  # without it, a folder is another exporter's
    for artifact in (padded, foreign):
        with pytest.raises(ArtifactError, match=r"padded, .* `export-model --layout packed`"):
            write_repository(artifact, tmp_path / "models")


def test_a_token_classifier_is_refused(copied_artifact: Callable[[], Path], tmp_path: Path) -> None:
    tagger = copied_artifact()
    edit_manifest(tagger, {"task": "token-classification"})
    with pytest.raises(ArtifactError, match=r"token-classification: .* use TokenClassifier"):
        write_repository(tagger, tmp_path / "models")


# The check of a server: `bertrt serve` speaks the same protocol


@pytest.fixture(scope="module")
def url(tiny_artifact: Path) -> Iterator[str]:
    """A server that has the repository's model."""
    with serving(f"m={tiny_artifact}") as server:
        yield server.url


def test_a_server_that_answers_alike_passes(
    url: str, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["triton-check", str(repository), "--url", url.removeprefix("http://")]) == 0
    said = capsys.readouterr().out
    assert re.fullmatch(
        r"m answers as the exporter did: max \|Δlogit\| \S+ \(limit \S+\) in 72 requests\n", said
    )
    assert check_server(repository, url).difference < 1e-5


def test_a_server_that_answers_otherwise_does_not(
    url: str, repository: Path, copy_of: Callable[[Path], Path]
) -> None:
    changed = copy_of(repository)
    marker = json.loads((changed / MARKER).read_text(encoding="utf-8"))
    marker["golden"][-1]["logits"]["fp32"][0] += 0.01
    (changed / MARKER).write_text(json.dumps(marker), encoding="utf-8")
    with pytest.raises(BackendError, match=r"max \|Δlogit\| 0\.01, .*another model"):
        check_server(changed, url)
    (changed / MARKER).write_text(json.dumps({**marker, "name": "none"}), encoding="utf-8")
    with pytest.raises(BackendError, match=r"none at .* does not answer: .*none"):
        check_server(changed, url)
    for golden in marker["golden"]:
        golden["logits"]["fp32"].append(0.0)
    (changed / MARKER).write_text(json.dumps(marker), encoding="utf-8")
    with pytest.raises(BackendError, match=r"gives 3 logits a text, .* has 4"):
        check_server(changed, url)


def test_no_number_is_no_answer(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(url: str, model: str, texts: list[TextInput]) -> list[np.ndarray]:
        return [np.full((1, 3), np.nan, dtype=np.float32) for _ in texts]

    monkeypatch.setattr("bertrt.triton.check._ask", ask)
    with pytest.raises(BackendError, match=r"max \|Δlogit\| inf"):
        check_server(repository, "localhost:9")


def test_a_server_that_cannot_be_reached(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["triton-check", str(repository), "--url", "localhost:9"]) == 1
    errors = capsys.readouterr().err
    assert "m at localhost:9 does not answer" in errors and errors.count("\n") == 1


def test_what_is_no_repository_cannot_be_checked(
    tiny_artifact: Path, repository: Path, copy_of: Callable[[Path], Path]
) -> None:
    with pytest.raises(ArtifactError, match="`bertrt triton-repository` wrote"):
        check_server(tiny_artifact, "localhost:9")
    changed = copy_of(repository)
    marker = json.loads((changed / MARKER).read_text(encoding="utf-8"))
    (changed / MARKER).write_text(json.dumps({**marker, "format_version": 2}), encoding="utf-8")
    with pytest.raises(ArtifactError, match="has format 2 and this bertrt reads 1"):
        read_marker(changed)
    (changed / MARKER).write_text("{}", encoding="utf-8")
    with pytest.raises(ArtifactError, match="is incomplete"):
        read_marker(changed)


def test_a_check_without_the_client_names_it(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tritonclient.http", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'tritonclient\[http\]'"):
        check_server(repository, "localhost:9")


def test_the_readmes_client_works_as_it_stands(url: str, repository: Path) -> None:
    page = (repository / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    here = code.replace("localhost:8000", url.removeprefix("http://"))
    assert here != code
    ran = subprocess.run([sys.executable, "-c", here], capture_output=True, text=True, check=True)
    lines = [line.split() for line in ran.stdout.splitlines()]
    assert [label in ("negative", "neutral", "positive") for label, _ in lines] == [True] * 2
    assert all(0 < float(score) <= 1 for _, score in lines)
    assert "has not been run in a Triton server" in page and "{" not in page.replace(code, "")
