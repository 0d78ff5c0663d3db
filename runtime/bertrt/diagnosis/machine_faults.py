"""Faults of the CPU, and of how much of it the process is granted."""

from bertrt.diagnosis.facts import Facts
from bertrt.diagnosis.fault import Fault

__all__ = ["no_avx2", "small_quota"]


def no_avx2(facts: Facts) -> Fault | None:
    """An x86 CPU that lacks, or hides, what onnxruntime's fast kernels are written in."""
    if facts.machine.avx2 is not False:
        return None
    return Fault(
        f"This CPU ({facts.machine.cpu}) shows no AVX2, without which onnxruntime is slow.",
        "Use a machine that has AVX2; a virtual machine may hide what its host has (QEMU shows it "
        "with `-cpu host`).",
    )


def small_quota(facts: Facts) -> Fault | None:
    """Less than one CPU, so that even a single thread is stopped again and again."""
    quota = facts.machine.quota
    if quota is None or quota >= 1:
        return None
    return Fault(
        f"The control group grants {quota:g} of a CPU, so a thread that has work is stopped for "
        f"{1 - quota:.0%} of the time.",
        "Grant one CPU or more: `docker run --cpus 1`, in Kubernetes `limits: {cpu: 1}`.",
    )
