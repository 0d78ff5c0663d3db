"""Texts that wait -> packed batches -> logits: the packing code plus waiting."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from bertrt.errors import BackendError
from bertrt.packing import choose_batch, pack
from bertrt.parallel import Feeds
from bertrt.session import Session
from bertrt.tokenizer import Encoding

__all__ = ["BatchObserver", "Combining", "Job", "Scheduler", "SchedulerClosedError"]

# A batch is chosen among this many texts that have waited longest: enough of them to find like
# lengths, few enough to sort in some tens of microseconds.
_WINDOW = 256


# Logits of encodings, float32 [encodings, labels], to logits of texts, [texts, labels].
Combining = Callable[[np.ndarray], np.ndarray]


class SchedulerClosedError(Exception):
    """The scheduler takes no more jobs."""


class Job:
    """The texts of one request on their way through the session. Times are time.monotonic's.

    logits: float32 [texts, labels], complete once the job is done. scores, order: the same for the
        model's own scores and their ranking, which whoever gets the done jobs may fill in.
    queued, started, finished: when it was made, its first batch began, its last batch ended; 0 for
        what has not been yet.
    combine: makes the logits of texts of those of the encodings, where a text has several; whoever
        gets the done jobs applies it.
    error: why there will be no answer. Whoever does not want it any more sets it: texts of a job
    with an error do not reach the session.
    waiter: the submitter's own; the scheduler does not look at it.
    """

    __slots__ = (
        "combine", "encodings", "error", "finished", "logits", "order", "queued", "remaining",
        "scores", "started", "waiter",
    )  # fmt: skip

    def __init__(
        self,
        encodings: Sequence[Encoding],
        labels: int,
        waiter: Any = None,
        combine: Combining | None = None,
    ) -> None:
        self.encodings = encodings
        self.combine = combine
        self.waiter = waiter
        self.logits = np.empty((len(encodings), labels), dtype=np.float32)
        self.scores = self.order = self.logits
        self.remaining = len(encodings)
        self.queued = time.monotonic()
        self.started = self.finished = 0.0
        self.error: BaseException | None = None


# One text of a job: the job, its position there.
_Item = tuple[Job, int]


class BatchObserver(Protocol):
    """Who counts batches."""

    def batch(self, texts: int, tokens: int) -> None:
        """A batch begins."""


class Scheduler:
    """A queue before a session, and the thread that empties it. Thread-safe.

    A batch is formed when a thread of the session is free to run it, of what has come until then:
    a text that comes alone never waits. With `max_wait` (seconds), a batch that is not full waits
    that long for more.

    done: gets the jobs that a batch completes or fails, on the thread that ran it.
    """

    def __init__(
        self,
        session: Session,
        done: Callable[[list[Job]], None],
        observer: BatchObserver,
        *,
        max_batch_tokens: int,
        max_batch_texts: int | None = None,
        max_wait: float = 0.0,
    ) -> None:
        self._session, self._done, self._observer = session, done, observer
        self._max_batch_tokens, self._max_batch_texts = max_batch_tokens, max_batch_texts
        self._max_wait = max_wait
        self._queue: deque[_Item] = deque()
        self._closed = False
        self._changed = threading.Condition()
        self.queued_tokens = 0
        self._thread = threading.Thread(
            target=session.run_source, args=(self,), name="bertrt-scheduler", daemon=True
        )
        self._thread.start()

    @property
    def queued_texts(self) -> int:
        """How many texts wait."""
        return len(self._queue)

    @property
    def is_running(self) -> bool:
        """Whether the thread that empties the queue is alive."""
        return self._thread.is_alive()

    def submit(self, jobs: Sequence[Job]) -> None:
        """Queue jobs; SchedulerClosedError after `close`."""
        with self._changed:
            if self._closed:
                raise SchedulerClosedError
            for job in jobs:
                self._queue.extend((job, position) for position in range(len(job.encodings)))
                self.queued_tokens += sum(map(len, job.encodings))
            self._changed.notify()

    def close(self) -> None:
        """Run what is queued, then stop; returns when that is done."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def take(self, wait: bool) -> tuple[list[_Item], Feeds] | None:
        """The next batch (see BatchSource)."""
        with self._changed:
            while not (items := self._next_items()):
                if not wait or (self._closed and not self._queue):
                    return None
                self._changed.wait(self._patience(self._queue[0][0]) if self._queue else None)
        encodings = [job.encodings[position] for job, position in items]
        self._observer.batch(len(encodings), sum(map(len, encodings)))
        return items, self._session.feeds(pack(encodings))

    def finish(
        self, key: list[_Item], logits: np.ndarray | None, error: BaseException | None
    ) -> None:
        """Give the logits to their jobs (see BatchSource)."""
        now = time.monotonic()
        ended: list[Job] = []
        with self._changed:
            for row, (job, position) in enumerate(key):
                if job.error is not None:
                    continue  # it has its answer
                if logits is None:
                    job.error = BackendError("onnxruntime failed on a batch")
                    job.error.__cause__ = error
                    ended.append(job)
                    continue
                job.logits[position] = logits[row]
                job.remaining -= 1
                if not job.remaining:
                    job.finished = now
                    ended.append(job)
        if ended:
            self._done(ended)

    def _next_items(self) -> list[_Item]:
        """Take a batch out of the queue; nothing if there is none yet. The lock is held."""
        waiting = self._oldest()
        if not waiting:
            return []
        if self._patience(waiting[0][0]) > 0:
            self._queue.extendleft(reversed(waiting))
            return []
        lengths = [len(job.encodings[position]) for job, position in waiting]
        chosen = choose_batch(lengths, self._max_batch_tokens, self._max_batch_texts)
        taken = set(chosen)
        self._queue.extendleft(
            waiting[at] for at in reversed(range(len(waiting))) if at not in taken
        )
        self.queued_tokens -= sum(lengths[at] for at in chosen)
        now = time.monotonic()
        items = [waiting[at] for at in chosen]
        for job, _ in items:
            job.started = job.started or now
        return items

    def _oldest(self) -> list[_Item]:
        """Take the texts that have waited longest out of the queue, without those of dead jobs."""
        oldest: list[_Item] = []
        while self._queue and len(oldest) < _WINDOW:
            job, position = self._queue.popleft()
            if job.error is None:
                oldest.append((job, position))
            else:
                self.queued_tokens -= len(job.encodings[position])
        return oldest

    def _patience(self, oldest: Job) -> float:
        """Seconds for which a batch that begins with this job should wait for more texts."""
        if self._closed or self.queued_tokens >= self._max_batch_tokens:
            return 0.0
        return max(0.0, oldest.queued + self._max_wait - time.monotonic())
