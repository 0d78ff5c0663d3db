"""Sessions on a GPU: what onnxruntime is asked for, and what happens where it does not start.

onnxruntime itself is made up: a build with CUDA and TensorRT, on a machine that has them or not.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
from bertrt import backend
from bertrt.backend import create_gpu_session, create_session, cuda_is_available
from bertrt.devices import CPU, CUDA, TENSORRT, Device
from bertrt.errors import ArtifactError, DeviceError


class _Onnxruntime:
    """A build of onnxruntime. `starts`: the providers that start here; others are left out."""

    SessionOptions = onnxruntime.SessionOptions
    __file__ = "/nowhere/onnxruntime/__init__.py"

    def __init__(self, *starts: str, build: tuple[str, ...] = (TENSORRT, CUDA, CPU)) -> None:
        self.starts, self.build = {*starts, CPU}, build
        self.sessions: list[Any] = []
        self.preloaded = self.severity = 0
        self.error: str | None = None
        self.graph_error: str | None = None

    def get_available_providers(self) -> list[str]:
        return list(self.build)

    def set_default_logger_severity(self, level: int) -> None:
        self.severity = level

    def preload_dlls(self) -> None:
        self.preloaded += 1
        print("Failed to load libcublasLt.so.13")

    def InferenceSession(  # noqa: N802
        self, graph: str | bytes, options: Any = None, **settings: Any
    ) -> "_Session":
        error = self.error if isinstance(graph, bytes) else self.graph_error
        if error is not None:
            raise RuntimeError(error)
        session = _Session(self, graph, options, settings)
        self.sessions.append(session)
        return session


class _Session:
    def __init__(
        self, runtime: _Onnxruntime, graph: str | bytes, options: Any, settings: Any
    ) -> None:
        self.graph, self.options, self.settings = graph, options, settings
        asked = [p if isinstance(p, str) else p[0] for p in settings["providers"]]
        self.providers = [name for name in asked if name in runtime.starts]

    def get_providers(self) -> list[str]:
        return self.providers

    def provider_options(self, name: str) -> dict[str, str]:
        return next(dict(p[1]) for p in self.settings["providers"] if p[0] == name)


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Callable[..., _Onnxruntime]:
    def install(*starts: str, **settings: Any) -> _Onnxruntime:
        runtime = _Onnxruntime(*starts, **settings)
        monkeypatch.setattr(backend, "onnxruntime", runtime)
        return runtime

    return install


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    file = tmp_path / "model_fp16.onnx"
    file.write_bytes(b"a graph")
    return file


def test_cuda(pretend: Callable[..., _Onnxruntime], graph: Path, capfd: Any) -> None:
    runtime = pretend(CUDA)
    session: Any = create_gpu_session(graph, Device("cuda", 2), cuda_graphs=True)
    assert session.graph == str(graph) and session.get_providers() == [CUDA, CPU]
    assert session.provider_options(CUDA) == {
        "device_id": "2",
        "use_tf32": "0",
        "arena_extend_strategy": "kSameAsRequested",
        "enable_cuda_graph": "1",
    }
    assert session.settings["enable_fallback"] == 0
    assert session.settings["disabled_optimizers"] == []
    assert session.options.enable_mem_reuse and session.options.intra_op_num_threads == 1
    assert runtime.preloaded == 1 and runtime.severity == 3
    assert capfd.readouterr() == ("", ""), "what onnxruntime prints is none of the user's business"


def test_whether_it_starts_is_tried_with_a_graph_that_has_nothing_to_fail_on(
    pretend: Callable[..., _Onnxruntime], graph: Path
) -> None:
    runtime = pretend(CUDA)
    create_gpu_session(graph, Device("cuda", 1))
    trial, _ = runtime.sessions
    assert isinstance(trial.graph, bytes)
    assert trial.provider_options(CUDA) == {"device_id": "1"}
    assert onnxruntime.InferenceSession(trial.graph, providers=[CPU]).get_inputs()[0].shape == [1]


def test_graphs_are_captured_only_if_asked(
    pretend: Callable[..., _Onnxruntime], graph: Path
) -> None:
    pretend(CUDA)
    session: Any = create_gpu_session(graph, Device("cuda"))
    assert session.provider_options(CUDA)["enable_cuda_graph"] == "0"


def test_a_build_without_cuda(pretend: Callable[..., _Onnxruntime], graph: Path) -> None:
    pretend(build=(CPU,))
    assert not cuda_is_available()
    for device in (Device("cuda"), Device("tensorrt")):
        with pytest.raises(DeviceError, match=f"^device='{device.kind}' cannot be had here"):
            create_gpu_session(graph, device)


def test_a_provider_that_is_left_out(pretend: Callable[..., _Onnxruntime], graph: Path) -> None:
    """As where there is no driver: the graph is not even read, which the CPU might refuse."""
    runtime = pretend()
    assert cuda_is_available()
    with pytest.raises(DeviceError, match=r"^device='cuda:1' cannot be had here"):
        create_gpu_session(graph, Device("cuda", 1))
    assert len(runtime.sessions) == 1


def test_a_provider_that_raises(pretend: Callable[..., _Onnxruntime], graph: Path) -> None:
    """As for a number that no GPU has: onnxruntime's own words are part of the error."""
    runtime = pretend(CUDA)
    runtime.error = "CUDA failure 101: invalid device ordinal"
    with pytest.raises(DeviceError, match="invalid device ordinal") as raised:
        create_gpu_session(graph, Device("cuda", 99))
    assert "device='cuda:99' cannot be had here" in str(raised.value)


