"""The best form of one group of projections by itself: its error on a sample of its own input."""

from dataclasses import dataclass

import numpy as np

from bertrt_export.passes.fold_smoothing import find_values
from bertrt_export.quantization.activations import Activations
from bertrt_export.quantization.plan import ProjectionPlan, quantize_weight, round_to_uint8
from bertrt_export.quantization.projections import ProjectionGroup

__all__ = ["Form", "best_forms", "relative_error", "simulate"]

# SmoothQuant's migration strength; None is no smoothing, which saves an operator.
_STRENGTHS = (None, 0.35, 0.5, 0.65, 0.8)

# Smoothing costs a pass over the input, where it cannot be folded into what makes the input: then
# it has to earn a quarter of the error. In a MiniLM fine-tuned on SST-2 it earns 30 to 80% before
# the query and the first feed-forward product; with random weights 3 to 20%.
_WORTH_SMOOTHING = 0.75


@dataclass(frozen=True, slots=True)
class Form:
    """A plan, and its relative error: ||y - y_float|| / ||y_float|| on the sample."""

    plan: ProjectionPlan
    error: float


def best_forms(group: ProjectionGroup, activations: Activations) -> tuple[Form, Form]:
    """The best static and the best per-token form."""
    weight = group.weight
    expected = activations.sample @ weight
    static: list[Form] = []
    per_token: list[Form] = []
    for strength in _STRENGTHS:
        smoothing = _smoothing(weight, activations, strength)
        low, high = activations.low, activations.high
        if smoothing is not None:
            low, high = low / smoothing, high / smoothing
        for forms, plan in (
            (static, ProjectionPlan("static", smoothing, float(low.min()), float(high.max()))),
            (per_token, _per_token(smoothing, group.least)),
        ):
            if plan is not None:
                actual = simulate(plan, activations.sample, weight)
                forms.append(Form(plan, relative_error(actual, expected)))
    worth = _WORTH_SMOOTHING if find_values(group) is None else 1.0
    return _best(static, worth), _best(per_token, worth)


def _best(forms: list[Form], worth: float) -> Form:
    plain, best = forms[0], min(forms, key=lambda form: form.error)
    return best if best.error < worth * plain.error else plain


def _smoothing(
    weight: np.ndarray, activations: Activations, strength: float | None
) -> np.ndarray | None:
    if strength is None:
        return None
    inputs = np.maximum(np.abs(activations.low), np.abs(activations.high))
    weights = np.abs(weight).max(axis=1)
    floor = 1e-5
    ratio = np.maximum(inputs, floor) ** strength / np.maximum(weights, floor) ** (1 - strength)
    smoothing: np.ndarray = (ratio / np.exp(np.log(ratio).mean())).astype(np.float32)
    return smoothing


def _per_token(smoothing: np.ndarray | None, least: float | None) -> ProjectionPlan | None:
    if least is None:
        return ProjectionPlan("per-token", smoothing)
    # Behind a GELU every channel has the same bound, and smoothing would undo that.
    return ProjectionPlan("per-token", None, low=least) if smoothing is None else None


def simulate(plan: ProjectionPlan, x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The projection without its bias, computed as QuantizeProjectionsPass lets it run."""
    if plan.mode == "float":
        product: np.ndarray = x @ weight
        return product
    if plan.smoothing is not None:
        x, weight = x / plan.smoothing, weight * plan.smoothing[:, None]
    quantized, scales = quantize_weight(weight)
    dequantized = quantized * scales
    if plan.mode == "static":
        scale, zero = plan.static_parameters()
        rounded = (round_to_uint8(x / scale + float(zero)) - float(zero)) * scale
    elif plan.low is None:
        row = np.abs(x).max(axis=1, keepdims=True) / 127
        rounded = (round_to_uint8(x / np.where(row > 0, row, 1) + 128) - 128) * row
    else:
        row = (x - plan.low).max(axis=1, keepdims=True) / 255
        rounded = round_to_uint8((x - plan.low) / np.where(row > 0, row, 1)) * row + plan.low
    result: np.ndarray = rounded.astype(np.float32) @ dequantized
    return result


def relative_error(actual: np.ndarray, expected: np.ndarray) -> float:
    """||actual - expected|| / ||expected||."""
    return float(np.linalg.norm(actual - expected)) / max(float(np.linalg.norm(expected)), 1e-30)
