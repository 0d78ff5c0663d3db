"""Where an artifact's weights were packed for the kernels, and whether that is here."""

from collections.abc import Mapping
from typing import Any

from bertrt.backend import onnxruntime_version
from bertrt.instructions import cpu_name, instruction_sets

__all__ = ["KEY", "packed_elsewhere", "this_machine"]

# The manifest's key for `this_machine` at the time.
KEY = "prepacked"


def this_machine() -> dict[str, Any]:
    """What the form of packed weights depends on; the CPU's name is for people."""
    return {
        "onnxruntime": onnxruntime_version(),
        "instructions": list(instruction_sets()),
        "cpu": cpu_name(),
    }


def packed_elsewhere(manifest: Mapping[str, Any]) -> str | None:
    """A sentence where the weights were packed for other kernels; None where all is well.

    onnxruntime compares what it packs with what is stored, and keeps its own where that differs,
    so answers are right anywhere, and only memory is lost.
    """
    there, here = manifest.get(KEY), this_machine()
    if there is None:
        return None
    for name in ("onnxruntime", "instructions"):
        if there.get(name) != here[name]:
            return (
                f"its weights were packed by onnxruntime {there.get('onnxruntime')} on "
                f"{there.get('cpu')}, and this is onnxruntime {here['onnxruntime']} on "
                f"{here['cpu']}: they may not be shared among processes; run `bertrt prepack` here"
            )
    return None
