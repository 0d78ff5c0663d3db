"""onnxruntime: what this build of it has, and its sessions."""

import contextlib
import ctypes
import hashlib
import io
import logging
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from bertrt.devices import CPU, CUDA, TENSORRT, Device
from bertrt.diagnosis import cuda_failure, tensorrt_failure
from bertrt.errors import ArtifactError, DeviceError, MissingDependencyError
from bertrt.instructions import may_saturate
from bertrt.model_files import external_data, file_sha256

# The wheels report usage to Microsoft unless told not to, and a server should not.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

try:
    import onnxruntime
except ImportError as error:
    raise MissingDependencyError(
        "bertrt needs onnxruntime and finds none: install it with `pip install 'bertrt[cpu]'`, "
        "or `pip install 'bertrt[gpu]'` for CUDA"
    ) from error

if not hasattr(onnxruntime, "InferenceSession"):  # what is left where one of two wheels was removed
    raise MissingDependencyError(
        "the installed onnxruntime is not whole: `bertrt doctor` says what is wrong and how to "
        "mend it"
    )

__all__ = [
    "GPU_LOCK",
    "create_gpu_session",
    "create_session",
    "cuda_is_available",
    "onnxruntime_version",
]

Provider = str | tuple[str, Mapping[str, str]]

# While one thread captures a CUDA graph, no other may allocate memory on the GPU, be it for another
# model: the capture would fail, or the other. So whoever uses the GPU holds it.
GPU_LOCK = threading.Lock()

# An ONNX model that hands on a float32 [1]: the least that a provider can be started with.
_IDENTITY = (
    b'\x08\x08:7\n\x10\n\x01x\x12\x01y"\x08Identity\x12\x01gZ\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01'
    b"b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\x11"
)

# Weights as they are, and as the kernels want them, in a file beside the graph that is saved.
_SAVE_PREPACKED = {
    "session.save_external_prepacked_constant_initializers": "1",
    "session.optimized_model_external_initializers_file_name": "{file}.data",
    "session.optimized_model_external_initializers_min_size_in_bytes": "1024",
}

_logger = logging.getLogger("bertrt")


def cuda_is_available() -> bool:
    """Whether this build of onnxruntime has the CUDA provider."""
    return CUDA in onnxruntime.get_available_providers()


def onnxruntime_version() -> str:
    """The version of the onnxruntime that is imported."""
    return str(onnxruntime.__version__)


def create_session(
    graph: Path,
    providers: Sequence[Provider],
    threads: int,
    profile: Path | None = None,
    save_to: Path | None = None,
) -> onnxruntime.InferenceSession:
    """Load a graph with the options that suit packed graphs; ArtifactError if it cannot be.

    providers: the first that has an operator runs it; one that cannot start is left out, and the
    session's `get_providers` says so.
    profile: onnxruntime writes the times of every node to a file that begins so.
    save_to: onnxruntime writes the graph as it is run to that file, and its weights, as they are
    and as this machine's kernels want them, to one beside it (`bertrt.prepack`).
    """
    on_gpu = any(provider != CPU for provider in providers)
    options = _session_options(threads, on_gpu=on_gpu)
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    if save_to is not None:
        options.optimized_model_filepath = str(save_to)
        for name, value in _SAVE_PREPACKED.items():
            options.add_session_config_entry(name, value.format(file=save_to.name))
    # The CPU's fused kernel is scalar: 6 times slower than Add and LayerNormalization.
    disabled = [] if on_gpu else ["SkipLayerNormFusion"]
    try:
        return onnxruntime.InferenceSession(
            str(graph),
            options,
            providers=list(providers),
            disabled_optimizers=disabled,
            enable_fallback=0,  # onnxruntime would print, and take the CPU
        )
    except Exception as error:  # onnxruntime's errors share no base class of their own
        does = "load" if save_to is None else "write the packed weights (is the disk full?) of"
        raise ArtifactError(f"onnxruntime cannot {does} {graph}: {error}") from error


