"""The pictures of a run."""

from collections.abc import Iterator

import numpy as np
from matplotlib.figure import Figure

from bertrt_bench.capacity.results import Results
from bertrt_bench.style import plain_ticks, tidy

__all__ = ["figures"]

_BULK_COLOUR, _ONLINE_COLOUR = "#555555", "#c1121f"


def figures(results: Results) -> Iterator[tuple[str, str, Figure]]:
    """(file, caption, figure) of each plot that there are figures for."""
    if results.online is not None and results.online.points:
        yield "latency", "Latency against load", _latency_plot(results)
    yield "cores", "Cores against load", _cores_plot(results)


def _latency_plot(results: Results) -> Figure:
    """p50 and p99 against load, with the wish and the load that was chosen."""
    assert results.online is not None and results.wishes.latency_ms is not None
    latency = results.wishes.latency_ms
    points = [point for point in results.online.points if point.percentiles]
    points.sort(key=lambda point: point.offered or 0.0)
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for key, line in (("p50", "-"), ("p99", "--")):
        axes.plot(
            [point.offered or 0.0 for point in points],
            [point.percentiles[key] for point in points],
            line,
            color=_ONLINE_COLOUR,
            marker="o",
            markersize=4,
            label=key,
        )
    axes.axhline(latency, color="black", linewidth=1, label=f"wished p99, {latency:g} ms")
    if results.chosen is not None:
        chosen = results.chosen
        axes.plot(
            [chosen.offered or 0.0],
            [chosen.percentiles["p99"]],
            "o",
            markersize=11,
            markerfacecolor="none",
            color="black",
            label=f"chosen: {chosen.answered:.3g} texts/s answered",
        )
    axes.set_yscale("log")
    plain_ticks(axes.yaxis)
    axes.set_xlim(left=0)
    axes.set_xlabel("requests a second (one text each, random arrivals)")
    axes.set_ylabel("milliseconds")
    axes.legend(fontsize=8, frameon=False)
    tidy(axes, f"{results.model}: one server of {results.cores} CPUs")
    return figure


def _cores_plot(results: Results) -> Figure:
    """Cores against load, up to twice the load that was stated."""
    headroom, stated = results.wishes.headroom, results.wishes.load
    most = 2 * stated if stated else 5 * results.bulk_replica.rate
    loads = np.linspace(0, most, 400)
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for title, replica, colour in (
        ("lists", results.bulk_replica, _BULK_COLOUR),
        (
            f"requests, p99 ≤ {results.wishes.latency_ms or 0:g} ms",
            results.online_replica,
            _ONLINE_COLOUR,
        ),
    ):
        if replica is not None:
            cores = [replica.cores_needed(float(load), headroom) for load in loads]
            axes.step(loads, cores, where="post", color=colour, label=title)
            if stated:
                needed = replica.cores_needed(stated, headroom)
                axes.plot([stated], [needed], "o", color=colour)
                axes.annotate(f" {needed}", (stated, needed), va="top", fontsize=9)
    if stated:
        axes.axvline(
            stated, color="black", linewidth=1, label=f"stated load, {stated:,.10g} texts/s"
        )
    axes.set_xlim(0, most)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("texts a second")
    axes.set_ylabel(f"cores, with {100 * headroom:.3g}% head-room")
    axes.legend(fontsize=8, frameon=False)
    tidy(axes, f"{results.model}: cores")
    return figure
