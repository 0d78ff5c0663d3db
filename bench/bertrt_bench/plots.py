"""The pictures of a run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from bertrt_bench.peers.registry import OURS
from bertrt_bench.results import PeerResult, Results

__all__ = ["PLOTS", "Plot", "write_plots"]

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
}
_OTHER_COLOUR, _WRONG_COLOUR = "#555555", "#bbbbbb"
_LINES = {"int8": "-", "bf16": "-.", "fp16": "-.", "fp32": "--"}
_MARKERS = {"int8": "o", "bf16": "s", "fp16": "s", "fp32": "^"}
_LEAST_ERROR = 1e-7  # a logit's difference that is drawn as none


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture: its file's stem, its caption, and what draws it; None where it has no figures."""

    name: str
    caption: str
    draw: Callable[[Results], Figure | None]


def write_plots(results: Results, folder: Path) -> list[Plot]:
    """Write each as PNG and SVG; those that there were figures for."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for plot in PLOTS:
        figure = plot.draw(results)
        if figure is not None:
            for suffix in ("png", "svg"):
                figure.savefig(folder / f"{plot.name}.{suffix}", dpi=130, bbox_inches="tight")
            written.append(plot)
    return written


def _latency(results: Results) -> Figure | None:
    """Median latency against tokens, log-log, with the floors."""
    single = results.single()
    if not single:
        return None
    figure = Figure(figsize=(10, 6))
    axes = figure.subplots()
    ends: dict[str, float] = {}
    for name, peer in results.peers.items():
        points = [
            (tokens, 1000 * found[0])
            for tokens, key in single.items()
            if (found := results.percentiles(name, key)) is not None
        ]
        if not points or peer.kind == "control":
            continue
        floor = peer.kind == "floor"
        axes.plot(
            *zip(*points, strict=True),
            color=_colour(name, peer),
            linestyle=(":" if floor else _LINES[peer.precision]),
            linewidth=2.8 if name == OURS else 1.5,
            marker=None if floor else _MARKERS[peer.precision],
            markersize=5,
            label=_label(peer),
            zorder=3 if name == OURS else 2,
        )
        ends[_label(peer)] = points[-1][1]
    if results.bandwidth:
        weights = results.model["products"]
        milliseconds = weights / (float(np.median(results.bandwidth)) * 1e9) * 1000
        axes.axhline(milliseconds, color="#999999", linewidth=1)
        axes.annotate(
            "reading int8 weights from memory once",
            (min(single), milliseconds),
            xytext=(0, 3),
            textcoords="offset points",
            color="#666666",
            fontsize=8,
        )
    axes.set(xscale="log", yscale="log", xlabel="tokens of the text", ylabel="median latency, ms")
    axes.set_xticks(list(single), [str(tokens) for tokens in single])
    axes.xaxis.set_minor_locator(NullLocator())
    _plain(axes.yaxis)
    _tidy(axes, "One text at a time (lower is better)")
    handles, labels = axes.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda number: -ends[labels[number]])
    _legend(axes, [handles[number] for number in order], [labels[number] for number in order])
    return figure


def _throughput(results: Results) -> Figure | None:
    """Texts per second of each set: the best way as a bar, calls of 32 in arrival order marked."""
    names = list(results.sets)
    if not names:
        return None
    peers = results.shown()
    figure = Figure(figsize=(7 * len(names), 1.2 + 0.36 * len(peers)), layout="constrained")
    for axes, set_name in zip(np.atleast_1d(figure.subplots(1, len(names))), names, strict=True):
        keys = results.of_set(set_name)
        ways = {name: results.best(name, keys) for name in peers}
        speeds = {
            name: speed
            for name, way in ways.items()
            if way is not None and (speed := results.speed(name, way)) is not None
        }
        order = sorted(speeds, key=lambda name: speeds[name].median)
        for row, name in enumerate(order):
            speed, way = speeds[name], ways[name]
            assert way is not None
            axes.barh(
                row,
                speed.median,
                color=_colour(name, peers[name]),
                alpha=1 if name == OURS else 0.75,
                hatch="xx" if peers[name].wrong else None,
                xerr=[
                    [speed.median - speed.first_quartile],
                    [speed.third_quartile - speed.median],
                ],
                error_kw={"linewidth": 1, "capsize": 2},
            )
            ratio = None if name == OURS else results.best_ratio(name, set_name)
            slower = f", {ratio.median:.2f}x" if ratio is not None else ""
            axes.annotate(
                f"{_figure(speed.median)}{slower}  ({results.workloads[way].title})",
                (speed.third_quartile, row),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
            arrival = f"{set_name}-32-arrival"
            in_order = results.speed(name, arrival) if arrival in keys else None
            if in_order is not None:
                axes.plot(
                    in_order.median, row, "|", color="white", markersize=13, markeredgewidth=2
                )
        axes.set_yticks(range(len(order)), [_label(peers[name]) for name in order])
        axes.set_xlim(0, 1.45 * max(speed.third_quartile for speed in speeds.values()))
        facts = results.sets[set_name]
        _tidy(axes, f"{set_name}: {facts['texts']} texts, {facts['tokens']} tokens")
        axes.set_xlabel(
            "texts/s, each in its best way; white mark: 32 a call, as they come"
            if f"{set_name}-32-arrival" in keys
            else "texts/s, each in its best way"
        )
        axes.grid(visible=False, axis="y")
    return figure


def _frontier(results: Results) -> Figure | None:
    """Error, and accuracy where texts are labelled, against speed."""
    if not results.sets:
        return None
    set_name = next(iter(results.sets))
    points = {}
    for name, peer in results.shown().items():
        best = results.best(name, results.of_set(set_name))
        speed = results.speed(name, best) if best else None
        if speed is not None and peer.answers is not None:
            points[name] = (speed.median, peer)
    if not points:
        return None
    panels: list[tuple[str, Callable[[PeerResult], float], bool]] = [
        ("mean |Δlogit| against PyTorch fp32 (lower is better)", _error, False)
    ]
    if all(peer.answers.accuracy is not None for _, peer in points.values() if peer.answers):
        panels.append(("accuracy, %", _accuracy, True))
    figure = Figure(figsize=(6.5 * len(panels) + 2.5, 5), layout="constrained")
    for axes, (title, value, higher) in zip(
        np.atleast_1d(figure.subplots(1, len(panels))), panels, strict=True
    ):
        for number, (name, (speed_median, peer)) in enumerate(points.items(), start=1):
            axes.plot(
                speed_median,
                value(peer),
                _MARKERS[peer.precision],
                color=_colour(name, peer),
                markersize=13 if name == OURS else 9,
                markeredgecolor="white",
                label=f"{number}  {_label(peer)}",
                linestyle="none",
            )
            axes.annotate(
                str(number),
                (speed_median, value(peer)),
                xytext=(0, 8),
                textcoords="offset points",
                ha="center",
                fontsize=8,
            )
        steps = _pareto([(speed, value(peer)) for speed, peer in points.values()], higher)
        axes.plot(*zip(*steps, strict=True), color="#bbbbbb", linewidth=1, zorder=0)
        axes.set(xscale="log", xlabel=f"texts/s of the {set_name} texts, each in its best way")
        axes.set_ylabel(title)
        if not higher:
            axes.set_yscale("log")
        _plain(axes.xaxis)
        _tidy(axes, "Error and speed" if not higher else "Accuracy and speed")
    _legend(axes)
    return figure


def _resources(results: Results) -> Figure | None:
    """Start, memory and packages."""
    panels: list[tuple[str, Callable[[PeerResult], float | None]]] = [
        ("process start to first answer, s", lambda peer: _middle(peer.start_seconds)),
        ("memory (RSS) then, MB", lambda peer: _middle(peer.start_rss_mb)),
        ("installed packages, MB", lambda peer: peer.installed_mb),
    ]
    peers = {n: p for n, p in results.shown().items() if _middle(p.start_seconds) is not None}
    if not peers:
        return None
    order = sorted(peers, key=lambda name: -(_middle(peers[name].start_seconds) or 0))
    figure = Figure(figsize=(14, 1.2 + 0.36 * len(peers)), layout="constrained")
    for number, (axes, (title, value)) in enumerate(
        zip(figure.subplots(1, len(panels), sharey=True), panels, strict=True)
    ):
        for row, name in enumerate(order):
            found = value(peers[name])
            if found is None:
                continue
            axes.barh(row, found, color=_colour(name, peers[name]), alpha=0.8)
            axes.annotate(
                f"{found:.2f}" if number == 0 else f"{found:.0f}",
                (found, row),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
        axes.set_yticks(range(len(order)), [_label(peers[name]) for name in order])
        axes.margins(x=0.15)
        axes.grid(visible=False, axis="y")
        _tidy(axes, title)
    return figure


PLOTS = (
    Plot(
        "latency", "One text: median latency against its tokens, tokenization included.", _latency
    ),
    Plot("throughput", "Texts per second, each peer in the way that suits it best.", _throughput),
    Plot(
        "frontier",
        "Speed against error; the line joins those that nobody beats in both. No difference at "
        "all is drawn as 1e-7.",
        _frontier,
    ),
    Plot("resources", "From the start of a process to its first answer.", _resources),
)


# What they share


def _error(peer: PeerResult) -> float:
    assert peer.answers is not None
    return max(peer.answers.mean_abs_diff, _LEAST_ERROR)


def _accuracy(peer: PeerResult) -> float:
    assert peer.answers is not None and peer.answers.accuracy is not None
    return 100 * peer.answers.accuracy


def _pareto(points: Sequence[tuple[float, float]], higher: bool) -> list[tuple[float, float]]:
    """The points that no other one beats in both, from the fastest on."""
    best: list[tuple[float, float]] = []
    for speed, value in sorted(points, key=lambda point: -point[0]):
        if not best or (value > best[-1][1] if higher else value < best[-1][1]):
            best.append((speed, value))
    return best


def _middle(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return float(np.median(there)) if there else None


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _colour(name: str, peer: PeerResult) -> str:
    return _WRONG_COLOUR if peer.wrong else _COLOURS.get(name, _OTHER_COLOUR)


def _label(peer: PeerResult) -> str:
    return f"{peer.title} (WRONG)" if peer.wrong else peer.title


def _plain(axis: Axis) -> None:
    """Ticks of a logarithmic axis as plain numbers: 1, 2, 5, 10, .."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_locator(NullLocator())


def _tidy(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    axes.grid(visible=True, color="#e5e5e5", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _legend(axes: Axes, *handles_and_labels: list[object]) -> None:
    """Beside the axes, where it hides nothing."""
    axes.legend(
        *handles_and_labels,
        loc="center left",
        bbox_to_anchor=(1.02, 0.5),
        frameon=False,
        fontsize=9,
    )
