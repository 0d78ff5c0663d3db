"""A run and what follows from it, as sentences, tables and pictures."""

from pathlib import Path

from bertrt_bench.capacity.arithmetic import Replica, Wishes, usable_rate
from bertrt_bench.capacity.loads import holds
from bertrt_bench.capacity.plots import figures
from bertrt_bench.capacity.results import Results
from bertrt_bench.grid import Grid
from bertrt_bench.machine import describe_facts
from bertrt_bench.measure import Spread

__all__ = ["loads_table", "plan_table", "verdict", "write_report"]

_ADVICE = (
    "Allow more time, give a replica more --threads, cut texts shorter (export-model "
    "--max-length), or export int8 or a smaller model. Other work on this machine delays requests "
    "as well."
)
_KEYS = ("p50", "p95", "p99", "max")


def plan_table(results: Results) -> Grid:
    """What a replica does, and what a cluster needs as far as it was said what it shall do."""
    columns = [_bulk_column(results)]
    titles = ["lists: `classifier(texts)`"]
    if results.online is not None:
        titles.append(f"requests: `bertrt serve`, p99 ≤ {results.wishes.latency_ms:g} ms")
        columns.append(_online_column(results))
    rows = [
        (name, *cells)
        for name, *cells in zip(_row_names(results), *columns, strict=True)
        if name is not None
    ]
    texts = results.texts
    note = (
        f"{results.model}, {results.precision}; {texts.count:,} texts of {texts.source}, with "
        f"{texts.mean_tokens:.0f} tokens on average and at most {texts.p95_tokens:.0f} in 95%. Of "
        f"lists the median of {len(results.bulk)} rounds and its quartiles."
    )
    if results.online is not None:
        alone = results.online.alone
        note += (
            " Requests have one text each and come at random moments; what sends them takes its "
            f"share of the same CPUs. One at a time has p50 {alone['p50']:.1f} ms and p99 "
            f"{alone['p99']:.1f} ms."
        )
    price = results.wishes.price_per_core_hour
    if price is not None:
        note += f" A core costs {price:g} {results.wishes.currency} an hour."
    return Grid("How many machines", note, ("", *titles), tuple(rows))


def _row_names(results: Results) -> list[str | None]:
    """The names of the rows; None for one that nothing was stated for."""
    wishes, replica = results.wishes, f"a replica of {_cores(results.cores)}"
    load, price = wishes.load, wishes.price_per_core_hour
    at_load = None if load is None else f"{load:,.10g} texts/s"
    per_million = f"{wishes.currency} per million texts"
    return [
        f"{replica}, texts/s",
        "a core, texts/s",
        None if results.online is None else "p50 and p99 then, ms",
        f"planned of a core, with {_percent(wishes.headroom)} head-room, texts/s",
        at_load and f"replicas for {at_load}",
        at_load and f"cores for {at_load}",
        None if price is None else f"{per_million}, at full use",
        None if price is None or at_load is None else f"{per_million}, at {at_load}",
    ]


def _bulk_column(results: Results) -> list[str]:
    replica = results.bulk_replica
    return [
        Spread.of(results.bulk).format(_digits(replica.rate)),
        _number(replica.rate_per_core),
        "–",
        *_needs(replica, results.wishes),
    ]


def _online_column(results: Results) -> list[str]:
    replica, chosen = results.online_replica, results.chosen
    if replica is None or chosen is None:
        return ["out of reach", *["–"] * 7]
    return [
        _number(replica.rate),
        _number(replica.rate_per_core),
        f"{chosen.percentiles['p50']:.1f}, {chosen.percentiles['p99']:.1f}",
        *_needs(replica, results.wishes),
    ]


