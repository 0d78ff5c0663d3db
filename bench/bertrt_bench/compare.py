"""Two runs of the benchmark: which ratios moved by more than noise explains."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from bertrt_bench.grid import Grid
from bertrt_bench.measure import Spread
from bertrt_bench.peers.registry import CONTROL, OURS
from bertrt_bench.results import Results
from bertrt_bench.workloads import WorkloadFacts

__all__ = ["Change", "Comparison", "compare", "require_like"]


@dataclass(frozen=True, slots=True)
class Change:
    """One ratio in two runs, each with the lowest and highest of its rounds.

    low, high: of the old and the new run, widened by the noise that the run's control shows.
    """

    peer: str
    title: str
    workload: str
    old: Spread
    new: Spread
    old_range: tuple[float, float]
    new_range: tuple[float, float]

    @property
    def verdict(self) -> str:
        """`same` where the ranges meet; else whether bertrt has lost or gained on the peer."""
        if self.new_range[1] < self.old_range[0]:
            return "worse"
        if self.new_range[0] > self.old_range[1]:
            return "better"
        return "same"


@dataclass(frozen=True, slots=True)
class Comparison:
    """All ratios that both runs have."""

    changes: tuple[Change, ...]

    @property
    def regressions(self) -> tuple[Change, ...]:
        """Those that got worse beyond the noise."""
        return tuple(change for change in self.changes if change.verdict == "worse")

    def to_grid(self, *, everything: bool = False) -> Grid:
        """The changes beyond the noise, or all ratios."""
        shown = [c for c in self.changes if everything or c.verdict != "same"]
        rows = [
            (c.title, c.workload, _shown(c.old, c.old_range), _shown(c.new, c.new_range), c.verdict)
            for c in shown
        ]
        same = sum(change.verdict == "same" for change in self.changes)
        note = (
            f"{same} of {len(self.changes)} ratios agree: the ranges of their rounds, lowest to "
            "highest, widened by what the control of each run shows, meet. worse: bertrt lost on "
            "the peer."
        )
        columns = ("peer", "workload", "old ratio", "new ratio", "")
        return Grid("Compared with the older run", note, columns, tuple(rows))


def require_like(old: Results, model: str, workloads: Mapping[str, WorkloadFacts]) -> None:
    """Raise ValueError unless an older run can be compared with one of this model and workloads."""
    if old.model["name"] != model:
        raise ValueError(f"the runs are of other models: {old.model['name']} and {model}")
    common = old.workloads.keys() & workloads.keys()
    if not common:
        raise ValueError("the runs have no workload in common")
    for key in sorted(common):
        if old.workloads[key] != workloads[key]:
            raise ValueError(f"the runs have other texts in the workload {key}: compare like runs")


def compare(old: Results, new: Results) -> Comparison:
    """Compare the ratios to bertrt int8 of the workloads and peers that both runs have.

    Raises ValueError if the runs are not alike.
    """
    require_like(old, new.model["name"], new.workloads)
    changes = []
    for key, facts in new.workloads.items():
        if key not in old.workloads:
            continue
        for name, peer in new.peers.items():
            before, after = old.ratio(name, key), new.ratio(name, key)
            if before is None or after is None or name in (OURS, CONTROL):
                continue
            ranges = [_range(spread, run, key) for spread, run in ((before, old), (after, new))]
            changes.append(Change(name, peer.title, facts.full_title, before, after, *ranges))
    return Comparison(tuple(changes))


def _range(spread: Spread, run: Results, workload: str) -> tuple[float, float]:
    """Lowest to highest of the rounds, or as far around the median as the control strays."""
    control = run.noise().get(workload)
    stray = 1.0
    if control is not None:
        stray = math.exp(max(abs(math.log(control.low)), abs(math.log(control.high))))
    return min(spread.low, spread.median / stray), max(spread.high, spread.median * stray)


def _shown(spread: Spread, reach: tuple[float, float]) -> str:
    return f"{spread.median:.2f}x [{reach[0]:.2f}–{reach[1]:.2f}]"
