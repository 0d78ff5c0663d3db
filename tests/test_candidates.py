"""Timing the graphs by turns, and choosing the fastest."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from bertrt.cpus import available_cpus
from bertrt.packing import PackedBatch
from bertrt.tokenizer import Encoding
from bertrt_export import candidates
from bertrt_export.candidates import Timing, fastest, time_candidates

_GRAPHS = {"fp32": Path("a.onnx"), "int8": Path("b.onnx")}
_ROUNDS = 7


def _text(tokens: int) -> Encoding:
    ids = np.arange(tokens)
    return Encoding(ids, np.zeros_like(ids), False)


class _Machine:
    """Stands for onnxruntime and the clock: a batch takes a graph's seconds a token.

    runs: the graph of every run, with the lengths of its texts.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **seconds_a_token: float) -> None:
        self.now = 0.0
        self.runs: list[tuple[str, list[int]]] = []
        self.slower = 1.0
        self._seconds = seconds_a_token
        monkeypatch.setattr(candidates, "Session", self._session)
        monkeypatch.setattr(candidates, "time", SimpleNamespace(perf_counter=lambda: self.now))

    def _session(self, graph: Path, *, device: str, threads: int) -> SimpleNamespace:
        assert (device, threads) == ("cpu", available_cpus())

        def run(batch: PackedBatch) -> None:
            self.runs.append((graph.name, batch.lengths.tolist()))
            self.now += self.slower * self._seconds[graph.stem] * int(batch.lengths.sum())

        def run_all(batches: list[PackedBatch]) -> None:
            for batch in batches:
                run(batch)

        return SimpleNamespace(run=run, run_all=run_all)

    def turns(self) -> list[str]:
        """The graphs in the order in which they took turns."""
        names = [name for name, _ in self.runs]
        return [name for name, before in zip(names, [None, *names], strict=False) if name != before]


def _time(
    count: int, on_progress: Callable[[int, int], None] = lambda *_: None
) -> dict[str, Timing]:
    return time_candidates(_GRAPHS, [_text(10)] * count, on_progress)


def test_graphs_take_turns_in_every_round(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = _Machine(monkeypatch, a=1.0, b=1.0)
    _time(20)
    assert machine.turns() == ["a.onnx", "b.onnx"] * (1 + _ROUNDS)


def test_some_texts_are_run_alone_and_more_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = _Machine(monkeypatch, a=1.0, b=1.0)
    _time(300)
    for graph in ("a.onnx", "b.onnx"):
        lengths = [lengths for name, lengths in machine.runs if name == graph]
        a_round = lengths[: len(lengths) // (1 + _ROUNDS)]
        assert lengths == a_round * (1 + _ROUNDS)
        assert a_round[:16] == [[10]] * 16
        assert sum(len(batch) for batch in a_round[16:]) == 256
        assert len(a_round[16:]) == 6, "512 tokens a batch"


@pytest.mark.parametrize("count", [1, 5, 16, 300])
def test_units_are_milliseconds_alone_and_texts_a_second_in_batches(
    monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    _Machine(monkeypatch, a=0.004, b=0.001)
    timings = _time(count)
    assert list(timings) == ["fp32", "int8"]
    assert timings["fp32"].alone == pytest.approx([40.0] * _ROUNDS)
    assert timings["fp32"].batched == pytest.approx([25.0] * _ROUNDS)
    assert timings["int8"].alone == pytest.approx([10.0] * _ROUNDS)
    assert timings["int8"].batched == pytest.approx([100.0] * _ROUNDS)


def test_each_round_is_told_and_the_first_is_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = _Machine(monkeypatch, a=0.001, b=0.001)
    told: list[tuple[int, int]] = []

    def on_progress(done: int, total: int) -> None:
        told.append((done, total))
        machine.slower = 1000.0 if done == 0 else float(done)

    timings = _time(4, on_progress)
    assert told == [(number, 8) for number in range(8)]
    for timing in timings.values():
        assert timing.alone == pytest.approx([10.0 * number for number in range(1, 8)])
        assert timing.batched == pytest.approx([100.0 / number for number in range(1, 8)])


def test_real_graphs_are_timed(tiny_int8_artifact: Path) -> None:
    graphs = {"fp32": tiny_int8_artifact / "model.onnx"}
    graphs["int8"] = tiny_int8_artifact / "model_int8.onnx"
    timings = time_candidates(graphs, [_text(8)] * 4, lambda done, total: None)
    for timing in timings.values():
        assert len(timing.alone) == len(timing.batched) == _ROUNDS
        assert min(*timing.alone, *timing.batched) > 0
    assert fastest(timings) in graphs


# The fastest


@pytest.mark.parametrize(
    ("fp32", "int8", "expected"),
    [
        pytest.param((2.0, 100.0), (1.0, 200.0), "int8", id="faster at both"),
        pytest.param((1.0, 200.0), (2.0, 100.0), "fp32", id="slower at both"),
        pytest.param((1.0, 100.0), (1.0, 101.0), "int8", id="alike alone"),
        pytest.param((1.0, 100.0), (0.99, 100.0), "int8", id="alike in batches"),
        pytest.param((1.0, 100.0), (2.0, 210.0), "int8", id="half alone, over twice in batches"),
        pytest.param((1.0, 100.0), (2.0, 190.0), "fp32", id="half alone, under twice in batches"),
        pytest.param((1.0, 100.0), (0.5, 45.0), "fp32", id="twice alone, under half in batches"),
        pytest.param((1.0, 100.0), (0.5, 55.0), "int8", id="twice alone, over half in batches"),
        pytest.param((1.0, 100.0), (1.0, 100.0), "fp32", id="a tie goes to the first"),
        pytest.param((1.0, 100.0), (2.0, 200.0), "fp32", id="a tie of unlike figures"),
    ],
)
def test_the_fastest_by_both_figures_alike(
    fp32: tuple[float, float], int8: tuple[float, float], expected: str
) -> None:
    timings = {
        name: Timing((alone,) * 3, (batched,) * 3)
        for name, (alone, batched) in {"fp32": fp32, "int8": int8}.items()
    }
    assert fastest(timings) == expected


def test_a_disturbed_round_decides_nothing() -> None:
    calm = Timing((1.0, 1.0, 1.0), (100.0, 100.0, 100.0))
    disturbed = Timing((0.9, 90.0, 0.9), (110.0, 1.0, 110.0))
    assert fastest({"calm": calm, "disturbed": disturbed}) == "disturbed"
    lucky = Timing((1.1, 0.01, 1.1), (90.0, 9000.0, 90.0))
    assert fastest({"calm": calm, "lucky": lucky}) == "calm"
