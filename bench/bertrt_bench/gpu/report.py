"""A run on a GPU as tables; what has not been measured says so."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bertrt_bench.gpu.comparison import EQUAL, RAGGED
from bertrt_bench.gpu.goals import UNMEASURED, best_seconds, share_of_floor, table, times_as_fast
from bertrt_bench.gpu.pool import BERTRT, ENGINES, TOKENIZATION
from bertrt_bench.gpu.results import Results
from bertrt_bench.gpu.tables_inside import (
    attention_table,
    graphs_table,
    kernels_table,
    ladder_table,
    nodes_table,
)
from bertrt_bench.grid import Grid
from bertrt_bench.machine import describe_facts
from bertrt_bench.measure import Spread

__all__ = ["engines_table", "grids", "write_report"]

_SINGLES = "One text at a time"

# In a table of seconds, PyTorch in float32 on the CPU has no place.
_ENGINES = {name: peer.title for name, peer in ENGINES.items() if name != "pytorch_fp32"}


def write_report(results: Results, folder: Path) -> None:
    """Write report.md and its plots; results.json is there by then, if anything is."""
    from bertrt_bench.gpu.plots import write_plots

    folder.mkdir(parents=True, exist_ok=True)
    machine = {**results.machine, **results.data("facts")}
    lines = ["# On a GPU", "", *describe_facts(machine)]
    lines += [f"- settings: {results.settings}", ""]
    for plot, caption in write_plots(results, folder):
        lines += [f"![{caption}]({plot})", ""]
    lines += [grid.to_markdown() for grid in grids(results)]
    for name, error in results.errors().items():
        lines += [f"### FAILED: {name}", "", "```", error, "```", ""]
    (folder / "report.md").write_text("\n".join(lines), encoding="utf-8")


def grids(results: Results) -> list[Grid]:
    """All tables."""
    return [
        table(results),
        engines_table(results),
        _ways(results),
        _singles(results),
        _parity(results),
        _independence(results),
        attention_table(results),
        graphs_table(results),
        ladder_table(results),
        nodes_table(results),
        kernels_table(results),
        _memory(results),
    ]


def engines_table(results: Results) -> Grid:
    """One row an engine: single texts, ragged sentences, texts of one length."""
    rows = []
    for name, title in _ENGINES.items():
        single = results.data("single").get("seconds", {}).get(name, {}).get("128")
        slower = None if name == BERTRT else times_as_fast(results, "ragged", name)
        rows.append(
            (
                title,
                _shown(single, lambda found: _ms(found["p50"])),
                _shown(best_seconds(results, "ragged", name), _rate(results, "ragged")),
                "–" if name == BERTRT else _shown(slower, lambda found: found.format(2, "x")),
                _shown(best_seconds(results, "equal", name), _rate(results, "equal")),
                "–"
                if name == TOKENIZATION
                else _shown(share_of_floor(results, name), lambda found: found.format(1, "%")),
            )
        )
    return Grid(
        "Engines",
        "BERT-base with random weights. Sentences of SST-2: PyTorch gets 32 a call, as they come "
        "or sorted by length, whichever is faster; its time as they come is that of the ratio. "
        f"{_tokenization(results)}",
        (
            "",
            "128 tokens, p50 in ms",
            "ragged, texts/s",
            "times bertrt's time",
            "of 128 tokens, texts/s",
            "of the products' rate",
        ),
        tuple(rows),
    )


def _tokenization(results: Results) -> str:
    """The share of tokenization in bertrt's time."""
    parts = []
    for step, what in (("ragged", "ragged sentences"), ("equal", "texts of one length")):
        alone, whole = (best_seconds(results, step, name) for name in (TOKENIZATION, BERTRT))
        if alone and whole:
            share = Spread.of(alone).median / Spread.of(whole).median
            parts.append(f"{share:.0%} on {what}")
    return f"Tokenization takes of bertrt's time: {', '.join(parts) or UNMEASURED}."


