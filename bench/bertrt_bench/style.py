"""How plots look."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import LogLocator, NullLocator

from bertrt_bench.results import PeerResult

__all__ = [
    "LINES",
    "MARKERS",
    "colour",
    "label",
    "legend_beside",
    "number_points",
    "plain_ticks",
    "tidy",
    "write_beside",
]

_COLOURS = {
    "bertrt_int8": "#c1121f",
    "bertrt_fp32": "#e8788a",
    "bertrt_trained_forms": "#7a0010",
    "pytorch_fp32": "#0b2545",
    "pytorch_bf16": "#1f5fa8",
    "pytorch_compile": "#4f9bd9",
    "pytorch_int8": "#9cc7ee",
    "pipeline_fp32": "#8d99ae",
    "optimum_fp32": "#0f5c41",
    "optimum_int8": "#35a67c",
    "ort_dynamic_int8": "#8ac926",
    "cross_encoder_int8": "#00b4b4",
    "openvino_bf16": "#a85400",
    "openvino_int8": "#f08c2e",
    "ctranslate2_int8": "#7b2cbf",
    "bertrt_cuda": "#c1121f",
    "bertrt_cuda_fp32": "#e8788a",
    "bertrt_cuda_encoded": "#7a0010",
    "pytorch_cuda_fp16": "#0b2545",
    "pytorch_cuda_compile": "#4f9bd9",
    "pytorch_cuda_graph": "#0f5c41",
}
_OTHER_COLOUR, _WRONG_COLOUR = "#555555", "#bbbbbb"
LINES = {"int8": "-", "bf16": "-.", "fp16": "-.", "fp32": "--"}
MARKERS = {"int8": "o", "bf16": "s", "fp16": "s", "fp32": "^"}


def colour(name: str, peer: PeerResult) -> str:
    """The same in all plots; grey for wrong answers."""
    return _WRONG_COLOUR if peer.wrong else _COLOURS.get(name, _OTHER_COLOUR)


def label(peer: PeerResult) -> str:
    """Its title, and whether it is wrong."""
    return f"{peer.title} (WRONG)" if peer.wrong else peer.title


def plain_ticks(axis: Axis) -> None:
    """Ticks of a logarithmic axis as plain numbers: 1, 2, 5, 10, .."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_locator(NullLocator())


def tidy(axes: Axes, title: str) -> None:
    """A title on the left, a light grid behind, no box."""
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    axes.grid(visible=True, color="#e5e5e5", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def legend_beside(axes: Axes, *handles_and_labels: list[object]) -> None:
    """Beside the axes, where it hides nothing."""
    axes.legend(
        *handles_and_labels,
        loc="center left",
        bbox_to_anchor=(1.02, 0.5),
        frameon=False,
        fontsize=9,
    )


def write_beside(axes: Axes, text: str, x: float, y: float, up: float = 0) -> None:
    """Small words on the right of a point, `up` points of type above it."""
    axes.annotate(text, (x, y), xytext=(7, up), textcoords="offset points", va="center", fontsize=8)


def number_points(axes: Axes, points: Sequence[tuple[float, float]]) -> None:
    """Number points from 1, each number beside its point, and above one that would cover it.

    The scales and limits of the axes must be set.
    """
    pixels = axes.transData.transform(points)
    point = axes.figure.get_dpi() / 72
    placed: list[tuple[float, float]] = []
    for index in sorted(range(len(points)), key=lambda number: pixels[number][1]):
        x, y = pixels[index] / point
        height = y
        while any(abs(x - other) < 22 and abs(height - at) < 9 for other, at in placed):
            height += 1
        placed.append((x, height))
        write_beside(axes, str(index + 1), *points[index], up=height - y)
