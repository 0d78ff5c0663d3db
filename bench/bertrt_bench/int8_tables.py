"""The int8 benchmark's figures as tables, the targets among them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from bertrt_bench.measure import Spread, ratio
from bertrt_bench.peers.registry import PEERS

__all__ = ["TARGETS", "Target", "print_tables"]

_OURS = "bertrt"
_LENGTHS = ("16", "32", "128")


@dataclass(frozen=True, slots=True)
class Target:
    """`peer`'s seconds on a workload are to be at least `least` times ours.

    theirs: the peer's own workload, where it is not the same one.
    """

    workload: str
    peer: str
    least: float
    theirs: str | None = None


TARGETS = (
    *(Target(length, "openvino_int8", 1 / 1.1) for length in _LENGTHS),
    *(Target(length, "optimum_int8", 1.25) for length in _LENGTHS),
    Target("dev", "pytorch_fp32", 6.5),
    Target("dev", "optimum_int8", 2.0),
    Target("dev", "openvino_int8", 1.7),
    Target("dev", "ctranslate2_int8", 1.8),
    Target("dev", "openvino_int8", 1.0, "dev by length"),
    Target("mixed", "pytorch_fp32", 25.0),
    Target("mixed", "openvino_int8", 6.0),
    Target("mixed", "openvino_int8", 1.2, "mixed by length"),
    Target("dev", "floor", 1 / 1.5),
)


def print_tables(console: Console, results: Mapping[str, Any]) -> None:
    """Print speed, answers and memory of each peer, and what became of the targets."""
    peers = results["peers"]
    console.print(_latency(peers))
    console.print(_throughput(peers, results["workloads"]))
    console.print(_resources(peers))
    if _OURS in peers:
        console.print(_targets(results))
    console.print(
        f"{results['checkpoint']}. {results['machine']}. Commit {results['commit']}.\n"
        f"Medians of {results['rounds']} rounds (lowest–highest), peers by turns; ratios are taken "
        "round by round: above 1, bertrt is faster. Texts include tokenization; padded peers take "
        "batches of 32."
    )


def _latency(peers: Mapping[str, Any]) -> Table:
    table = Table("one text, session alone", *(f"{n} tokens, ms" for n in _LENGTHS))
    for name, facts in peers.items():
        cells = []
        for length in _LENGTHS:
            seconds = facts["seconds"][length]
            cells.append(
                Spread.of([1000 * s for s in seconds]).format(2) + _ratio(peers, name, length)
            )
        table.add_row(PEERS[name].title, *cells)
    return table


def _throughput(peers: Mapping[str, Any], workloads: Mapping[str, Any]) -> Table:
    table = Table("texts with tokenization")
    for workload, facts in workloads.items():
        table.add_column(
            f"{workload}: {facts['texts']} texts, {facts['padding']:.2f}x padding; texts/s"
        )
        table.add_column("same label, mean |Δlogit|")
    for name, facts in peers.items():
        for suffix in ("", " by length"):
            if f"dev{suffix}" not in facts["seconds"]:
                continue
            cells = []
            for workload, size in workloads.items():
                seconds = facts["seconds"][workload + suffix]
                speed = Spread.of([size["texts"] / s for s in seconds]).format(0)
                cells.append(speed + _ratio(peers, name, workload, suffix))
                cells.append(_answers(facts, workload))
            table.add_row(PEERS[name].title + suffix, *cells)
    return table


def _answers(facts: Mapping[str, Any], workload: str) -> str:
    if "agreement" not in facts:
        return ""
    return f"{facts['agreement'][workload]:.2%}, {facts['mean_abs_diff'][workload]:.2g}"


def _ratio(peers: Mapping[str, Any], name: str, workload: str, suffix: str = "") -> str:
    """How many times longer a peer takes than bertrt."""
    if name == _OURS or _OURS not in peers:
        return ""
    spread = _spread(peers, name, workload, workload + suffix)
    return f"  {spread.format(2, 'x')}"


def _spread(peers: Mapping[str, Any], name: str, ours: str, theirs: str) -> Spread:
    return ratio(peers[name]["seconds"][theirs], peers[_OURS]["seconds"][ours])


def _resources(peers: Mapping[str, Any]) -> Table:
    table = Table(
        "process", "model on disk, MB", "RSS after one text, MB", "RSS at the end, MB", "peak, MB"
    )
    for name, facts in peers.items():
        memory = facts["memory"]
        table.add_row(
            PEERS[name].title,
            f"{facts['disk_mb']:.1f}",
            f"{memory['loaded']['rss_mb']:.0f}",
            f"{memory['after']['rss_mb']:.0f}",
            f"{memory['after']['peak_mb']:.0f}",
        )
    return table


def _targets(results: Mapping[str, Any]) -> Table:
    peers = results["peers"]
    table = Table("target", "wanted", "measured", "")
    for target in TARGETS:
        if target.peer not in peers:
            continue
        spread = _spread(peers, target.peer, target.workload, target.theirs or target.workload)
        title = PEERS[target.peer].title
        row = target.workload if not target.workload.isdigit() else f"{target.workload} tokens"
        name = f"{row}: against {title}{' by length' if target.theirs else ''}"
        table.add_row(
            name,
            f"≥ {target.least:.2f}x",
            spread.format(2, "x"),
            _verdict(spread.median >= target.least),
        )
    ours = peers[_OURS]
    figures = [
        ("artifact on disk", 115.0, ours["disk_mb"], "MB"),
        ("RSS after one text", 260.0, ours["memory"]["loaded"]["rss_mb"], "MB"),
        ("RSS at the end", 260.0, ours["memory"]["after"]["rss_mb"], "MB"),
    ]
    if results.get("start_seconds"):
        start = Spread.of(results["start_seconds"])
        figures.append(("process start to first answer", 0.6, start.median, "s"))
    for name, limit, value, unit in figures:
        table.add_row(name, f"≤ {limit:g} {unit}", f"{value:.3g} {unit}", _verdict(value <= limit))
    return table


def _verdict(held: bool) -> str:
    return "[green]held[/green]" if held else "[red]missed[/red]"
