"""A run as tables and pictures."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bertrt_bench.grid import Grid
from bertrt_bench.machine import describe_facts
from bertrt_bench.measure import Spread, ratio
from bertrt_bench.processes.results import MemoryPoint, ModelResults, Results
from bertrt_bench.style import tidy

__all__ = ["memory_table", "rates_table", "write_report"]

_FORMS = {False: "as exported", True: "prepacked"}
_OWN, _SHARED = "#c1121f", "#9cc7ee"


def rates_table(results: Results) -> Grid:
    """One row a model: texts a second by layout, and as a ratio to one process with all CPUs."""
    titles = list(results.models[0].seconds)
    rows = [
        (
            model.name,
            Spread.of([model.texts / seconds for seconds in model.seconds[titles[0]]]).format(0),
            *(_ratio(model, model.seconds[title]) for title in titles[1:]),
            _ratio(model, model.prepacked_seconds),
        )
        for model in results.models
    ]
    columns = (
        "int8",
        f"{titles[0]}, texts/s",
        *titles[1:],
        f"{titles[0]}, prepacked",
    )
    return Grid(
        "Processes × threads",
        "Texts a second of all processes together, each with its share of SST-2's dev sentences, "
        "until the last one is done; of the others how many times the rate of the first, round by "
        "round. The last of several layouts has more threads than CPUs.",
        columns,
        tuple(rows),
    )


def memory_table(results: Results) -> Grid:
    """One row an artifact: what 1, 2, .. processes take."""
    counts = sorted({point.processes for model in results.models for point in model.memory})
    rows = []
    for model in results.models:
        for (precision, prepacked), points in _by_artifact(model).items():
            last = points[-1]
            rows.append(
                (
                    f"{model.name} {precision}, {_FORMS[prepacked]}",
                    *(f"{point.memory.pss_mb:.0f}" for point in points),
                    f"{last.memory.rss_mb:.0f}",
                    f"{last.memory.own_mb / last.processes:.0f}",
                    f"{last.load_seconds:.2f}",
                )
            )
    return Grid(
        "Memory",
        f"MB (10^6 bytes) of all processes together, after {results.models[0].memory[0].texts} "
        "sentences on one thread each. PSS "
        "counts a page that several share once, RSS once for each; own: what no other process can "
        "share. Seconds: from the files, which are in memory, to a model that is ready"
        + _verdict(results),
        (
            "artifact",
            *(f"PSS of {count}" for count in counts),
            f"RSS of {counts[-1]}",
            "of each its own",
            "load, s",
        ),
        tuple(rows),
    )


def write_report(results: Results, folder: Path) -> None:
    """Write results.json, report.md and the plots."""
    folder.mkdir(parents=True, exist_ok=True)
    results.save(folder / "results.json")
    _rates_plot(results).savefig(folder / "rates.png", dpi=130, bbox_inches="tight")
    _memory_plot(results).savefig(folder / "memory.png", dpi=130, bbox_inches="tight")
    parts = [
        "# Several processes on one machine",
        "",
        *describe_facts(results.machine),
        f"- rounds: {results.rounds}, by turns; medians with their quartiles",
        *(f"- {model.name}: {model.description}" for model in results.models),
        "",
        rates_table(results).to_markdown(),
        "![Texts a second by layout](rates.png)",
        "",
        memory_table(results).to_markdown(),
        "![Memory of 1, 2 and 4 processes](memory.png)",
    ]
    (folder / "report.md").write_text("\n".join(parts) + "\n", encoding="utf-8")


def _ratio(model: ModelResults, seconds: Sequence[float]) -> str:
    """How many times the rate of the first layout."""
    return ratio(next(iter(model.seconds.values())), seconds).format(2, "x")


def _verdict(results: Results) -> str:
    if all(model.identical for model in results.models):
        return ". All logits of an artifact are the same bit by bit, prepacked or not."
    return ". THE LOGITS OF THE PREPACKED ARTIFACTS DIFFER."


def _by_artifact(model: ModelResults) -> dict[tuple[str, bool], list[MemoryPoint]]:
    found: dict[tuple[str, bool], list[MemoryPoint]] = {}
    for point in sorted(model.memory, key=lambda point: point.processes):
        found.setdefault((point.precision, point.prepacked), []).append(point)
    return dict(sorted(found.items(), key=lambda item: (item[0][0] != "int8", item[0][1])))


def _panels(results: Results, height: float) -> tuple[Figure, list[Axes]]:
    """A panel a model, side by side."""
    figure = Figure(figsize=(6.2 * len(results.models), height), layout="constrained")
    return figure, list(figure.subplots(1, len(results.models), squeeze=False)[0])


def _rates_plot(results: Results) -> Figure:
    """Bars of texts a second by layout."""
    figure, panels = _panels(results, 3.2)
    for axes, model in zip(panels, results.models, strict=True):
        first = next(iter(model.seconds))
        bars = {**model.seconds, f"{first}, prepacked": model.prepacked_seconds}
        for at, (_, seconds) in enumerate(bars.items()):
            spread = Spread.of([model.texts / value for value in seconds])
            axes.barh(at, spread.median, color=_OWN if at == 0 else "#e8788a")
            axes.plot([spread.low, spread.high], [at, at], color="black", linewidth=1)
            axes.annotate(f" {spread.median:.0f}", (spread.high, at), va="center", fontsize=9)
        axes.set_yticks(range(len(bars)), [f"{title} " for title in bars])
        axes.invert_yaxis()
        axes.margins(x=0.15)
        axes.set_xlabel("texts a second, line: lowest to highest round")
        tidy(axes, f"{model.name} int8: processes × threads")
    return figure


def _memory_plot(results: Results) -> Figure:
    """Bars of what processes take together: their own, and what they share."""
    figure, panels = _panels(results, 4.6)
    for axes, model in zip(panels, results.models, strict=True):
        at, ticks = 0.0, {}
        for (precision, prepacked), points in _by_artifact(model).items():
            for point in points:
                own, pss = point.memory.own_mb, point.memory.pss_mb
                axes.barh(at, own, color=_OWN)
                axes.barh(at, pss - own, left=own, color=_SHARED)
                axes.annotate(f" {pss:.0f}", (pss, at), va="center", fontsize=8)
                ticks[at] = f"{precision}, {_FORMS[prepacked]}: {point.processes}"
                at += 1
            at += 0.6
        axes.set_yticks(list(ticks), list(ticks.values()), fontsize=8)
        axes.invert_yaxis()
        axes.margins(x=0.12)
        axes.set_xlabel("MB together: red their own, blue mapped from files")
        tidy(axes, f"{model.name}: memory of processes")
    return figure
