"""The machine and software that a figure comes from."""

import platform
from importlib import metadata
from pathlib import Path

from bertrt.cpus import available_cpus

__all__ = ["describe_machine"]


def describe_machine() -> str:
    """One line: CPU, threads, and the versions that speed depends on."""
    packages = ("onnxruntime", "torch", "transformers", "tokenizers")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in packages)
    python = platform.python_version()
    return f"{_cpu_model()}, {available_cpus()} threads; Python {python}, {versions}"


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    vnni = " with AVX512-VNNI" if any("avx512_vnni" in line for line in lines) else ""
    return f"{names[0] if names else platform.processor()}{vnni}"
