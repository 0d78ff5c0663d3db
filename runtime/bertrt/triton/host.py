"""What Triton is asked for, and whether the one that loads a repository can serve it.

Its faults, and the machine's, would give wrong answers without a word, so a step looks for them
when it is loaded.
"""

from bertrt.instructions import may_saturate

__all__ = ["DEFAULT_MAX_BATCH_SIZE", "MINIMUM_TRITON", "why_unfit"]

# The first release whose onnxruntime (1.27) answers rightly: 26.01 and older (up to 1.23) cannot
# load the graph, which has operators of ONNX opset 24; 26.02 to 26.06 (1.24) load it, and their
# attention lets texts of unlike length that share a batch see what is not theirs: logits of the
# example model were off by 1.7. Texts alone are right there, so no look at single answers tells.
# Source: docs/introduction/compatibility.md of triton-inference-server/server, and runs of each
# of these onnxruntimes (1.22 to 1.32) on the CPU.
_MINIMUM = (26, 7)
MINIMUM_TRITON = "{}.{:02}".format(*_MINIMUM)

# Triton cannot bound the tokens of a batch. On the CPU larger ones are not faster, and a short text
# waits the longer for what shares its batch; a GPU is idle in small ones.
DEFAULT_MAX_BATCH_SIZE: dict[str, int] = {"cpu": 8, "gpu": 64}


def why_unfit(precision: str, triton_version: str | None) -> str | None:
    """Why a graph would answer wrongly here; None where nothing speaks against it.

    triton_version: what NVIDIA's images have in NVIDIA_TRITON_SERVER_VERSION, such as `26.07`;
    None elsewhere, and then nobody knows.
    """
    version = _parsed(triton_version or "")
    if version is not None and version < _MINIMUM:
        return (
            f"this is Triton {triton_version}, whose onnxruntime cannot load packed graphs or, "
            f"from 26.02 to 26.06, answers wrongly: use Triton {MINIMUM_TRITON} or later"
        )
    if precision == "int8" and may_saturate():
        return (
            "this CPU has no VNNI, and there onnxruntime's 8-bit products overflow unless it is "
            "told to be exact, which Triton has no setting for: write the repository again with "
            "--precision fp32"
        )
    return None


def _parsed(version: str) -> tuple[int, int] | None:
    """Year and month; None for what is no release's name."""
    year, _, month = version.partition(".")
    return (int(year), int(month[:2])) if year.isdecimal() and month[:2].isdecimal() else None
