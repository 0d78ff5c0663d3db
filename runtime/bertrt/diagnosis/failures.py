"""The text of the error for a device that was asked for and cannot be had."""

from collections.abc import Sequence

from bertrt.diagnosis.facts import gather
from bertrt.diagnosis.fault import Fault
from bertrt.diagnosis.faults import cuda_faults

__all__ = ["cuda_failure", "tensorrt_failure"]


def cuda_failure(device: str = "cuda") -> str:
    """Why CUDA cannot be had, with what mends it, for a `DeviceError`.

    device: as the caller named it.
    """
    return _failure(device, "cuda", cuda_faults(gather()))


def tensorrt_failure(device: str = "tensorrt") -> str:
    """Why TensorRT cannot be had: what CUDA lacks, or else TensorRT's own library."""
    return _failure(device, "tensorrt", cuda_faults(gather("tensorrt")))


def _failure(device: str, kind: str, faults: Sequence[Fault]) -> str:
    if faults:
        run = "Run " if faults[0].command else ""
        reason = f"{faults[0].what} {run}{faults[0].mend.removesuffix('.')}"
    else:
        reason = (
            "Nothing was found to be wrong, so the reason is what onnxruntime printed: mend that"
        )
    # Who installs gigabytes to mend the first should know that it is not the last.
    further = " ".join(fault.what for fault in faults[1:])
    not_all = f" That is not all: {further}" if further else ""
    return (
        f"device={device!r} cannot be had here. {reason}, or use device='cpu'.{not_all} For all "
        f"that was looked at, run `bertrt doctor --device {kind}`"
    )
