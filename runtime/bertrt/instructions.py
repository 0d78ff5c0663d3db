"""What this CPU offers, above all for 8-bit products."""

import platform
from pathlib import Path

__all__ = [
    "cpu_name",
    "describe_int8",
    "has_avx2",
    "has_vnni",
    "instruction_sets",
    "may_saturate",
]

_X86 = ("x86_64", "amd64", "i686")
_VNNI = {"avx512_vnni", "avx_vnni", "avx512vnni", "avxvnni"}
# Those that onnxruntime has kernels for: x86, then Arm. Linux's names.
_RELEVANT = (
    "avx avx2 fma f16c avx512f avx512bw avx512_vnni avx_vnni avx512_bf16 amx_int8 amx_bf16 "
    "asimd asimddp i8mm bf16 sve sve2"
).split()


def _cpuinfo(*names: str) -> str | None:
    """The first value of one of these names in /proc/cpuinfo; None where there is none."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in names:
            return value.strip()
    return None


def _flags() -> frozenset[str] | None:
    """The CPU's feature flags; None where the system does not list them."""
    value = _cpuinfo("flags", "Features")
    return None if value is None else frozenset(value.split())


def cpu_name() -> str:
    """What the CPU calls itself, or its architecture where it has no name."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def instruction_sets() -> tuple[str, ...]:
    """The CPU's instruction sets that matter to onnxruntime; empty where they are unknown."""
    flags = _flags() or frozenset()
    return tuple(name for name in _RELEVANT if name in flags)


def has_avx2() -> bool | None:
    """Whether an x86 CPU has AVX2; None where that is unknown or means nothing."""
    flags = _x86_flags()
    return None if flags is None else "avx2" in flags


def has_vnni() -> bool | None:
    """Whether an x86 CPU has VNNI; None where that is unknown or means nothing."""
    flags = _x86_flags()
    return None if flags is None else bool(flags & _VNNI)


def _x86_flags() -> frozenset[str] | None:
    return _flags() if platform.machine().lower() in _X86 else None


def may_saturate() -> bool:
    """Whether uint8 x int8 products may overflow 16 bits on their way: x86 without VNNI."""
    return platform.machine().lower() in _X86 and not has_vnni()


def describe_int8() -> str:
    """One line on how fast this CPU is at int8, for people."""
    if not may_saturate():
        return "VNNI" if has_vnni() else f"{platform.machine()} dot products"
    known = "no VNNI" if has_vnni() is False else "VNNI unknown"
    return f"{known}: int8 runs exactly, but about as slowly as fp32"
