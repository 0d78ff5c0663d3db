"""What this CPU offers for 8-bit products."""

import platform
from pathlib import Path

__all__ = ["describe_int8", "has_vnni", "may_saturate"]

_X86 = ("x86_64", "amd64", "i686")
_VNNI = {"avx512_vnni", "avx_vnni", "avx512vnni", "avxvnni"}


def _flags() -> frozenset[str] | None:
    """The CPU's feature flags; None where the system does not list them."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return None


def has_vnni() -> bool | None:
    """Whether an x86 CPU has VNNI; None where that is unknown or means nothing."""
    if platform.machine().lower() not in _X86:
        return None
    flags = _flags()
    return None if flags is None else bool(flags & _VNNI)


def may_saturate() -> bool:
    """Whether uint8 x int8 products may overflow 16 bits on their way: x86 without VNNI."""
    return platform.machine().lower() in _X86 and not has_vnni()


def describe_int8() -> str:
    """One line on how fast this CPU is at int8, for people."""
    if not may_saturate():
        return "VNNI" if has_vnni() else f"{platform.machine()} dot products"
    known = "no VNNI" if has_vnni() is False else "VNNI unknown"
    return f"{known}: int8 runs exactly, but about as slowly as fp32"
