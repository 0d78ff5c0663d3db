"""How many CPUs this process may really use."""

import os
from pathlib import Path

__all__ = ["available_cpus"]


def available_cpus(cgroup_root: Path = Path("/sys/fs/cgroup")) -> int:
    """CPUs that this process may use: its affinity, cut by its control group's quota; at least 1.

    A container limited to two CPUs on a 64-core host has 2, where `os.cpu_count()` says 64. A
    fraction of a CPU is rounded down, since a thread that is throttled delays all others.
    """
    affinity = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    quota = _cgroup_quota(cgroup_root)
    return affinity if quota is None else max(1, min(affinity, int(quota)))


def _cgroup_quota(root: Path) -> float | None:
    """CPUs that the control group (version 2, else 1) grants; None where it sets no limit."""
    unified = _read(root / "cpu.max")
    if unified is not None:
        quota, _, period = unified.partition(" ")
        return None if quota == "max" else float(quota) / float(period or 100_000)
    quota_us = _read(root / "cpu" / "cpu.cfs_quota_us")
    period_us = _read(root / "cpu" / "cpu.cfs_period_us")
    if quota_us is None or period_us is None or float(quota_us) <= 0:
        return None
    return float(quota_us) / float(period_us)


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:  # no such control group here: there is no limit to read
        return None
