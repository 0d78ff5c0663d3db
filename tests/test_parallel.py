"""Batches beside one another: the same answers in the same order, and errors that lose nothing."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bertrt.backend import create_session
from bertrt.parallel import Feeds, run_parallel

Load = Callable[[int], Any]


@pytest.fixture(scope="module")
def load(tiny_artifact: Path) -> Load:
    sessions: dict[int, Any] = {}

    def load(threads: int) -> Any:
        if threads not in sessions:
            graph = tiny_artifact / "model.onnx"
            sessions[threads] = create_session(graph, ["CPUExecutionProvider"], threads)
        return sessions[threads]

    return load


def _batches(count: int, seed: int = 0) -> list[dict[str, np.ndarray]]:
    random = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        lengths = random.integers(1, 40, random.integers(1, 9)).astype(np.int32)
        ids = random.integers(0, 30_000, lengths.sum())
        made.append({"input_ids": ids, "token_type_ids": np.zeros_like(ids), "lengths": lengths})
    return made


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 40])
def test_outputs_are_those_of_one_batch_after_another(load: Load, threads: int, count: int) -> None:
    batches = _batches(count)
    outputs = run_parallel(load(threads), iter(batches), threads)
    assert len(outputs) == count
    for actual, batch in zip(outputs, batches, strict=True):
        (expected,) = load(1).run(None, batch)
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)


def test_several_callers_at_once(load: Load) -> None:
    found: dict[int, list[np.ndarray]] = {}

    def call(seed: int) -> None:
        found[seed] = run_parallel(load(3), _batches(20, seed), 3)

    callers = [threading.Thread(target=call, args=(seed,)) for seed in range(6)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    for seed, outputs in found.items():
        for actual, batch in zip(outputs, _batches(20, seed), strict=True):
            np.testing.assert_allclose(actual, load(1).run(None, batch)[0], rtol=0, atol=1e-5)
    assert len(found) == 6


class _Recorded:
    """A session, and how many batches it has begun and ended."""

    def __init__(self, session: Any) -> None:
        self._session, self.alone, self.pooled, self.ended = session, 0, 0, 0

    def run(self, names: list[str], feeds: Feeds) -> list[np.ndarray]:
        self.alone += 1
        outputs: list[np.ndarray] = self._session.run(names, feeds)
        return outputs

    def run_async(self, names: list[str], feeds: Feeds, done: Any, data: Any) -> None:
        def finish(outputs: Any, data: Any, error: str) -> None:
            self.ended += 1
            done(outputs, data, error)

        self.pooled += 1
        self._session.run_async(names, feeds, finish, data)


def test_a_single_batch_has_all_threads(load: Load) -> None:
    session = _Recorded(load(2))
    run_parallel(session, _batches(1), 2)
    assert (session.alone, session.pooled) == (1, 0)


def test_one_thread_has_no_pool(load: Load) -> None:
    session = _Recorded(load(1))
    run_parallel(session, _batches(5), 1)
    assert (session.alone, session.pooled) == (5, 0)


def test_both_the_caller_and_the_pool_run_batches(load: Load) -> None:
    session = _Recorded(load(2))
    run_parallel(session, _batches(60), 2)
    assert session.alone + session.pooled == 60
    assert session.alone and session.pooled == session.ended > 0


@pytest.mark.parametrize("at", [0, 1, 7, 39])
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_a_batch_that_fails_ends_the_others_and_raises(load: Load, threads: int, at: int) -> None:
    batches = _batches(40)
    batches[at]["lengths"] = np.array([1_000], dtype=np.int32)
    session = _Recorded(load(threads))
    with pytest.raises(Exception, match="Reshape"):
        run_parallel(session, batches, threads)
    assert session.pooled == session.ended, "nothing runs any more"
    assert len(run_parallel(session, _batches(3), threads)) == 3


@pytest.mark.parametrize("threads", [1, 3])
def test_what_makes_the_batches_may_fail(load: Load, threads: int) -> None:
    def broken() -> Iterator[Feeds]:
        yield from _batches(9)
        raise KeyError("no more of them")

    session = _Recorded(load(threads))
    with pytest.raises(KeyError, match="no more of them"):
        run_parallel(session, broken(), threads)
    assert session.pooled == session.ended
