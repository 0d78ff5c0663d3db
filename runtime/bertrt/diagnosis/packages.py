"""Which packages bring the module `onnxruntime`, and what Python gets when it imports it."""

import importlib
import importlib.util
import os
import re
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path
from types import ModuleType

from bertrt.devices import CUDA

__all__ = ["GPU_WHEEL", "Packages", "read_packages"]

GPU_WHEEL = "onnxruntime-gpu"

# The packages of onnxruntime's builds begin so.
_BUILDS = ("onnxruntime", "ort-")
# `nvidia-cuda-runtime~=13.0; extra == "cuda"`, or of older wheels `nvidia-cuda-runtime-cu12~=12.0`.
_CUDA_REQUIREMENT = re.compile(r"nvidia-cuda-runtime(?:-cu\d+)?\s*~=\s*(\d+\.\d+)")


@dataclass(frozen=True, slots=True)
class Packages:
    """The packages that bring the module, and the module.

    wheels: the versions, by the package's name. wheel, version: the package that the module says it
    is of, and its version; version is None where the module cannot be used, and problem says why if
    there is one at all. cuda: the CUDA version that it, or else the GPU wheel, was built for.
    folder: the module's own.
    """

    wheels: dict[str, str]
    wheel: str | None = None
    version: str | None = None
    problem: str | None = None
    cuda: str | None = None
    folder: str | None = None
    providers: tuple[str, ...] = ()

    @property
    def has_cuda(self) -> bool:
        """Whether the module that Python gets has the CUDA provider."""
        return CUDA in self.providers

    @property
    def cuda_major(self) -> int | None:
        """13 of CUDA 13.0; None for a CPU build, or where that is unknown."""
        major = (self.cuda or "").partition(".")[0]
        return int(major) if major.isdecimal() else None


def read_packages() -> Packages:
    """Look at what is installed, and import the module."""
    found = {distribution.metadata["Name"]: distribution for distribution in _builds()}
    wheels = {name: distribution.version for name, distribution in sorted(found.items())}
    cuda = _required_cuda(found[GPU_WHEEL]) if GPU_WHEEL in found else None
    try:
        if importlib.util.find_spec("onnxruntime") is None:
            return Packages(wheels, problem="its files are gone" if wheels else None, cuda=cuda)
        # As in bertrt.backend, which cannot be imported where there is no onnxruntime.
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        module = importlib.import_module("onnxruntime")
        providers = tuple(module.get_available_providers())
        version = str(module.__version__)
    # A module whose files are mixed or half gone fails in any way; the error is the finding.
    except Exception as error:
        return Packages(wheels, problem=f"{type(error).__name__}: {error}", cuda=cuda)
    return Packages(
        wheels,
        wheel=getattr(module, "package_name", None) or None,
        version=version,
        cuda=getattr(module, "cuda_version", None) or cuda,
        folder=_folder(module),
        providers=providers,
    )


def _builds() -> list[Distribution]:
    """The installed packages that bring a module `onnxruntime`; the first of a name counts."""
    found: dict[str, Distribution] = {}
    for distribution in distributions():
        name = distribution.metadata["Name"] or ""
        if name.startswith(_BUILDS) and name not in found and _brings_module(distribution):
            found[name] = distribution
    return list(found.values())


def _brings_module(distribution: Distribution) -> bool:
    files = distribution.files
    if files is None:  # without a list of files, the name has to tell
        return distribution.metadata["Name"] in ("onnxruntime", GPU_WHEEL)
    return any(file.parts == ("onnxruntime", "__init__.py") for file in files)


def _required_cuda(distribution: Distribution) -> str | None:
    """The CUDA version that a wheel's extra `cuda` asks for."""
    for requirement in distribution.requires or ():
        if match := _CUDA_REQUIREMENT.match(requirement):
            return match.group(1)
    return None


def _folder(module: ModuleType) -> str | None:
    return str(Path(module.__file__).parent) if module.__file__ else None
