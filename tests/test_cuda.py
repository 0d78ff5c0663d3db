"""The ladder of captured batches and what a full GPU does, on the CPU: the same code but the GPU.

The graph is one for CUDA, in float32 and of operators that the CPU has as well. That captured runs
give the same on a GPU, tests/test_gpu.py shows where there is one.
"""

import logging
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from bertrt.backend import create_session
from bertrt.cuda import CudaSession
from bertrt.cuda_graphs import COLUMN_INDEX, LADDER, Captured, Rung, choose_rung
from bertrt.devices import CPU
from bertrt.errors import BackendError
from bertrt_export.checkpoint import load_checkpoint
from bertrt_export.packed import packed_graph
from hypothesis import given
from hypothesis import strategies as st

_MAX_LENGTH = 64
_LOGITS = ["logits"]


@pytest.fixture(scope="module")
def file(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    graph = packed_graph(load_checkpoint(str(tiny_checkpoint)), "rectangle", _MAX_LENGTH)
    path = tmp_path_factory.mktemp("rectangle") / "model.onnx"
    ir.save(graph, path)
    return path


@pytest.fixture(scope="module")
def plain(file: Path) -> Any:
    return create_session(file, [CPU], 1)


@pytest.fixture(scope="module")
def session(file: Path) -> CudaSession:
    opened = create_session(file, [CPU], 1)
    return CudaSession(opened, graphs=True, max_length=_MAX_LENGTH, device="cpu")


def _batch(lengths: Sequence[int]) -> dict[str, np.ndarray]:
    random = np.random.default_rng(sum(lengths))
    tokens = sum(lengths)
    return {
        "input_ids": random.integers(0, 1000, tokens),
        "token_type_ids": random.integers(0, 2, tokens),
        "lengths": np.array(lengths, dtype=np.int32),
    }


# The ladder


@given(st.lists(st.integers(1, 512), min_size=1, max_size=40), st.sampled_from([8, 64, 512]))
def test_a_rung_has_room_for_the_batch_and_for_what_fills_it_up(
    lengths: list[int], max_length: int
) -> None:
    lengths = [min(length, max_length) for length in lengths]
    tokens, texts, longest = sum(lengths), len(lengths), max(lengths)

    def fits(rung: Rung) -> bool:
        left = rung.tokens - tokens
        filled = 1 <= left <= min(max_length, rung.longest) and rung.texts > texts
        return (filled or rung == Rung(tokens, texts)) and longest <= rung.longest

    expected = [rung for rung in LADDER if fits(rung)]
    assert choose_rung(tokens, texts, longest, max_length) == next(iter(expected), None)


def test_rungs_of_well_known_batches() -> None:
    assert choose_rung(128, 1, 128, 512) == Rung(128, 1)
    assert choose_rung(100, 1, 100, 512) == Rung(128, 2)
    assert choose_rung(512, 1, 512, 512) == Rung(512, 1)
    assert choose_rung(1, 1, 1, 512) == Rung(16, 2)
    assert choose_rung(400, 32, 13, 512) == Rung(512, 33)
    assert choose_rung(513, 2, 300, 512) is None
    assert choose_rung(40, 33, 2, 512) is None


def test_one_long_text_among_short_ones_is_not_captured_in_a_wide_rectangle() -> None:
    assert choose_rung(400, 32, 300, 512) is None
    assert all(rung.texts * rung.longest <= 8 * rung.tokens + 16 * rung.texts for rung in LADDER)
    assert all(rung.longest == rung.tokens for rung in LADDER if rung.texts <= 8)


# Runs


@pytest.mark.parametrize(
    "lengths",
    [[1], [16], [15], [64], [3, 4, 5], [9] * 4, [9] * 5, [1] * 32, [64] * 7, [2, 64, 30], [64] * 9],
    ids=str,
)
def test_answers_are_those_without_a_ladder(
    session: CudaSession, plain: Any, lengths: list[int]
) -> None:
    batch = _batch(lengths)
    expected = plain.run(_LOGITS, batch)[0]
    for _ in range(2):  # captured, replayed
        (logits,) = session.run(_LOGITS, batch)
        assert logits.shape == expected.shape and logits.dtype == np.float32
        np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_what_an_earlier_batch_left_in_the_buffers_does_not_matter(
    session: CudaSession, plain: Any
) -> None:
    for lengths in ([30, 31], [5], [10, 11, 12, 20], [30, 27], [5]):
        batch = _batch(lengths)
        np.testing.assert_allclose(
            session.run(_LOGITS, batch)[0], plain.run(_LOGITS, batch)[0], atol=1e-5
        )


@pytest.mark.parametrize("lengths", [[53], [10, 11, 12, 20], [30, 27], [16]], ids=str)
def test_every_token_of_a_rung_belongs_to_a_text(session: CudaSession, lengths: list[int]) -> None:
    """One that belonged to none would have a position past the last text's, and the table's end."""
    session.run(_LOGITS, _batch(lengths))
    rung = choose_rung(sum(lengths), len(lengths), max(lengths), _MAX_LENGTH)
    assert rung is not None
    (held,) = (each for key, each in session._captured.items() if key == rung)
    assert held._host["lengths"].sum() == rung.tokens
    assert held._host["lengths"][: len(lengths)].tolist() == lengths


def test_batches_of_one_rung_differ_in_texts() -> None:
    assert choose_rung(53, 4, 20, _MAX_LENGTH) == choose_rung(57, 2, 30, _MAX_LENGTH) == Rung(64, 5)


def test_answers_stay_as_they_are_when_the_next_come(session: CudaSession) -> None:
    (first,) = session.run(_LOGITS, _batch([7]))
    kept = first.copy()
    session.run(_LOGITS, _batch([9]))
    np.testing.assert_array_equal(first, kept)


def test_threads_share_one_session(session: CudaSession, plain: Any) -> None:
    failures: list[str] = []

    def work(number: int) -> None:
        for turn in range(20):
            batch = _batch([1 + (number * 7 + turn) % 30, 4])
            logits = session.run(_LOGITS, batch)[0]
            if not np.allclose(logits, plain.run(_LOGITS, batch)[0], atol=1e-5):
                failures.append(f"{number}, {turn}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_warming_up_captures_single_texts(file: Path) -> None:
    opened = create_session(file, [CPU], 1)
    session = CudaSession(opened, graphs=True, max_length=_MAX_LENGTH, device="cpu")
    session.warm_up(_LOGITS)
    assert sorted(session._captured) == [Rung(n, t) for n in (16, 32, 48, 64) for t in (1, 2)]


@pytest.mark.parametrize("warm", [True, False])
def test_where_capturing_fails_batches_run_as_they_are(
    file: Path,
    plain: Any,
    warm: bool,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = CudaSession(
        create_session(file, [CPU], 1), graphs=True, max_length=_MAX_LENGTH, device="cpu"
    )
    asked: list[Rung] = []

    def fail(captured: Captured, feeds: Any) -> None:
        asked.append(captured._rung)
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(Captured, "run", fail)
    batch = _batch([5, 6])
    with caplog.at_level(logging.WARNING, "bertrt"):
        if warm:
            session.warm_up(_LOGITS)
        for _ in range(2):
            (logits,) = session.run(_LOGITS, batch)
            np.testing.assert_array_equal(logits, plain.run(_LOGITS, batch)[0])
    assert len(asked) == 1 and not session._captured
    (record,) = caplog.records
    assert "not be captured" in record.message and "is capturing" in record.message


def test_a_forked_process_is_told_to_load_the_model_itself(
    session: CudaSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its thread is not there; waiting for it would never end."""
    monkeypatch.setattr(os, "getpid", lambda: 1)
    with pytest.raises(BackendError, match="load it in the child"):
        session.run(_LOGITS, _batch([3]))


def test_without_graphs_nothing_is_captured(file: Path, plain: Any) -> None:
    session = CudaSession(create_session(file, [CPU], 1), graphs=False, max_length=_MAX_LENGTH)
    session.warm_up(_LOGITS)
    batch = _batch([5, 6])
    np.testing.assert_array_equal(session.run(_LOGITS, batch)[0], plain.run(_LOGITS, batch)[0])
    assert not session._captured


# A GPU whose memory is full


class _Gpu:
    """Takes batches of so many tokens, and answers with the sum of each text's ids."""

    def __init__(self, tokens: int, message: str) -> None:
        self.tokens, self.message = tokens, message
        self.asked: list[int] = []

    def get_inputs(self) -> list[Any]:
        return [SimpleNamespace(name=name) for name in ("input_ids", "lengths")]

    def get_overridable_initializers(self) -> list[Any]:
        return [SimpleNamespace(name=COLUMN_INDEX)]

    def run(self, outputs: list[str], feeds: dict[str, np.ndarray], options: Any) -> list[Any]:
        ids, lengths = feeds["input_ids"], feeds["lengths"]
        assert 0 <= len(feeds[COLUMN_INDEX]) - lengths.max() < 8 and lengths.sum() == len(ids)
        self.asked.append(len(ids))
        if len(ids) > self.tokens:
            raise RuntimeError(self.message)
        ends = np.cumsum(lengths)
        return [np.array([[ids[e - n : e].sum()] for e, n in zip(ends, lengths, strict=True)])]


_FULL = "BFCArena::AllocateRawInternal: Failed to allocate memory for requested buffer of size 9"


def _full(tokens: int, message: str = _FULL) -> tuple[_Gpu, CudaSession]:
    gpu = _Gpu(tokens, message)
    return gpu, CudaSession(gpu, graphs=False, max_length=512)


def _feeds(lengths: Sequence[int]) -> dict[str, np.ndarray]:
    batch = _batch(lengths)
    return {name: batch[name] for name in ("input_ids", "lengths")}


@pytest.mark.parametrize(
    "message",
    [
        _FULL,
        "CUDA failure 2: out of memory ; GPU=0 ; hostname=x ; file=y",
        "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED",
    ],
)
def test_a_batch_that_does_not_fit_is_halved(
    message: str, caplog: pytest.LogCaptureFixture
) -> None:
    feeds = _feeds([180, 500, 80, 400, 340])
    (expected,) = _full(10_000)[1].run(_LOGITS, feeds)
    gpu, session = _full(1000, message)
    with caplog.at_level(logging.WARNING, "bertrt"):
        (logits,) = session.run(_LOGITS, feeds)
    np.testing.assert_array_equal(logits, expected)
    assert gpu.asked == [1500, 680, 820]
    (record,) = caplog.records
    assert "a batch of 1500 tokens" in record.message and "max_batch_tokens" in record.message


def test_the_next_of_its_size_is_halved_at_once(caplog: pytest.LogCaptureFixture) -> None:
    gpu, session = _full(1000)
    with caplog.at_level(logging.WARNING, "bertrt"):
        for _ in range(3):
            session.run(_LOGITS, _feeds([400, 400, 400, 400]))
    assert gpu.asked == [1600, 800, 800, 800, 800, 800, 800]
    assert len(caplog.records) == 1


def test_halves_that_do_not_fit_are_halved_too() -> None:
    gpu, session = _full(500)
    assert session.run(_LOGITS, _feeds([400] * 5))[0].shape == (5, 1)
    assert max(gpu.asked[-3:]) <= 500


def test_a_small_batch_that_does_not_fit_says_nothing_of_others() -> None:
    """Something else has taken the memory, and may give it back."""
    gpu, session = _full(100)
    session.run(_LOGITS, _feeds([60, 60]))
    gpu.tokens = 1000
    session.run(_LOGITS, _feeds([60, 60]))
    assert gpu.asked == [120, 60, 60, 120]


def test_one_text_that_does_not_fit_is_an_error() -> None:
    _, session = _full(10)
    with pytest.raises(BackendError, match="no memory for one text of 11 tokens"):
        session.run(_LOGITS, _feeds([11]))


def test_other_errors_are_not_taken_for_a_full_memory() -> None:
    gpu, session = _full(10, "Non-zero status code returned while running MatMul node")
    with pytest.raises(RuntimeError, match="MatMul"):
        session.run(_LOGITS, _feeds([20, 20]))
    assert gpu.asked == [40]


def test_padded_batches_are_halved_by_rows() -> None:
    class _Padded(_Gpu):
        def get_overridable_initializers(self) -> list[Any]:
            return []

        def run(self, outputs: list[str], feeds: dict[str, np.ndarray], options: Any) -> list[Any]:
            self.asked.append(feeds["input_ids"].size)
            if feeds["input_ids"].size > self.tokens:
                raise RuntimeError(self.message)
            return [feeds["input_ids"].sum(axis=1, keepdims=True)]

    gpu = _Padded(12, _FULL)
    session = CudaSession(gpu, graphs=False, max_length=512)
    ids = np.arange(20).reshape(5, 4)
    (logits,) = session.run(_LOGITS, {"input_ids": ids, "attention_mask": np.ones_like(ids)})
    np.testing.assert_array_equal(logits, ids.sum(axis=1, keepdims=True))
    assert gpu.asked == [20, 8, 12]
