"""The queue before a session: what goes together, in which order, and what never runs."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from bertrt.errors import BackendError
from bertrt.packing import PackedBatch
from bertrt.parallel import Feeds, run_source
from bertrt.server.models import rank
from bertrt.server.scheduler import Job, Scheduler, SchedulerClosedError
from bertrt.tokenizer import Encoding

_PATIENCE = 5.0  # seconds for what takes milliseconds


class _Session:
    """A session whose batches end when the test says so; a text's logit is its first id."""

    def __init__(self, threads: int = 1) -> None:
        self._threads = threads
        self.batches: list[list[int]] = []
        self.begun = threading.Semaphore(0)
        self.may_end = threading.Semaphore(0)
        self.fails_at: int | None = None

    def feeds(self, batch: PackedBatch) -> Feeds:
        return {"ids": batch.input_ids, "lengths": batch.lengths}

    def run_source(self, source: Any) -> None:
        run_source(self, source, self._threads)

    def run(self, names: list[str], feeds: Feeds) -> list[np.ndarray]:
        number = len(self.batches)
        self.batches.append(feeds["lengths"].tolist())
        self.begun.release()
        assert self.may_end.acquire(timeout=_PATIENCE)
        if number == self.fails_at:
            raise RuntimeError("/secret/path")
        starts = np.concatenate([[0], np.cumsum(feeds["lengths"])[:-1]])
        return [feeds["ids"][starts].astype(np.float32)[:, None]]

    def run_async(self, names: list[str], feeds: Feeds, done: Any, data: Any) -> None:
        def work() -> None:
            try:
                done(self.run(names, feeds), data, "")
            except RuntimeError as error:
                done([], data, str(error))

        threading.Thread(target=work).start()

    def wait_for_batch(self) -> None:
        """Wait until one more batch has begun."""
        assert self.begun.acquire(timeout=_PATIENCE)


class _Done:
    """The jobs that are done, in order."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self._changed = threading.Condition()

    def __call__(self, jobs: list[Job]) -> None:
        with self._changed:
            self.jobs += jobs
            self._changed.notify_all()

    def wait_for(self, count: int) -> list[Job]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.jobs) >= count, timeout=_PATIENCE)
        return self.jobs


class _Counted:
    """Counts batches as the metrics do."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []

    def batch(self, texts: int, tokens: int) -> None:
        self.seen.append((texts, tokens))


class _Bench:
    """A scheduler with its session and what has come of its jobs."""

    def __init__(self, threads: int, **options: Any) -> None:
        self.session, self.done, self.counted = _Session(threads), _Done(), _Counted()
        self.scheduler = Scheduler(
            self.session,  # type: ignore[arg-type]
            self.done,
            self.counted,
            **{"max_batch_tokens": 512, **options},
        )

    def submit(self, *lengths: int, first: int = 1) -> Job:
        """A job with texts of these lengths, whose logits will be `first`, `first + 1`, .."""
        ids = [np.full(length, first + at, dtype=np.int64) for at, length in enumerate(lengths)]
        job = Job([Encoding(each, np.zeros_like(each), False) for each in ids], labels=1)
        self.scheduler.submit([job])
        return job

    def let_end(self, batches: int = 1_000) -> None:
        """Let so many batches end."""
        self.session.may_end.release(batches)


@contextmanager
def _bench(threads: int = 1, **options: Any) -> Iterator[_Bench]:
    bench = _Bench(threads, **options)
    try:
        yield bench
    finally:
        bench.let_end()
        bench.scheduler.close()


def test_a_lone_text_runs_at_once() -> None:
    with _bench() as bench:
        job = bench.submit(7)
        bench.session.wait_for_batch()
        assert job.started - job.queued < 0.1
        bench.let_end()
        assert bench.done.wait_for(1) == [job]
        assert job.logits.tolist() == [[1.0]] and job.finished >= job.started > 0


def test_what_comes_while_the_session_is_busy_goes_together() -> None:
    with _bench() as bench:
        bench.submit(10)
        bench.session.wait_for_batch()
        for length in (11, 12, 13):
            bench.submit(length)
        assert (bench.scheduler.queued_texts, bench.scheduler.queued_tokens) == (3, 36)
        bench.let_end()
        bench.done.wait_for(4)
        assert [sorted(batch) for batch in bench.session.batches] == [[10], [11, 12, 13]]
        assert bench.counted.seen == [(1, 10), (3, 36)]
        assert (bench.scheduler.queued_texts, bench.scheduler.queued_tokens) == (0, 0)


def test_a_long_text_shares_no_batch_with_short_ones() -> None:
    with _bench() as bench:
        bench.submit(10)
        bench.session.wait_for_batch()
        for length in (12, 300, 14, 9):
            bench.submit(length)
        bench.let_end()
        bench.done.wait_for(5)
        assert [sorted(batch) for batch in bench.session.batches[1:]] == [[9, 12, 14], [300]]


