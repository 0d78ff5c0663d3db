"""What a benchmark has measured, as it is kept in results.json, and what follows from it."""

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bertrt_bench.measure import Spread
from bertrt_bench.peers.registry import CONTROL, OURS
from bertrt_bench.workloads import WorkloadFacts

__all__ = ["FORMAT", "WRONG_BELOW", "Answers", "PeerResult", "Results"]

FORMAT = 1

# Agreement with PyTorch below which a peer is called wrong, if three texts or more differ.
WRONG_BELOW = 0.95
_WRONG_TEXTS = 3


@dataclass(frozen=True, slots=True)
class Answers:
    """A peer's logits against those of PyTorch in float32, on so many texts.

    agreement: the share of texts with the same best label. accuracy: None without labels.
    """

    texts: int
    agreement: float
    mean_abs_diff: float
    max_abs_diff: float
    accuracy: float | None = None

    @classmethod
    def of(
        cls, logits: np.ndarray, right: np.ndarray, labels: Sequence[int] | None = None
    ) -> "Answers":
        """Compare logits, float32 [texts, labels] both."""
        best = logits.argmax(axis=1)
        apart = np.abs(logits - right)
        return cls(
            len(logits),
            float((best == right.argmax(axis=1)).mean()),
            float(apart.mean()),
            float(apart.max()),
            None if labels is None else float((best == np.array(labels)).mean()),
        )

    @property
    def wrong(self) -> bool:
        """Whether too many texts get another label. Numbers that are none are wrong as well."""
        differ = round((1 - self.agreement) * self.texts)
        too_many = self.agreement < WRONG_BELOW and differ >= _WRONG_TEXTS
        return too_many or not np.isfinite(self.mean_abs_diff)


@dataclass(slots=True)
class PeerResult:
    """All that was measured of one peer. Lists by round have None where it did not run.

    packages: their versions. prepare_seconds: None where the converted model was there already.
    disk_mb, installed_mb, rss_mb, peak_mb: MB of 10^6 bytes; the last two at the end of the run.
    answers: on all texts. answers_by_workload: the worst of its rounds.
    seconds: by workload and round; for one text the median of the round's runs.
    runs: the seconds of each run on one text, by workload.
    start_seconds, start_rss_mb: of a new process, with its first answer, by round.
    failures: by stage or workload, what went wrong.
    """

    title: str
    precision: str
    kind: str
    packages: dict[str, str] = field(default_factory=dict)
    prepare_seconds: float | None = None
    disk_mb: float | None = None
    installed_mb: float | None = None
    rss_mb: float | None = None
    peak_mb: float | None = None
    answers: Answers | None = None
    answers_by_workload: dict[str, Answers] = field(default_factory=dict)
    seconds: dict[str, list[float | None]] = field(default_factory=dict)
    runs: dict[str, list[float]] = field(default_factory=dict)
    start_seconds: list[float | None] = field(default_factory=list)
    start_rss_mb: list[float | None] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def wrong(self) -> bool:
        """Whether it gives other answers than PyTorch, on all texts or on those of a workload."""
        found = [*self.answers_by_workload.values(), *([self.answers] if self.answers else [])]
        return any(answers.wrong for answers in found)

    @property
    def start_median(self) -> float | None:
        """Seconds of a new process to its first answer."""
        return _median(self.start_seconds)

    @property
    def start_rss_median(self) -> float | None:
        """MB that it holds then."""
        return _median(self.start_rss_mb)

    def measured(self, workload: str) -> list[float]:
        """The seconds of the rounds in which it ran."""
        return [value for value in self.seconds.get(workload, []) if value is not None]


