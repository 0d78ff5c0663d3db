"""The figures of a run as tables."""

from collections.abc import Callable

from bertrt_bench.grid import Grid
from bertrt_bench.measure import Spread
from bertrt_bench.peers.registry import CONTROL, OURS
from bertrt_bench.results import PeerResult, Results

__all__ = [
    "all_tables",
    "answers",
    "board",
    "failures",
    "floors",
    "latency",
    "latency_ratios",
    "resources",
    "summary",
    "throughput",
]

_NONE = "–"


def all_tables(results: Results) -> list[Grid]:
    """Those of the report, in its order."""
    sets = [grid for name in results.sets for grid in throughput(results, name)]
    found = [
        summary(results),
        latency(results),
        latency_ratios(results),
        *sets,
        answers(results),
        resources(results),
        floors(results),
        noise(results),
        versions(results),
        failures(results),
    ]
    return [grid for grid in found if grid.rows]


def board(results: Results) -> Grid:
    """The summary in 80 columns, while a run goes on: medians alone."""
    columns = ["", "same", *(f"{count} tok, ms" for count in _shown_lengths(results))]
    for name in results.sets:
        columns += [f"{name}/s", "x"]
    rows = [
        (_title(peer)[:30], *_headline(results, name, "", lambda ratio: f"{ratio.median:.2f}"))
        for name, peer in results.shown().items()
    ]
    return Grid("", "", tuple(columns), tuple(rows))


def _shown_lengths(results: Results) -> list[int]:
    return [count for count in (16, 128) if count in results.single()]


def _headline(results: Results, name: str, absent: str, show: Callable[[Spread], str]) -> list[str]:
    """Agreement, ms of one text, and of each set texts/s and ratio, which `show` writes."""
    right = results.peers[name].answers
    cells = [absent if right is None else f"{right.agreement:.1%}"]
    for count in _shown_lengths(results):
        found = results.percentiles(name, results.single()[count])
        cells.append(absent if found is None else _milliseconds(found[0]))
    for set_name in results.sets:
        speed = results.best_speed(name, set_name)
        ratio = None if name == OURS else results.best_ratio(name, set_name)
        cells.append(absent if speed is None else _figure(speed.median))
        cells.append(absent if ratio is None else show(ratio))
    return cells


def summary(results: Results) -> Grid:
    """One line a peer: right answers, speed, start, memory, disk."""
    columns = ["", "same label"]
    columns += [f"{count} tokens, ms" for count in _shown_lengths(results)]
    for name in results.sets:
        columns += [f"{name}, texts/s", "ratio"]
    columns += ["start, s", "RSS, MB", "packages, MB"]
    rows = [
        (
            _title(peer),
            *_headline(results, name, _NONE, lambda ratio: ratio.format(2, "x")),
            _number(peer.start_median, 2),
            _number(peer.start_rss_median),
            _number(peer.installed_mb),
        )
        for name, peer in results.shown().items()
    ]
    note = (
        "one text: median. texts/s: in the way that suits each best (calls of how many, in which "
        "order: see below). ratio: how many times as long as bertrt int8 it takes, median and "
        "interquartile range of the rounds; below 1 it is faster. start: a new process to its "
        "first answer; RSS: then."
    )
    return Grid("Summary", note, tuple(columns), tuple(rows))


def latency(results: Results) -> Grid:
    """p50, p95 and p99 of one text."""
    single = results.single()
    rows = []
    for name, peer in _with_floors(results):
        cells = []
        for key in single.values():
            found = results.percentiles(name, key)
            cells.append(_NONE if found is None else " / ".join(map(_milliseconds, found)))
        rows.append((_title(peer), *cells))
    note = "ms, p50 / p95 / p99 of all rounds' runs (3 to 50 in each round); tokenization included."
    columns = ("", *(f"{count} tokens" for count in single))
    return Grid("One text at a time", note, columns, tuple(rows) if single else ())


