"""Several batches through one session at a time, each on one thread."""

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

__all__ = ["BatchSource", "Feeds", "run_parallel", "run_source"]

Feeds = Mapping[str, np.ndarray]
Key = TypeVar("Key")

_OUTPUTS = ("logits",)


class BatchSource(Protocol[Key]):
    """Where batches come from and where their logits go. Called from several threads at once."""

    def take(self, wait: bool) -> tuple[Key, Feeds] | None:
        """The next batch: a key of the source's own, and the inputs by name.

        None: there is none, and, where `wait` is true, there will never be another.
        """

    def finish(self, key: Key, logits: np.ndarray | None, error: BaseException | None) -> None:
        """The answer to a batch, or why there is none. Must not raise."""


def run_parallel(
    session: Any, batches: Iterable[Feeds], threads: int, outputs: Sequence[str] = _OUTPUTS
) -> list[np.ndarray]:
    """The logits of each batch, in order.

    session, threads, outputs: as for `run_source`. batches: the inputs of each by name; the next
    is asked for when a thread is free to run it.
    Raises what a batch raises, once no other is running any more.
    """
    source = _Listed(batches)
    run_source(session, source, threads, outputs)
    if source.error is not None:
        raise source.error
    return [source.outputs[number] for number in range(len(source.outputs))]


def run_source(
    session: Any, source: BatchSource[Any], threads: int, outputs: Sequence[str] = _OUTPUTS
) -> None:
    """Run a source's batches until it has no more, and none is running.

    session: an onnxruntime.InferenceSession that may use `threads` threads: the calling one and a
    pool of the others. outputs: the names of what to compute; the first is the logits.

    The calling thread runs batches as ever, and the pool's threads run others meanwhile. An
    operator is split among threads that have nothing to do, so while all are busy, none is: no
    thread waits for another at every operator, and the weights are in memory once, which two
    sessions could not share. A single batch is split among all threads.
    """
    _Runs(session, source, threads, outputs).run()


class _Listed:
    """A source that numbers the batches of an iterable; the first error ends it."""

    def __init__(self, batches: Iterable[Feeds]) -> None:
        self._batches = enumerate(batches)
        self._lock = threading.Lock()
        self.outputs: dict[int, np.ndarray] = {}
        self.error: BaseException | None = None

    def take(self, wait: bool) -> tuple[int, Feeds] | None:
        with self._lock:  # an iterator is for one thread at a time
            if self.error is not None:
                return None
            try:
                return next(self._batches, None)
            except BaseException as error:
                self.error = error
                return None

    def finish(self, key: int, logits: np.ndarray | None, error: BaseException | None) -> None:
        if logits is None:
            with self._lock:
                self.error = self.error or error
        else:
            self.outputs[key] = logits


class _Runs(Generic[Key]):
    """The calling thread's loop, and how many batches the pool holds."""

    def __init__(
        self, session: Any, source: BatchSource[Key], threads: int, outputs: Sequence[str]
    ) -> None:
        self._session = session
        self._outputs = list(outputs)
        self._source = source
        self._pool_size = threads - 1
        self._in_pool = 0
        self._changed = threading.Condition()

    def run(self) -> None:
        """Keep this thread and the pool's busy until there is no batch left."""
        try:
            while (batch := self._source.take(True)) is not None:
                self._fill_pool()
                self._run_here(*batch)
        finally:
            with self._changed:
                self._changed.wait_for(lambda: self._in_pool == 0)

    def _run_here(self, key: Key, feeds: Feeds) -> None:
        try:
            logits = self._session.run(self._outputs, feeds)[0]
        except Exception as error:
            self._source.finish(key, None, error)
        except BaseException as error:  # Ctrl-C: nobody may wait for this batch
            self._source.finish(key, None, error)
            raise
        else:
            self._source.finish(key, logits, None)

    def _fill_pool(self) -> None:
        """Give every free thread of the pool a batch, as long as there are any."""
        while self._in_pool < self._pool_size:
            batch = self._source.take(False)
            if batch is None:
                return
            self._hand_over(*batch)

    def _hand_over(self, key: Key, feeds: Feeds) -> None:
        with self._changed:
            self._in_pool += 1
        try:
            # What is passed to the callback keeps the inputs' memory until then.
            self._session.run_async(self._outputs, feeds, self._pool_finished, (key, feeds))
        except BaseException as error:
            self._source.finish(key, None, error)
            self._leave_pool()

    def _pool_finished(
        self, outputs: list[np.ndarray], batch: tuple[Key, Feeds], error: str
    ) -> None:
        """onnxruntime calls this on the pool's thread; it must not raise."""
        key = batch[0]
        try:
            if error:
                self._source.finish(key, None, RuntimeError(error))
            else:
                self._source.finish(key, outputs[0], None)
            following = self._source.take(False)
            if following is not None:
                self._hand_over(*following)
        finally:
            self._leave_pool()

    def _leave_pool(self) -> None:
        with self._changed:
            self._in_pool -= 1
            self._changed.notify_all()
