"""The CPU and the memory, and how much of them this process may use."""

import os
from dataclasses import dataclass
from pathlib import Path

from bertrt.cpus import affinity, available_cpus, cgroup_quota
from bertrt.instructions import cpu_name, describe_int8, has_avx2, has_vnni, instruction_sets
from bertrt.system_files import read_system_file

__all__ = ["Machine", "read_machine"]

# Version 1 of control groups has no word for "no limit", but a number of about 2**63.
_NO_LIMIT = 1 << 60


@dataclass(frozen=True, slots=True)
class Machine:
    """The CPU and the memory.

    instructions: the sets that matter here. int8: a line on how fast it is at 8-bit products.
    avx2, vnni: None where that is unknown or means nothing. cpus: those of the machine; affinity:
    those that this process may be scheduled on; quota: what its control group grants, None for all;
    threads: what bertrt makes of it. memory, memory_limit: bytes, of the machine and of the control
    group; None where unknown, or unlimited.
    """

    cpu: str
    instructions: tuple[str, ...]
    int8: str
    avx2: bool | None
    vnni: bool | None
    cpus: int
    affinity: int
    quota: float | None
    threads: int
    memory: int | None
    memory_limit: int | None


def read_machine(
    cgroup_root: Path = Path("/sys/fs/cgroup"), meminfo: Path = Path("/proc/meminfo")
) -> Machine:
    """Read what the system says."""
    return Machine(
        cpu=cpu_name(),
        instructions=instruction_sets(),
        int8=describe_int8(),
        avx2=has_avx2(),
        vnni=has_vnni(),
        cpus=os.cpu_count() or 1,
        affinity=affinity(),
        quota=cgroup_quota(cgroup_root),
        threads=available_cpus(cgroup_root),
        memory=_memory(meminfo),
        memory_limit=_memory_limit(cgroup_root),
    )


def _memory(meminfo: Path) -> int | None:
    for line in (read_system_file(meminfo) or "").splitlines():
        name, _, value = line.partition(":")
        if name == "MemTotal":
            return int(value.split()[0]) * 1024
    return None


def _memory_limit(root: Path) -> int | None:
    """Bytes that the control group (version 2, else 1) grants; None where it sets no limit."""
    text = read_system_file(root / "memory.max")
    if text is None:
        text = read_system_file(root / "memory" / "memory.limit_in_bytes")
    if text is None or not text.isdecimal() or int(text) >= _NO_LIMIT:
        return None
    return int(text)
