"""The measuring itself, on peers that are made up: right, wrong, crashing, hanging, raising."""

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from bertrt_bench import benchmark, machine
from bertrt_bench.benchmark import run_benchmark
from bertrt_bench.models import BenchModel
from bertrt_bench.peers.registry import CONTROL, OURS, REFERENCE, Peer
from bertrt_bench.plan import Plan, Turn
from bertrt_bench.report import run_facts
from bertrt_bench.results import Results
from bertrt_bench.tables import board, failures, summary
from bertrt_bench.workloads import TextSet, Workload, WorkloadFacts

pytestmark = pytest.mark.alone  # it watches the clock

_TEXTS = tuple(f"{'word ' * (number % 5 + 1)}{number}" for number in range(12))

_FAKE = """
import os
import sys
import time

import numpy as np


def prepare(checkpoint, folder, calibration):
    (folder / "texts").write_text(str(len(calibration)))


def load(folder, checkpoint, threads):
    return (folder / "texts").read_text()


def right(texts):
    time.sleep(0.01)
    return np.array([[len(t), 20 - len(t), sum(map(ord, t)) % 40] for t in texts], np.float32)


def run(model, texts):
    return right(texts)
"""

_RUNS = {
    "wrong": "return right(texts)[:, ::-1]",
    "nan": "return right(texts) * np.nan",
    "other_shape": "return right(texts)[:, :2]",
    "raises_on_many": """
    if len(texts) > 4:
        raise ValueError("too many texts")
    return right(texts)""",
    "crashes": """
    global calls
    calls += len(texts) > 1
    if calls > 3:  # after the check, and after one text by itself
        print("out of luck", file=sys.stderr, flush=True)
        os._exit(3)
    return right(texts)
calls = 0""",
    "hangs": """
    global calls
    calls += 1
    if calls > 4:  # at the first workload
        if os.fork() == 0:
            (here / "child").write_text(str(os.getpid()))
        else:
            (here / "parent").write_text(str(os.getpid()))
        while True:
            pass
    return right(texts)
calls = 0
from pathlib import Path
here = Path(__file__).parent""",
    "cannot_prepare": "return right(texts)\ndef prepare(*_):\n    raise OSError('disk full')",
    "cannot_load": "return right(texts)\ndef load(*_):\n    os.abort()",
}


def _single(text: str) -> Workload:
    return Workload.single(text, 8)


def _many(size: int) -> Workload:
    facts = WorkloadFacts(f"{size or 'all'} a call", "ragged", size, "arrival", 12, 99, 1.0)
    return Workload(f"ragged-{size or 'all'}-arrival", facts, _TEXTS)


