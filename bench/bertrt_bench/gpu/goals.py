"""What bertrt must show on a GPU, and whether it has."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bertrt_bench.gpu.pool import BERTRT, COMPILED, EAGER, ENCODED, FLOOR
from bertrt_bench.gpu.results import Results
from bertrt_bench.grid import Grid
from bertrt_bench.measure import Spread, ratio

__all__ = [
    "GOALS",
    "UNMEASURED",
    "Goal",
    "best_seconds",
    "share_of_floor",
    "table",
    "times_as_fast",
]

UNMEASURED = "unmeasured"

_LENGTH = "128"  # tokens of the text that goals are about


@dataclass(frozen=True, slots=True)
class Goal:
    """A goal: `value` of the results (None: unmeasured) is to be on one side of `limit`.

    show: the figure for people, with its spread.
    """

    title: str
    at_least: bool
    limit: float
    unit: str
    value: Callable[[Results], float | None]
    show: Callable[[Results], str]

    def reached(self, results: Results) -> bool | None:
        """Whether it is reached; None where it is unmeasured. What is no number is not."""
        value = self.value(results)
        if value is None:
            return None
        return value >= self.limit if self.at_least else value <= self.limit

    @property
    def goal(self) -> str:
        """The limit, for people."""
        return f"{'≥' if self.at_least else '≤'} {self.limit:g}{self.unit}"


def table(results: Results) -> Grid:
    """One row a goal, whether there are results or not."""
    rows = []
    for goal in GOALS:
        reached = goal.reached(results)
        answer = {None: "–", True: "yes", False: "no"}[reached]
        shown = UNMEASURED if reached is None else goal.show(results)
        rows.append((goal.title, goal.goal, shown, answer))
    tried = results.settings.get("device") == "cpu"
    return Grid(
        "A TRIAL ON THE CPU, whose figures mean nothing" if tried else "What it must show",
        "BERT-base with random weights where speed is meant, tokenization included in all but the "
        "last row; answers are those of trained models.",
        ("fp16 on CUDA", "goal", "measured", "reached"),
        tuple(rows),
    )


def best_seconds(results: Results, step: str, engine: str) -> Sequence[float] | None:
    """The seconds of an engine's passes over a set, by round, in the way that suits it best."""
    ways = results.data(step).get("seconds", {}).get(engine, {})
    return min(ways.values(), key=lambda seconds: Spread.of(seconds).median) if ways else None


def times_as_fast(results: Results, step: str, engine: str, way: str = "arrival") -> Spread | None:
    """How many times as fast as an engine bertrt is on a set, round by round."""
    seconds = results.data(step).get("seconds", {})
    slow, fast = (seconds.get(name, {}) for name in (engine, BERTRT))
    return _ratio(slow.get(way), fast.get("arrival"))


def share_of_floor(results: Results, engine: str) -> Spread | None:
    """The floor's time as a part of an engine's, in %, on texts of one length."""
    seconds = results.data("equal").get("seconds", {})
    floor, own = (seconds.get(name, {}).get("arrival") for name in (FLOOR, engine))
    return _ratio([100 * value for value in floor] if floor else None, own)


def _ratio(slow: Sequence[float] | None, fast: Sequence[float] | None) -> Spread | None:
    """None where one of them is unmeasured, or ended before its last round."""
    if not slow or not fast or len(slow) != len(fast):
        return None
    return ratio(slow, fast)


def _single(results: Results, engine: str) -> list[float] | None:
    """The p50 of each round, in milliseconds, of a text of 128 tokens."""
    found = results.data("single").get("seconds", {}).get(engine, {}).get(_LENGTH)
    return None if found is None else [1000 * value for value in found["p50"]]


def _single_spread(results: Results) -> Spread | None:
    found = _single(results, BERTRT)
    return None if not found else Spread.of(found)


def _single_ratio(results: Results) -> Spread | None:
    return _ratio(_single(results, EAGER), _single(results, BERTRT))


def _of(
    spread: Callable[[Results], Spread | None], digits: int, unit: str
) -> tuple[Callable[[Results], float | None], Callable[[Results], str]]:
    """The two functions of a goal whose figure is a median."""

    def value(results: Results) -> float | None:
        found = spread(results)
        return None if found is None else found.median

    def show(results: Results) -> str:
        found = spread(results)
        return UNMEASURED if found is None else found.format(digits, unit)

    return value, show


def _agreement(results: Results) -> float | None:
    """The lowest of the models' agreements, in %."""
    models = results.data("parity").get("models", {})
    found = [engines[BERTRT]["agreement"] for engines in models.values() if BERTRT in engines]
    return 100 * min(found) if found else None


def _show_agreement(results: Results) -> str:
    data = results.data("parity")
    parts = [
        f"{model} {engines[BERTRT]['agreement']:.2%}"
        for model, engines in data["models"].items()
        if BERTRT in engines
    ]
    return f"{', '.join(parts)} of {data['texts']} texts"


def _company(results: Results, kind: str) -> float | None:
    """The largest |Δlogit| of its kind of all models and orders, between alone and in a batch."""
    models = results.data("independence").get("models", {})
    found = [order[kind] for orders in models.values() for order in orders.values()]
    return float(np.max(found)) if found else None  # NaN, where one of them is that


def _show_company(results: Results) -> str:
    mean, most = (_company(results, kind) for kind in ("mean_abs_diff", "max_abs_diff"))
    return f"{mean:.1e} (at most {most:.1e})"


GOALS = (
    Goal("same label as PyTorch float32", True, 99.9, "%", _agreement, _show_agreement),
    Goal(
        "mean |Δlogit| of a text alone and in any batch",
        False,
        1e-3,
        "",
        lambda results: _company(results, "mean_abs_diff"),
        _show_company,
    ),
    Goal(
        "ragged sentences, times as fast as PyTorch fp16 eager",
        True,
        3,
        "x",
        *_of(lambda results: times_as_fast(results, "ragged", EAGER), 2, "x"),
    ),
    Goal(
        "ragged sentences, times as fast as torch.compile",
        True,
        1.5,
        "x",
        *_of(lambda results: times_as_fast(results, "ragged", COMPILED), 2, "x"),
    ),
    Goal("one text of 128 tokens, p50", False, 1.2, " ms", *_of(_single_spread, 2, " ms")),
    Goal(
        "one text of 128 tokens, times as fast as PyTorch fp16 eager",
        True,
        3,
        "x",
        *_of(_single_ratio, 2, "x"),
    ),
    Goal(
        "4,096 texts of 128 tokens, share of the matrix products' rate",
        True,
        50,
        "%",
        *_of(lambda results: share_of_floor(results, ENCODED), 1, "%"),
    ),
)
