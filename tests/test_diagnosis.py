"""The facts that `bertrt doctor` judges: packages, driver, libraries, CPU and memory."""

import ctypes
import sys
from importlib.machinery import ModuleSpec
from importlib.metadata import distributions
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from bertrt import instructions
from bertrt.diagnosis import gather, packages
from bertrt.diagnosis.machine import read_machine
from bertrt.diagnosis.nvidia import (
    TENSORRT_LIBRARY,
    Driver,
    Gpu,
    Library,
    cuda_libraries,
    find_library,
    read_driver,
    wheel_folders,
)
from bertrt.diagnosis.packages import Packages, read_packages

from tests.helpers import pretend_cpu

_BOTH = {"onnxruntime": "1.32.0", "onnxruntime-gpu": "1.31.1"}
_GPU_BUILD = Packages(
    {"onnxruntime-gpu": "1.31.1"},
    version="1.31.1",
    cuda="13.0",
    folder="/site/onnxruntime",
    providers=("CUDAExecutionProvider", "CPUExecutionProvider"),
)
_H100 = Gpu("NVIDIA H100", (9, 0), 80_000_000_000)


# what is installed


def _wheel(
    site: Path, name: str, version: str, requires: str = "", files: str | None = None
) -> None:
    """The metadata of a package. files: its RECORD; by default that of a build of onnxruntime."""
    folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir(parents=True)
    metadata = f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n{requires}"
    (folder / "METADATA").write_text(metadata)
    record = "onnxruntime/__init__.py,,\n" if files is None else files
    (folder / "RECORD").write_text(record)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose packages are all that is installed."""
    monkeypatch.setattr(packages, "distributions", lambda: distributions(path=[str(tmp_path)]))
    return tmp_path


def _module(monkeypatch: pytest.MonkeyPatch, **attributes: Any) -> None:
    """Let `import onnxruntime` give a module of these attributes."""
    module = ModuleType("onnxruntime")
    module.__spec__ = ModuleSpec("onnxruntime", None)
    module.__file__ = "/site/onnxruntime/__init__.py"
    module.__dict__.update(attributes)
    monkeypatch.setitem(sys.modules, "onnxruntime", module)


def test_both_wheels_are_found_and_which_of_them_is_imported(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _wheel(site, "onnxruntime", "1.32.0")
    _wheel(site, "onnxruntime-gpu", "1.31.1")
    _wheel(site, "onnxruntime-extensions", "0.15.2", files="onnxruntime_extensions/__init__.py,,\n")
    _wheel(site, "numpy", "2.4.6", files="numpy/__init__.py,,\n")
    _module(
        monkeypatch,
        __version__="1.32.0",
        package_name="onnxruntime",
        cuda_version="",
        get_available_providers=lambda: ["CPUExecutionProvider"],
    )
    assert read_packages() == Packages(
        _BOTH,
        wheel="onnxruntime",
        version="1.32.0",
        folder="/site/onnxruntime",
        providers=("CPUExecutionProvider",),
    )


@pytest.mark.parametrize(
    ("requirement", "cuda"),
    [
        pytest.param("nvidia-cuda-runtime~=13.0", "13.0", id="since 1.28"),
        pytest.param("nvidia-cuda-runtime-cu13~=13.0", "13.0", id="1.27"),
        pytest.param("nvidia-cuda-runtime-cu12~=12.0", "12.0", id="to 1.26"),
        pytest.param("nvidia-cudnn-cu13~=9.0", None, id="none"),
    ],
)
def test_cuda_of_a_wheel_whose_module_does_not_say_is_in_its_metadata(
    site: Path, monkeypatch: pytest.MonkeyPatch, requirement: str, cuda: str | None
) -> None:
    _wheel(site, "onnxruntime-gpu", "1.31.1", f'Requires-Dist: {requirement}; extra == "cuda"\n')
    _module(monkeypatch, __version__="1.31.1", get_available_providers=list)
    found = read_packages()
    assert found.cuda == cuda
    assert found.cuda_major == (None if cuda is None else int(cuda[:2]))


def test_half_a_module_is_a_finding(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left after `pip uninstall onnxruntime` where both were installed."""
    _wheel(site, "onnxruntime-gpu", "1.31.1")
    _module(monkeypatch)
    found = read_packages()
    assert found.version is None
    assert found.problem is not None and "get_available_providers" in found.problem