def test_a_graph_that_cannot_be_loaded_is_not_the_devices_fault(
    pretend: Callable[..., _Onnxruntime], graph: Path
) -> None:
    runtime = pretend(CUDA)
    runtime.graph_error = "this session cannot use the graph capture feature"
    with pytest.raises(ArtifactError, match=r"cannot load .*graph capture feature"):
        create_gpu_session(graph, Device("cuda"), cuda_graphs=True)


def test_the_lock_is_free_afterwards(pretend: Callable[..., _Onnxruntime], graph: Path) -> None:
    pretend()
    with pytest.raises(DeviceError):
        create_gpu_session(graph, Device("cuda"))
    assert backend.GPU_LOCK.acquire(blocking=False)
    backend.GPU_LOCK.release()


def test_tensorrt_keeps_the_engines_of_each_graph_apart(
    pretend: Callable[..., _Onnxruntime],
    graph: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    pretend(TENSORRT, CUDA)

    def options(file: Path) -> dict[str, str]:
        session: Any = create_gpu_session(file, Device("tensorrt", 1))
        assert session.get_providers() == [TENSORRT, CUDA, CPU]
        assert session.provider_options(CUDA)["device_id"] == "1"
        return session.provider_options(TENSORRT)  # type: ignore[no-any-return]

    first = options(graph)
    folder = Path(first["trt_engine_cache_path"])
    assert folder.is_dir() and folder.parent == tmp_path / "cache" / "bertrt" / "tensorrt"
    assert (first["device_id"], first["trt_fp16_enable"]) == ("1", "1")
    assert options(graph) == first
    (tmp_path / "model_fp16.onnx.data").write_bytes(b"other weights")
    assert options(graph)["trt_engine_cache_path"] != str(folder)
    full = tmp_path / "model.onnx"
    full.write_bytes(b"a graph")
    assert options(full)["trt_fp16_enable"] == "0"


def test_the_cpu_is_asked_for_as_ever(pretend: Callable[..., _Onnxruntime], graph: Path) -> None:
    runtime = pretend(CUDA)
    session: Any = create_session(graph, [CPU], 3)
    assert session.settings["providers"] == [CPU]
    assert session.settings["disabled_optimizers"] == ["SkipLayerNormFusion"]
    assert session.options.intra_op_num_threads == 3 and not session.options.enable_mem_reuse
    assert runtime.preloaded == 0
