"""The machine and software that a figure comes from."""

import os
import platform
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from bertrt.cpus import available_cpus
from bertrt.version import __version__

__all__ = [
    "command_output",
    "describe_facts",
    "describe_machine",
    "machine_facts",
    "read_bandwidth",
]

_BANDWIDTH_BYTES = 256 << 20  # of each thread: more than any cache
_PACKAGES = ("onnxruntime", "torch", "transformers", "tokenizers")
_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_int8", "amx_bf16")


def describe_machine() -> str:
    """One line: CPU, threads, and the versions that speed depends on."""
    versions = ", ".join(f"{name} {version}" for name, version in _versions().items())
    vnni = " with AVX512-VNNI" if "avx512_vnni" in _flags() else ""
    python = platform.python_version()
    return f"{_cpu_model()}{vnni}, {available_cpus()} threads; Python {python}, {versions}"


def machine_facts() -> dict[str, Any]:
    """CPU, its instruction sets, memory in GB (10^9 bytes), GPU, system, versions and commit."""
    return {
        "cpu": _cpu_model(),
        "instructions": _flags(),
        "cpus": available_cpus(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "gpu": command_output(
            "nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"
        ),
        "system": platform.platform(),
        "python": platform.python_version(),
        "bertrt": __version__,
        "commit": command_output("git", "describe", "--always", "--dirty"),
        "versions": _versions(),
    }


def describe_facts(facts: dict[str, Any]) -> list[str]:
    """`machine_facts` as a list in Markdown, an item a line; without those that are empty."""
    return [f"- {name}: {_plain(value)}" for name, value in facts.items() if value]


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {found}" for name, found in value.items())
    return ", ".join(value) if isinstance(value, list) else str(value)


def read_bandwidth(threads: int) -> float:
    """GB/s (10^9 bytes) of all threads reading memory, the best of three."""
    arrays = [np.ones(_BANDWIDTH_BYTES // 4, dtype=np.float32) for _ in range(threads)]
    seconds = []
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(3):
            begin = time.perf_counter()
            list(pool.map(np.maximum.reduce, arrays))
            seconds.append(time.perf_counter() - begin)
    return threads * _BANDWIDTH_BYTES / min(seconds) / 1e9


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _cpuinfo(field: str) -> str:
    """The first value of a field of /proc/cpuinfo; "" where there is none."""
    cpuinfo = Path("/proc/cpuinfo")
    for line in cpuinfo.read_text().splitlines() if cpuinfo.exists() else []:
        name, _, value = line.partition(":")
        if name.strip() == field:
            return value.strip()
    return ""


def _cpu_model() -> str:
    return _cpuinfo("model name") or platform.processor()


def _flags() -> list[str]:
    there = _cpuinfo("flags").split()
    return [flag for flag in _FLAGS if flag in there]


def command_output(*command: str) -> str | None:
    """What a command prints; None where there is no such command or it fails."""
    try:
        result = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout.strip()