def latency_ratios(results: Results) -> Grid:
    """How many times as long as bertrt int8, one text."""
    return _ratios(
        results,
        "One text at a time: ratio to bertrt int8",
        {f"{count} tokens": key for count, key in results.single().items()},
    )


def throughput(results: Results, set_name: str) -> list[Grid]:
    """Texts per second of a set, and ratios."""
    keys = {results.workloads[key].title: key for key in results.of_set(set_name)}
    columns = [
        f"{title} ({results.workloads[key].padding:.2f}x padding)" for title, key in keys.items()
    ]
    rows = []
    for name, peer in _with_floors(results):
        speeds = [results.speed(name, key) for key in keys.values()]
        cells = [_NONE if speed is None else _spread(speed) for speed in speeds]
        rows.append((_title(peer), *cells))
    facts = results.sets[set_name]
    note = (
        f"texts/s, median and interquartile range of {results.rounds} rounds; tokenization "
        f"included. {facts['description']}: {facts['texts']} texts of {facts['tokens']} tokens, "
        f"the longest {facts['longest']}. padding: places for each token in a padded call. all in "
        "one call: of those that cut a list into batches by themselves."
    )
    title = f"The {set_name} texts"
    return [
        Grid(title, note, ("", *columns), tuple(rows)),
        _ratios(results, f"{title}: ratio to bertrt int8", keys),
    ]


def _ratios(results: Results, title: str, keys: dict[str, str]) -> Grid:
    rows = []
    for name, peer in _with_floors(results):
        if name == OURS:
            continue
        found = [results.ratio(name, key) for key in keys.values()]
        cells = [_NONE if spread is None else spread.format(2, "x") for spread in found]
        rows.append((_title(peer), *cells))
    note = (
        "how many times as long as bertrt int8 it takes, round by round: median (interquartile "
        "range); below 1 it is faster."
    )
    there = OURS in results.peers and bool(keys)
    return Grid(title, note, ("", *keys), tuple(rows) if there else ())


def answers(results: Results) -> Grid:
    """How right each peer is."""
    found = {name: peer for name, peer in results.shown().items() if peer.answers}
    labelled = any(peer.answers and peer.answers.accuracy is not None for peer in found.values())
    rows = []
    for peer in found.values():
        assert peer.answers is not None
        worst = min(
            (a.agreement for a in peer.answers_by_workload.values()), default=peer.answers.agreement
        )
        row = [
            _title(peer),
            f"{peer.answers.agreement:.2%}",
            f"{worst:.1%}",
            f"{peer.answers.mean_abs_diff:.2g}",
            f"{peer.answers.max_abs_diff:.2g}",
        ]
        if labelled:
            accuracy = peer.answers.accuracy
            row.append(_NONE if accuracy is None else f"{accuracy:.2%}")
        rows.append(tuple(row))
    columns = ("", "same label", "in its worst workload", "mean |Δlogit|", "max |Δlogit|")
    texts = results.settings["checked_texts"]
    meaning = (
        " Weights are random: this shows that the same function is computed, not what it is worth."
        if results.model["random_weights"]
        else ""
    )
    return Grid(
        "Answers, against PyTorch in float32",
        f"{texts} texts, and all answers that were timed.{meaning}",
        columns + (("accuracy",) if labelled else ()),
        tuple(rows),
    )


def resources(results: Results) -> Grid:
    """Start, memory and disk."""
    rows = []
    for peer in results.shown().values():
        sizes = (peer.rss_mb, peer.peak_mb, peer.disk_mb, peer.installed_mb, peer.prepare_seconds)
        start = (_number(peer.start_median, 2), _number(peer.start_rss_median))
        rows.append((_title(peer), *start, *map(_number, sizes)))
    columns = (
        *("", "start to first answer, s", "RSS then, MB", "RSS at the end, MB"),
        *("peak, MB", "model on disk, MB", "packages, MB", "converting, s"),
    )
    note = (
        "start: median of a new process each round, files in the page cache. packages: those that "
        "a user installs and all that they require. converting: – where it was done before."
    )
    return Grid("Start, memory, disk", note, columns, tuple(rows))


