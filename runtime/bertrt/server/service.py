"""Admission -> tokens -> queue -> answer: texts to a Classification, for every protocol."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from bertrt.errors import BertrtError
from bertrt.long_text import LongTextOptions
from bertrt.server.classification import Caller, Classification
from bertrt.server.encoded import Encoded, encode
from bertrt.server.errors import (
    ClientGoneError,
    DeadlineError,
    NotReadyError,
    OverloadedError,
    QueueTimeoutError,
)
from bertrt.server.limits import check_count, checked_size
from bertrt.server.metrics import Metrics
from bertrt.server.models import ModelRegistry, ServedModel
from bertrt.server.scheduler import Job, Scheduler, SchedulerClosedError
from bertrt.server.settings import Settings
from bertrt.server.zero_shot import Question
from bertrt.tokenizer import TextInput

__all__ = ["Service"]

_logger = logging.getLogger("bertrt.server")

# Up to this many characters are tokenized where they arrive (well under a millisecond); more would
# keep other requests waiting, and go to a thread.
_INLINE_CHARACTERS = 4_000

# A request that is not answered within this many seconds is watched: a client that goes away, and
# a request that waits for too long. Those that are answered sooner are spared the cost.
_WATCH_AFTER = 0.05


class Service:
    """The models behind admission, tokenizer and queue. Belongs to one event loop.

    sources: a folder or hub id for each name; the first is the default.
    """

    def __init__(self, sources: Mapping[str, str], settings: Settings) -> None:
        self.settings = settings
        self._windows = settings.windows
        self.metrics = Metrics()
        self.models = ModelRegistry(sources, settings, self.metrics, self._jobs_done)
        self.draining = False
        self._loaded = False
        self._loop = asyncio.get_running_loop()
        self._in_flight = 0
        self._submitting: list[tuple[ServedModel, Job]] = []
        # Loading has a thread of its own, so that a reload does not keep long texts waiting.
        self._tokenizing = ThreadPoolExecutor(1, "bertrt-tokenizer")
        self._loading = ThreadPoolExecutor(1, "bertrt-loader")

    def require_ready(self) -> None:
        """NotReadyError unless every model answers, and the server is not stopping."""
        self._require_loaded()
        if self.draining:
            raise NotReadyError("the server is stopping")
        if not all(model.scheduler.is_running for model in self.models):
            raise NotReadyError("a model's thread has ended: start the server again")

    def _require_loaded(self) -> None:
        if not self._loaded:
            raise NotReadyError("the model is still loading")

    async def load(self) -> None:
        """Load the models, and log what they are; raises what `Classifier` raises."""
        await self._loop.run_in_executor(self._loading, self.load_here)

    def load_here(self) -> None:
        """Load the models on the thread that calls, where the event loop has nothing else to do."""
        self.models.load()
        for model in self.models:
            classifier = model.classifier
            _logger.info(
                "model %s: %d labels, %s on %s, %d threads",
                model.name,
                len(classifier.labels),
                classifier.precision,
                classifier.provider,
                classifier.threads,
            )
        self._loaded = True

    async def reload(self) -> None:
        """Load the models anew, while the old ones go on; one that fails leaves the old one."""
        await self._loop.run_in_executor(self._loading, self.models.reload)

    async def close(self) -> None:
        """Answer what is queued and stop."""
        await self._loop.run_in_executor(self._loading, self.models.close)
        self._tokenizing.shutdown()
        self._loading.shutdown()

    async def classify(
        self,
        texts: Sequence[TextInput],
        caller: Caller,
        *,
        model: str | None = None,
        truncate: bool | None = None,
        side: str | None = None,
    ) -> Classification:
        """Classify texts and pairs.

        model: a name; None for the default. truncate: cut texts over the model's limit (on the
        `left` or `right` side), by default as `auto_truncate` and `long_text` say.
        Raises the errors of `bertrt.server.errors`.
        """
        options = self._windows if truncate is None else LongTextOptions(truncate=truncate)
        with self._admitted():
            characters = checked_size(texts, self.settings)
            return await self._run(
                lambda served: encode(served.classifier.tokenizer, texts, options, side),
                caller,
                model,
                inline=characters <= _INLINE_CHARACTERS,
            )

    async def classify_ids(
        self, texts: Sequence[Sequence[int]], caller: Caller, *, model: str | None = None
    ) -> Classification:
        """Classify texts that the client has tokenized, special tokens included.

        Raises InputError for ids that the model does not have, TextTooLongError for too many.
        """
        with self._admitted():
            check_count(len(texts), self.settings)
            return await self._run(
                lambda served: Encoded(served.classifier.tokenizer.from_ids(texts)),
                caller,
                model,
                inline=True,
            )

    async def zero_shot(
        self,
        question: Question,
        caller: Caller,
        *,
        model: str | None = None,
        truncate: bool | None = None,
    ) -> Classification:
        """Classify the pairs of each text and the hypothesis of each label.

        The logits are those of the pairs; tokens and truncated are of the texts. truncate: cut
        texts that are over the limit with a hypothesis, by default as `auto_truncate` says.
        Raises UnsupportedError for a model that was not trained for it.
        """
        cut = self.settings.auto_truncate if truncate is None else truncate
        with self._admitted():
            return await self._run(
                lambda served: question.encode(served, truncate=cut),
                caller,
                model,
                inline=question.characters <= _INLINE_CHARACTERS,
            )

    @contextmanager
    def _admitted(self) -> Iterator[None]:
        """One of the permits; OverloadedError if none is left."""
        self._require_loaded()
        if self._in_flight >= self.settings.max_concurrent_requests:
            raise OverloadedError(
                f"{self._in_flight} requests are on their way, which is max_concurrent_requests: "
                "try again a little later"
            )
        self._in_flight += 1
        self.metrics.in_flight.set(self._in_flight)
        try:
            yield
        finally:
            self._in_flight -= 1
            self.metrics.in_flight.set(self._in_flight)

    async def _run(
        self,
        encode: Callable[[ServedModel], Encoded],
        caller: Caller,
        model: str | None,
        *,
        inline: bool,
    ) -> Classification:
        """Encode the texts, here or in a thread; queue them; wait for their logits."""
        while True:
            served = self.models.get(model)
            began = time.monotonic()
            if inline:
                encoded = encode(served)
            else:
                encoded = await self._loop.run_in_executor(self._tokenizing, encode, served)
            waiter = self._loop.create_future()
            labels = len(served.classifier.labels)
            job = Job(encoded.encodings, labels, waiter, encoded.combine)
            self._submit_soon(served, job)
            try:
                await self._answer(job, caller)
                break
            except SchedulerClosedError:
                continue  # the model was loaded anew meanwhile: its texts go to the new one
        seconds = {
            "tokenize": job.queued - began,
            "queue": job.started - job.queued,
            "inference": job.finished - job.started,
        }
        tokens, truncated = encoded.tokens(), encoded.truncated()
        served.metrics.classified(tokens, len(truncated), seconds)
        return Classification(served, job, tokens, truncated, seconds)

    def _submit_soon(self, model: ServedModel, job: Job) -> None:
        """Queue a job once all requests that have come with it are read.

        The loop reads what has arrived on all connections, then runs their handlers. Were each
        queued by itself, the session would begin with the first and leave the others to the next
        batch, and its thread and the loop's would fight for the interpreter meanwhile.
        """
        if not self._submitting:
            self._loop.call_soon(self._submit_all)
        self._submitting.append((model, job))

    def _submit_all(self) -> None:
        submitting, self._submitting = self._submitting, []
        by_scheduler: dict[Scheduler, list[Job]] = {}
        for model, job in submitting:
            by_scheduler.setdefault(model.scheduler, []).append(job)
        for scheduler, jobs in by_scheduler.items():
            try:
                scheduler.submit(jobs)
            except SchedulerClosedError as closed:
                for job in jobs:
                    job.error = closed
                _wake(jobs)

    async def _answer(self, job: Job, caller: Caller) -> None:
        """Wait until the job is done; give it up if its client does, or when it is too late."""
        watches: list[asyncio.Task[None]] = []
        timer = self._loop.call_later(
            _WATCH_AFTER,
            lambda: watches.append(self._loop.create_task(self._watch(job, caller))),
        )
        try:
            await job.waiter
        except BaseException as error:
            job.error = job.error or error  # what has not begun never will
            raise
        finally:
            timer.cancel()
            for watch in watches:
                watch.cancel()

    async def _watch(self, job: Job, caller: Caller) -> None:
        """Fail the waiter of a job that is of no use any more."""
        gone = asyncio.ensure_future(caller.gone())
        try:
            while True:
                now = time.monotonic()
                queued_for = now - job.queued
                left = [] if job.started else [self.settings.queue_timeout - queued_for]
                if caller.deadline is not None:
                    left.append(caller.deadline - now)
                await asyncio.wait([gone], timeout=max(0.0, min(left)) if left else None)
                now = time.monotonic()
                if gone.done():
                    error: BertrtError = ClientGoneError("the client closed the connection")
                elif caller.deadline is not None and now >= caller.deadline:
                    error = DeadlineError("not answered within the time that the request gave")
                elif not job.started and now - job.queued >= self.settings.queue_timeout:
                    error = QueueTimeoutError(
                        f"the request waited for {self.settings.queue_timeout:g} s, which is "
                        "queue_timeout: try again a little later"
                    )
                else:
                    continue
                if not job.waiter.done():
                    job.waiter.set_exception(error)
                return
        finally:
            gone.cancel()

    def _jobs_done(self, jobs: list[Job]) -> None:
        """Hand jobs back to the loop; called on the session's threads."""
        self._loop.call_soon_threadsafe(_wake, jobs)


def _wake(jobs: list[Job]) -> None:
    for job in jobs:
        if job.waiter.done():
            continue  # its client is gone, or it was too late
        if job.error is None:
            job.waiter.set_result(None)
        else:
            job.waiter.set_exception(job.error)
