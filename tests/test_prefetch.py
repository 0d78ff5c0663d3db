"""Things made ahead."""

import threading
import time
from collections.abc import Iterator

import pytest
from bertrt.prefetch import prefetch


def test_order_and_end() -> None:
    assert list(prefetch(iter(range(100)))) == list(range(100))
    assert list(prefetch([])) == []
    assert list(prefetch([None, (), ""])) == [None, (), ""]


def test_items_are_made_ahead_and_no_further() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(10):
            made.append(number)
            yield number

    ahead = prefetch(items(), ahead=2)
    assert next(ahead) == 0
    deadline = time.monotonic() + 10
    while len(made) < 4 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.05)
    assert made == [0, 1, 2, 3], "one is used, two wait, and the next is held for its place"
    assert list(ahead) == list(range(1, 10))


def test_an_error_comes_at_its_turn() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise KeyError("second")

    ahead = prefetch(items())
    assert next(ahead) == 1
    with pytest.raises(KeyError, match="second"):
        next(ahead)


def test_who_stops_early_stops_the_thread() -> None:
    ended = threading.Event()

    def items() -> Iterator[int]:
        try:
            number = 0
            while True:
                yield (number := number + 1)
        finally:
            ended.set()

    source = items()
    ahead = prefetch(source)
    assert next(ahead) == 1
    ahead.close()  # type: ignore[attr-defined]
    deadline = time.monotonic() + 10
    while any(t.name == "bertrt-prefetch" for t in threading.enumerate()):
        assert time.monotonic() < deadline, "the thread goes on"
        time.sleep(0.01)
    source.close()  # type: ignore[attr-defined]
    assert ended.is_set()
