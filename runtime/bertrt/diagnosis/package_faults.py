"""Faults of what is installed: every build of onnxruntime brings the same module."""

from bertrt.diagnosis.facts import Facts
from bertrt.diagnosis.fault import Fault, listed
from bertrt.diagnosis.packages import GPU_WHEEL, Packages

__all__ = [
    "broken_module",
    "cpu_build",
    "foreign_module",
    "no_dependency",
    "no_onnxruntime",
    "several_wheels",
]


def no_dependency(facts: Facts) -> Fault | None:
    """What pip brings with bertrt, unless it was told not to."""
    names = [name for name, version in facts.versions.items() if version is None]
    if not names:
        return None
    is_not = "is not" if len(names) == 1 else "are not"
    return Fault(
        f"{listed(names)} {is_not} installed, which bertrt needs.",
        f"`pip install {' '.join(names)}`",
    )


def no_onnxruntime(facts: Facts) -> Fault | None:
    """No build at all."""
    packages = facts.packages
    if packages.wheels or packages.version is not None or packages.problem is not None:
        return None
    on_cpu = "" if facts.driver.gpus else "`pip install 'bertrt[cpu]'`, or for CUDA "
    return Fault("onnxruntime is not installed.", f"{on_cpu}`pip install 'bertrt[gpu]'`")


def several_wheels(facts: Facts) -> Fault | None:
    """More than one build: the files of the last to be installed lie over those of the others."""
    packages = facts.packages
    if len(packages.wheels) < 2:
        return None
    imported = (
        f"it cannot be used ({packages.problem})"
        if packages.version is None
        else f"what Python gets is that of {packages.wheel or 'onnxruntime'} {packages.version}"
    )
    both = "both" if len(packages.wheels) == 2 else "all"
    return Fault(
        f"{_named(packages)} are {both} installed and bring the same module: {imported}.",
        f"`{_reinstall(facts)}`",
    )


def broken_module(facts: Facts) -> Fault | None:
    """A module that cannot be imported, or is not whole."""
    packages = facts.packages
    if packages.problem is None or len(packages.wheels) > 1:
        return None
    return Fault(
        f"The module of {_named(packages) or 'onnxruntime'} cannot be used ({packages.problem}).",
        f"`{_reinstall(facts)}`",
    )


def foreign_module(facts: Facts) -> Fault | None:
    """A module that is not of the only package that is installed."""
    packages = facts.packages
    if len(packages.wheels) != 1 or packages.version is None or packages.wheel is None:
        return None
    if packages.wheels == {packages.wheel: packages.version}:
        return None
    return Fault(
        f"{_named(packages)} is installed, and what Python gets is the module of {packages.wheel} "
        f"{packages.version}, in {packages.folder}.",
        f"`{_reinstall(facts)}`",
    )


def cpu_build(facts: Facts) -> Fault | None:
    """A build without CUDA, for who wants CUDA."""
    packages = facts.packages
    # A GPU wheel whose module is another's is a fault of its own.
    if packages.version is None or packages.has_cuda or GPU_WHEEL in packages.wheels:
        return None
    build = _named(packages) or f"onnxruntime {packages.version}"
    gpus = facts.driver.gpus
    unused = f", so the {gpus[0].name} stays unused" if gpus else ""
    return Fault(
        f"This is the CPU build of onnxruntime ({build}), which has no CUDA{unused}.",
        f"`{_reinstall(facts, 'gpu')}`",
    )


def _reinstall(facts: Facts, extra: str | None = None) -> str:
    """The command that removes what brings the module, and installs one build.

    extra: `cpu` or `gpu`; by default what is there decides.
    """
    packages = facts.packages
    names = dict.fromkeys(packages.wheels)
    if packages.wheel is not None:  # its files may be there without its metadata
        names[packages.wheel] = None
    gpu = GPU_WHEEL in names or facts.driver.gpus
    install = f"pip install 'bertrt[{extra or ('gpu' if gpu else 'cpu')}]'"
    return f"pip uninstall --yes {' '.join(names)} && {install}" if names else install


def _named(packages: Packages) -> str:
    return listed([f"{name} {version}" for name, version in packages.wheels.items()])
