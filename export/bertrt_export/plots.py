"""The pictures of a report."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from bertrt_export.quantization.int8 import Int8Result

__all__ = ["plot_int8"]

_COLOURS = {
    "static": "#4477aa",
    "per-token": "#228833",
    "float": "#cc6677",
    "int8": "#66ccee",
    "fp16": "#ccbb44",
}


def plot_int8(int8: Int8Result, file: Path) -> None:
    """Sensitivity of each unit, coloured by its form, and how the logits' errors spread."""
    names = list(int8.choice)
    height = max(4.0, 1.2 + 0.19 * len(names))
    figure = Figure(figsize=(13, height), layout="constrained")
    bars, errors = figure.subplots(1, 2, width_ratios=(3, 2))
    values = [int8.search.sensitivity[name] for name in names]
    forms = [int8.choice[name].name for name in names]
    bars.barh(range(len(names)), values, color=[_COLOURS[form] for form in forms])
    bars.set_yticks(range(len(names)), [_short(name) for name in names], fontsize=7)
    bars.set_ylim(len(names) - 0.4, -0.6)
    bars.set_xlabel("mean |Δlogit| with only this unit quantized, in the form that it started with")
    bars.set_title("Sensitivity of each unit")
    used = [form for form in _COLOURS if form in forms]
    handles = [Patch(color=_COLOURS[form], label=form) for form in used]
    bars.legend(handles=handles, title="chosen form", loc="lower right")
    difference = (int8.logits - int8.reference).reshape(-1)
    errors.hist(difference, bins=60, color=_COLOURS["static"])
    errors.set_yscale("log")
    errors.set_xlabel("logit of int8 - logit of PyTorch float32")
    errors.set_ylabel("logits (log scale)")
    f = int8.fidelity
    errors.set_title(
        f"{f.compared}: same answer {f.agreement:.2%},\n"
        f"mean |Δ| {f.mean_abs_diff:.4f}, max |Δ| {f.max_abs_diff:.3f}"
    )
    for side, value in (("5%", 5), ("95%", 95)):
        at = float(np.percentile(difference, value))
        errors.axvline(at, color="0.3", linewidth=0.8, linestyle="--", label=f"{side}: {at:+.3f}")
    errors.legend()
    figure.savefig(file, dpi=110, metadata={"Software": None})


def _short(name: str) -> str:
    """`layer.3.output.dense` of `bert.encoder.layer.3.output.dense`."""
    return name.rpartition("encoder.")[2].removeprefix("bert.")
