"""A fault, and the words that several of them share."""

from collections.abc import Sequence
from dataclasses import dataclass

from bertrt.diagnosis.packages import GPU_WHEEL, Packages

__all__ = ["Fault", "gpu_wheel", "listed"]


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is wrong. what: a sentence. mend: what to do, its commands in backticks."""

    what: str
    mend: str

    @property
    def command(self) -> str | None:
        """The command that mends it, where `mend` is one command and nothing else."""
        whole = len(self.mend) > 2 and self.mend[0] == self.mend[-1] == "`"
        return self.mend[1:-1] if whole and self.mend.count("`") == 2 else None


def gpu_wheel(packages: Packages) -> str:
    """The GPU wheel and its version, as in "onnxruntime-gpu 1.31.1"."""
    return f"{GPU_WHEEL} {packages.wheels.get(GPU_WHEEL, packages.version)}"


def listed(names: Sequence[str]) -> str:
    """As in "a, b and c"."""
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)
