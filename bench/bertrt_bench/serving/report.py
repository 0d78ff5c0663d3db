"""A run under load as tables and pictures."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from bertrt_bench.grid import Grid
from bertrt_bench.machine import describe_facts
from bertrt_bench.measure import Spread, percent
from bertrt_bench.serving.measure import BATCHES, IN_PROCESS, PIPELINE, SERVER
from bertrt_bench.serving.results import ModelResults, Results
from bertrt_bench.style import plain_ticks, tidy

__all__ = ["grids", "summary", "write_report"]

_COLOURS = {SERVER: "#c1121f", BATCHES: "#e8788a", IN_PROCESS: "#555555", PIPELINE: "#1f5fa8"}
_TITLES = {PIPELINE: "FastAPI + pipeline"}


def write_report(results: Results, folder: Path) -> None:
    """Write results.json, report.md and the plots."""
    folder.mkdir(parents=True, exist_ok=True)
    results.save(folder / "results.json")
    _throughput(results).savefig(folder / "throughput.png", dpi=130, bbox_inches="tight")
    _latency(results).savefig(folder / "latency.png", dpi=130, bbox_inches="tight")
    parts = [
        "# bertrt serve under load",
        "",
        *describe_facts(results.machine),
        f"- rounds: {results.rounds}, by turns; medians with their quartiles",
        "- the load's generator runs on the same CPUs, and takes its share of them",
        "",
        "![Texts a second](throughput.png)",
        "",
        "![Latency against offered load](latency.png)",
        "",
        *(grid.to_markdown() for grid in (summary(results), *grids(results))),
    ]
    (folder / "report.md").write_text("\n".join(parts), encoding="utf-8")


def summary(results: Results) -> Grid:
    """One row a model: what the server costs and what it gains."""
    rows = []
    for model in results.models:
        rates, alone = model.texts_per_second, model.alone
        added = [server - own for own, server in zip(alone[IN_PROCESS], alone[SERVER], strict=True)]
        theirs, ours = model.closed.get(PIPELINE, []), model.closed.get(SERVER, [])
        rows.append(
            (
                model.name,
                Spread.of(rates[IN_PROCESS]).format(0),
                percent(rates[SERVER], rates[IN_PROCESS]),
                percent(rates[BATCHES], rates[IN_PROCESS]),
                Spread.of(added).format(2),
                _ratio([p.answered for p in ours], [p.answered for p in theirs]),
                _ratio(
                    [p.percentiles["p99"] for p in theirs], [p.percentiles["p99"] for p in ours]
                ),
            )
        )
    return Grid(
        "bertrt serve",
        "Ratios round by round. Added: the server's p50 less that in process, one text at a time.",
        (
            "model",
            "clf(list), texts/s",
            "serve, 1 text a request",
            "8 texts",
            "added at p50, ms",
            "texts/s over FastAPI + pipeline",
            "its p99 over ours",
        ),
        tuple(rows),
    )


def grids(results: Results) -> list[Grid]:
    """The tables of one model after another."""
    found = []
    for model in results.models:
        found.append(_saturation(model))
        found.append(_points(model))
        if model.resident_mb:
            found.append(_memory(model))
    return found


def _saturation(model: ModelResults) -> Grid:
    rates = {**model.texts_per_second}
    for name, points in model.closed.items():
        rates[f"{_title(name)}, 32 connections"] = [point.answered for point in points]
    rows = tuple((_title(name), Spread.of(values).format(1)) for name, values in rates.items())
    return Grid(f"{model.name}: texts/s at saturation", model.description, ("way", "texts/s"), rows)


def _points(model: ModelResults) -> Grid:
    labelled = [
        (f"{_title(name)}, 32 connections", p) for name, ps in model.closed.items() for p in ps
    ]
    labelled += [(_title(point.server), point) for point in model.open]
    if model.overload is not None:
        labelled.append((f"overload, queue_timeout {model.queue_timeout:g} s", model.overload))
    rows = tuple(
        (
            name,
            f"{point.offered:.3g}" if point.offered else "closed loop",
            f"{point.answered:.3g}",
            *(f"{point.percentiles[key]:.1f}" for key in ("p50", "p95", "p99", "max")),
            ", ".join(f"{status}: {count}" for status, count in sorted(point.statuses.items())),
        )
        for name, point in labelled
    )
    columns = ("server", "offered/s", "answered/s", "p50, ms", "p95", "p99", "max", "answers")
    note = "Latency of the requests that were answered, from the moment each was due."
    return Grid(f"{model.name}: latency under load", note, columns, rows)


def _memory(model: ModelResults) -> Grid:
    rows = tuple((requests, f"{size:.1f}") for requests, size in model.resident_mb.items())
    return Grid(f"{model.name}: memory", "Resident memory.", ("after requests", "MB"), rows)


def _title(name: str) -> str:
    return _TITLES.get(name, name)


def _ratio(values: Sequence[float], others: Sequence[float]) -> str:
    if not values or not others:
        return "–"
    return Spread.of([a / b for a, b in zip(values, others, strict=True)]).format(2, "x")


def _throughput(results: Results) -> Figure:
    """Bars of texts a second, one panel a model."""
    figure = Figure(figsize=(5.2 * len(results.models), 3.6), layout="constrained")
    for axes, model in zip(
        figure.subplots(1, len(results.models), squeeze=False)[0], results.models, strict=True
    ):
        bars = dict(model.texts_per_second)
        if PIPELINE in model.closed:
            bars[PIPELINE] = [point.answered for point in model.closed[PIPELINE]]
        for at, (name, values) in enumerate(bars.items()):
            spread = Spread.of(values)
            axes.barh(at, spread.median, color=_COLOURS[name])
            axes.plot([spread.low, spread.high], [at, at], color="black", linewidth=1)
            axes.annotate(f" {spread.median:.0f}", (spread.high, at), va="center", fontsize=9)
        axes.set_yticks(range(len(bars)), [_title(name) for name in bars])
        axes.invert_yaxis()
        axes.margins(x=0.15)
        axes.set_xlabel("texts a second, line: lowest to highest round")
        tidy(axes, f"{model.name} at saturation")
    return figure


def _latency(results: Results) -> Figure:
    """p50 and p99 against offered load, one panel a model."""
    figure = Figure(figsize=(5.2 * len(results.models), 3.8), layout="constrained")
    for axes, model in zip(
        figure.subplots(1, len(results.models), squeeze=False)[0], results.models, strict=True
    ):
        for name in (SERVER, PIPELINE):
            points = [p for p in model.open if p.server == name and p.offered and p.percentiles]
            for key, line in (("p50", "-"), ("p99", "--")):
                axes.plot(
                    [point.offered or 0 for point in points],
                    [point.percentiles[key] for point in points],
                    line,
                    color=_COLOURS[name],
                    marker="o",
                    markersize=4,
                    label=f"{_title(name)}, {key}",
                )
        axes.set_xscale("log")
        axes.set_yscale("log")
        plain_ticks(axes.xaxis)
        plain_ticks(axes.yaxis)
        axes.set_xlabel("requests a second (one text each, random arrivals)")
        axes.set_ylabel("milliseconds")
        axes.legend(fontsize=8, frameon=False)
        tidy(axes, model.name)
    return figure