def test_a_batch_keeps_to_its_places_and_to_its_texts() -> None:
    with _bench(max_batch_tokens=64, max_batch_texts=3) as bench:
        bench.submit(8)
        bench.session.wait_for_batch()
        bench.submit(*[8] * 20, *[30] * 5)
        bench.let_end()
        bench.done.wait_for(2)
        assert max(len(batch) for batch in bench.session.batches) == 3
        assert max(len(batch) * max(batch) for batch in bench.session.batches) <= 64


def test_the_oldest_text_is_never_overtaken_for_ever() -> None:
    with _bench() as bench:
        bench.submit(10)
        bench.session.wait_for_batch()
        old = bench.submit(400)
        for _ in range(300):
            bench.submit(10)
        bench.let_end(1)
        bench.session.wait_for_batch()
        assert bench.session.batches[1] == [400]
        bench.let_end(1)
        assert old in bench.done.wait_for(2)


def test_logits_come_in_input_order_whatever_the_batches() -> None:
    with _bench(threads=2, max_batch_tokens=64) as bench:
        bench.let_end()
        job = bench.submit(30, 5, 60, 7, 31, 6, 500, first=10)
        bench.done.wait_for(1)
        assert job.logits[:, 0].tolist() == [10, 11, 12, 13, 14, 15, 16]
        assert len(bench.session.batches) > 3


def test_two_threads_run_two_batches_at_a_time() -> None:
    with _bench(threads=2, max_batch_tokens=64) as bench:
        bench.submit(*[60] * 4)
        bench.session.wait_for_batch()
        bench.session.wait_for_batch()
        assert len(bench.session.batches) == 2
        bench.let_end()
        bench.done.wait_for(1)
        assert len(bench.session.batches) == 4


def test_what_nobody_waits_for_any_more_does_not_run() -> None:
    with _bench() as bench:
        bench.submit(10)
        bench.session.wait_for_batch()
        gone = bench.submit(20, 20)
        bench.submit(30)
        gone.error = RuntimeError("the client is gone")
        bench.let_end()
        bench.done.wait_for(2)
        assert bench.session.batches == [[10], [30]]
        assert gone not in bench.done.jobs and bench.scheduler.queued_tokens == 0


def test_a_batch_that_fails_fails_its_jobs_alone() -> None:
    with _bench() as bench:
        bench.session.fails_at = 1
        first = bench.submit(10)
        bench.session.wait_for_batch()
        broken = [bench.submit(20), bench.submit(20, 200)]
        bench.let_end()
        bench.done.wait_for(3)
        assert first.error is None
        for job in broken:
            assert isinstance(job.error, BackendError) and "secret" not in str(job.error)
            assert str(job.error.__cause__) == "/secret/path"
            assert bench.done.jobs.count(job) == 1
        later = bench.submit(10)
        assert later in bench.done.wait_for(4) and later.error is None


@pytest.mark.parametrize("threads", [1, 2])
def test_closing_answers_what_is_queued(threads: int) -> None:
    bench = _Bench(threads)
    jobs = [bench.submit(10), *(bench.submit(length) for length in (20, 300, 40))]
    bench.let_end()
    bench.scheduler.close()
    assert set(bench.done.jobs) == set(jobs)
    assert not bench.scheduler.is_running
    with pytest.raises(SchedulerClosedError):
        bench.submit(1)


def test_with_max_wait_a_batch_waits_for_more_but_not_for_ever() -> None:
    with _bench(max_wait=0.3) as bench:
        bench.let_end()
        began = time.monotonic()
        bench.submit(10)
        bench.submit(12)
        bench.done.wait_for(2)
        assert [sorted(batch) for batch in bench.session.batches] == [[10, 12]]
        assert 0.3 <= time.monotonic() - began < 2


def test_with_max_wait_a_full_batch_does_not_wait() -> None:
    with _bench(max_wait=60.0, max_batch_tokens=64) as bench:
        bench.let_end()
        bench.submit(16, 16, 16, 16)
        bench.done.wait_for(1)
        assert bench.session.batches == [[16, 16, 16, 16]]


@pytest.mark.filterwarnings("error")
def test_only_the_job_whose_logits_are_no_numbers_fails() -> None:
    encodings = [Encoding(np.ones(3, dtype=np.int64), np.zeros(3, dtype=np.int64), False)] * 2
    good, bad, gone = (Job(encodings, labels=2) for _ in range(3))
    good.logits[:] = [[1.0, 1.0], [-90.0, 5.0]]
    bad.logits[:] = [[1.0, 2.0], [np.nan, -np.inf]]
    gone.error = RuntimeError("the client is gone")
    rank([good, bad, gone], "softmax")
    assert good.error is None and isinstance(bad.error, BackendError)
    assert good.scores == pytest.approx(np.array([[0.5, 0.5], [0.0, 1.0]]), abs=1e-6)
    assert good.order.tolist() == [[0, 1], [1, 0]]