def _session_options(threads: int, *, on_gpu: bool) -> onnxruntime.SessionOptions:
    """What suits packed graphs."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Shapes differ from batch to batch: plans for whole runs are seldom used again.
    options.enable_mem_pattern = False
    # Reusing one node's buffer for another keeps the largest ones allocated: without it a process
    # is smaller. A GPU has its own memory, and not too much of it.
    options.enable_mem_reuse = on_gpu
    options.add_session_config_entry("session.prepack.enable_parallel", "1")
    if may_saturate():
        # Exact, if slower, 8-bit products; changes nothing in float.
        options.add_session_config_entry("session.x64quantprecision", "1")
    # Errors are raised; only why a GPU did not start is said in the log alone.
    options.log_severity_level = 3 if on_gpu else 4
    return options


def create_gpu_session(
    graph: Path, device: Device, *, cuda_graphs: bool = False, profile: Path | None = None
) -> onnxruntime.InferenceSession:
    """Load a graph on a GPU, and nowhere else: DeviceError where that cannot be had.

    cuda_graphs: the session may capture runs; the graph must run on the GPU as a whole then.
    Raises ArtifactError where the GPU is there and the graph cannot be loaded.

    float32 products are float32 (TF32 is off): who wants fewer bits exports fp16, which is faster
    still, and whose report says what it costs. onnxruntime's own log, of the whole process, is cut
    to errors: it warns of providers that were never asked for.
    """
    wanted = TENSORRT if device.kind == "tensorrt" else CUDA
    onnxruntime.set_default_logger_severity(3)
    _preload_libraries(wanted)
    cuda = {
        "device_id": str(device.index),
        "use_tf32": "0",
        # As much memory as is needed, not the next power of two: batches differ.
        "arena_extend_strategy": "kSameAsRequested",
        "enable_cuda_graph": str(int(cuda_graphs)),
    }
    providers: list[Provider] = [(CUDA, cuda), CPU]
    if wanted == TENSORRT:
        providers = [(TENSORRT, _tensorrt_options(graph, device)), *providers]
    with GPU_LOCK:
        _check_start(wanted, device)
        return create_session(graph, providers, threads=1, profile=profile)


def _check_start(provider: str, device: Device) -> None:
    """Raise DeviceError unless a provider starts, which onnxruntime itself only logs.

    Else a graph of operators that the CPU lacks would be blamed.
    """
    failure = cuda_failure if provider == CUDA else tensorrt_failure
    if provider not in onnxruntime.get_available_providers():
        raise DeviceError(failure(str(device)))
    providers = [(provider, {"device_id": str(device.index)}), CPU]
    try:
        session = onnxruntime.InferenceSession(_IDENTITY, providers=providers, enable_fallback=0)
    except Exception as error:  # onnxruntime's errors share no base class of their own
        raise DeviceError(f"{failure(str(device))} (onnxruntime: {error})") from error
    if session.get_providers()[0] != provider:
        raise DeviceError(failure(str(device)))


def _preload_libraries(provider: str) -> None:
    """Load CUDA, cuDNN and TensorRT from pip's packages, where they are installed.

    onnxruntime prints what it does not find; whether that matters shows when a session is made.
    """
    if hasattr(onnxruntime, "preload_dlls"):
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            onnxruntime.preload_dlls()
        for line in printed.getvalue().splitlines():
            _logger.debug("onnxruntime: %s", line)
    if provider == TENSORRT:  # which onnxruntime leaves to the loader's path
        folder = Path(onnxruntime.__file__).parents[1] / "tensorrt_libs"
        for library in sorted(folder.glob("libnv*.so.10")):
            ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)


def _tensorrt_options(graph: Path, device: Device) -> dict[str, str]:
    """TensorRT's options: engines, which take minutes to build, are kept in the user's cache.

    Each graph with its weights has a folder of its own: TensorRT tells engines apart by the graph's
    form alone.
    """
    digest = hashlib.sha256()
    for file in (graph, *external_data(graph)):
        digest.update(file_sha256(file).encode())
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    cache = caches / "bertrt" / "tensorrt" / digest.hexdigest()[:16]
    cache.mkdir(parents=True, exist_ok=True)
    return {
        "device_id": str(device.index),
        # TensorRT refuses float16 in a graph unless it may choose it. bertrt and the hub name such
        # graphs alike.
        "trt_fp16_enable": str(int("fp16" in graph.stem)),
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(cache),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(cache),
    }
