"""The pictures of a run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from bertrt_bench.peers.registry import OURS
from bertrt_bench.results import PeerResult, Results
from bertrt_bench.style import (
    LINES,
    MARKERS,
    colour,
    label,
    legend_beside,
    number_points,
    plain_ticks,
    tidy,
    write_beside,
)

__all__ = ["PLOTS", "Plot", "write_plots"]

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
            color=colour(name, peer),
            linestyle=(":" if floor else LINES[peer.precision]),
            linewidth=2.8 if name == OURS else 1.5,
            marker=None if floor else MARKERS[peer.precision],
            markersize=5,
            label=label(peer),
            zorder=3 if name == OURS else 2,
        )
        ends[label(peer)] = points[-1][1]
    _draw_bandwidth(axes, results)
    axes.set(xscale="log", yscale="log", xlabel="tokens of the text", ylabel="median latency, ms")
    axes.set_xticks(list(single), [str(tokens) for tokens in single])
    axes.xaxis.set_minor_locator(NullLocator())
    plain_ticks(axes.yaxis)
    tidy(axes, "One text at a time (lower is better)")
    handles, labels = axes.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda number: -ends[labels[number]])
    legend_beside(axes, [handles[number] for number in order], [labels[number] for number in order])
    return figure


def _draw_bandwidth(axes: Axes, results: Results) -> None:
    """What no engine with int8 weights gets below, if they do not fit into a cache."""
    if not results.bandwidth:
        return
    seconds = results.model["products"] / (float(np.median(results.bandwidth)) * 1e9)
    axes.axhline(1000 * seconds, color="#999999", linewidth=1)
    words = "reading int8 weights from memory once"
    write_beside(axes, words, min(results.single()), 1000 * seconds, up=6)


def _throughput(results: Results) -> Figure | None:
    """Texts per second of each set: the best way as a bar, calls of 32 in arrival order marked."""
    names = list(results.sets)
    if not names:
        return None
    figure = Figure(
        figsize=(7 * len(names), 1.2 + 0.36 * len(results.shown())), layout="constrained"
    )
    for axes, set_name in zip(np.atleast_1d(figure.subplots(1, len(names))), names, strict=True):
        _draw_bars(axes, results, set_name)
        facts = results.sets[set_name]
        tidy(axes, f"{set_name}: {facts['texts']} texts, {facts['tokens']} tokens")
        axes.grid(visible=False, axis="y")
    return figure


def _draw_bars(axes: Axes, results: Results, set_name: str) -> None:
    peers, keys, arrival = results.shown(), results.of_set(set_name), f"{set_name}-32-arrival"
    ways = {name: way for name in peers if (way := results.best(name, keys)) is not None}
    speeds = {n: speed for n, w in ways.items() if (speed := results.speed(n, w)) is not None}
    order = sorted(speeds, key=lambda name: speeds[name].median)
    for row, name in enumerate(order):
        speed, ratio = speeds[name], results.best_ratio(name, set_name)
        axes.barh(
            row,
            speed.median,
            color=colour(name, peers[name]),
            alpha=1 if name == OURS else 0.75,
            hatch="xx" if peers[name].wrong else None,
            xerr=[[speed.median - speed.first_quartile], [speed.third_quartile - speed.median]],
            error_kw={"linewidth": 1, "capsize": 2},
        )
        slower = "" if name == OURS or ratio is None else f", {ratio.median:.2f}x"
        way = results.workloads[ways[name]].title
        write_beside(axes, f"{_figure(speed.median)}{slower}  ({way})", speed.third_quartile, row)
        in_order = results.speed(name, arrival) if arrival in keys else None
        if in_order is not None:
            axes.plot(in_order.median, row, "|", color="white", markersize=13, markeredgewidth=2)
    axes.set_yticks(range(len(order)), [label(peers[name]) for name in order])
    axes.set_xlim(0, 1.5 * max((speed.third_quartile for speed in speeds.values()), default=1))
    mark = "; white mark: 32 a call, as they come" if arrival in keys else ""
    axes.set_xlabel(f"texts/s, each in its best way{mark}")


def _frontier(results: Results) -> Figure | None:
    """Error, and accuracy where texts are labelled, against speed."""
    if not results.sets:
        return None
    set_name = next(iter(results.sets))
    points = {}
    for name, peer in results.shown().items():
        speed = results.best_speed(name, set_name)
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
                MARKERS[peer.precision],
                color=colour(name, peer),
                markersize=13 if name == OURS else 9,
                markeredgecolor="white",
                label=f"{number}  {label(peer)}",
                linestyle="none",
            )
        steps = _pareto([(speed, value(peer)) for speed, peer in points.values()], higher)
        axes.plot(*zip(*steps, strict=True), color="#bbbbbb", linewidth=1, zorder=0)
        axes.set(xscale="log", xlabel=f"texts/s of the {set_name} texts, each in its best way")
        axes.set_ylabel(title)
        if not higher:
            axes.set_yscale("log")
        plain_ticks(axes.xaxis)
        number_points(axes, [(speed, value(peer)) for speed, peer in points.values()])
        tidy(axes, "Error and speed" if not higher else "Accuracy and speed")
    legend_beside(axes)
    return figure


def _resources(results: Results) -> Figure | None:
    """Start, memory and packages."""
    panels: list[tuple[str, Callable[[PeerResult], float | None]]] = [
        ("process start to first answer, s", lambda peer: peer.start_median),
        ("memory (RSS) then, MB", lambda peer: peer.start_rss_median),
        ("installed packages, MB", lambda peer: peer.installed_mb),
    ]
    peers = {n: p for n, p in results.shown().items() if p.start_median is not None}
    if not peers:
        return None
    order = sorted(peers, key=lambda name: -(peers[name].start_median or 0))
    figure = Figure(figsize=(14, 1.2 + 0.36 * len(peers)), layout="constrained")
    for number, (axes, (title, value)) in enumerate(
        zip(figure.subplots(1, len(panels), sharey=True), panels, strict=True)
    ):
        for row, name in enumerate(order):
            found = value(peers[name])
            if found is None:
                continue
            axes.barh(row, found, color=colour(name, peers[name]), alpha=0.8)
            write_beside(axes, f"{found:.2f}" if number == 0 else f"{found:.0f}", found, row)
        axes.set_yticks(range(len(order)), [label(peers[name]) for name in order])
        axes.margins(x=0.15)
        axes.grid(visible=False, axis="y")
        tidy(axes, title)
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


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
