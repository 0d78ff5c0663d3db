"""From a measured rate to replicas, cores and cost. Nothing here measures, reads or prints."""

import math
from dataclasses import dataclass

__all__ = ["Replica", "Wishes", "cost_per_million", "usable_rate"]

_SECONDS_PER_HOUR = 3600

# A need for 3.0000000000000004 replicas is one for 3: floats do not divide exactly.
_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What a cluster shall do; None: not stated, and nothing follows for it.

    load: texts a second. latency_ms: what the p99 of a request may be, in milliseconds.
    headroom: the share of what a replica can do that is kept free, 0 to under 1.
    price_per_core_hour: in `currency`, a word for people.
    Raises ValueError, which names the value and what it may be.
    """

    load: float | None = None
    latency_ms: float | None = None
    headroom: float = 0.3
    price_per_core_hour: float | None = None
    currency: str = "USD"

    def __post_init__(self) -> None:
        for name in ("load", "price_per_core_hour"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise ValueError(f"{name} is {value}: give 0 or more")
        if self.latency_ms is not None and not 0 < self.latency_ms < math.inf:
            raise ValueError(f"latency_ms is {self.latency_ms}: give milliseconds, more than 0")
        if not 0 <= self.headroom < 1:
            raise ValueError(
                f"headroom is {self.headroom}: give the share to keep free, 0 to under 1 (0.3 is "
                "30%)"
            )
        if not self.currency.strip():
            raise ValueError("currency is empty: give a word, such as USD")


@dataclass(frozen=True, slots=True)
class Replica:
    """One process that serves the model, or one worker of a bulk job.

    rate: texts a second that it was measured to do. cores: that it has.
    Raises ValueError for a rate that is not over 0, and for less than one core.
    """

    rate: float
    cores: int

    def __post_init__(self) -> None:
        if not 0 < self.rate < math.inf or self.cores < 1:
            raise ValueError(f"a replica of {self.cores} cores that does {self.rate} texts/s")

    @property
    def rate_per_core(self) -> float:
        """Texts a second of each core."""
        return self.rate / self.cores

    def needed(self, load: float, headroom: float) -> int:
        """Whole replicas that do `load` texts a second with the head-room; 0 for no load."""
        return math.ceil(load / usable_rate(self.rate, headroom) - _TOLERANCE)

    def cores_needed(self, load: float, headroom: float) -> int:
        """The cores of those replicas."""
        return self.needed(load, headroom) * self.cores

    def cost_at_full_use(self, price_per_core_hour: float) -> float:
        """Of a million texts, where the replica does all it was measured to do, at all times."""
        return cost_per_million(price_per_core_hour, self.cores, self.rate)

    def cost_at_load(
        self, price_per_core_hour: float, load: float, headroom: float
    ) -> float | None:
        """Of a million texts, of the replicas that `load` needs; None where there is no load."""
        if load == 0:
            return None
        return cost_per_million(price_per_core_hour, self.cores_needed(load, headroom), load)


def usable_rate(rate: float, headroom: float) -> float:
    """What is planned with, of a rate."""
    return rate * (1 - headroom)


def cost_per_million(price_per_core_hour: float, cores: int, rate: float) -> float:
    """Of a million texts, where `cores` do `rate` texts a second."""
    return price_per_core_hour * cores * 1_000_000 / (rate * _SECONDS_PER_HOUR)
