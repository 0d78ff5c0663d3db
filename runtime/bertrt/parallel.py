"""Several batches through one session at a time, each on one thread."""

import threading
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

__all__ = ["run_parallel"]

Feeds = Mapping[str, np.ndarray]

_OUTPUTS = ["logits"]


def run_parallel(session: Any, batches: Iterable[Feeds], threads: int) -> list[np.ndarray]:
    """The logits of each batch, in order.

    session: an onnxruntime.InferenceSession that may use `threads` threads: the calling one and a
    pool of the others. batches: the inputs of each by name; the next is asked for when a thread is
    free to run it.

    The calling thread runs batches as ever, and the pool's threads run others meanwhile. An
    operator is split among threads that have nothing to do, so while all are busy, none is: no
    thread waits for another at every operator, and the weights are in memory once, which two
    sessions could not share. A single batch is split among all threads.

    Raises what a batch raises, once no other is running any more.
    """
    return _Runs(session, batches).run(threads)


class _Runs:
    """Which batch is the next, the outputs so far, and how many batches the pool holds."""

    def __init__(self, session: Any, batches: Iterable[Feeds]) -> None:
        self._session = session
        self._batches = enumerate(batches)
        self._outputs: dict[int, np.ndarray] = {}
        self._error: BaseException | None = None
        self._in_pool = 0
        self._changed = threading.Condition()

    def run(self, threads: int) -> list[np.ndarray]:
        """Keep this thread and the pool's `threads - 1` busy until there is no batch left."""
        try:
            numbered = self._next()
            for _ in range(threads - 1):
                self._hand_over()
            while numbered is not None:
                number, feeds = numbered
                self._outputs[number] = self._session.run(_OUTPUTS, feeds)[0]
                numbered = self._next()
        except BaseException as error:
            self._fail(error)
        with self._changed:
            self._changed.wait_for(lambda: self._in_pool == 0)
        if self._error is not None:
            raise self._error
        return [self._outputs[number] for number in range(len(self._outputs))]

    def _next(self) -> tuple[int, Feeds] | None:
        with self._changed:  # an iterator is for one thread at a time
            return next(self._batches, None) if self._error is None else None

    def _hand_over(self) -> None:
        """Give the next batch to the pool, if there is one."""
        numbered = self._next()
        if numbered is None:
            return
        number, feeds = numbered
        with self._changed:
            self._in_pool += 1
        try:
            # What is passed to the callback keeps the inputs' memory until then.
            self._session.run_async(_OUTPUTS, feeds, self._finish, (number, feeds))
        except BaseException:
            self._leave_pool()
            raise

    def _finish(self, outputs: list[np.ndarray], batch: tuple[int, Feeds], error: str) -> None:
        """onnxruntime calls this on the pool's thread; it must not raise."""
        try:
            if error:
                raise RuntimeError(error)
            self._outputs[batch[0]] = outputs[0]
            self._hand_over()
        except BaseException as failure:
            self._fail(failure)
        finally:
            self._leave_pool()

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self._error = self._error or error

    def _leave_pool(self) -> None:
        with self._changed:
            self._in_pool -= 1
            self._changed.notify_all()
