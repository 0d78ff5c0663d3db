"""Engines side by side on one model: texts a second, and the latency of single texts."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from bertrt_bench.gpu.models import equal_texts, unseen_texts
from bertrt_bench.gpu.pool import BERTRT, COMPILED, EAGER, ENGINES, FLOOR, Pool
from bertrt_bench.gpu.settings import Settings
from bertrt_bench.peers.padded import load_tokenizer

__all__ = ["EQUAL", "RAGGED", "equal", "ragged", "single"]

# A compiled shape is compiled at its first coming, recorded at its second and replayed from then.
_WARM_UP = 3

_SINGLE = (BERTRT, EAGER, COMPILED, "pytorch_cuda_graph", FLOOR)
RAGGED = tuple(name for name in ENGINES if name != "pytorch_fp32")
EQUAL = tuple(name for name in RAGGED if name != "bertrt_cuda_fp32")  # takes seconds a pass


def ragged(settings: Settings, pool: Pool) -> dict[str, Any]:
    """Sentences of SST-2 as they come, and sorted by length for those that pad."""
    texts, _ = unseen_texts(settings.texts)
    lengths = [len(e.ids) for e in load_tokenizer(pool.checkpoint).encode_batch_fast(texts)]
    order = sorted(range(len(texts)), key=lambda position: -lengths[position])
    ways = {"arrival": texts, "sorted": [texts[position] for position in order]}
    return {"tokens": sum(lengths), **_compare(settings, pool, RAGGED, ways)}


def equal(settings: Settings, pool: Pool) -> dict[str, Any]:
    """Many texts of one length: nothing is padded, and the products have most of the time."""
    texts = equal_texts(settings.equal_tokens, settings.equal_texts, pool.checkpoint)
    found = _compare(settings, pool, EQUAL, {"arrival": texts})
    return {"tokens": settings.equal_tokens * len(texts), **found}


def _compare(
    settings: Settings, pool: Pool, names: Sequence[str], ways: dict[str, list[str]]
) -> dict[str, Any]:
    """Seconds of a pass over the texts, by engine, way and round."""
    seconds: dict[str, dict[str, list[float]]] = {}
    logits: dict[str, np.ndarray] = {}
    turns = [
        (name, way)
        for name in names
        for way in ways
        if way == "arrival" or not ENGINES[name].own_batches
    ]

    def classify(name: str, way: str, least_seconds: float) -> float | None:
        answer = pool.classify(name, ways[way], least_seconds)
        if answer is None:
            return None
        if way == "arrival":
            logits[name] = answer[1]
        return answer[0]

    for name, way in turns:
        for _ in range(_WARM_UP):
            classify(name, way, 0)
    for name, way in _rotated(turns, settings.rounds):
        taken = classify(name, way, settings.turn_seconds)
        if taken is not None:
            seconds.setdefault(name, {}).setdefault(way, []).append(taken)
    return {
        "texts": len(ways["arrival"]),
        "seconds": seconds,
        "differences": _differences(logits),
        "failures": dict(pool.failures),
    }


def single(settings: Settings, pool: Pool) -> dict[str, Any]:
    """One text at a time: p50 and p99 in seconds, by engine, length and round."""
    texts = {length: equal_texts(length, 1, pool.checkpoint)[0] for length in settings.lengths}
    turns = [
        (name, length)
        for length in texts
        for name in _SINGLE
        if name != COMPILED or length in settings.compiled_lengths
    ]
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    for name, length in turns:
        for _ in range(_WARM_UP):
            pool.classify(name, [texts[length]])
    for name, length in _rotated(turns, settings.rounds):
        runs = pool.repeat(name, texts[length], settings.turn_seconds / 2, settings.runs)
        if runs is not None:
            here = found.setdefault(name, {}).setdefault(str(length), {"p50": [], "p99": []})
            for percentile in (50, 99):
                here[f"p{percentile}"].append(float(np.percentile(runs, percentile)))
    return {"seconds": found, "failures": dict(pool.failures)}


def _rotated(turns: Sequence[Any], rounds: int) -> Iterator[Any]:
    """All turns, `rounds` times; who begins changes."""
    for number in range(rounds):
        first = number % len(turns)
        yield from (*turns[first:], *turns[:first])


def _differences(logits: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """|Δlogit| against PyTorch in float16, mean and largest, of those that answer."""
    right = logits.get(EAGER)
    answering = {name: rows for name, rows in logits.items() if ENGINES[name].kind != "floor"}
    if right is None:
        return {}
    found = {}
    for name, rows in answering.items():
        apart = np.abs(rows - right)
        found[name] = {"mean": float(apart.mean()), "max": float(apart.max())}
    return found
