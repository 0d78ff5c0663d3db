"""Two runs of the benchmark: which ratios moved by more than noise explains."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bertrt_bench.grid import Grid
from bertrt_bench.measure import Spread
from bertrt_bench.peers.registry import CONTROL, OURS
from bertrt_bench.results import Results
from bertrt_bench.workloads import WorkloadFacts

__all__ = ["Change", "Comparison", "compare", "require_like"]


# Quantiles of Student's t for 95% on both sides, for 1 to 10 degrees of freedom.
_STUDENT_T = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23)


@dataclass(frozen=True, slots=True)
class Change:
    """One ratio in two runs, with the 95% confidence interval of each."""

    peer: str
    title: str
    workload: str
    old: Spread
    new: Spread
    old_interval: tuple[float, float]
    new_interval: tuple[float, float]

    @property
    def verdict(self) -> str:
        """`same` where the intervals meet; else whether bertrt has lost or gained on the peer."""
        if self.new_interval[1] < self.old_interval[0]:
            return "worse"
        if self.new_interval[0] > self.old_interval[1]:
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
            (
                c.title,
                c.workload,
                _shown(c.old, c.old_interval),
                _shown(c.new, c.new_interval),
                c.verdict,
            )
            for c in shown
        ]
        same = sum(change.verdict == "same" for change in self.changes)
        note = (
            f"{same} of {len(self.changes)} ratios agree: the 95% confidence intervals of the two "
            "runs meet (Student's t over the rounds, and no narrower than the control of the run "
            "strays from 1). worse: bertrt lost on the peer."
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
            intervals = [_interval(run, name, key) for run in (old, new)]
            changes.append(Change(name, peer.title, facts.full_title, before, after, *intervals))
    return Comparison(tuple(changes))


def _interval(run: Results, peer: str, workload: str) -> tuple[float, float]:
    """The 95% confidence interval of a ratio, on a logarithmic scale.

    Few rounds may be alike by chance: it is no narrower than the control's rounds stray from 1.
    """
    logarithms = np.log(run.ratios(peer, workload))
    half = math.inf
    if len(logarithms) > 1:
        quantile = _STUDENT_T[min(len(logarithms) - 2, len(_STUDENT_T) - 1)]
        half = quantile * logarithms.std(ddof=1) / math.sqrt(len(logarithms))
    control = run.noise().get(workload)
    if control is not None:
        half = max(half, abs(math.log(control.low)), abs(math.log(control.high)))
    middle = logarithms.mean()
    return math.exp(middle - half), math.exp(middle + half)


def _shown(spread: Spread, reach: tuple[float, float]) -> str:
    return f"{spread.median:.2f}x [{reach[0]:.2f}–{reach[1]:.2f}]"
