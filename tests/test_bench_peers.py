"""Peers of the benchmark: their processes and messages, their batches, their environments."""

import ast
import io
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bertrt import Classifier
from bertrt_bench.peers import bertrt_int8, environments, pytorch_fp32
from bertrt_bench.peers.padded import (
    BATCH_SIZE,
    MAX_TOKENS,
    in_batches,
    load_tokenizer,
    padded,
    padded_model,
)
from bertrt_bench.peers.registry import MAIN, PEERS
from bertrt_bench.peers.remote import PeerError, RemotePeer, environment_python, skip_reason
from bertrt_bench.peers.wire import decode_array, encode_array, receive, send
from tokenizers import Encoding, Tokenizer

# The wire


@pytest.mark.parametrize(
    "array",
    [
        pytest.param(np.array([[0.1, -0.0], [1e-45, 3.4e38]], dtype=np.float32), id="float32"),
        pytest.param(np.array([np.nan, np.inf, -np.inf], dtype=np.float32), id="no numbers"),
        pytest.param(np.array([[2**63 - 1, -(2**63)]], dtype=np.int64), id="int64"),
        pytest.param(np.arange(24).reshape(2, 3, 4).transpose(2, 0, 1)[::2], id="a view"),
        pytest.param(np.empty((0, 3), dtype=np.float32), id="empty"),
        pytest.param(np.array(7, dtype=np.int32), id="a scalar"),
    ],
)
def test_arrays_travel_bit_by_bit(array: np.ndarray) -> None:
    stream = io.StringIO()
    send(stream, {"array": encode_array(array)})
    stream.seek(0)
    message = receive(stream)
    assert message is not None
    decoded = decode_array(message["array"])
    assert (decoded.dtype, decoded.shape) == (array.dtype, array.shape)
    assert decoded.tobytes() == array.tobytes()


def test_objects_do_not_travel() -> None:
    """They would have to be unpickled, which runs what it reads."""
    with pytest.raises(ValueError, match="allow_pickle"):
        encode_array(np.array([{}], dtype=object))


def test_messages_are_lines_and_the_end_is_none() -> None:
    messages: list[dict[str, Any]] = [
        {"texts": ["two\nlines", "café 好 \u2028 \x85", ""]},
        {"seconds": 0.1},
    ]
    stream = io.StringIO(newline="\n")
    for message in messages:
        send(stream, message)
    assert stream.getvalue().count("\n") == 2
    assert stream.getvalue().isascii(), "so no locale can change them"
    stream.seek(0)
    assert [receive(stream), receive(stream), receive(stream)] == [*messages, None]


# A peer in a process of its own

_FAKE_PEER = """
import os
import sys
from pathlib import Path

import numpy as np
from bertrt_bench.peers.model import Model

print("imported", flush=True)


def prepare(checkpoint, folder, calibration):
    print("prepared")
    os.write(1, b"as a C library would\\n")
    (folder / "seen").write_text(f"{checkpoint.name} {calibration.name}")


def load(folder, checkpoint, threads):
    calls = 0

    def classify(texts, by_length):
        if texts == ["raise"]:
            raise ValueError("no such text")
        if texts == ["raise deep"]:
            deep(40)
        if texts == ["die"]:
            print("dying", file=sys.stderr, flush=True)
            os._exit(7)
        if texts == ["print"]:
            print('{"logits": "not an answer"}', flush=True)
            os.write(1, b"{}\\n")
        variables = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        told = [int(os.environ[name]) for name in variables]
        return np.array([[len(text), by_length, threads, *told] for text in texts], np.float32)

    def session(input_ids):
        nonlocal calls
        calls += 1
        return np.stack([input_ids.sum(axis=1), np.full(len(input_ids), calls)], axis=1)

    return Model(classify, session)


def deep(levels):
    if levels == 0:
        raise RuntimeError("at the bottom")
    deep(levels - 1)
"""

_THREADS = 3


@pytest.fixture
def start(tmp_path: Path) -> Callable[[str], RemotePeer]:
    """Starts a worker on a module of this source."""

    def start_with(source: str) -> RemotePeer:
        modules = tmp_path / "modules"
        modules.mkdir()
        (modules / "fake_peer.py").write_text(source, encoding="utf-8")
        return RemotePeer(Path(sys.executable), "fake_peer", _THREADS, [modules])

    return start_with


def _load(peer: RemotePeer) -> dict[str, str]:
    return peer.load(Path("folder"), Path("checkpoint"), _THREADS)


def _failure(peer: RemotePeer, texts: list[str]) -> str:
    """What is said of a peer that fails on these texts."""
    with pytest.raises(PeerError) as raised:
        peer.classify(texts)
    return str(raised.value)


