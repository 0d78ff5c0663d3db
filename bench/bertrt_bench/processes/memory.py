"""The memory of processes, as Linux counts it."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Memory", "memory_of"]

# The kernel's kB are of 1,024 bytes.
_LINE = re.compile(r"^(\w+): +(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory in MB (10^6 bytes), of one process or the sum of several.

    rss_mb: what is in memory; pages that several processes map count for each of them.
    pss_mb: the same, a page that n processes map counted 1/n times for each: the sum over
    processes is what they really take.
    own_mb: of that the pages that no file has (anonymous): nobody else's, and not to be dropped.
    """

    rss_mb: float
    pss_mb: float
    own_mb: float

    @classmethod
    def parse(cls, rollup: str) -> "Memory":
        """From the content of /proc/PID/smaps_rollup; ValueError where it lacks a field."""
        found = {name: int(value) * 1024 / 1e6 for name, value in _LINE.findall(rollup)}
        try:
            return cls(found["Rss"], found["Pss"], found["Anonymous"])
        except KeyError as error:
            raise ValueError(f"smaps_rollup has no {error.args[0]}") from error

    def __add__(self, other: "Memory") -> "Memory":
        return Memory(
            self.rss_mb + other.rss_mb, self.pss_mb + other.pss_mb, self.own_mb + other.own_mb
        )


def memory_of(processes: Iterable[int]) -> Memory:
    """The sum over processes, by their ids; all should be still meanwhile."""
    total = Memory(0.0, 0.0, 0.0)
    for process in processes:
        total += Memory.parse(Path(f"/proc/{process}/smaps_rollup").read_text(encoding="utf-8"))
    return total
