"""Which of an artifact's graphs to run, and on which device."""

from bertrt.artifact import Artifact
from bertrt.backend import cuda_is_available
from bertrt.devices import Device
from bertrt.errors import ArtifactError, DeviceError
from bertrt.instructions import may_saturate
from bertrt.prepacked import KEY

__all__ = ["PRECISIONS", "choose_precision", "devices_to_try", "is_for_cpu"]

PRECISIONS = ("auto", "fp32", "int8", "fp16")

# Graphs of integer products, which onnxruntime has for the CPU only; the names are the hub's.
_INTEGER = ("int8", "quantized", "uint8")

# What each device runs, the fastest first.
_ON_GPU, _ON_CPU, _ON_CPU_WITHOUT_VNNI = ("fp16", "fp32"), ("int8", "fp32"), ("fp32", "int8")


def devices_to_try(artifact: Artifact, precision: str, device: Device) -> list[Device]:
    """The devices for a model, the best first; of `auto` those alone that would run it."""
    if device.kind != "auto":
        return [device]
    wanted = list(artifact.graphs) if precision == "auto" else [precision]
    gpu, cpu = Device("cuda"), Device("cpu")
    on_gpu = cuda_is_available() and not all(is_for_cpu(artifact, name) for name in wanted)
    if not on_gpu:
        return [cpu]
    only_gpu = artifact.manifest is not None and wanted == ["fp16"]
    return [gpu] if only_gpu else [gpu, cpu]


def choose_precision(artifact: Artifact, precision: str, device: Device) -> str:
    """The precision to load: the one asked for, or for `auto` the best that the artifact holds.

    On a GPU that is fp16; on the CPU it is int8, but fp32 where 8-bit products are slow (x86
    without VNNI). Each of the two graphs runs there alone; fp32 runs on both.
    A folder that bertrt did not make holds one graph, whose file's name names its precision.
    Raises ArtifactError for a precision that is not there, DeviceError for int8 on a GPU and fp16
    on the CPU, ValueError for one that does not exist.
    """
    if artifact.manifest is None:
        return _only_precision(artifact, precision)
    if precision not in PRECISIONS:
        raise ValueError(f"precision is {precision!r}: choose one of {', '.join(PRECISIONS)}")
    held = list(artifact.graphs)
    if precision != "auto" and precision not in held:
        raise ArtifactError(
            f"{artifact.path} holds no {precision} graph, only {', '.join(held)}: export it again "
            f"with --precision {','.join([*held, precision])}"
        )
    cpu_order = _ON_CPU_WITHOUT_VNNI if may_saturate() else _ON_CPU
    wanted = held if precision == "auto" else [precision]
    for name in _on_gpu(artifact) if device.on_gpu else cpu_order:
        if name in wanted:
            return name
    if not {*_ON_GPU, *_ON_CPU} & set(wanted):
        raise ArtifactError(
            f"{artifact.path} holds {', '.join(held)} only, which this bertrt does not know: "
            "upgrade it with `pip install --upgrade bertrt`"
        )
    if device.on_gpu and _is_prepacked(artifact):
        raise DeviceError(
            f"the weights of {artifact.path} were packed for the CPU: use device='cpu', or for "
            f"device='{device}' the folder that `bertrt prepack` was given"
        )
    if device.on_gpu:
        raise DeviceError(
            "int8 runs on the CPU only: use device='cpu', or export the model with "
            f"--precision fp16 for device='{device}'"
        )
    raise DeviceError(
        "fp16 runs on CUDA only: use device='cuda', or export the model with --precision int8 or "
        "fp32 for device='cpu'"
    )


def _on_gpu(artifact: Artifact) -> tuple[str, ...]:
    """What a GPU may run, the fastest first."""
    return tuple(name for name in _ON_GPU if not is_for_cpu(artifact, name))


def is_for_cpu(artifact: Artifact, precision: str) -> bool:
    """Whether a graph is for the CPU alone."""
    return _is_integer(precision) or (_is_prepacked(artifact) and precision != "fp16")


def _is_prepacked(artifact: Artifact) -> bool:
    """Whether `bertrt prepack` wrote it, whose graphs have operators that only the CPU has."""
    return artifact.manifest is not None and KEY in artifact.manifest


def _is_integer(precision: str) -> bool:
    return precision.startswith(("qint8", "quint8")) or precision in _INTEGER


def _only_precision(artifact: Artifact, precision: str) -> str:
    (held,) = artifact.graphs
    if precision not in ("auto", held):
        raise ArtifactError(
            f"{artifact.path} was not exported by bertrt, and its {artifact.graphs[held].name} is "
            f"{held}, not {precision}: leave the precision out, and pick another file with "
            "--file-name (in Python file_name=)"
        )
    return held
