"""What has been measured on a GPU, as a file that grows step by step."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Results", "StepResult"]


@dataclass(frozen=True, slots=True)
class StepResult:
    """One step: the seconds that it took, and what it found or why it failed."""

    seconds: float
    data: dict[str, Any] = field(default_factory=dict)
    error: str | None = None


@dataclass(slots=True)
class Results:
    """A run. Steps that have not run are not in `steps`: what they measure is unmeasured.

    machine: see `machine_facts`. settings: see `Settings`.
    """

    machine: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    started: str = ""
    steps: dict[str, StepResult] = field(default_factory=dict)

    def data(self, step: str) -> dict[str, Any]:
        """What a step found; nothing where it failed or has not run."""
        found = self.steps.get(step)
        return {} if found is None else found.data

    def errors(self) -> dict[str, str]:
        """Why steps failed, and what failed within those that went on, by a name of each."""
        found: dict[str, str] = {}
        for name, step in self.steps.items():
            if step.error is not None:
                found[name] = step.error
            for part, error in step.data.get("failures", {}).items():
                found[f"{name}, {part}"] = error
        return found

    def save(self, file: Path) -> None:
        """Write as JSON, whole or not at all: a run may end at any time."""
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_name(f"{file.name}.partial")
        partial.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")
        partial.replace(file)

    @classmethod
    def load(cls, file: Path) -> "Results":
        """Read what `save` wrote."""
        content = json.loads(file.read_text(encoding="utf-8"))
        steps = {name: StepResult(**step) for name, step in content.pop("steps").items()}
        return cls(**content, steps=steps)

    @classmethod
    def load_or_empty(cls, file: Path) -> "Results":
        """What has been measured so far: nothing, where there is no file."""
        return cls.load(file) if file.exists() else cls()
