"""Measure processes: their rates by turns, and their memory."""

import contextlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bertrt.prepack import prepack

from bertrt_bench.pause import PAUSE
from bertrt_bench.processes.results import MemoryPoint, ModelResults
from bertrt_bench.processes.team import Layout, Team, layouts

__all__ = ["Plan", "measure_memory", "measure_rates", "prepacked_artifact"]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of everything. seconds: of a round, about. memory_texts: that each classifies."""

    texts: Sequence[str]
    cpus: int
    rounds: int
    seconds: float
    processes: Sequence[int] = (1, 2, 4)
    memory_texts: int = 64


def prepacked_artifact(artifact: Path, work: Path) -> Path:
    """The artifact, prepacked on this machine, under `work`; made anew, as machines differ."""
    return prepack(artifact, work / "prepacked" / artifact.parent.name, overwrite=True).path


def measure_rates(
    results: ModelResults,
    artifact: Path,
    prepacked: Path,
    plan: Plan,
    on_progress: Callable[[str], None],
) -> None:
    """All layouts by turns, with the same texts for each.

    All processes stay loaded, and those whose turn it is not wait for their standard input.
    """
    chosen = layouts(plan.cpus)
    with contextlib.ExitStack() as stack:
        on_progress("loading")
        teams = {
            layout: stack.enter_context(contextlib.closing(Team(artifact, layout, plan.texts)))
            for layout in chosen
        }
        packed = stack.enter_context(
            contextlib.closing(Team(prepacked, Layout(1, plan.cpus), plan.texts))
        )
        first = teams[chosen[0]]
        results.identical &= packed.digests == first.digests
        passes = max(1, math.ceil(plan.seconds / first.run(1)))
        results.texts = passes * len(plan.texts)
        for number in range(plan.rounds):
            for layout, team in teams.items():
                on_progress(f"round {number + 1} of {plan.rounds}: {layout.title}")
                time.sleep(PAUSE)
                results.seconds.setdefault(layout.title, []).append(team.run(passes))
            on_progress(f"round {number + 1} of {plan.rounds}: prepacked")
            time.sleep(PAUSE)
            results.prepacked_seconds.append(packed.run(passes))


def measure_memory(
    results: ModelResults,
    artifacts: Mapping[tuple[str, bool], Path],
    plan: Plan,
    on_progress: Callable[[str], None],
) -> None:
    """Load each artifact in several processes of one thread, and look at their memory.

    artifacts: by precision, and whether it is prepacked.
    """
    texts = plan.texts[: plan.memory_texts]
    digests: dict[str, set[str]] = {}
    for (precision, prepacked), artifact in artifacts.items():
        for count in plan.processes:
            form = "prepacked" if prepacked else "as exported"
            on_progress(f"memory: {precision}, {form}, {count} processes")
            with contextlib.closing(Team(artifact, Layout(count, 1), texts, whole=True)) as team:
                time.sleep(PAUSE)
                results.memory.append(
                    MemoryPoint(
                        precision,
                        prepacked,
                        count,
                        len(texts),
                        team.memory(),
                        team.load_seconds[-1],
                    )
                )
                digests.setdefault(precision, set()).update(team.digests)
    results.identical &= all(len(found) == 1 for found in digests.values())
