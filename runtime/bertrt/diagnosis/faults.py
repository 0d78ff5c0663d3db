"""What is wrong, in the order in which to mend it, and what is only good to know."""

from collections.abc import Callable
from typing import TypeAlias

from bertrt.diagnosis.driver_faults import no_gpu, old_driver, old_gpu
from bertrt.diagnosis.facts import Facts
from bertrt.diagnosis.fault import Fault
from bertrt.diagnosis.library_faults import missing_libraries, no_tensorrt
from bertrt.diagnosis.machine_faults import no_avx2, small_quota
from bertrt.diagnosis.package_faults import (
    broken_module,
    cpu_build,
    foreign_module,
    no_dependency,
    no_onnxruntime,
    several_wheels,
)
from bertrt.diagnosis.packages import GPU_WHEEL

__all__ = ["cuda_faults", "find_faults", "find_notes"]

_Check: TypeAlias = Callable[[Facts], Fault | None]

_PACKAGES: tuple[_Check, ...] = (
    no_dependency,
    no_onnxruntime,
    several_wheels,
    broken_module,
    foreign_module,
)
_CUDA: tuple[_Check, ...] = (cpu_build, no_gpu, old_driver, old_gpu, missing_libraries, no_tensorrt)
_MACHINE: tuple[_Check, ...] = (no_avx2, small_quota)


def find_faults(facts: Facts, device: str = "auto") -> list[Fault]:
    """All faults.

    device: `cpu` leaves out what concerns CUDA alone, `cuda` and `tensorrt` count all that keeps
    this machine from it; `auto` takes CUDA to be wanted where its wheel is installed or a GPU is.
    """
    cuda = device in ("cuda", "tensorrt")
    if device == "auto":
        cuda = GPU_WHEEL in facts.packages.wheels or bool(facts.driver.gpus)
    return [*(cuda_faults(facts) if cuda else _found(facts, _PACKAGES)), *_found(facts, _MACHINE)]


def cuda_faults(facts: Facts) -> list[Fault]:
    """What keeps CUDA, and TensorRT where the facts cover it, from starting."""
    return _found(facts, (*_PACKAGES, *_CUDA))


def find_notes(facts: Facts) -> list[str]:
    """What is good to know and needs no mending."""
    notes, machine, driver = [], facts.machine, facts.driver
    if machine.threads < machine.cpus:
        quota = "sets no quota" if machine.quota is None else f"grants {machine.quota:g}"
        notes.append(
            f"bertrt uses {machine.threads} of this machine's {machine.cpus} CPUs: its affinity "
            f"allows {machine.affinity}, and its control group {quota}."
        )
    if machine.vnni is False:
        notes.append(
            "This CPU has no VNNI: int8 runs exactly, but about as slowly as fp32, so of the two "
            "bertrt takes fp32."
        )
    if driver.pci_gpus and not driver.gpus and GPU_WHEEL not in facts.packages.wheels:
        notes.append(
            "There is an NVIDIA GPU in this machine that CUDA cannot use: "
            "`bertrt doctor --device cuda` says why."
        )
    return notes


def _found(facts: Facts, checks: tuple[_Check, ...]) -> list[Fault]:
    return [fault for check in checks if (fault := check(facts)) is not None]
