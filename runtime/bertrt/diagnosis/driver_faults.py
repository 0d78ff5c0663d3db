"""Faults of the NVIDIA driver and the GPU: what keeps CUDA from starting, before any library."""

from bertrt.diagnosis.facts import Facts
from bertrt.diagnosis.fault import Fault, gpu_wheel
from bertrt.diagnosis.nvidia import Driver
from bertrt.diagnosis.packages import GPU_WHEEL, Packages

__all__ = ["no_gpu", "old_driver", "old_gpu"]

# NVIDIA's table of the oldest driver for each CUDA: docs.nvidia.com/deploy/cuda-compatibility.
_OLDEST_DRIVER = {11: 450, 12: 525, 13: 580}
# By their metadata on PyPI, the extras of the one ask for CUDA 12, and those of the next for 13.
_LAST_FOR_CUDA_12, _FIRST_FOR_CUDA_13 = "1.26.0", "1.27"
# CUDA 13 has no code for GPUs before Turing.
_OLDEST_GPU = {13: (7, 5)}

_NO_DEVICE = 100  # cuda.h: CUDA_ERROR_NO_DEVICE
# Other codes of cuInit, by cuda.h: what they mean, and what mends them.
_ERRORS = {
    46: ("a GPU is there and busy or unavailable", "See which process holds it: `nvidia-smi`."),
    802: (
        "the GPUs are not ready yet",
        "Start what connects them, on the host: `sudo systemctl start nvidia-fabricmanager`.",
    ),
    803: (
        "its kernel module and its libraries are of different versions",
        "Restart the host, which loads the driver that was installed last: `sudo reboot`.",
    ),
    804: (
        "the CUDA compatibility package that is installed does not support this GPU",
        "Take its folder (such as /usr/local/cuda/compat) out of LD_LIBRARY_PATH, or install a "
        "newer driver on the host.",
    ),
}
_START_CONTAINER = (
    "Start the container with its GPUs: `docker run --gpus all`, in Kubernetes "
    "`limits: {nvidia.com/gpu: 1}`; the host needs the NVIDIA container toolkit. Outside of a "
    "container, install the driver's own libraries anew."
)
_UBUNTU = "on Ubuntu `sudo ubuntu-drivers install --gpgpu nvidia:580-server`"


def no_gpu(facts: Facts) -> Fault | None:
    """No GPU that CUDA could use, for any reason."""
    driver = facts.driver
    if driver.gpus:
        return None
    if driver.release is not None and not (driver.loads and driver.device_files):
        return _hidden_from_container(driver)
    if driver.unreadable:
        return Fault(
            f"This process may not open {', '.join(driver.unreadable)}, so CUDA sees no GPU.",
            f"`sudo chmod a+rw {' '.join(driver.unreadable)}`",
        )
    if driver.device_files and driver.visible is not None and driver.error == _NO_DEVICE:
        return Fault(
            f"CUDA_VISIBLE_DEVICES is {driver.visible!r}, and CUDA sees no GPU of that number.",
            "`unset CUDA_VISIBLE_DEVICES`",
        )
    if driver.release is not None or driver.error not in (None, 0, _NO_DEVICE):
        return _failed(driver)
    if driver.pci_gpus:
        return Fault(
            "There is an NVIDIA GPU in this machine and no NVIDIA driver runs.",
            f"Install the driver on the host ({_UBUNTU}) and reboot.",
        )
    return _none_there(facts)


def _hidden_from_container(driver: Driver) -> Fault:
    lacking = "there is no /dev/nvidia*" if driver.loads else "libcuda.so.1 is missing"
    return Fault(
        f"The kernel runs NVIDIA driver {driver.release}, but {lacking} here: a container that was "
        "started without its GPUs looks like this.",
        _START_CONTAINER,
    )


def _failed(driver: Driver) -> Fault:
    """A driver that runs, or should, and does not start CUDA."""
    code = driver.error or 0
    release = f" {driver.release}" if driver.release else ""
    meaning, mend = _ERRORS.get(
        code,
        (
            "it sees no GPU" if code in (0, _NO_DEVICE) else "for a reason that it does not name",
            "See what the driver says, on the host: `nvidia-smi`, `sudo dmesg | grep NVRM`.",
        ),
    )
    return Fault(f"The NVIDIA driver{release} does not start CUDA (error {code}): {meaning}.", mend)


def _none_there(facts: Facts) -> Fault:
    on_cpu = (
        f", or use the CPU: `pip uninstall --yes {GPU_WHEEL} && pip install 'bertrt[cpu]'`"
        if GPU_WHEEL in facts.packages.wheels
        else ""
    )
    return Fault(
        "There is no NVIDIA GPU here" + ("." if facts.driver.loads else ", and no NVIDIA driver."),
        "Run where there is one, and in a container with `docker run --gpus all`" + (on_cpu or "."),
    )


def old_driver(facts: Facts) -> Fault | None:
    """A driver that does not run the CUDA that the wheel was built for."""
    driver, major = facts.driver, _wanted_cuda(facts.packages)
    if driver.cuda is None or driver.cuda >= (major, 0):
        return None
    oldest = _OLDEST_DRIVER.get(major)
    needed = f"driver {oldest} or newer" if oldest else "a newer driver"
    ubuntu = f" ({_UBUNTU})" if major == 13 else ""
    mend = f"Install {needed} on the host{ubuntu} and reboot"
    if major == 13 and driver.cuda >= (12, 0):
        mend += f", or {_take_cuda_12(facts.packages)}"
    release = f" {driver.release}" if driver.release else ""
    return Fault(
        f"The NVIDIA driver{release} is too old: it runs CUDA {_dotted(driver.cuda)} at most, and "
        f"{_wheel(facts.packages)} needs CUDA {major} and so {needed}.",
        mend,
    )


def old_gpu(facts: Facts) -> Fault | None:
    """GPUs that the wheel's CUDA has no code for."""
    gpus, major = facts.driver.gpus, _wanted_cuda(facts.packages)
    oldest = _OLDEST_GPU.get(major)
    if oldest is None or not gpus or any(gpu.capability >= oldest for gpu in gpus):
        return None
    return Fault(
        f"The {gpus[0].name} is too old for CUDA {major}, which {_wheel(facts.packages)} needs: "
        f"its compute capability is {_dotted(gpus[0].capability)}, and the least is "
        f"{_dotted(oldest)}.",
        f"Use a newer GPU, or {_take_cuda_12(facts.packages)}",
    )


def _wanted_cuda(packages: Packages) -> int:
    """The CUDA of the wheel; without one, of what would be installed."""
    return packages.cuda_major or 13


def _wheel(packages: Packages) -> str:
    known = packages.cuda_major is not None
    return gpu_wheel(packages) if known else f"{GPU_WHEEL} since {_FIRST_FOR_CUDA_13}"


def _take_cuda_12(packages: Packages) -> str:
    # The packages of cuDNN for CUDA 12 and 13 write the same files.
    names = " ".join([*packages.wheels, "nvidia-cudnn-cu13"])
    return (
        f"take the last {GPU_WHEEL} for CUDA 12, older than bertrt is measured with: "
        f"`pip uninstall --yes {names} && "
        f"pip install '{GPU_WHEEL}[cuda,cudnn]=={_LAST_FOR_CUDA_12}'`"
    )


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
