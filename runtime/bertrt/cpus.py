"""How many CPUs this process may really use."""

import os
from pathlib import Path

from bertrt.system_files import read_system_file

__all__ = ["affinity", "available_cpus", "cgroup_quota"]

_CGROUPS = Path("/sys/fs/cgroup")


def available_cpus(cgroup_root: Path = _CGROUPS) -> int:
    """CPUs that this process may use: its affinity, cut by its control group's quota; at least 1.

    A container limited to two CPUs on a 64-core host has 2, where `os.cpu_count()` says 64. A
    fraction of a CPU is rounded down, since a thread that is throttled delays all others.
    """
    quota = cgroup_quota(cgroup_root)
    return affinity() if quota is None else max(1, min(affinity(), int(quota)))


def affinity() -> int:
    """CPUs that this process may be scheduled on; all of them where the system does not say."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cgroup_quota(root: Path = _CGROUPS) -> float | None:
    """CPUs that the control group (version 2, else 1) grants; None where it sets no limit."""
    unified = read_system_file(root / "cpu.max")
    if unified is not None:
        quota, _, period = unified.partition(" ")
        return None if quota == "max" else float(quota) / float(period or 100_000)
    quota_us = read_system_file(root / "cpu" / "cpu.cfs_quota_us")
    period_us = read_system_file(root / "cpu" / "cpu.cfs_period_us")
    if quota_us is None or period_us is None or float(quota_us) <= 0:
        return None
    return float(quota_us) / float(period_us)
