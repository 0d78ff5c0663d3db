"""Make things ahead of who needs them."""

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

__all__ = ["prefetch"]

Item = TypeVar("Item")

_END = object()


def prefetch(items: Iterable[Item], ahead: int = 2) -> Iterator[Item]:
    """The items in their order, made on a thread of their own, at most `ahead` before their turn.

    What making one raises is raised at its turn. Who stops early lets the thread end after the item
    that it is at.
    """
    made: queue.Queue[object] = queue.Queue(ahead)
    stopped = threading.Event()
    failure: list[BaseException] = []

    def put(item: object) -> None:
        while not stopped.is_set():
            try:
                made.put(item, timeout=0.1)
            except queue.Full:
                continue
            return

    def work() -> None:
        try:
            for item in items:
                put(item)
                if stopped.is_set():
                    return
        except BaseException as error:  # raised again where the items are used
            failure.append(error)
        put(_END)

    threading.Thread(target=work, name="bertrt-prefetch", daemon=True).start()
    try:
        while (item := made.get()) is not _END:
            yield item  # type: ignore[misc]  # only _END is not an item
    finally:
        stopped.set()
    if failure:
        raise failure[0]
