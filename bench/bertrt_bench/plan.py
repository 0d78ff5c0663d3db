"""What a run of the benchmark is asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bertrt_bench.models import BenchModel
from bertrt_bench.peers.registry import Peer
from bertrt_bench.workloads import TextSet, Workload

__all__ = ["Plan", "Turn"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure.

    checked: the texts on which answers are compared, and `sets` the texts of `workloads`.
    starts: rounds in which new processes are started as well.
    left_out: peers that cannot run here, and why. calibration: texts for those that want some.
    turn_seconds: how long a peer goes on in a turn, lest it be over in a blink.
    timeout, prepare_timeout: seconds after which a peer counts as hanging.
    """

    model: BenchModel
    peers: Mapping[str, Peer]
    checked: TextSet
    sets: Sequence[TextSet]
    workloads: Sequence[Workload]
    calibration: Sequence[str]
    threads: int
    rounds: int
    starts: int
    work: Path
    environments: Path
    left_out: Mapping[str, str] = field(default_factory=dict)
    turn_seconds: float = 0.5
    timeout: float = 600.0
    prepare_timeout: float = 3600.0
    import_paths: Sequence[Path] = ()


@dataclass(frozen=True, slots=True)
class Turn:
    """What comes next, and how far the run has come."""

    title: str
    done: int
    total: int