def floors(results: Results) -> Grid:
    """How far bertrt is from its matrix products alone."""
    rows = []
    for key, facts in results.workloads.items():
        cells = []
        for precision in ("int8", "fp32"):
            found = None
            if f"floor_{precision}" in results.peers:
                found = results.ratio(f"bertrt_{precision}", key, to=f"floor_{precision}")
            cells.append(_NONE if found is None else found.format(2, "x"))
        rows.append((facts.full_title, *cells))
    bandwidth = Spread.of(results.bandwidth).format(0) if results.bandwidth else _NONE
    note = (
        "how many times as long as its bare matrix products bertrt takes, on the same batches and "
        f"kernels. Reading memory with all threads: {bandwidth} GB/s.{_peak(results)}"
    )
    there = any(set(row[1:]) != {_NONE} for row in rows)
    return Grid(
        "Distance to the floor",
        note,
        ("", "bertrt int8", "bertrt fp32"),
        tuple(rows) if there else (),
    )


def _peak(results: Results) -> str:
    """The products' rates on the longest text."""
    single = results.single()
    rates = []
    for precision, unit in (("int8", "GOP/s"), ("fp32", "GFLOP/s")):
        name = f"floor_{precision}"
        found = name in results.peers and single and results.percentiles(name, single[max(single)])
        if found:
            operations = 2 * results.model["products"] * max(single)
            rates.append(f"{operations / found[0] / 1e9:.0f} {unit} in {precision}")
    return f" Bare products at {max(single)} tokens: {', '.join(rates)}." if rates else ""


def noise(results: Results) -> Grid:
    """What a second process of bertrt takes in relation to the first."""
    found = results.noise()
    rows = []
    for key, spread in found.items():
        reach = f"{spread.low:.2f}–{spread.high:.2f}"
        rows.append((results.workloads[key].full_title, spread.format(2, "x"), reach))
    note = (
        "bertrt int8 against itself in another process, in its turn like any peer: how far from "
        "1.00x noise alone carries a ratio."
    )
    return Grid("Noise", note, ("", "ratio", "lowest–highest"), tuple(rows))


def versions(results: Results) -> Grid:
    """The packages of each peer, which may have an environment of its own."""
    rows = [
        (peer.title, ", ".join(f"{name} {version}" for name, version in peer.packages.items()))
        for peer in results.shown().values()
        if peer.packages
    ]
    return Grid("Versions", "", ("", "packages"), tuple(rows))


def failures(results: Results) -> Grid:
    """Peers that were left out or failed, and why."""
    rows = [(name, "left out", reason) for name, reason in results.left_out.items()]
    for peer in results.peers.values():
        if peer.wrong:
            rows.append((peer.title, "WRONG", "its answers are not PyTorch's: see Answers"))
        rows += [
            (peer.title, f"failed: {stage}", message.splitlines()[0])
            for stage, message in peer.failures.items()
        ]
    return Grid("Left out, failed, or wrong", "", ("", "", "why"), tuple(rows))


def _with_floors(results: Results) -> list[tuple[str, PeerResult]]:
    return [(name, peer) for name, peer in results.peers.items() if name != CONTROL]


def _title(peer: PeerResult) -> str:
    if peer.wrong:
        return f"{peer.title} (WRONG ANSWERS)"
    return f"{peer.title} (failed)" if peer.failures else peer.title


def _milliseconds(seconds: float) -> str:
    return _figure(1000 * seconds)


def _figure(value: float) -> str:
    """Three significant digits, or all before the point."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _spread(spread: Spread) -> str:
    digits = 0 if spread.median >= 100 else 1 if spread.median >= 10 else 2
    return spread.format(digits)


def _number(value: float | None, digits: int = 0) -> str:
    return _NONE if value is None else f"{value:.{digits}f}"
