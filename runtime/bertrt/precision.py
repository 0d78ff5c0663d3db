"""Which of an artifact's graphs to run."""

from bertrt.artifact import Artifact
from bertrt.errors import ArtifactError, DeviceError
from bertrt.instructions import may_saturate
from bertrt.session import cuda_is_available

__all__ = ["PRECISIONS", "choose_device", "choose_precision"]

PRECISIONS = ("auto", "fp32", "int8")

# Graphs of integer products, which onnxruntime has for the CPU only; the names are the hub's.
_INTEGER = ("int8", "quantized", "uint8")


def choose_precision(artifact: Artifact, precision: str, device: str) -> str:
    """The precision to load: the one asked for, or for `auto` the best that the artifact holds.

    On the CPU that is int8, but fp32 where 8-bit products are slow (x86 without VNNI); on CUDA it
    is fp32, because the int8 operators run on the CPU only.
    A folder that bertrt did not make holds one graph, whose file's name names its precision.
    Raises ArtifactError for a precision that is not there, DeviceError for int8 on CUDA, ValueError
    for one that does not exist.
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
    on_cuda = device == "cuda" or (device == "auto" and cuda_is_available())
    if device == "cuda" and (precision == "int8" or "fp32" not in held):
        raise DeviceError(
            "int8 runs on the CPU only: use device='cpu', or export the model with "
            "--precision fp32 for device='cuda'"
        )
    if precision != "auto":
        return precision
    order = ("fp32", "int8") if on_cuda or may_saturate() else ("int8", "fp32")
    for name in order:
        if name in held:
            return name
    raise ArtifactError(
        f"{artifact.path} holds {', '.join(held)} only, which this bertrt does not know: "
        "upgrade it with `pip install --upgrade bertrt`"
    )


def choose_device(precision: str, device: str) -> str:
    """The device to ask for: of `auto` the CPU, where CUDA would be given nothing to run."""
    integer = precision.startswith(("qint8", "quint8")) or precision in _INTEGER
    return "cpu" if device == "auto" and integer else device


def _only_precision(artifact: Artifact, precision: str) -> str:
    (held,) = artifact.graphs
    if precision not in ("auto", held):
        raise ArtifactError(
            f"{artifact.path} was not exported by bertrt, and its {artifact.graphs[held].name} is "
            f"{held}, not {precision}: leave the precision out, and pick another file with "
            "--file-name (in Python file_name=)"
        )
    return held