def _needs(replica: Replica, wishes: Wishes) -> list[str]:
    """What a cluster of such replicas takes; a dash for what was not stated."""
    load, price, headroom = wishes.load, wishes.price_per_core_hour, wishes.headroom
    at_load = None
    if price is not None and load is not None:
        at_load = replica.cost_at_load(price, load, headroom)
    return [
        _number(usable_rate(replica.rate_per_core, headroom)),
        "–" if load is None else f"{replica.needed(load, headroom):,}",
        "–" if load is None else f"{replica.cores_needed(load, headroom):,}",
        "–" if price is None else _number(replica.cost_at_full_use(price)),
        "–" if at_load is None else _number(at_load),
    ]


def loads_table(results: Results) -> Grid | None:
    """The loads that were tried; None where none was."""
    online, latency = results.online, results.wishes.latency_ms
    if online is None or latency is None or not online.points:
        return None
    rows = tuple(
        (
            f"{point.offered:.4g}",
            f"{point.answered:.4g}",
            *(f"{point.percentiles[key]:.1f}" if point.percentiles else "–" for key in _KEYS),
            ", ".join(f"{status}: {count}" for status, count in sorted(point.statuses.items())),
            "yes" if holds(point, latency) else "no",
        )
        for point in sorted(online.points, key=lambda point: point.offered or 0.0)
    )
    most = "" if online.saturation is None else f" It answers {online.saturation:.0f} at most."
    return Grid(
        "Loads",
        "Requests a second to one server: rising loads, until two in a row missed the p99 that was "
        f"asked for then, and some between. A load holds where all requests got a 200, and 99% of "
        f"them within {latency:g} ms.{most}",
        ("offered/s", "answered/s", "p50, ms", "p95", "p99", "max", "answers", "holds"),
        rows,
    )


def verdict(results: Results) -> list[str]:
    """What to know beside the tables, in sentences."""
    online, latency = results.online, results.wishes.latency_ms
    if latency is None:
        return ["No latency was asked for (--latency-ms), so no server was measured."]
    if online is None:
        return ["That run measured no server: measure again, with --latency-ms."]
    if not online.points and online.alone["p99"] <= latency:
        return ["That run tried no loads, as its own --latency-ms was out of reach: measure again."]
    if not online.points:
        return [
            f"A p99 of {latency:g} ms is out of reach at any load: one request at a time, with "
            f"nothing else to do, has p50 {online.alone['p50']:.1f} ms and p99 "
            f"{online.alone['p99']:.1f} ms. {_ADVICE}"
        ]
    if results.chosen is None:
        lowest = min(point.offered or 0.0 for point in online.points)
        return [
            f"A p99 of {latency:g} ms was held at no load, down to {lowest:.3g} requests a second. "
            f"{_ADVICE}"
        ]
    highest = max(online.points, key=lambda point: point.offered or 0.0)
    if holds(highest, latency):
        return [
            f"Every load that was tried held p99 ≤ {latency:g} ms, so a replica may do more than "
            f"{_number(results.chosen.answered)} requests a second."
        ]
    return []


def write_report(results: Results, folder: Path) -> None:
    """Write results.json, report.md and the plots."""
    folder.mkdir(parents=True, exist_ok=True)
    results.save(folder / "results.json")
    tables = (plan_table(results), loads_table(results))
    parts = [
        "# How many machines",
        "",
        *describe_facts(results.machine),
        "",
        *(f"{sentence}\n" for sentence in verdict(results)),
        *(table.to_markdown() for table in tables if table is not None),
    ]
    for name, caption, figure in figures(results):
        figure.savefig(folder / f"{name}.png", dpi=130, bbox_inches="tight")
        parts.append(f"![{caption}]({name}.png)\n")
    (folder / "report.md").write_text("\n".join(parts), encoding="utf-8")


def _cores(count: int) -> str:
    return "1 core" if count == 1 else f"{count} cores"


def _percent(share: float) -> str:
    return f"{100 * share:.3g}%"


def _digits(rate: float) -> int:
    """Digits behind the point that a rate deserves."""
    return 0 if rate >= 100 else 1


def _number(value: float) -> str:
    """Three digits, or all that stand before the point: 0.0123, 12.3, 12,345."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
