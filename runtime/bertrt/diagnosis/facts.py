"""All that `bertrt doctor` looks at."""

import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bertrt.diagnosis.machine import Machine, read_machine
from bertrt.diagnosis.nvidia import (
    TENSORRT_LIBRARY,
    Driver,
    Library,
    cuda_libraries,
    find_library,
    read_driver,
    wheel_folders,
)
from bertrt.diagnosis.packages import Packages, read_packages
from bertrt.version import __version__

__all__ = ["Facts", "gather"]


@dataclass(frozen=True, slots=True)
class Facts:
    """What was found, before it is judged.

    versions: of bertrt, Python, numpy and tokenizers; None for one that is not installed.
    libraries: those that onnxruntime's CUDA build needs; empty for a CPU build.
    """

    versions: dict[str, str | None]
    packages: Packages
    driver: Driver
    libraries: tuple[Library, ...]
    machine: Machine


def gather(device: str = "auto") -> Facts:
    """Look at everything; for device tensorrt at its library too.

    It imports onnxruntime, starts the NVIDIA driver and loads the libraries that are on the
    loader's path: nothing that a program which asks for CUDA would not do.
    """
    packages = read_packages()
    return Facts(
        versions={
            "bertrt": __version__,
            "Python": platform.python_version(),
            "numpy": _version("numpy"),
            "tokenizers": _version("tokenizers"),
        },
        packages=packages,
        driver=read_driver(),
        libraries=_libraries(packages, device),
        machine=read_machine(),
    )


def _libraries(packages: Packages, device: str) -> tuple[Library, ...]:
    """Where the libraries are, which onnxruntime looks for beside its own folder."""
    if not packages.has_cuda or packages.cuda_major is None or packages.folder is None:
        return ()
    names = cuda_libraries(packages.cuda_major)
    if device == "tensorrt" and names:
        names = (*names, TENSORRT_LIBRARY)
    folders = wheel_folders(Path(packages.folder).parent)
    return tuple(find_library(name, folders) for name in names)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
