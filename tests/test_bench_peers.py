"""Peers of the benchmark: their processes and messages, their batches, their environments."""

import ast
import io
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from bertrt import Classifier
from bertrt_bench.installed import installed_mb
from bertrt_bench.peers import (
    bertrt_fp32,
    environments,
    floor_fp32,
    floor_int8,
    pipeline_fp32,
    pytorch_bf16,
    pytorch_compile,
    pytorch_fp32,
    pytorch_int8,
)
from bertrt_bench.peers.environments import MAIN, environment_python
from bertrt_bench.peers.model import PeerModule
from bertrt_bench.peers.padded import PaddedModel, load_tokenizer, max_tokens, padded
from bertrt_bench.peers.registry import PEERS, QUICK, skip_reason
from bertrt_bench.peers.remote import PeerError, RemotePeer
from bertrt_bench.peers.wire import decode_array, encode_array, receive, send
from tokenizers import Tokenizer

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
import time

import numpy as np

print("imported", flush=True)
calls = 0


def prepare(checkpoint, folder, calibration):
    print("prepared")
    os.write(1, b"as a C library would\\n")
    (folder / "seen").write_text(f"{checkpoint.name} {calibration}")


def load(folder, checkpoint, threads):
    return threads


def run(threads, texts):
    global calls
    calls += 1
    if texts == ["raise"]:
        raise ValueError("no such text")
    if texts == ["raise deep"]:
        deep(40)
    if texts == ["die"]:
        print("dying", file=sys.stderr, flush=True)
        os._exit(7)
    if texts == ["sleep"]:
        time.sleep(600)
    if texts == ["print"]:
        print('{"logits": "not an answer"}', flush=True)
        os.write(1, b"{}\\n")
    variables = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    told = [int(os.environ[name]) for name in variables]
    return np.array([[len(text), len(texts), calls, threads, *told] for text in texts], np.float32)


def deep(levels):
    if levels == 0:
        raise RuntimeError("at the bottom")
    deep(levels - 1)