@pytest.fixture
def bench(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Results, list[Turn]]]:
    """Runs a benchmark of right peers and of those named, two rounds, and keeps its turns."""
    monkeypatch.setattr(benchmark, "PAUSE", 0.0)
    monkeypatch.setattr(benchmark, "_CHECK_BATCH", 4)
    monkeypatch.setattr(machine, "_BANDWIDTH_BYTES", 1 << 20)
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "fake_right.py").write_text(_FAKE)
    for name, body in _RUNS.items():
        head = _FAKE[: _FAKE.rindex("    return right(texts)")]
        (modules / f"fake_{name}.py").write_text(f"{head}    {body.strip()}\n")
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    (checkpoint / "config.json").write_text(
        json.dumps({"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2})
    )

    def run(
        faults: Sequence[str] = (),
        timeout: float = 20.0,
        rounds: int = 2,
        own_batches: bool = True,
        interrupt: str = "never",
    ) -> tuple[Results, list[Turn]]:
        def peer(name: str, module: str, kind: Literal["bertrt", "peer", "control"]) -> Peer:
            return Peer(
                name,
                f"fake_{module}",
                "int8",
                ("numpy",),
                kind=kind,
                own_batches=own_batches or kind != "peer",
            )

        peers = {
            OURS: peer("bertrt", "right", "bertrt"),
            **{fault: peer(fault, fault, "peer") for fault in faults},
            REFERENCE: peer("PyTorch", "right", "peer"),
            CONTROL: replace(peer("bertrt again", "right", "control"), prepared_as=OURS),
        }
        texts = TextSet("ragged", "made up", _TEXTS, (8,) * len(_TEXTS), (0,) * len(_TEXTS))
        turns: list[Turn] = []
        plan = Plan(
            model=BenchModel(checkpoint, "fake", "a fake model"),
            peers=peers,
            checked=texts,
            sets=[texts],
            workloads=[_single("one word"), _many(4), _many(0)],
            calibration=["a", "b", "c"],
            threads=2,
            rounds=rounds,
            starts=1,
            turn_seconds=0.0,
            work=tmp_path / "work",
            environments=tmp_path / "envs",
            left_out={"Absent": "not installed"},
            timeout=timeout,
            prepare_timeout=timeout,
            import_paths=[modules],
        )

        def on_turn(turn: Turn, results: Results) -> None:
            turns.append(turn)
            board(results)  # can be drawn at any time
            if turn.title.startswith(interrupt):
                raise KeyboardInterrupt

        return run_benchmark(plan, on_turn), turns

    return run


def _complete(results: Results, name: str) -> bool:
    """Whether a peer was measured in both rounds of everything, without a failure."""
    peer = results.peers[name]
    seconds = [value for by_round in peer.seconds.values() for value in by_round]
    return not peer.failures and len(seconds) == 6 and None not in seconds


def test_right_peers_are_measured_in_every_round(
    bench: Callable[..., tuple[Results, list[Turn]]],
) -> None:
    results, turns = bench()
    assert list(results.peers) == [OURS, REFERENCE, CONTROL]
    for name, peer in results.peers.items():
        assert _complete(results, name)
        assert peer.packages["numpy"]
        assert peer.installed_mb is not None and peer.installed_mb > 1
        assert peer.peak_mb is not None and peer.rss_mb is not None
        assert 1 < peer.rss_mb <= peer.peak_mb
        assert not peer.wrong and peer.answers is not None
        assert (peer.answers.agreement, peer.answers.mean_abs_diff) == (1.0, 0.0)
        assert len(peer.runs["text-8"]) >= 6
        assert set(peer.answers_by_workload) == set(results.workloads)
    assert results.peers[OURS].start_seconds[0] is not None
    assert results.peers[OURS].start_seconds[1:] == []
    assert results.peers[CONTROL].start_seconds == [None]
    assert results.rounds == 2 and len(results.bandwidth) == 2
    assert results.left_out == {"Absent": "not installed"}
    assert [turn.done for turn in turns] == sorted(turn.done for turn in turns)
    assert turns[-1].done == turns[-1].total


def test_peers_take_turns(bench: Callable[..., tuple[Results, list[Turn]]]) -> None:
    _, turns = bench()
    rounds = [turn.title for turn in turns if turn.title.startswith("round ")]
    for number in (1, 2):
        for workload in ("8 tokens", "ragged: 4 a call", "ragged: all a call"):
            head = f"round {number}: {workload}: "
            of_one = [title.removeprefix(head) for title in rounds if title.startswith(head)]
            assert sorted(of_one) == ["PyTorch", "bertrt", "bertrt again"]
            first = rounds.index(head + of_one[0])
            assert rounds[first : first + 3] == [head + title for title in of_one]


def test_what_is_prepared_is_kept(
    bench: Callable[..., tuple[Results, list[Turn]]], tmp_path: Path
) -> None:
    first, _ = bench()
    assert first.peers[OURS].prepare_seconds is not None
    assert first.peers[CONTROL].prepare_seconds is None, "it has the same model"
    folders = sorted((tmp_path / "work" / "prepared" / "fake").iterdir())
    assert [folder.name.rpartition("-")[0] for folder in folders] == [OURS, REFERENCE]
    assert (folders[0] / "texts").read_text() == "3"
    second, _ = bench()
    assert second.peers[OURS].prepare_seconds is None
    assert sorted((tmp_path / "work" / "prepared" / "fake").iterdir()) == folders


@pytest.mark.parametrize("fault", ["wrong", "nan"])
def test_wrong_answers_are_shown_as_wrong(
    bench: Callable[..., tuple[Results, list[Turn]]], fault: str
) -> None:
    results, _ = bench([fault])
    assert results.peers[fault].wrong
    assert [name for name, peer in results.peers.items() if peer.wrong] == [fault]
    assert all(map(results.peers[fault].measured, results.workloads)), "it is timed all the same"
    titles = [row[0] for row in summary(results).rows]
    assert titles == ["bertrt", f"{fault} (WRONG ANSWERS)", "PyTorch"]
    assert (fault, "WRONG") in [row[:2] for row in failures(results).rows]
    assert all(_complete(results, name) for name in (OURS, REFERENCE, CONTROL))


@pytest.mark.parametrize(
    ("fault", "stage", "message", "timed"),
    [
        ("crashes", "ragged-4-arrival", "died during `classify` (exit status 3)", "text-8"),
        ("other_shape", "check", "its logits have the shape (12, 2), PyTorch's (12, 3)", None),
        ("cannot_prepare", "prepare", "failed in `prepare`: OSError: disk full", None),
        ("cannot_load", "load", "died during `load` (exit status -6)", None),
    ],
)
def test_a_peer_that_fails_takes_no_more_turns(
    bench: Callable[..., tuple[Results, list[Turn]]],
    fault: str,
    stage: str,
    message: str,
    timed: str | None,
    tmp_path: Path,
) -> None:
    results, _ = bench([fault])
    peer = results.peers[fault]
    assert list(peer.failures) == [stage]
    assert message in peer.failures[stage]
    rest = [value for key, values in peer.seconds.items() if key != timed for value in values]
    assert rest == [None] * (6 if timed is None else 4)
    if timed is not None:
        assert peer.seconds[timed][0] is not None and peer.seconds[timed][1] is None
    assert all(_complete(results, name) for name in (OURS, REFERENCE, CONTROL))
    (row,) = [row for row in failures(results).rows if row[0] == fault]
    assert row[1] == f"failed: {stage}" and message in row[2]
    assert not list((tmp_path / "work").rglob("*.partial")), "nothing is half made"


def test_only_those_that_make_batches_get_the_whole_list(
    bench: Callable[..., tuple[Results, list[Turn]]],
) -> None:
    results, _ = bench(own_batches=False)
    whole = "ragged-all-arrival"
    assert results.peers[REFERENCE].seconds[whole] == [None, None]
    assert whole not in results.peers[REFERENCE].answers_by_workload
    assert not results.peers[REFERENCE].failures
    for name in (OURS, CONTROL):
        assert _complete(results, name)
        assert results.peers[name].answers_by_workload[whole].agreement == 1.0


def test_whole_rounds_of_an_interrupted_run_are_kept(
    bench: Callable[..., tuple[Results, list[Turn]]],
) -> None:
    results, _ = bench(interrupt="round 2: ragged: 4 a call: bertrt again")
    assert results.rounds == 1 < results.settings["rounds"]
    assert "1 rounds of 2, then interrupted" in run_facts(results)["method"]
    assert len(results.bandwidth) == 1
    for peer in results.peers.values():
        assert [len(values) for values in peer.seconds.values()] == [1, 1, 1]
        assert not peer.failures
    assert results.ratio(REFERENCE, "ragged-4-arrival") is not None
    with pytest.raises(KeyboardInterrupt):
        bench(interrupt="round 1: ragged")


def test_long_turns_are_taken_in_two_rounds_only(
    bench: Callable[..., tuple[Results, list[Turn]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark, "_LONG_SECONDS", 0.015)  # a call takes 0.01
    results, _ = bench(rounds=3)
    for peer in results.peers.values():
        assert None not in peer.seconds["ragged-all-arrival"] + peer.seconds["text-8"]
        assert [value is None for value in peer.seconds["ragged-4-arrival"]] == [False, False, True]


def test_a_peer_that_raises_on_one_workload_goes_on_with_the_others(
    bench: Callable[..., tuple[Results, list[Turn]]],
) -> None:
    results, _ = bench(["raises_on_many"])
    peer = results.peers["raises_on_many"]
    assert list(peer.failures) == ["ragged-all-arrival"]
    assert peer.seconds["ragged-all-arrival"] == [None, None]
    assert None not in peer.seconds["text-8"] + peer.seconds["ragged-4-arrival"]
    assert all(_complete(results, name) for name in (OURS, REFERENCE, CONTROL))


def test_a_peer_that_hangs_is_ended_with_its_children_and_skews_nobody(
    bench: Callable[..., tuple[Results, list[Turn]]], tmp_path: Path
) -> None:
    begin = time.perf_counter()
    results, _ = bench(["hangs"], timeout=3.0)
    assert time.perf_counter() - begin < 60
    peer = results.peers["hangs"]
    (message,) = peer.failures.values()
    assert "gave no answer to `repeat` within 3 s and was ended" in message
    assert not any(map(peer.measured, results.workloads))
    for process in ("child", "parent"):
        number = int((tmp_path / "modules" / process).read_text())
        assert _is_gone(number), f"the {process} still burns a CPU"
    assert all(_complete(results, name) for name in (OURS, REFERENCE, CONTROL))
    for key in results.workloads:  # a right answer sleeps, whatever the other CPUs do
        spread = results.ratio(REFERENCE, key)
        assert spread is not None and 0.5 < spread.median < 2


def _is_gone(process: int) -> bool:
    """Whether it ended; a zombie, whose parent has not asked yet, has."""
    for _ in range(50):
        try:
            os.kill(process, 0)
            if Path(f"/proc/{process}/stat").read_text().split()[2] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.1)
    return False
