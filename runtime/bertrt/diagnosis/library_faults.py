"""Faults of the libraries that onnxruntime's CUDA and TensorRT providers load."""

from bertrt.diagnosis.facts import Facts
from bertrt.diagnosis.fault import Fault, gpu_wheel, listed
from bertrt.diagnosis.nvidia import TENSORRT_LIBRARY
from bertrt.diagnosis.packages import GPU_WHEEL

__all__ = ["missing_libraries", "no_tensorrt"]


def missing_libraries(facts: Facts) -> Fault | None:
    """CUDA's libraries, or cuDNN, neither in NVIDIA's packages nor on the loader's path."""
    names = [name for name in _missing(facts) if name != TENSORRT_LIBRARY]
    if not names:
        return None
    packages = facts.packages
    version = packages.wheels.get(GPU_WHEEL)
    exact = f"=={version}" if version else ""
    named = [f"cuDNN ({name})" if name.startswith("libcudnn") else name for name in names]
    is_missing = "is missing" if len(names) == 1 else "are missing"
    return Fault(
        f"{listed(named)} {is_missing}, which {gpu_wheel(packages)} loads.",
        f"`pip install '{GPU_WHEEL}[cuda,cudnn]{exact}'`",
    )


def no_tensorrt(facts: Facts) -> Fault | None:
    """TensorRT's library; it is looked for only where TensorRT is asked for."""
    if TENSORRT_LIBRARY not in _missing(facts):
        return None
    return Fault(
        f"TensorRT ({TENSORRT_LIBRARY}) is missing, which onnxruntime's TensorRT provider loads.",
        f"`pip install 'tensorrt-cu{facts.packages.cuda_major}>=10,<11'`",
    )


def _missing(facts: Facts) -> list[str]:
    return [library.name for library in facts.libraries if library.path is None]
