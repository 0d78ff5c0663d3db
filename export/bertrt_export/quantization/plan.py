"""How each projection of a graph is to run."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

__all__ = ["FLOAT", "Mode", "ProjectionPlan", "quantize_weight", "round_to_uint8"]

# From the fastest to the most faithful.
Mode = Literal["static", "per-token", "float"]


@dataclass(frozen=True, slots=True)
class ProjectionPlan:
    """How one projection `x @ weight + bias` runs; x is float32 [rows, inputs].

    static: x is rounded to uint8 with one scale, set beforehand from `low` and `high`, the least
        and greatest value of x / smoothing that calibration met.
    per-token: each row of x is rounded with a scale of its own, from its largest value. Where
        nothing can be below `low` (GELU, ReLU) the uint8 range begins there, otherwise (None) it is
        symmetric.
    float: nothing is rounded.
    smoothing: float32 [inputs] or None: x is divided by it and the weight multiplied, which moves
        outliers of single channels from x to the weight (SmoothQuant, arXiv 2211.10438).
    """

    mode: Mode
    smoothing: np.ndarray | None = None
    low: float | None = None
    high: float | None = None

    def static_parameters(self) -> tuple[np.float32, np.uint8]:
        """The scale and the zero point of a static plan; zero is always met exactly."""
        assert self.low is not None and self.high is not None
        low, high = min(self.low, 0.0), max(self.high, 0.0)
        scale = np.float32(max(high - low, 1e-12) / 255)
        return scale, np.uint8(np.clip(np.rint(-low / scale), 0, 255))


FLOAT = ProjectionPlan("float")


def quantize_weight(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int8 [inputs, outputs] and float32 scales [outputs], symmetric, one scale an output."""
    largest = np.abs(weight).max(axis=0)
    scales = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    return np.rint(weight / scales).astype(np.int8), scales


def round_to_uint8(values: np.ndarray) -> np.ndarray:
    """What QuantizeLinear makes of scaled and shifted values; float32, to go on computing with."""
    rounded: np.ndarray = np.clip(np.rint(values), 0, 255)
    return rounded