def test_a_module_that_is_gone_is_a_finding(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert read_packages() == Packages({})
    _wheel(site, "onnxruntime", "1.32.0")
    assert read_packages() == Packages({"onnxruntime": "1.32.0"}, problem="its files are gone")


# the driver and the libraries


class _FakeCuda:
    """libcuda with two GPUs, which writes its answers where ctypes says."""

    def __init__(self, error: int = 0, version: int = 13010) -> None:
        self._error, self._version = error, version

    def cuInit(self, flags: int) -> int:  # noqa: N802
        assert flags == 0
        return self._error

    def cuDriverGetVersion(self, version: Any) -> int:  # noqa: N802
        version._obj.value = self._version
        return 0

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
        assert self._error == 0, "asked before it was started"
        count._obj.value = 2
        return 0

    def cuDeviceGet(self, device: Any, index: int) -> int:  # noqa: N802
        device._obj.value = 70 + index
        return 0

    def cuDeviceGetName(self, name: Any, size: int, device: Any) -> int:  # noqa: N802
        assert size == 256
        name.value = b"NVIDIA H100" if device.value == 70 else b"NVIDIA T4"
        return 0

    def cuDeviceGetAttribute(self, value: Any, attribute: int, device: Any) -> int:  # noqa: N802
        answers = {(75, 70): 9, (76, 70): 0, (75, 71): 7, (76, 71): 5}
        value._obj.value = answers[attribute, device.value]
        return 0

    def cuDeviceTotalMem_v2(self, size: Any, device: Any) -> int:  # noqa: N802
        assert isinstance(size._obj, ctypes.c_size_t)
        size._obj.value = 80_000_000_000 if device.value == 70 else 16_000_000_000
        return 0


def _absent(name: str) -> Any:
    raise OSError(f"{name}: cannot open shared object file: No such file or directory")


def _files(root: Path, **contents: str) -> None:
    for name, content in contents.items():
        file = root / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)


def test_driver_is_asked_for_its_version_and_its_gpus(tmp_path: Path) -> None:
    loaded: list[str] = []

    def load(name: str) -> Any:
        loaded.append(name)
        return _FakeCuda()

    driver = read_driver(tmp_path, load, {"CUDA_VISIBLE_DEVICES": "0,1"})
    assert loaded == ["libcuda.so.1"]
    assert driver == Driver(
        loads=True,
        error=0,
        cuda=(13, 1),
        gpus=(_H100, Gpu("NVIDIA T4", (7, 5), 16_000_000_000)),
        visible="0,1",
    )


def test_driver_that_does_not_start_has_a_version_and_no_gpus(tmp_path: Path) -> None:
    driver = read_driver(tmp_path, lambda name: _FakeCuda(error=803, version=12020), {})
    assert driver == Driver(loads=True, error=803, cuda=(12, 2))


@pytest.mark.parametrize(
    ("version", "release"),
    [
        pytest.param(
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15 UTC "
            "2024\nGCC version:  gcc version 11.4.0 (Ubuntu 11.4.0-1ubuntu1~22.04)\n",
            "535.183.01",
            id="proprietary",
        ),
        pytest.param(
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build\n",
            "580.95.05",
            id="open",
        ),
        pytest.param("", "of an unknown version", id="of another form"),
    ],
)
def test_kernel_without_libraries(tmp_path: Path, version: str, release: str) -> None:
    _files(
        tmp_path,
        proc__driver__nvidia__version=version,
        dev__nvidiactl="",
        dev__nvidia0="",
    )
    _files(tmp_path, **{"dev__nvidia-uvm": "", "dev__nvidia-modeset": "", "dev__null": ""})
    driver = read_driver(tmp_path, _absent, {})
    names = ["nvidia-uvm", "nvidia0", "nvidiactl"]
    files = tuple(str(tmp_path / "dev" / name) for name in names)
    assert driver == Driver(release=release, device_files=files)


def test_device_files_that_may_not_be_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _files(tmp_path, dev__nvidia0="", dev__nvidiactl="")
    monkeypatch.setattr("os.access", lambda path, mode: path.name != "nvidia0")
    assert read_driver(tmp_path, _absent, {}).unreadable == (str(tmp_path / "dev/nvidia0"),)


def test_gpus_on_the_bus_are_counted(tmp_path: Path) -> None:
    for slot, vendor, kind in (
        ("0000:01:00.0", "0x10de", "0x030200"),  # a data-centre GPU
        ("0000:01:00.1", "0x10de", "0x040300"),  # its sound
        ("0000:02:00.0", "0x1002", "0x030000"),  # another vendor's GPU
        ("0000:03:00.0", "0x10de", "0x030000"),
    ):
        device = tmp_path / "sys/bus/pci/devices" / slot
        device.mkdir(parents=True)
        (device / "vendor").write_text(f"{vendor}\n")
        (device / "class").write_text(f"{kind}\n")
    assert read_driver(tmp_path, _absent, {}) == Driver(pci_gpus=2)