"""

_THREADS = 3
_TIMEOUT = 5.0


@pytest.fixture
def start(tmp_path: Path) -> Callable[[str], RemotePeer]:
    """Starts a worker on a module of this source."""

    def start_with(source: str) -> RemotePeer:
        modules = tmp_path / "modules"
        modules.mkdir()
        (modules / "fake_peer.py").write_text(source, encoding="utf-8")
        return RemotePeer(Path(sys.executable), "fake_peer", _THREADS, _TIMEOUT, [modules])

    return start_with


def _load(peer: RemotePeer) -> dict[str, str]:
    return peer.load(Path("folder"), Path("checkpoint"), _THREADS)


def _failure(peer: RemotePeer, texts: list[str]) -> str:
    """What is said of a peer that fails on these texts."""
    with pytest.raises(PeerError) as raised:
        peer.classify(texts, 1)
    return str(raised.value)


def test_a_peer_answers_from_its_process(
    start: Callable[[str], RemotePeer], tmp_path: Path
) -> None:
    with start(_FAKE_PEER) as peer:
        peer.prepare(tmp_path / "a checkpoint", tmp_path, ["café", "b"])
        assert (tmp_path / "seen").read_text() == "a checkpoint ['café', 'b']"
        versions = _load(peer)
        assert versions["numpy"] == np.__version__
        assert {"torch", "transformers", "onnxruntime", "tokenizers"} < set(versions)
        seconds, logits = peer.classify(["a", "café 好", "bb"], 2)
        assert 0 < seconds < 60
        assert logits.dtype == np.float32
        # the length of the text, texts in its call, the call, threads
        expected = [[1, 2, 1], [6, 2, 1], [2, 1, 2]]
        assert logits.tolist() == [[*row, *[_THREADS] * 4] for row in expected]
        memory = peer.memory()
        assert 1 < memory["rss_mb"] <= memory["peak_mb"] < 4000
        assert peer.installed_mb(["tokenizers"]) == pytest.approx(installed_mb("tokenizers"))
        assert peer.alive
    assert peer._process.returncode == 0 and not peer.alive
    peer.quit()  # a second time does no harm


def test_lists_are_classified_again_for_as_long_as_asked(
    start: Callable[[str], RemotePeer],
) -> None:
    with start(_FAKE_PEER) as peer:
        _load(peer)
        seconds, logits = peer.classify(["a", "b"], 1, least_seconds=0.2)
        passes = logits[-1, 2] / 2
        assert passes > 10
        assert 0.2 / (passes + 1) < seconds < 0.4 / (passes - 1), "of one pass"


def test_one_text_is_timed_after_a_warm_up(start: Callable[[str], RemotePeer]) -> None:
    with start(_FAKE_PEER) as peer:
        _load(peer)
        seconds, logits = peer.repeat("ab", 60.0, least=3, most=5)
        assert len(seconds) == 5 and min(seconds) > 0
        warm_up = logits[0, 2]
        assert warm_up > 2, "for a tenth of a second"
        assert logits.tolist() == [[2, 1, warm_up, *[_THREADS] * 4]]
        _, logits = peer.classify(["a"], 1)
        assert logits[0, 2] == warm_up + 5 + 1
        assert len(peer.repeat("ab", 0.0, least=3, most=5)[0]) == 3


def test_what_a_peer_prints_is_no_answer(start: Callable[[str], RemotePeer]) -> None:
    with start(_FAKE_PEER) as peer:
        _load(peer)
        _, logits = peer.classify(["print"], 1)
        assert logits.tolist() == [[5, 1, 1, *[_THREADS] * 4]]


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
        assert peer.classify(["good"], 1)[1].shape == (1, 7)


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


def test_a_peer_that_hangs_is_ended(
    start: Callable[[str], RemotePeer], monkeypatch: pytest.MonkeyPatch
) -> None:
    with start(_FAKE_PEER) as peer:
        _load(peer)
        monkeypatch.setattr(peer, "_timeout", 0.3)
        message = _failure(peer, ["sleep"])
        assert message.startswith(
            "fake_peer gave no answer to `classify` within 0.3 s and was ended:"
        )
        assert not peer.alive


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


@pytest.mark.parametrize(("positions", "limit"), [(514, 512), (128, 128), (None, 512)])
def test_texts_are_cut_to_what_the_model_takes(
    tmp_path: Path, positions: int | None, limit: int
) -> None:
    config = {} if positions is None else {"max_position_embeddings": positions}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert max_tokens(tmp_path) == limit


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


def test_a_padded_model_tokenizes_and_pads_a_call(encoder_folder: Path) -> None:
    seen: list[dict[str, np.ndarray]] = []

    def engine(inputs: dict[str, np.ndarray]) -> np.ndarray:
        seen.append(inputs)
        return np.zeros((len(inputs["input_ids"]), 2), dtype=np.float32)

    model = PaddedModel.of(engine, encoder_folder)
    assert model.classify(_words(3, 5)).shape == (2, 2)
    assert seen[0]["input_ids"].tolist() == [[101, 2204, 102, 0, 0], [101, 2204, 2204, 2204, 102]]
    assert seen[0]["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]


# The peers of this environment


@pytest.fixture(scope="module")
def texts(sst2_dev: list[tuple[str, int]]) -> list[str]:
    return [text for text, _ in sst2_dev[:40]]


@pytest.fixture(scope="module")
def right(tiny_checkpoint: Path, texts: list[str]) -> np.ndarray:
    """PyTorch's logits, float32 [40, 3], one text at a time."""
    model = pytorch_fp32.load(tiny_checkpoint, tiny_checkpoint, torch.get_num_threads())
    return np.concatenate([pytorch_fp32.run(model, [text]) for text in texts])


@pytest.mark.parametrize(
    ("module", "tolerance"),
    [
        (pytorch_fp32, 1e-4),
        (pytorch_bf16, 0.1),
        pytest.param(pytorch_compile, 0.1, marks=pytest.mark.slow),
        (pytorch_int8, 0.4),
        (pipeline_fp32, 1e-4),
    ],
    ids=lambda value: getattr(value, "__name__", "").rpartition(".")[2],
)
def test_pytorch_answers_in_order_however_it_runs(
    module: PeerModule,
    tolerance: float,
    tiny_checkpoint: Path,
    texts: list[str],
    right: np.ndarray,
) -> None:
    model = module.load(tiny_checkpoint, tiny_checkpoint, torch.get_num_threads())
    logits = module.run(model, texts)
    assert logits.shape == (40, 3) and logits.dtype == np.float32
    np.testing.assert_allclose(logits, right, atol=tolerance)
    assert np.abs(right).max() > 4 * tolerance


def test_bertrt_answers_as_its_classifier(
    tiny_checkpoint: Path, tiny_int8_artifact: Path, tmp_path: Path, texts: list[str]
) -> None:
    (tmp_path / "artifact").symlink_to(tiny_int8_artifact)
    model = bertrt_fp32.load(tmp_path, tiny_checkpoint, 1)
    expected = Classifier(tiny_int8_artifact, "cpu").logits(texts)
    np.testing.assert_allclose(bertrt_fp32.run(model, texts), expected, atol=1e-4)


