"""What a run found, as a file."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bertrt_bench.processes.memory import Memory

__all__ = ["MemoryPoint", "ModelResults", "Results"]


@dataclass(frozen=True, slots=True)
class MemoryPoint:
    """What so many processes with the same model take together.

    precision: fp32 or int8. prepacked: whether `bertrt prepack` wrote the artifact.
    texts: that each has classified, on one thread.
    load_seconds: of the last of them, the files being in memory by then.
    """

    precision: str
    prepacked: bool
    processes: int
    texts: int
    memory: Memory
    load_seconds: float


@dataclass(slots=True)
class ModelResults:
    """One model. texts: in a round of all processes together, each text so many times.

    seconds: of each round, by layout; the same rounds, by turns. prepacked_seconds: of one process
    with all threads that loads the prepacked artifact.
    identical: whether the logits of all artifacts of a precision were the same bit by bit.
    """

    name: str
    description: str
    texts: int = 0
    seconds: dict[str, list[float]] = field(default_factory=dict)
    prepacked_seconds: list[float] = field(default_factory=list)
    memory: list[MemoryPoint] = field(default_factory=list)
    identical: bool = True


@dataclass(slots=True)
class Results:
    """A run: the machine's facts, and each model's results."""

    machine: dict[str, Any]
    rounds: int
    models: list[ModelResults] = field(default_factory=list)

    def save(self, file: Path) -> None:
        """Write as JSON."""
        file.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")

    @classmethod
    def load(cls, file: Path) -> "Results":
        """Read what `save` wrote."""
        content = json.loads(file.read_text(encoding="utf-8"))
        return cls(**{**content, "models": [_model(entry) for entry in content["models"]]})


def _model(entry: dict[str, Any]) -> ModelResults:
    points = [
        MemoryPoint(**{**point, "memory": Memory(**point["memory"])}) for point in entry["memory"]
    ]
    return ModelResults(**{**entry, "memory": points})