def test_a_peer_answers_from_its_process(
    start: Callable[[str], RemotePeer], tmp_path: Path
) -> None:
    with start(_FAKE_PEER) as peer:
        peer.prepare(tmp_path / "a checkpoint", tmp_path, tmp_path / "some texts")
        assert (tmp_path / "seen").read_text() == "a checkpoint some texts"
        versions = _load(peer)
        assert versions["numpy"] == np.__version__
        assert set(versions) <= {*"onnxruntime openvino nncf ctranslate2 optimum".split()} | {
            *"optimum-onnx torch transformers tokenizers numpy".split()
        }
        for by_length in (False, True):
            seconds, logits = peer.classify(["a", "café 好"], by_length=by_length)
            assert 0 < seconds < 60
            assert logits.dtype == np.float32
            expected = [[length, by_length, *[_THREADS] * 4] for length in (1, 6)]
            assert logits.tolist() == expected
        memory = peer.rss()
        assert 1 < memory["rss_mb"] <= memory["peak_mb"] < 4000
    assert peer._process.returncode == 0
    peer.quit()  # a second time does no harm


def test_a_session_is_timed_after_a_warm_up(start: Callable[[str], RemotePeer]) -> None:
    ids = np.array([[2**40, 1], [2, 3], [4, 5]], dtype=np.int64)
    with start(_FAKE_PEER) as peer:
        _load(peer)
        seconds, logits = peer.session(ids, 5)
        assert len(seconds) == 5 and min(seconds) > 0
        assert logits[:, 0].tolist() == ids.sum(axis=1).tolist()
        _, logits = peer.session(ids, 1)
        assert logits[0, 1] == 3 + 5 + 3, "three runs of warm-up before those that are timed"


def test_what_a_peer_prints_is_no_answer(start: Callable[[str], RemotePeer]) -> None:
    with start(_FAKE_PEER) as peer:
        _load(peer)
        _, logits = peer.classify(["print"])
        assert logits.tolist() == [[5, 0, *[_THREADS] * 4]]


def test_a_peer_that_raises_is_an_error_with_its_last_lines_and_goes_on(
    start: Callable[[str], RemotePeer],
) -> None:
    with start(_FAKE_PEER) as peer:
        _load(peer)
        message = _failure(peer, ["raise"])
        assert message.startswith("fake_peer failed in `classify`: ValueError: no such text\n")
        assert message.endswith("ValueError: no such text")
        assert 'raise ValueError("no such text")' in message
        message = _failure(peer, ["raise deep"])
        assert message.endswith("\nRuntimeError: at the bottom"), "not the error before"
        assert len(message.splitlines()) == 1 + 15
        assert peer.classify(["good"])[1].shape == (1, 6)


def test_a_peer_that_is_not_loaded_says_so(start: Callable[[str], RemotePeer]) -> None:
    with start(_FAKE_PEER) as peer:
        assert "RuntimeError: no model is loaded" in _failure(peer, ["good"])


def test_a_peer_that_dies_is_an_error_with_its_exit_status(
    start: Callable[[str], RemotePeer],
) -> None:
    with start(_FAKE_PEER) as peer:
        _load(peer)
        message = _failure(peer, ["die"])
        assert message.startswith("fake_peer died during `classify` (exit status 7):\n")
        assert message.endswith("\ndying")
        assert "exit status 7" in _failure(peer, ["good"]), "and stays dead"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import no_such_package", "No module named 'no_such_package'"),
        ("raise SystemExit('this CPU is not supported')", "this CPU is not supported"),
    ],
)
def test_a_peer_that_cannot_be_imported(
    start: Callable[[str], RemotePeer], source: str, words: str
) -> None:
    with start(source) as peer, pytest.raises(PeerError) as raised:
        _load(peer)
    assert str(raised.value).startswith("fake_peer died during `load` (exit status 1):\n")
    assert words in str(raised.value)


def test_a_worker_ends_when_the_benchmark_does(start: Callable[[str], RemotePeer]) -> None:
    peer = start(_FAKE_PEER)
    assert peer._process.stdin is not None
    peer._process.stdin.close()
    assert peer._process.wait(20) == 0
    peer.quit()


