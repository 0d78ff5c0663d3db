"""What a run found, as a file, and what was wished of it."""

import json
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bertrt_bench.capacity.arithmetic import Replica, Wishes
from bertrt_bench.capacity.loads import highest_that_holds
from bertrt_bench.serving.results import LoadPoint

__all__ = ["Online", "Results", "TextFacts"]


@dataclass(frozen=True, slots=True)
class TextFacts:
    """The texts that were classified: what they are, how many, and their tokens."""

    source: str
    count: int
    mean_tokens: float
    p95_tokens: float


@dataclass(slots=True)
class Online:
    """One replica of `bertrt serve`, which shares its CPUs with the generator of the load.

    alone: percentiles in milliseconds of one request at a time. saturation: requests a second of
    many connections, each of which sends its next request when it has an answer; None where one
    request at a time takes too long already.
    points: requests at random moments (a Poisson process), in the order of measuring.
    """

    alone: dict[str, float]
    saturation: float | None = None
    points: list[LoadPoint] = field(default_factory=list)


@dataclass(slots=True)
class Results:
    """A run, of one replica.

    cores: that it has, each with a thread. bulk: texts a second of `classifier(list)`, by round.
    online: None where no latency was wished for. wishes: those of the command.
    """

    machine: dict[str, Any]
    model: str
    precision: str
    cores: int
    texts: TextFacts
    wishes: Wishes
    bulk: list[float] = field(default_factory=list)
    online: Online | None = None

    def save(self, file: Path) -> None:
        """Write as JSON."""
        text = json.dumps(asdict(self), indent=1, ensure_ascii=False)
        file.write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, file: Path) -> "Results":
        """Read what `save` wrote; ValueError, which names the file, for anything else."""
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            online = content.pop("online")
            if online is not None:
                points = [LoadPoint(**point) for point in online.pop("points")]
                online = Online(**online, points=points)
            texts, wishes = TextFacts(**content.pop("texts")), Wishes(**content.pop("wishes"))
            return cls(**content, texts=texts, wishes=wishes, online=online)
        except OSError as error:
            raise ValueError(f"{file} cannot be read: {error.strerror}") from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(
                f"{file} is not what `bertrt bench --capacity` writes: {error!r}"
            ) from error

    @property
    def chosen(self) -> LoadPoint | None:
        """The highest load that was answered in time; None if none was, or none was measured."""
        if self.online is None or self.wishes.latency_ms is None:
            return None
        return highest_that_holds(self.online.points, self.wishes.latency_ms)

    @property
    def bulk_replica(self) -> Replica:
        """What a worker of a bulk job does: the median of the rounds."""
        return Replica(statistics.median(self.bulk), self.cores)

    @property
    def online_replica(self) -> Replica | None:
        """What a server does within the latency; None where no load holds it."""
        return None if self.chosen is None else Replica(self.chosen.answered, self.cores)
