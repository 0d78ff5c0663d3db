"""The pictures of a run on a GPU."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from bertrt_bench.gpu.goals import best_seconds
from bertrt_bench.gpu.pool import ENGINES
from bertrt_bench.gpu.results import Results
from bertrt_bench.results import PeerResult
from bertrt_bench.style import LINES, MARKERS, colour, legend_beside, plain_ticks, tidy

__all__ = ["write_plots"]


def write_plots(results: Results, folder: Path) -> list[tuple[str, str]]:
    """Write those that there are figures for; their files' names and captions."""
    written = []
    for name, (caption, draw) in _PLOTS.items():
        figure = draw(results)
        if figure is not None:
            file = f"{name}.png"
            figure.savefig(folder / file, dpi=110, bbox_inches="tight")
            written.append((file, caption))
    return written


def _colour(name: str) -> str:
    peer = ENGINES[name]
    return colour(name, PeerResult(peer.title, peer.precision, peer.kind))


def _latency(results: Results) -> Figure | None:
    """p50 against tokens, log-log; the rounds' range as a band."""
    found = results.data("single").get("seconds", {})
    if not found:
        return None
    figure = Figure(figsize=(9, 5))
    axes = figure.subplots()
    lengths = sorted({int(length) for by_length in found.values() for length in by_length})
    for name, by_length in found.items():
        peer = ENGINES[name]
        x = sorted(map(int, by_length))
        rounds = [1000 * np.array(by_length[str(length)]["p50"]) for length in x]
        floor = peer.kind == "floor"
        axes.plot(
            x,
            [np.median(values) for values in rounds],
            color=_colour(name),
            linestyle=":" if floor else LINES[peer.precision],
            marker=None if floor else MARKERS[peer.precision],
            label=peer.title,
        )
        low, high = [v.min() for v in rounds], [v.max() for v in rounds]
        axes.fill_between(x, low, high, color=_colour(name), alpha=0.15, linewidth=0)
    axes.set(xscale="log", yscale="log", xlabel="tokens of the text", ylabel="p50, ms")
    axes.set_xticks(lengths, [str(length) for length in lengths])
    axes.xaxis.set_minor_locator(NullLocator())
    plain_ticks(axes.yaxis)
    tidy(axes, "One text at a time (lower is better)")
    legend_beside(axes)
    return figure


def _throughput(results: Results) -> Figure | None:
    """Texts a second of both sets, in the way that suits each engine best."""
    sets = [step for step in ("ragged", "equal") if results.data(step).get("seconds")]
    if not sets:
        return None
    figure = Figure(figsize=(7 * len(sets), 4), layout="constrained")
    for axes, step in zip(np.atleast_1d(figure.subplots(1, len(sets))), sets, strict=True):
        data = results.data(step)
        rates = {}
        for name in data["seconds"]:
            seconds = best_seconds(results, step, name)
            if seconds is not None:
                rates[name] = data["texts"] / float(np.median(seconds))
        names = sorted(rates, key=lambda name: rates[name])
        bars = axes.barh(
            [ENGINES[name].title for name in names],
            [rates[name] for name in names],
            color=[_colour(name) for name in names],
        )
        axes.bar_label(bars, fmt="%.0f", padding=3, fontsize=8)
        axes.margins(x=0.15)
        tidy(axes, f"{step}: {data['texts']} texts, {data['tokens']} tokens; texts/s")
        axes.grid(visible=False, axis="y")
    return figure


def _ladder(results: Results) -> Figure | None:
    """Tokens a second against the places of a batch."""
    sets = results.data("ladder").get("sets", {})
    if not any(found["seconds"] for found in sets.values()):
        return None
    figure = Figure(figsize=(7, 4))
    axes = figure.subplots()
    for title, found in sets.items():
        places = sorted(map(int, found["seconds"]))
        rates = [found["tokens"] / np.median(found["seconds"][str(p)]) / 1e6 for p in places]
        axes.plot(places, rates, marker="o", label=f"{title}, {found['texts']} texts")
        axes.set_xscale("log", base=2)
        axes.set_xticks(places, [str(size) for size in places])
    axes.set(xlabel="max_batch_tokens", ylabel="million tokens/s")
    axes.set_ylim(bottom=0)
    tidy(axes, "Sizes of batches, tokenized beforehand")
    legend_beside(axes)
    return figure


_PLOTS: dict[str, tuple[str, Callable[[Results], Figure | None]]] = {
    "latency": ("p50 of single texts by their length", _latency),
    "throughput": ("Texts a second of every engine", _throughput),
    "ladder": ("Tokens a second by the size of a batch", _ladder),
}