def test_a_worker_that_does_not_end_is_killed(
    start: Callable[[str], RemotePeer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bertrt_bench.peers.remote._QUIT_SECONDS", 0.2)
    peer = start("import time\ntime.sleep(600)")
    peer.quit()
    assert peer._process.returncode == -9


# Padded batches


@pytest.fixture(scope="module")
def tokenizer(encoder_folder: Path) -> Tokenizer:
    return load_tokenizer(encoder_folder)


def _words(*counts: int) -> list[str]:
    """Texts of so many tokens, the two special ones included."""
    return [" ".join(["good"] * (count - 2)) for count in counts]


def test_a_peers_tokenizer_cuts_and_does_not_pad(tokenizer: Tokenizer) -> None:
    lengths = [len(e.ids) for e in tokenizer.encode_batch_fast(_words(3, 512, 900))]
    assert lengths == [3, 512, 512]
    assert MAX_TOKENS == 512


@pytest.mark.parametrize("of", [list, np.array], ids=["lists", "arrays"])
def test_padded_inputs_are_rectangles_of_zeros_after_the_texts(
    of: Callable[[list[int]], list[int] | np.ndarray],
) -> None:
    rows, types = [[101, 5, 102], [101, 5, 102, 6, 7, 102]], [[0, 0, 0], [0, 0, 0, 1, 1, 1]]
    inputs = padded([of(row) for row in rows], [of(row) for row in types])
    assert {name: array.tolist() for name, array in inputs.items()} == {
        "input_ids": [[101, 5, 102, 0, 0, 0], [101, 5, 102, 6, 7, 102]],
        "attention_mask": [[1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 1]],
        "token_type_ids": [[0, 0, 0, 0, 0, 0], [0, 0, 0, 1, 1, 1]],
    }
    assert {array.dtype for array in inputs.values()} == {np.dtype(np.int64)}


@pytest.mark.parametrize("by_length", [False, True])
@pytest.mark.parametrize("count", [1, 32, 33, 70])
def test_batches_and_the_order_of_their_answers(
    tokenizer: Tokenizer, count: int, by_length: bool
) -> None:
    lengths = [3 + 7 * number % 11 for number in range(count)]
    seen: list[list[int]] = []

    def run(encodings: Sequence[Encoding]) -> np.ndarray:
        seen.append([len(encoding.ids) for encoding in encodings])
        return np.array([[length, -length] for length in seen[-1]], dtype=np.float32)

    logits = in_batches(tokenizer, run)(_words(*lengths), by_length)
    assert logits.tolist() == [[length, -length] for length in lengths]
    assert logits.dtype == np.float32
    order = sorted(lengths, reverse=True) if by_length else lengths
    assert seen == [order[start : start + 32] for start in range(0, count, 32)]
    assert BATCH_SIZE == 32


def test_a_padded_model_gets_full_rows_in_a_session(encoder_folder: Path) -> None:
    seen: list[dict[str, np.ndarray]] = []

    def run(inputs: dict[str, np.ndarray]) -> np.ndarray:
        seen.append(inputs)
        return np.zeros((len(inputs["input_ids"]), 2), dtype=np.float32)

    model = padded_model(run, encoder_folder)
    ids = np.array([[101, 0, 102], [101, 7, 102]], dtype=np.int64)
    assert model.session(ids).shape == (2, 2)
    assert model.classify(_words(3, 5), False).shape == (2, 2)
    full, ragged = seen
    assert ragged["input_ids"].tolist() == [[101, 2204, 102, 0, 0], [101, 2204, 2204, 2204, 102]]
    assert full["input_ids"] is ids
    assert full["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 1]]
    assert full["token_type_ids"].tolist() == [[0, 0, 0], [0, 0, 0]]
    assert ragged["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]


# The peers of this environment


def test_pytorch_answers_in_order(
    tiny_checkpoint: Path, tmp_path: Path, sst2_dev: list[tuple[str, int]]
) -> None:
    texts = [text for text, _ in sst2_dev[:40]]
    model = pytorch_fp32.load(tmp_path, tiny_checkpoint, torch.get_num_threads())
    logits = model.classify(texts, False)
    assert logits.shape == (40, 3) and logits.dtype == np.float32
    np.testing.assert_allclose(model.classify(texts, True), logits, atol=1e-4)
    ids = load_tokenizer(tiny_checkpoint).encode(texts[5]).ids
    np.testing.assert_allclose(model.session(np.array([ids])), logits[5:6], atol=1e-4)


def test_bertrt_answers_as_its_classifier(
    tiny_checkpoint: Path,
    tiny_int8_artifact: Path,
    tmp_path: Path,
    sst2_dev: list[tuple[str, int]],
) -> None:
    texts = [text for text, _ in sst2_dev[:40]]
    (tmp_path / "artifact").symlink_to(tiny_int8_artifact)
    model = bertrt_int8.load(tmp_path, tiny_checkpoint, 1)
    expected = Classifier(tiny_int8_artifact, "cpu").logits(texts)
    np.testing.assert_allclose(model.classify(texts, False), expected, atol=1e-4)
    encodings = load_tokenizer(tiny_checkpoint).encode_batch_fast(texts)
    rows = [row for row, e in enumerate(encodings) if len(e.ids) == len(encodings[0].ids)]
    answers = model.session(np.array([encodings[row].ids for row in rows]))
    np.testing.assert_allclose(answers, expected[rows], atol=1e-4)


# The registry


def _functions(module: str) -> set[str]:
    """What a module defines or imports; it is not run, because its packages may be missing."""
    spec = find_spec(module)
    assert spec is not None and spec.origin is not None
    names = set()
    for node in ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.name for alias in node.names}
    return names


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_has_a_module_and_an_environment(name: str) -> None:
    peer = PEERS[name]
    assert {"prepare", "load"} <= _functions(peer.module)
    known = {MAIN, *(file.stem for file in environments.REQUIREMENTS.glob("*.txt"))}
    assert peer.environment in known


def test_peers_have_names_of_their_own() -> None:
    assert len({peer.title for peer in PEERS.values()}) == len(PEERS)
    assert len({peer.module for peer in PEERS.values()}) == len(PEERS)


def test_the_benchmarks_own_environment_is_always_there(tmp_path: Path) -> None:
    peer = replace(next(iter(PEERS.values())), environment=MAIN)
    assert skip_reason(peer, tmp_path) is None
    assert environment_python(MAIN, tmp_path) == Path(sys.executable)


def test_a_missing_environment_is_a_reason_to_skip(tmp_path: Path) -> None:
    peer = replace(next(iter(PEERS.values())), environment="openvino")
    reason = skip_reason(peer, tmp_path)
    assert reason is not None
    command = f"python -m bertrt_bench.peers.environments openvino --root {tmp_path}"
    assert str(tmp_path) in reason and f"`{command}`" in reason
    python = environment_python("openvino", tmp_path)
    assert python == tmp_path / "openvino" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    assert skip_reason(peer, tmp_path) is None


# Environments


class _Commands:
    """Stands for subprocess.run; `ran` are the commands, and pip lists these packages."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
        self.ran: list[list[str]] = []
        self._packages = packages
        monkeypatch.setattr(subprocess, "run", self._run)

    def _run(self, command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        assert options.get("check") is True
        self.ran.append(command)
        if "venv" in command:
            Path(command[-1]).mkdir(parents=True, exist_ok=True)
        return subprocess.CompletedProcess(command, 0, stdout="\n".join(self._packages))


def _requirements(name: str) -> str:
    return (environments.REQUIREMENTS / f"{name}.txt").read_text()


def _main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["environments", *arguments])
    return environments.main()


def test_an_unknown_environment_is_wrong_usage(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    commands = _Commands(monkeypatch)
    with pytest.raises(SystemExit) as raised:
        _main(monkeypatch, "openvino", "nope", "--root", str(tmp_path))
    assert raised.value.code == 2
    errors = capsys.readouterr().err
    assert "there is no environment nope" in errors and "openvino" in errors
    assert commands.ran == []


def test_an_environment_is_made_of_its_requirements(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    commands = _Commands(monkeypatch, "numpy==2.4.0", "openvino==2026.1")
    assert _main(monkeypatch, "openvino", "--root", str(tmp_path)) == 0
    create, torch_first, rest, listed = commands.ran
    assert create == [sys.executable, "-m", "venv", "--clear", str(tmp_path / "openvino")]
    assert {command[0] for command in commands.ran[1:]} == {
        str(environment_python("openvino", tmp_path))
    }
    assert torch_first[-1].startswith("torch==")
    requirements = environments.REQUIREMENTS / "openvino.txt"
    assert rest[-2:] == ["--requirement", str(requirements)]
    assert "list" in listed
    assert (tmp_path / "openvino" / "requirements.txt").read_text() == _requirements("openvino")


def test_an_environment_that_is_there_is_left_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    commands = _Commands(monkeypatch)
    names = [file.stem for file in environments.REQUIREMENTS.glob("*.txt")]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "requirements.txt").write_text(_requirements(name))
    assert _main(monkeypatch, "--root", str(tmp_path)) == 0
    assert commands.ran == []
    assert capsys.readouterr().out.count("is there already") == len(names)


def test_an_environment_of_other_requirements_is_made_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ready = tmp_path / "openvino" / "requirements.txt"
    ready.parent.mkdir()
    ready.write_text("openvino==2020.1\n")
    commands = _Commands(monkeypatch)
    environments.create("openvino", tmp_path)
    assert "venv" in commands.ran[0]
    assert ready.read_text() == _requirements("openvino")


def test_an_environment_with_cuda_libraries_is_not_ready(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _Commands(monkeypatch, "numpy==2.4.0", "nvidia-cublas-cu12==12.8")
    with pytest.raises(RuntimeError, match=r"openvino: .*nvidia-cublas-cu12==12\.8"):
        environments.create("openvino", tmp_path)
    assert not (tmp_path / "openvino" / "requirements.txt").exists()