@pytest.mark.parametrize("module", [floor_int8, floor_fp32])
def test_a_floor_multiplies_and_answers_nothing(
    module: PeerModule, tiny_checkpoint: Path, tmp_path: Path, texts: list[str]
) -> None:
    module.prepare(tiny_checkpoint, tmp_path, [])
    model = module.load(tmp_path, tiny_checkpoint, 2)
    assert module.run(model, texts).tolist() == [[0.0]] * 40
    (batches,) = model.known.values()
    lengths = [len(e.ids) for e in load_tokenizer(tiny_checkpoint).encode_batch_fast(texts)]
    assert sum(len(batch["hidden"]) for batch in batches) == sum(lengths)
    assert sum(len(batch["first_inner"]) for batch in batches) == len(texts)
    nodes = onnx.load(tmp_path / "products.onnx").graph.node
    products = [node for node in nodes if node.op_type.startswith("MatMul")]
    assert len(products) == 4 + 6, "of a layer, and of the last one with the pooler"
    assert {node.op_type for node in products} == {
        "MatMulInteger" if module is floor_int8 else "MatMul"
    }


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
    assert {"prepare", "load", "run"} <= _functions(peer.module)
    assert peer.environment in {MAIN, *environments.names()}
    assert peer.prepared_as is None or peer.prepared_as in PEERS
    assert bool(peer.packages) == (peer.kind != "floor")


def test_peers_have_names_of_their_own() -> None:
    assert len({peer.title for peer in PEERS.values()}) == len(PEERS)
    assert len({(peer.module, peer.prepared_as) for peer in PEERS.values()}) == len(PEERS)
    assert set(QUICK) < set(PEERS)
    assert {PEERS[name].environment for name in QUICK} == {MAIN}


def test_the_benchmarks_own_environment_is_always_there(tmp_path: Path) -> None:
    assert skip_reason(PEERS["pytorch_fp32"], tmp_path) is None
    assert environment_python(MAIN, tmp_path) == Path(sys.executable)


def test_a_missing_package_is_a_reason_to_skip(tmp_path: Path) -> None:
    peer = replace(PEERS["pytorch_fp32"], packages=("torch", "no-such-engine"))
    assert skip_reason(peer, tmp_path) == "not installed: no-such-engine"


def test_a_missing_gpu_is_a_reason_to_skip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    peer = PEERS["pytorch_cuda_fp16"]
    monkeypatch.setattr("bertrt_bench.peers.registry.has_cuda", lambda: False)
    assert skip_reason(peer, tmp_path) == "this machine has no NVIDIA GPU"
    monkeypatch.setattr("bertrt_bench.peers.registry.has_cuda", lambda: True)
    assert skip_reason(peer, tmp_path) is None


def test_a_missing_environment_is_a_reason_to_skip(tmp_path: Path) -> None:
    peer = PEERS["openvino_int8"]
    reason = skip_reason(peer, tmp_path)
    assert reason is not None
    assert str(tmp_path) in reason
    assert reason.endswith("`bertrt bench --create-environments openvino`")
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


def test_an_unknown_environment_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    commands = _Commands(monkeypatch)
    with pytest.raises(ValueError, match=r"there is no environment nope: choose of .*openvino"):
        environments.create(["openvino", "nope"], tmp_path, print)
    assert commands.ran == []


def test_an_environment_is_made_of_its_requirements(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    commands = _Commands(monkeypatch, "numpy==2.4.0", "openvino==2026.1")
    environments.create(["openvino"], tmp_path, print)
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
    names = environments.names()
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "requirements.txt").write_text(_requirements(name))
    environments.create(names, tmp_path, print)
    assert commands.ran == []
    assert capsys.readouterr().out.count("is there already") == len(names)


def test_an_environment_of_other_requirements_is_made_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ready = tmp_path / "openvino" / "requirements.txt"
    ready.parent.mkdir()
    ready.write_text("openvino==2020.1\n")
    commands = _Commands(monkeypatch)
    environments.create(["openvino"], tmp_path, print)
    assert "venv" in commands.ran[0]
    assert ready.read_text() == _requirements("openvino")


def test_an_environment_with_cuda_libraries_is_not_ready(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _Commands(monkeypatch, "numpy==2.4.0", "nvidia-cublas-cu12==12.8")
    with pytest.raises(RuntimeError, match=r"openvino: .*nvidia-cublas-cu12==12\.8"):
        environments.create(["openvino"], tmp_path, print)
    assert not (tmp_path / "openvino" / "requirements.txt").exists()
