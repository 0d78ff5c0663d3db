"""The NVIDIA driver, its GPUs, and the libraries that onnxruntime's CUDA provider needs."""

import ctypes
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bertrt.system_files import read_system_file

__all__ = [
    "TENSORRT_LIBRARY",
    "Driver",
    "Gpu",
    "Library",
    "cuda_libraries",
    "find_library",
    "read_driver",
    "wheel_folders",
]

_LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
# What onnxruntime's TensorRT provider is linked with, of 1.31.1 by `readelf --dynamic`.
TENSORRT_LIBRARY = "libnvinfer.so.10"

# `/dev/nvidia0`, `/dev/nvidiactl`, `/dev/nvidia-uvm`: what CUDA opens.
_DEVICE_FILE = re.compile(r"nvidia(\d+|ctl|-uvm)")
_RELEASE = re.compile(r"\b\d{3,}\.\d+(?:\.\d+)?\b")
_NVIDIA, _DISPLAY = "0x10de", "0x03"  # PCI's numbers of the vendor, and of the class
# Attributes of a device, by cuda.h.
_MAJOR, _MINOR = 75, 76

_Load = Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU that CUDA sees. memory: bytes. capability: such as (9, 0)."""

    name: str
    capability: tuple[int, int]
    memory: int


@dataclass(frozen=True, slots=True)
class Driver:
    """What there is of the driver.

    release: of the kernel module that runs, such as 580.95.05; None where none does. loads: whether
    libcuda can be loaded. error: what its cuInit returned, 0 for success; None if it was not asked.
    cuda: the newest CUDA that it runs. device_files: those in /dev; unreadable: those of them that
    this process may not open. pci_gpus: NVIDIA's GPUs in the machine, whether there is a driver or
    not. visible: CUDA_VISIBLE_DEVICES.
    """

    release: str | None = None
    loads: bool = False
    error: int | None = None
    cuda: tuple[int, int] | None = None
    gpus: tuple[Gpu, ...] = ()
    device_files: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    pci_gpus: int = 0
    visible: str | None = None


@dataclass(frozen=True, slots=True)
class Library:
    """A library that the CUDA build needs. path: where it is; None where it is missing."""

    name: str
    path: str | None


def read_driver(
    root: Path = Path("/"),
    load: _Load = ctypes.CDLL,
    environment: Mapping[str, str] = os.environ,
) -> Driver:
    """Ask libcuda, and look at the files below root."""
    files = [path for path in sorted(root.glob("dev/nvidia*")) if _DEVICE_FILE.fullmatch(path.name)]
    try:
        cuda = load(_LIBRARY)
    except OSError:  # which of the reasons it is, the files tell better than the loader
        cuda = None
    error, newest, gpus = (None, None, ()) if cuda is None else _ask(cuda)
    return Driver(
        release=_release(root),
        loads=cuda is not None,
        error=error,
        cuda=newest,
        gpus=gpus,
        device_files=tuple(str(path) for path in files),
        unreadable=tuple(str(path) for path in files if not os.access(path, os.R_OK | os.W_OK)),
        pci_gpus=_pci_gpus(root),
        visible=environment.get("CUDA_VISIBLE_DEVICES"),
    )


def _ask(cuda: Any) -> tuple[int, tuple[int, int] | None, tuple[Gpu, ...]]:
    """cuInit's code, the newest CUDA that the driver runs, and the GPUs."""
    error = int(cuda.cuInit(0))
    number, count = ctypes.c_int(0), ctypes.c_int(0)
    cuda.cuDriverGetVersion(ctypes.byref(number))
    newest = (number.value // 1000, number.value % 1000 // 10) if number.value else None
    if error == 0:
        cuda.cuDeviceGetCount(ctypes.byref(count))
    return error, newest, tuple(_gpu(cuda, index) for index in range(count.value))


def _gpu(cuda: Any, index: int) -> Gpu:
    device, major, minor = ctypes.c_int(0), ctypes.c_int(0), ctypes.c_int(0)
    name, memory = ctypes.create_string_buffer(256), ctypes.c_size_t(0)
    cuda.cuDeviceGet(ctypes.byref(device), index)
    cuda.cuDeviceGetName(name, len(name), device)
    cuda.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, device)
    cuda.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, device)
    cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    return Gpu(name.value.decode(errors="replace"), (major.value, minor.value), memory.value)


def _release(root: Path) -> str | None:
    text = read_system_file(root / "proc/driver/nvidia/version")
    if text is None:
        return None
    match = _RELEASE.search(text)
    return match.group() if match else "of an unknown version"


def _pci_gpus(root: Path) -> int:
    """How many GPUs of NVIDIA's are on the PCI bus."""
    count = 0
    for device in root.glob("sys/bus/pci/devices/*"):
        kind = read_system_file(device / "class") or ""
        if kind.startswith(_DISPLAY) and read_system_file(device / "vendor") == _NVIDIA:
            count += 1
    return count


def cuda_libraries(cuda_major: int) -> tuple[str, ...]:
    """The libraries that onnxruntime's build for this CUDA loads; none known but for Linux."""
    if sys.platform != "linux":
        return ()
    cufft = 12 if cuda_major >= 13 else 11
    return (
        f"libcublasLt.so.{cuda_major}",
        f"libcublas.so.{cuda_major}",
        f"libcudart.so.{cuda_major}",
        f"libnvrtc.so.{cuda_major}",
        "libcurand.so.10",
        f"libcufft.so.{cufft}",
        "libcudnn.so.9",
    )


def wheel_folders(site_packages: Path) -> tuple[Path, ...]:
    """The folders of libraries that NVIDIA's packages on PyPI make."""
    return (*sorted(site_packages.glob("nvidia/*/lib")), site_packages / "tensorrt_libs")


def find_library(name: str, folders: Iterable[Path], load: _Load = ctypes.CDLL) -> Library:
    """Look for a library in folders, and then load it, which is how to know the loader's path."""
    for folder in folders:
        if (folder / name).is_file():
            return Library(name, str(folder / name))
    try:
        load(name)
    except OSError:
        return Library(name, None)
    return Library(name, _loaded_path(name) or "on the loader's path")


def _loaded_path(name: str) -> str | None:
    """The file of a library that this process has loaded."""
    maps = read_system_file(Path("/proc/self/maps")) or ""
    for line in maps.splitlines():
        path = line.partition("/")[2]
        if path.rpartition("/")[2].startswith(name):
            return f"/{path}"
    return None