def _ways(results: Results) -> Grid:
    """Texts a second in every way that they were handed over."""
    rows = []
    for step, planned in (("ragged", RAGGED), ("equal", EQUAL)):
        data = results.data(step)
        for name in planned:
            ways = data.get("seconds", {}).get(name, {"arrival": None})
            apart = data.get("differences", {}).get(name)
            for way, seconds in ways.items():
                rows.append(
                    (
                        f"{step}: {_ENGINES[name]}",
                        "all in one call" if ENGINES[name].own_batches else f"32 a call, {way}",
                        _shown(seconds, _rate(results, step)),
                        _shown(apart, lambda found: f"{found['mean']:.1e}, {found['max']:.1e}"),
                    )
                )
    return Grid(
        "Throughput",
        "|Δlogit| is against PyTorch in fp16 on the same texts.",
        ("", "handed over", "texts/s", "|Δlogit|, mean and max"),
        tuple(rows),
    )


def _singles(results: Results) -> Grid:
    found = results.data("single").get("seconds", {})
    if not found:
        return Grid(_SINGLES, "", ("tokens", _ENGINES[BERTRT]), (("–", UNMEASURED),))
    lengths = sorted({int(length) for by_length in found.values() for length in by_length})
    names = [name for name in _ENGINES if name in found]
    rows = []
    for length in lengths:
        cells = [found.get(name, {}).get(str(length)) for name in names]
        rows.append((str(length), *("–" if c is None else _ms(c["p50"]) for c in cells)))
    return Grid(
        _SINGLES,
        "p50 of a round in ms, tokenization included: the median of the rounds, and their "
        "quartiles.",
        ("tokens", *(_ENGINES[name] for name in names)),
        tuple(rows),
    )


def _parity(results: Results) -> Grid:
    rows = [
        (
            f"{model}: {ENGINES[name].title}",
            f"{found['agreement']:.2%}",
            f"{found['mean_abs_diff']:.1e}",
            f"{found['max_abs_diff']:.1e}",
            f"{found['accuracy']:.2%}",
        )
        for model, engines in results.data("parity").get("models", {}).items()
        for name, found in engines.items()
    ]
    return Grid(
        "Answers against PyTorch float32",
        "Sentences of SST-2's dev and test sets, on which none of the models was trained.",
        ("", "same label", "mean |Δlogit|", "max |Δlogit|", "accuracy"),
        tuple(rows) or ((UNMEASURED, *["–"] * 4),),
    )


def _independence(results: Results) -> Grid:
    rows = [
        (
            f"{model}: {order.replace('_', ' ')}",
            f"{found['mean_abs_diff']:.1e}",
            f"{found['max_abs_diff']:.1e}",
            str(found["flips"]),
        )
        for model, orders in results.data("independence").get("models", {}).items()
        for order, found in orders.items()
    ]
    return Grid(
        "A text alone and in a batch",
        "Logits alone against those in 50 random batches of 32, and in batches of all texts "
        "shuffled. Labels: of texts that are decided by 0.01.",
        ("", "mean |Δlogit|", "max |Δlogit|", "labels changed"),
        tuple(rows) or ((UNMEASURED, *["–"] * 3),),
    )


def _memory(results: Results) -> Grid:
    found = results.data("memory").get("engines", {})

    def row(title: str, stages: Mapping[str, Any]) -> tuple[str, ...]:
        names = ("loaded", "ragged", "long", "rss_mb")
        return (title, *(_shown(stages.get(name), lambda value: f"{value:.0f}") for name in names))

    rows = [row(_ENGINES[name], stages) for name, stages in found.items()]
    return Grid(
        "Memory",
        "Of the GPU in MiB, CUDA's own included: loaded, after the ragged sentences, after the "
        "largest batch of attention's; at last of the process on the CPU, in MB.",
        ("", "loaded", "ragged", "long", "CPU"),
        tuple(rows) or ((_ENGINES[BERTRT], *[UNMEASURED] * 4),),
    )


def _shown(value: Any, show: Callable[[Any], str]) -> str:
    return UNMEASURED if value is None else show(value)


def _ms(seconds: list[float]) -> str:
    return Spread.of([1000 * value for value in seconds]).format(2)


def _rate(results: Results, step: str) -> Callable[[list[float]], str]:
    texts = results.data(step).get("texts", 0)
    return lambda seconds: Spread.of([texts / value for value in seconds]).format(0)
