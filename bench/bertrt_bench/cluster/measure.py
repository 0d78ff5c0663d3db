"""Run the call and the dataset by turns, each in a process of its own."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bertrt_bench.jobs.texts import vary

__all__ = ["ClusterResult", "measure_cluster"]


@dataclass(frozen=True, slots=True)
class ClusterResult:
    """`actors` one-CPU actors of Ray beside one process of as many threads, on the same texts.

    call_seconds: of `classifier.logits(texts)` alone, a round each.
    ray_seconds: from the first batch that an actor began to the last result in the driver.
    ray_with_start: from the start of the execution: with the actors' start and loading.
    max_difference: of any logit in any round; same_labels: whether all labels are the same.
    """

    model: str
    texts: int
    actors: int
    call_seconds: list[float]
    ray_seconds: list[float]
    ray_with_start: list[float]
    max_difference: float
    same_labels: bool

    def to_json(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "ClusterResult":
        """What `to_json` gave."""
        return cls(**content)


def measure_cluster(
    model: str,
    artifact: Path,
    sentences: list[str],
    texts: int,
    actors: int,
    rounds: int,
    work: Path,
    on_progress: Callable[[str], None],
) -> ClusterResult:
    """Measure in `work`, where files are made; texts: how many to make of the sentences."""
    work.mkdir(parents=True, exist_ok=True)
    file = work / "texts.parquet"
    pq.write_table(pa.table({"id": range(texts), "text": vary(sentences, texts)}), file)
    call_seconds, ray_seconds, ray_with_start, differences, same = [], [], [], [0.0], True
    for number in range(1, rounds + 1):
        on_progress(f"round {number} of {rounds}: one process, {actors} threads")
        printed, expected = _turn("in_memory", artifact, file, actors)
        call_seconds.append(printed["seconds"])
        on_progress(f"round {number} of {rounds}: Ray, {actors} actors")
        printed, logits = _turn("in_ray", artifact, file, actors)
        ray_seconds.append(printed["seconds"])
        ray_with_start.append(printed["with_start"])
        differences.append(float(np.abs(logits - expected).max()))
        same = same and bool((logits.argmax(axis=1) == expected.argmax(axis=1)).all())
    return ClusterResult(
        model=model,
        texts=texts,
        actors=actors,
        call_seconds=call_seconds,
        ray_seconds=ray_seconds,
        ray_with_start=ray_with_start,
        max_difference=max(differences),
        same_labels=same,
    )


def _turn(
    name: str, artifact: Path, texts: Path, count: int
) -> tuple[dict[str, float], np.ndarray]:
    """What a turn prints, and its logits; RuntimeError where it fails."""
    logits = texts.with_name(f"{name}.npy")
    # Ray's workers do not work in this directory.
    arguments = [str(artifact.resolve()), str(texts.resolve()), str(logits.resolve()), str(count)]
    command = [sys.executable, "-m", f"bertrt_bench.cluster.{name}", *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {ran.stderr}")
    return json.loads(ran.stdout.splitlines()[-1]), np.load(logits)
