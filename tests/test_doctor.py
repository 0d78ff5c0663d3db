"""`bertrt doctor`: what it finds, what it says of it, and what CUDA's errors say."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bertrt.cli import main
from bertrt.commands import doctor
from bertrt.diagnosis import (
    Facts,
    cuda_failure,
    failures,
    find_faults,
    find_notes,
    tensorrt_failure,
)
from bertrt.diagnosis.fault import Fault, listed
from bertrt.diagnosis.machine import Machine
from bertrt.diagnosis.nvidia import TENSORRT_LIBRARY, Driver, Gpu, Library, cuda_libraries
from bertrt.diagnosis.packages import Packages

from tests.helpers import run_bertrt

_H100 = Gpu("NVIDIA H100", (9, 0), 80_000_000_000)
_CPU_WHEEL = Packages(
    {"onnxruntime": "1.32.0"},
    wheel="onnxruntime",
    version="1.32.0",
    folder="/site/onnxruntime",
    providers=("CPUExecutionProvider",),
)
_GPU_WHEEL = Packages(
    {"onnxruntime-gpu": "1.31.1"},
    wheel="onnxruntime-gpu",
    version="1.31.1",
    cuda="13.0",
    folder="/site/onnxruntime",
    providers=("CUDAExecutionProvider", "CPUExecutionProvider"),
)
_DRIVER = Driver(
    release="580.95.05",
    loads=True,
    error=0,
    cuda=(13, 0),
    gpus=(_H100,),
    device_files=("/dev/nvidia0", "/dev/nvidiactl"),
    pci_gpus=1,
)
_MACHINE = Machine(
    cpu="AMD EPYC",
    instructions=("avx2", "avx512_vnni"),
    int8="VNNI",
    avx2=True,
    vnni=True,
    cpus=8,
    affinity=8,
    quota=None,
    threads=8,
    memory=32_000_000_000,
    memory_limit=None,
)
_LIBRARIES = tuple(Library(name, f"/site/nvidia/{name}") for name in cuda_libraries(13))
# A healthy machine of each kind.
_CPU = Facts({"bertrt": "0.1.0"}, _CPU_WHEEL, Driver(), (), _MACHINE)
_GPU = Facts({"bertrt": "0.1.0"}, _GPU_WHEEL, _DRIVER, _LIBRARIES, _MACHINE)

_TO_GPU = "pip install 'bertrt[gpu]'"
_CUDA_12 = (
    "pip uninstall --yes onnxruntime-gpu nvidia-cudnn-cu13 && "
    "pip install 'onnxruntime-gpu[cuda,cudnn]==1.26.0'"
)


def _without(*names: str) -> tuple[Library, ...]:
    return tuple(
        replace(library, path=None) if library.name in names else library for library in _LIBRARIES
    )


def _driver(**changes: Any) -> Facts:
    """The healthy machine with a GPU, with another driver."""
    return replace(_GPU, driver=replace(_DRIVER, **changes))


def _no_gpu(**changes: Any) -> Facts:
    """The same, whose driver reaches no GPU."""
    return _driver(**{"gpus": (), "error": 100, **changes})


def _installed(**changes: Any) -> Facts:
    """The healthy machine without a GPU, with other packages."""
    return replace(_CPU, packages=replace(_CPU_WHEEL, **changes))


def _machine(**changes: Any) -> Facts:
    return replace(_CPU, machine=replace(_MACHINE, **changes))


_BOTH = {"onnxruntime": "1.32.0", "onnxruntime-gpu": "1.31.1"}
_GONE = {"wheel": None, "version": None, "providers": (), "folder": None}


# what is wrong


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_a_machine_without_a_gpu_is_healthy_with_the_cpu_build(device: str) -> None:
    assert find_faults(_CPU, device) == []
    assert find_notes(_CPU) == []


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda"])
def test_a_machine_with_a_gpu_is_healthy_with_the_gpu_build(device: str) -> None:
    assert find_faults(_GPU, device) == []
    assert find_notes(_GPU) == []


@pytest.mark.parametrize(
    ("facts", "what", "mend"),
    [
        pytest.param(
            replace(_CPU, versions={"bertrt": "0.1.0", "numpy": None, "tokenizers": None}),
            "numpy and tokenizers are not installed, which bertrt needs.",
            "`pip install numpy tokenizers`",
            id="installed without its dependencies",
        ),
        pytest.param(
            _installed(wheels={}, **_GONE),
            "onnxruntime is not installed.",
            "`pip install 'bertrt[cpu]'`, or for CUDA `pip install 'bertrt[gpu]'`",
            id="no onnxruntime",
        ),
        pytest.param(
            replace(_GPU, packages=Packages({}), libraries=()),
            "onnxruntime is not installed.",
            f"`{_TO_GPU}`",
            id="no onnxruntime, where there is a GPU",
        ),
        pytest.param(
            replace(_GPU, packages=replace(_GPU_WHEEL, wheels=_BOTH)),
            "onnxruntime 1.32.0 and onnxruntime-gpu 1.31.1 are both installed and bring the same "
            "module: what Python gets is that of onnxruntime-gpu 1.31.1.",
            f"`pip uninstall --yes onnxruntime onnxruntime-gpu && {_TO_GPU}`",
            id="both wheels, the GPU's on top",
        ),
        pytest.param(
            replace(_GPU, packages=replace(_CPU_WHEEL, wheels=_BOTH), libraries=()),
            "onnxruntime 1.32.0 and onnxruntime-gpu 1.31.1 are both installed and bring the same "
            "module: what Python gets is that of onnxruntime 1.32.0.",
            f"`pip uninstall --yes onnxruntime onnxruntime-gpu && {_TO_GPU}`",
            id="both wheels, the CPU's on top",
        ),
        pytest.param(
            _installed(wheels={"onnxruntime": "1.32.0", "onnxruntime-openvino": "1.24.1"}),
            "onnxruntime 1.32.0 and onnxruntime-openvino 1.24.1 are both installed and bring the "
            "same module: what Python gets is that of onnxruntime 1.32.0.",
            "`pip uninstall --yes onnxruntime onnxruntime-openvino && pip install 'bertrt[cpu]'`",
            id="both wheels, neither for CUDA",
        ),
        pytest.param(
            replace(_GPU, packages=Packages(_BOTH, problem="ImportError: no"), libraries=()),
            "onnxruntime 1.32.0 and onnxruntime-gpu 1.31.1 are both installed and bring the same "
            "module: it cannot be used (ImportError: no).",
            f"`pip uninstall --yes onnxruntime onnxruntime-gpu && {_TO_GPU}`",
            id="both wheels, in pieces",
        ),
        pytest.param(
            _installed(problem="AttributeError: no attribute", **_GONE),
            "The module of onnxruntime 1.32.0 cannot be used (AttributeError: no attribute).",
            "`pip uninstall --yes onnxruntime && pip install 'bertrt[cpu]'`",
            id="half a module",
        ),
        pytest.param(
            replace(_GPU, packages=replace(_CPU_WHEEL, wheels=_GPU_WHEEL.wheels), libraries=()),
            "onnxruntime-gpu 1.31.1 is installed, and what Python gets is the module of "
            "onnxruntime 1.32.0, in /site/onnxruntime.",
            f"`pip uninstall --yes onnxruntime-gpu onnxruntime && {_TO_GPU}`",
            id="the module of another wheel",
        ),
        pytest.param(
            replace(_CPU, driver=_DRIVER),
            "This is the CPU build of onnxruntime (onnxruntime 1.32.0), which has no CUDA, so the "
            "NVIDIA H100 stays unused.",
            f"`pip uninstall --yes onnxruntime && {_TO_GPU}`",
            id="the CPU wheel where there is a GPU",
        ),
        pytest.param(
            _no_gpu(loads=False, error=None, device_files=()),
            "The kernel runs NVIDIA driver 580.95.05, but libcuda.so.1 is missing here: a "
            "container that was started without its GPUs looks like this.",
            "Start the container with its GPUs: `docker run --gpus all`, in Kubernetes `limits: "
            "{nvidia.com/gpu: 1}`; the host needs the NVIDIA container toolkit. Outside of a "
            "container, install the driver's own libraries anew.",
            id="a container without GPUs",
        ),
        pytest.param(
            _no_gpu(device_files=()),
            "The kernel runs NVIDIA driver 580.95.05, but there is no /dev/nvidia* here: a "
            "container that was started without its GPUs looks like this.",
            "Start the container with its GPUs: `docker run --gpus all`, in Kubernetes `limits: "
            "{nvidia.com/gpu: 1}`; the host needs the NVIDIA container toolkit. Outside of a "
            "container, install the driver's own libraries anew.",
            id="a container with the libraries alone",
        ),
        pytest.param(
            _no_gpu(unreadable=("/dev/nvidia0", "/dev/nvidiactl")),
            "This process may not open /dev/nvidia0, /dev/nvidiactl, so CUDA sees no GPU.",
            "`sudo chmod a+rw /dev/nvidia0 /dev/nvidiactl`",
            id="no permission",
        ),
        pytest.param(
            _no_gpu(visible="-1"),
            "CUDA_VISIBLE_DEVICES is '-1', and CUDA sees no GPU of that number.",
            "`unset CUDA_VISIBLE_DEVICES`",
            id="hidden by the environment",
        ),
        pytest.param(
            _no_gpu(),
            "The NVIDIA driver 580.95.05 does not start CUDA (error 100): it sees no GPU.",
            "See what the driver says, on the host: `nvidia-smi`, `sudo dmesg | grep NVRM`.",
            id="a driver that sees none",
        ),
        pytest.param(
            _no_gpu(error=803),
            "The NVIDIA driver 580.95.05 does not start CUDA (error 803): its kernel module and "
            "its libraries are of different versions.",
            "Restart the host, which loads the driver that was installed last: `sudo reboot`.",
            id="an upgrade without a reboot",
        ),
        pytest.param(
            _no_gpu(error=999),
            "The NVIDIA driver 580.95.05 does not start CUDA (error 999): for a reason that it "
            "does not name.",
            "See what the driver says, on the host: `nvidia-smi`, `sudo dmesg | grep NVRM`.",
            id="an unknown error",
        ),
        pytest.param(
            replace(_GPU, driver=Driver(pci_gpus=1)),
            "There is an NVIDIA GPU in this machine and no NVIDIA driver runs.",
            "Install the driver on the host (on Ubuntu `sudo ubuntu-drivers install --gpgpu "
            "nvidia:580-server`) and reboot.",
            id="no driver",
        ),
        pytest.param(
            replace(_GPU, driver=Driver()),
            "There is no NVIDIA GPU here, and no NVIDIA driver.",
            "Run where there is one, and in a container with `docker run --gpus all`, or use the "
            "CPU: `pip uninstall --yes onnxruntime-gpu && pip install 'bertrt[cpu]'`",
            id="no GPU",
        ),
        pytest.param(
            _driver(release="535.183.01", cuda=(12, 2)),
            "The NVIDIA driver 535.183.01 is too old: it runs CUDA 12.2 at most, and "
            "onnxruntime-gpu 1.31.1 needs CUDA 13 and so driver 580 or newer.",
            "Install driver 580 or newer on the host (on Ubuntu `sudo ubuntu-drivers install "
            "--gpgpu nvidia:580-server`) and reboot, or take the last onnxruntime-gpu for CUDA 12, "
            f"older than bertrt is measured with: `{_CUDA_12}`",
            id="an old driver",
        ),
        pytest.param(
            _driver(release=None, cuda=(11, 8)),
            "The NVIDIA driver is too old: it runs CUDA 11.8 at most, and onnxruntime-gpu 1.31.1 "
            "needs CUDA 13 and so driver 580 or newer.",
            "Install driver 580 or newer on the host (on Ubuntu `sudo ubuntu-drivers install "
            "--gpgpu nvidia:580-server`) and reboot",
            id="a driver too old for CUDA 12",
        ),
        pytest.param(
            replace(
                _driver(release="470.256.02", cuda=(11, 4)),
                packages=replace(_GPU_WHEEL, cuda="12.8"),
            ),
            "The NVIDIA driver 470.256.02 is too old: it runs CUDA 11.4 at most, and "
            "onnxruntime-gpu 1.31.1 needs CUDA 12 and so driver 525 or newer.",
            "Install driver 525 or newer on the host and reboot",
            id="a driver too old for a wheel for CUDA 12",
        ),
        pytest.param(
            _driver(gpus=(Gpu("Tesla V100", (7, 0), 16_000_000_000),)),
            "The Tesla V100 is too old for CUDA 13, which onnxruntime-gpu 1.31.1 needs: its "
            "compute capability is 7.0, and the least is 7.5.",
            "Use a newer GPU, or take the last onnxruntime-gpu for CUDA 12, older than bertrt is "
            f"measured with: `{_CUDA_12}`",
            id="an old GPU",
        ),
        pytest.param(
            replace(_GPU, libraries=_without("libcublas.so.13", "libcudnn.so.9")),
            "libcublas.so.13 and cuDNN (libcudnn.so.9) are missing, which onnxruntime-gpu 1.31.1 "
            "loads.",
            "`pip install 'onnxruntime-gpu[cuda,cudnn]==1.31.1'`",
            id="missing libraries",
        ),
        pytest.param(
            replace(_GPU, libraries=_without("libcudnn.so.9")),
            "cuDNN (libcudnn.so.9) is missing, which onnxruntime-gpu 1.31.1 loads.",
            "`pip install 'onnxruntime-gpu[cuda,cudnn]==1.31.1'`",
            id="missing cuDNN",
        ),
        pytest.param(
            replace(_GPU, libraries=(*_LIBRARIES, Library(TENSORRT_LIBRARY, None))),
            "TensorRT (libnvinfer.so.10) is missing, which onnxruntime's TensorRT provider loads.",
            "`pip install 'tensorrt-cu13>=10,<11'`",
            id="missing TensorRT",
        ),
        pytest.param(
            _machine(avx2=False),
            "This CPU (AMD EPYC) shows no AVX2, without which onnxruntime is slow.",
            "Use a machine that has AVX2; a virtual machine may hide what its host has (QEMU shows "
            "it with `-cpu host`).",
            id="no AVX2",
        ),
        pytest.param(
            _machine(quota=0.25),
            "The control group grants 0.25 of a CPU, so a thread that has work is stopped for 75% "
            "of the time.",
            "Grant one CPU or more: `docker run --cpus 1`, in Kubernetes `limits: {cpu: 1}`.",
            id="a quarter of a CPU",
        ),
    ],
)
def test_fault_is_the_only_one_and_says_what_mends_it(facts: Facts, what: str, mend: str) -> None:
    assert find_faults(facts) == [Fault(what, mend)]


@pytest.mark.parametrize(
    "facts",
    [
        pytest.param(_driver(gpus=(_H100, Gpu("Tesla V100", (7, 0), 1))), id="one GPU is enough"),
        pytest.param(
            replace(
                _driver(cuda=(12, 2), gpus=(Gpu("Tesla V100", (7, 0), 1),)),
                packages=replace(_GPU_WHEEL, cuda="12.8"),
            ),
            id="an old GPU and driver, and a wheel for CUDA 12",
        ),
        pytest.param(_driver(visible="0"), id="some GPU is visible"),
        pytest.param(_driver(release=None, device_files=(), pci_gpus=0), id="as in WSL"),
        pytest.param(_machine(avx2=None, vnni=None), id="not x86"),
        pytest.param(_machine(quota=1.0), id="one CPU is enough"),
    ],
)
def test_what_is_no_fault(facts: Facts) -> None:
    assert find_faults(facts) == []


def test_cuda_that_is_asked_for_counts_where_nobody_installed_it() -> None:
    build, gpu = find_faults(_CPU, "cuda")
    assert "This is the CPU build of onnxruntime (onnxruntime 1.32.0), which has no CUDA." in (
        build.what
    )
    assert build.command == f"pip uninstall --yes onnxruntime && {_TO_GPU}"
    assert "no NVIDIA GPU" in gpu.what and "uninstall" not in gpu.mend


def test_cuda_that_is_not_asked_for_does_not_count() -> None:
    assert (
        find_faults(replace(_GPU, driver=Driver(), libraries=_without("libcudnn.so.9")), "cpu")
        == []
    )


def test_an_old_driver_is_named_before_the_gpu_wheel_is_installed() -> None:
    _, driver = find_faults(replace(_CPU, driver=replace(_DRIVER, cuda=(12, 2))))
    assert "onnxruntime-gpu since 1.27 needs CUDA 13 and so driver 580 or newer" in driver.what
    assert "`pip uninstall --yes onnxruntime nvidia-cudnn-cu13 && " in driver.mend


def test_faults_come_in_the_order_in_which_to_mend_them() -> None:
    facts = Facts(
        {},
        replace(_GPU_WHEEL, wheels=_BOTH),
        replace(_DRIVER, cuda=(12, 2)),
        _without("libcudnn.so.9"),
        replace(_MACHINE, avx2=False),
    )
    words = ["both installed", "too old", "cuDNN", "AVX2"]
    found = [fault.what for fault in find_faults(facts)]
    assert len(found) == len(words)
    assert all(word in what for word, what in zip(words, found, strict=True))


@pytest.mark.parametrize(
    ("facts", "note"),
    [
        pytest.param(
            _machine(cpus=64, affinity=16, quota=2.5, threads=2),
            "bertrt uses 2 of this machine's 64 CPUs: its affinity allows 16, and its control "
            "group grants 2.5.",
            id="a quota",
        ),
        pytest.param(
            _machine(cpus=64, affinity=16, threads=16),
            "bertrt uses 16 of this machine's 64 CPUs: its affinity allows 16, and its control "
            "group sets no quota.",
            id="an affinity",
        ),
        pytest.param(
            _machine(vnni=False),
            "This CPU has no VNNI: int8 runs exactly, but about as slowly as fp32, so of the two "
            "bertrt takes fp32.",
            id="no VNNI",
        ),
        pytest.param(
            replace(_CPU, driver=Driver(pci_gpus=1)),
            "There is an NVIDIA GPU in this machine that CUDA cannot use: `bertrt doctor --device "
            "cuda` says why.",
            id="a GPU without a driver, which nobody asked for",
        ),
    ],
)
def test_note_is_no_fault(facts: Facts, note: str) -> None:
    assert find_notes(facts) == [note]
    assert find_faults(facts) == []


def test_lists_read_as_people_write_them() -> None:
    assert [listed(names) for names in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]


# the errors of a device that cannot be had


def _failing(monkeypatch: pytest.MonkeyPatch, facts: Facts) -> None:
    monkeypatch.setattr(failures, "gather", lambda device="auto": facts)


def test_error_of_cuda_has_the_fault_its_command_and_a_way_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _failing(monkeypatch, replace(_GPU, libraries=_without("libcudnn.so.9")))
    assert cuda_failure("cuda") == (
        "device='cuda' cannot be had here. cuDNN (libcudnn.so.9) is missing, which onnxruntime-gpu "
        "1.31.1 loads. Run `pip install 'onnxruntime-gpu[cuda,cudnn]==1.31.1'`, or use "
        "device='cpu'. For all that was looked at, run `bertrt doctor --device cuda`"
    )


def test_error_of_cuda_says_what_comes_after_the_first_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _failing(monkeypatch, _CPU)
    assert cuda_failure("cuda") == (
        "device='cuda' cannot be had here. This is the CPU build of onnxruntime (onnxruntime "
        "1.32.0), which has no CUDA. Run `pip uninstall --yes onnxruntime && pip install "
        "'bertrt[gpu]'`, or use device='cpu'. That is not all: There is no NVIDIA GPU here, and no "
        "NVIDIA driver. For all that was looked at, run `bertrt doctor --device cuda`"
    )


def test_error_of_cuda_joins_advice_that_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    _failing(monkeypatch, _no_gpu(error=803))
    assert (
        "of different versions. Restart the host, which loads the driver that was installed last: "
        "`sudo reboot`, or use device='cpu'."
    ) in cuda_failure("cuda")


def test_error_of_cuda_without_a_fault_points_to_what_onnxruntime_printed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _failing(monkeypatch, _GPU)
    assert cuda_failure("cuda") == (
        "device='cuda' cannot be had here. Nothing was found to be wrong, so the reason is what "
        "onnxruntime printed: mend that, or use device='cpu'. For all that was looked at, run "
        "`bertrt doctor --device cuda`"
    )


def test_error_of_tensorrt_names_its_library_after_what_cuda_lacks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    libraries = (*_without("libcudnn.so.9"), Library(TENSORRT_LIBRARY, None))
    _failing(monkeypatch, replace(_GPU, libraries=libraries))
    message = tensorrt_failure()
    assert message.startswith("device='tensorrt' cannot be had here. cuDNN")
    assert "That is not all: TensorRT (libnvinfer.so.10) is missing" in message
    assert "or use device='cpu'." in message
    assert message.endswith("run `bertrt doctor --device tensorrt`")


def test_errors_of_this_machine_are_one_line() -> None:
    for message in (cuda_failure("cuda"), tensorrt_failure()):
        assert "\n" not in message
        assert "or use device='cpu'" in message and "bertrt doctor" in message


# the command


@pytest.fixture
def examine(monkeypatch: pytest.MonkeyPatch) -> Callable[[Facts], None]:
    """Lets the command find these facts."""

    def use(facts: Facts) -> None:
        monkeypatch.setattr(doctor, "gather", lambda device: facts)

    return use


def test_page_of_a_healthy_machine(
    examine: Callable[[Facts], None], capsys: pytest.CaptureFixture[str]
) -> None:
    examine(_CPU)
    assert main(["doctor"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert captured.out == (
        "Packages\n"
        "  bertrt       0.1.0\n"
        "  onnxruntime  1.32.0\n"
        "  imported     onnxruntime 1.32.0\n"
        "  providers    CPUExecutionProvider\n"
        "\n"
        "NVIDIA\n"
        "  GPU     none that CUDA can use\n"
        "  driver  none\n"
        "\n"
        "CPU\n"
        "  model         AMD EPYC\n"
        "  instructions  avx2 avx512_vnni\n"
        "  int8          VNNI\n"
        "  CPUs          8, affinity 8, no quota\n"
        "  threads       8\n"
        "  memory        32.0 GB, no limit\n"
        "\n"
        "No faults found.\n"
    )


def test_page_of_a_machine_with_a_gpu(
    examine: Callable[[Facts], None], capsys: pytest.CaptureFixture[str]
) -> None:
    limited = replace(_MACHINE, quota=2.5, threads=2, memory_limit=1_000_000_000)
    examine(replace(_GPU, libraries=_without("libcudnn.so.9"), machine=limited))
    assert main(["doctor"]) == 1
    lines = capsys.readouterr().out.splitlines()
    for line in (
        "  imported         onnxruntime-gpu 1.31.1, built for CUDA 13.0",
        "  GPU       NVIDIA H100, 80.0 GB, compute capability 9.0",
        "  driver    580.95.05, runs CUDA up to 13.0",
        "  cublasLt  /site/nvidia/libcublasLt.so.13",
        "  cudnn     missing",
        "  CPUs          8, affinity 8, quota 2.5",
        "  memory        32.0 GB, limit 1.0 GB",
        "Notes",
        "Faults",
        "  1. cuDNN (libcudnn.so.9) is missing, which onnxruntime-gpu 1.31.1 loads.",
        "     $ pip install 'onnxruntime-gpu[cuda,cudnn]==1.31.1'",
    ):
        assert line in lines


def test_commands_within_advice_are_not_broken_into_lines(
    examine: Callable[[Facts], None], capsys: pytest.CaptureFixture[str]
) -> None:
    examine(_driver(cuda=(12, 2)))
    assert main(["doctor"]) == 1
    assert f"     `{_CUDA_12}`" in capsys.readouterr().out.splitlines()


def test_json_has_the_facts_and_the_faults(
    examine: Callable[[Facts], None], capsys: pytest.CaptureFixture[str]
) -> None:
    examine(replace(_GPU, libraries=_without("libcudnn.so.9")))
    assert main(["doctor", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert list(found) == [
        "versions",
        "packages",
        "driver",
        "libraries",
        "machine",
        "model",
        "faults",
        "notes",
    ]
    assert found["packages"]["wheels"] == {"onnxruntime-gpu": "1.31.1"}
    assert found["driver"]["gpus"] == [
        {"name": "NVIDIA H100", "capability": [9, 0], "memory": 80_000_000_000}
    ]
    assert {"name": "libcudnn.so.9", "path": None} in found["libraries"]
    assert found["machine"]["quota"] is None
    assert found["model"] is None and found["notes"] == []
    assert found["faults"] == [
        {
            "what": "cuDNN (libcudnn.so.9) is missing, which onnxruntime-gpu 1.31.1 loads.",
            "mend": "`pip install 'onnxruntime-gpu[cuda,cudnn]==1.31.1'`",
        }
    ]


def test_device_is_what_is_wanted(
    examine: Callable[[Facts], None], capsys: pytest.CaptureFixture[str]
) -> None:
    examine(_CPU)
    assert main(["doctor", "--device", "cuda"]) == 1
    assert "This is the CPU build" in capsys.readouterr().out


def test_a_model_is_loaded_and_what_runs_it_is_said(
    examine: Callable[[Facts], None], capsys: pytest.CaptureFixture[str], tiny_artifact: Path
) -> None:
    examine(_CPU)
    assert main(["doctor", str(tiny_artifact), "--device", "cpu", "--json"]) == 0
    model = json.loads(capsys.readouterr().out)["model"]
    assert model.pop("threads") >= 1
    assert model == {
        "path": str(tiny_artifact),
        "precision": "fp32",
        "runs_on": "CPUExecutionProvider",
    }
    assert main(["doctor", str(tiny_artifact), "--device", "cpu"]) == 0
    assert "  runs on    CPUExecutionProvider" in capsys.readouterr().out.splitlines()


def test_a_model_that_cannot_be_loaded_is_a_fault(
    examine: Callable[[Facts], None], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    examine(_CPU)
    assert main(["doctor", str(tmp_path), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["model"] is None
    (fault,) = found["faults"]
    assert fault["what"].startswith(f"{tmp_path} cannot be loaded: ")


def test_unknown_device_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["doctor", "--device", "tpu"])
    assert raised.value.code == 2
    assert "tpu" in capsys.readouterr().err


def test_help_lists_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["--help"])
    assert raised.value.code == 0
    assert "doctor" in capsys.readouterr().out


def test_command_runs_here() -> None:
    ran = run_bertrt("doctor", "--json")
    found = json.loads(ran.stdout)
    assert ran.returncode == (1 if found["faults"] else 0)
    assert ran.stderr == b""
    assert found["packages"]["version"] is not None
    assert found["packages"]["providers"][-1] == "CPUExecutionProvider"
    assert found["machine"]["threads"] >= 1


# without onnxruntime

# What a process sees where no build is installed.
_HIDE = """
import sys
from importlib import metadata
sys.modules["onnxruntime"] = None
installed = list(metadata.distributions())
metadata.distributions = lambda: [d for d in installed if "onnxruntime" not in d.metadata["Name"]]
"""


def _run_without_onnxruntime(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _HIDE + program], capture_output=True, text=True, check=False
    )


def test_command_runs_without_onnxruntime() -> None:
    ran = _run_without_onnxruntime("from bertrt.cli import main; sys.exit(main(['doctor']))")
    assert (ran.returncode, ran.stderr) == (1, "")
    assert "  1. onnxruntime is not installed.\n" in ran.stdout
    assert "pip install 'bertrt[gpu]'" in ran.stdout


def test_a_model_is_not_tried_without_onnxruntime() -> None:
    program = "from bertrt.cli import main; sys.exit(main(['doctor', 'model', '--device', 'cpu']))"
    ran = _run_without_onnxruntime(program)
    assert (ran.returncode, ran.stderr) == (1, "")
    assert "  1. onnxruntime is not installed.\n" in ran.stdout and "  2. " not in ran.stdout


def test_other_commands_say_in_one_line_that_it_is_missing() -> None:
    program = "from bertrt.cli import main; sys.exit(main(['classify', 'model', 'good']))"
    ran = _run_without_onnxruntime(program)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith("bertrt: error: bertrt needs onnxruntime and finds none")
    assert ran.stderr.count("\n") == 1


def test_names_of_bertrt_that_need_it_name_the_extra() -> None:
    program = (
        "import bertrt\n"
        "try:\n"
        "    bertrt.Classifier\n"
        "except bertrt.MissingDependencyError as error:\n"
        "    print(error)\n"
    )
    ran = _run_without_onnxruntime(program)
    assert ran.returncode == 0
    assert "pip install 'bertrt[cpu]'" in ran.stdout