@dataclass(slots=True)
class Results:
    """One run of the benchmark.

    machine: see `machine_facts`. model, sets, settings: as the run was asked for.
    bandwidth: of reading memory with all threads, GB/s, by round.
    left_out: peers that could not run here, and why.
    """

    machine: dict[str, Any]
    model: dict[str, Any]
    settings: dict[str, Any]
    sets: dict[str, dict[str, Any]]
    workloads: dict[str, WorkloadFacts]
    peers: dict[str, PeerResult] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    bandwidth: list[float] = field(default_factory=list)
    rounds: int = 0
    started: str = ""
    seconds: float = 0.0
    format: int = FORMAT

    def save(self, file: Path) -> None:
        """Write as JSON."""
        file.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")

    @classmethod
    def load(cls, file: Path) -> "Results":
        """Read what `save` wrote; ValueError for anything else."""
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
            if values["format"] != FORMAT:
                raise ValueError(f"its format is {values['format']}, and this is bertrt's {FORMAT}")
            values["workloads"] = {
                key: WorkloadFacts(**facts) for key, facts in values["workloads"].items()
            }
            values["peers"] = {name: _peer(facts) for name, facts in values["peers"].items()}
            return cls(**values)
        except OSError as error:
            raise ValueError(f"{file} cannot be read: {error.strerror}") from error
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{file} is no results.json of this benchmark: {error}") from error

    # What follows

    def shown(self) -> dict[str, PeerResult]:
        """The peers that tables show: all but floors and the control."""
        return {n: p for n, p in self.peers.items() if p.kind in ("bertrt", "peer")}

    def single(self) -> dict[int, str]:
        """The workloads of one text by tokens."""
        return {facts.tokens: key for key, facts in self.workloads.items() if not facts.set}

    def of_set(self, name: str) -> list[str]:
        """The workloads of a text set."""
        return [key for key, facts in self.workloads.items() if facts.set == name]

    def speed(self, peer: str, workload: str) -> Spread | None:
        """Texts per second."""
        seconds = self.peers[peer].measured(workload)
        texts = self.workloads[workload].texts
        return Spread.of([texts / value for value in seconds]) if seconds else None

    def percentiles(self, peer: str, workload: str) -> tuple[float, float, float] | None:
        """p50, p95 and p99 of one text, in seconds."""
        runs = self.peers[peer].runs.get(workload)
        if not runs:
            return None
        p50, p95, p99 = np.percentile(runs, (50, 95, 99))
        return float(p50), float(p95), float(p99)

    def best(self, peer: str, keys: Iterable[str]) -> str | None:
        """Of these workloads, the one with the most texts per second."""
        speeds = {key: self.speed(peer, key) for key in keys}
        found = {key: speed.median for key, speed in speeds.items() if speed is not None}
        return max(found, key=lambda key: found[key]) if found else None

    def ratios(
        self, peer: str, theirs: str, ours: str | None = None, to: str = OURS
    ) -> list[float]:
        """How many times as long a peer takes as `to` does, in each round that both ran.

        theirs, ours: the workload of each, of the same texts.
        """
        if to not in self.peers or peer not in self.peers:
            return []
        return [
            slow / fast
            for slow, fast in zip(
                self.peers[peer].seconds.get(theirs, []),
                self.peers[to].seconds.get(ours or theirs, []),
                strict=False,  # in the middle of a round, one has had its turn and not the other
            )
            if slow is not None and fast is not None
        ]

    def ratio(
        self, peer: str, theirs: str, ours: str | None = None, to: str = OURS
    ) -> Spread | None:
        """The spread of `ratios`; None where there are none."""
        found = self.ratios(peer, theirs, ours, to)
        return Spread.of(found) if found else None

    def best_speed(self, peer: str, set_name: str) -> Spread | None:
        """Texts per second of a set, in the way that suits the peer best."""
        way = self.best(peer, self.of_set(set_name))
        return self.speed(peer, way) if way else None

    def best_ratio(self, peer: str, set_name: str, to: str = OURS) -> Spread | None:
        """`ratio` of a text set, each of the two in the way that suits it best."""
        keys = self.of_set(set_name)
        if to not in self.peers or peer not in self.peers:
            return None
        theirs, ours = self.best(peer, keys), self.best(to, keys)
        return None if theirs is None or ours is None else self.ratio(peer, theirs, ours, to)

    def noise(self) -> dict[str, Spread]:
        """By workload, what the control takes in relation to bertrt: 1, but for noise."""
        found = {key: self.ratio(CONTROL, key) for key in self.workloads}
        return {key: spread for key, spread in found.items() if spread is not None}


def _median(values: Iterable[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return statistics.median(there) if there else None


def _peer(values: dict[str, Any]) -> PeerResult:
    if values["answers"] is not None:
        values["answers"] = Answers(**values["answers"])
    values["answers_by_workload"] = {
        key: Answers(**facts) for key, facts in values["answers_by_workload"].items()
    }
    return PeerResult(**values)