def test_nothing_at_all_is_no_error(tmp_path: Path) -> None:
    assert read_driver(tmp_path, _absent, {}) == Driver()


@pytest.mark.skipif(sys.platform != "linux", reason="the names are Linux's")
def test_libraries_are_those_of_the_cuda_that_the_build_is_for() -> None:
    newer, older = set(cuda_libraries(13)), set(cuda_libraries(12))
    assert newer & older == {"libcurand.so.10", "libcudnn.so.9"}
    assert {"libcublasLt.so.13", "libcudart.so.13", "libcufft.so.12", "libnvrtc.so.13"} < newer
    assert {"libcublasLt.so.12", "libcudart.so.12", "libcufft.so.11", "libnvrtc.so.12"} < older


@pytest.mark.parametrize(
    "folder", ["nvidia/cu13/lib", "nvidia/cublas/lib", "nvidia/cudnn/lib", "tensorrt_libs"]
)
def test_libraries_of_nvidias_packages_are_found_without_being_loaded(
    tmp_path: Path, folder: str
) -> None:
    (tmp_path / folder).mkdir(parents=True)
    file = tmp_path / folder / "libsome.so.13"
    file.write_bytes(b"not a library")

    def load(name: str) -> Any:
        pytest.fail(f"{name} was loaded")

    found = find_library("libsome.so.13", wheel_folders(tmp_path), load)
    assert found == Library("libsome.so.13", str(file))


def test_library_on_the_loaders_path_is_found_and_one_that_is_nowhere_is_missing(
    tmp_path: Path,
) -> None:
    folders = wheel_folders(tmp_path)
    assert find_library("libnone.so.13", folders, _absent) == Library("libnone.so.13", None)
    found = find_library("libfake.so.13", folders, lambda name: None)
    assert found == Library("libfake.so.13", "on the loader's path")


@pytest.mark.skipif(sys.platform != "linux", reason="the name is Linux's")
def test_file_of_a_library_that_the_loader_found_is_named() -> None:
    path = find_library("libc.so.6", ()).path
    assert path is not None and Path(path).is_file()


@pytest.mark.skipif(sys.platform != "linux", reason="the names are Linux's")
def test_tensorrt_is_looked_for_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bertrt.diagnosis.facts.read_packages", lambda: _GPU_BUILD)
    names = [library.name for library in gather().libraries]
    assert names == list(cuda_libraries(13))
    assert [library.name for library in gather("tensorrt").libraries] == [*names, TENSORRT_LIBRARY]


# the machine


def test_memory_and_its_limit(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:       24683656 kB\nMemFree:        15488688 kB\n")
    (tmp_path / "memory.max").write_text("1073741824\n")
    machine = read_machine(tmp_path, meminfo)
    assert (machine.memory, machine.memory_limit) == (24683656 * 1024, 1 << 30)


@pytest.mark.parametrize(
    ("file", "text", "limit"),
    [
        ("memory.max", "max\n", None),
        ("memory/memory.limit_in_bytes", "2147483648\n", 1 << 31),
        ("memory/memory.limit_in_bytes", "9223372036854771712\n", None),
    ],
)
def test_memory_limit_of_control_groups(
    tmp_path: Path, file: str, text: str, limit: int | None
) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(text)
    machine = read_machine(tmp_path, tmp_path / "none")
    assert (machine.memory, machine.memory_limit) == (None, limit)


def test_quota_and_what_is_left_of_the_cpus(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    machine = read_machine(tmp_path)
    assert (machine.quota, machine.threads) == (0.5, 1)
    assert 1 <= machine.affinity <= machine.cpus


_CPUINFO = "model name\t: Some CPU\nflags\t\t: fpu avx {} fsrm avx512_vnni\n"


@pytest.mark.parametrize(
    ("machine", "flag", "avx2", "sets"),
    [
        ("x86_64", "avx2", True, ("avx", "avx2", "avx512_vnni")),
        ("x86_64", "", False, ("avx", "avx512_vnni")),
        ("aarch64", "asimddp", None, ("avx", "avx512_vnni", "asimddp")),
    ],
)
def test_instruction_sets(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    machine: str,
    flag: str,
    avx2: bool | None,
    sets: tuple[str, ...],
) -> None:
    pretend_cpu(monkeypatch, tmp_path, machine, _CPUINFO.format(flag))
    assert instructions.has_avx2() is avx2
    assert instructions.instruction_sets() == sets
    assert instructions.cpu_name() == "Some CPU"


def test_instruction_sets_that_the_system_does_not_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_cpu(monkeypatch, tmp_path, "x86_64", None)
    assert (instructions.has_avx2(), instructions.instruction_sets()) == (None, ())
    assert instructions.cpu_name()
