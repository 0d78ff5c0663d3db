"""The GPU's benchmark where there is no GPU: tables, steps, and all of its code on the CPU."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bertrt_bench.gpu import pool as pool_module
from bertrt_bench.gpu.comparison import EQUAL, RAGGED
from bertrt_bench.gpu.goals import GOALS, UNMEASURED, share_of_floor, table, times_as_fast
from bertrt_bench.gpu.nodes import placed, said
from bertrt_bench.gpu.pool import BERTRT, COMPILED, EAGER, ENCODED, ENGINES, FLOOR, Pool
from bertrt_bench.gpu.report import engines_table, grids, write_report
from bertrt_bench.gpu.results import Results, StepResult
from bertrt_bench.gpu.run import StepError, in_own_process, run_steps
from bertrt_bench.gpu.settings import Settings
from bertrt_bench.gpu.steps import STEPS, Step
from bertrt_bench.gpu.turns import by_turns

from tests.conftest import gpu_lacks

_ROOT = Path(__file__).resolve().parents[1]


# Results


def _results(**changes: float) -> Results:
    """Made-up results in which all goals are reached, but for what is changed."""
    made = {"agreement": 0.9995, "apart": 1e-4, "eager": 4.0, "compiled": 2.0, "single": 1e-3}
    made = {**made, "single_eager": 4e-3, "floor": 0.6, **changes}
    answers = {"agreement": made["agreement"], "mean_abs_diff": 1e-3, "max_abs_diff": 0.01}
    company = {"mean_abs_diff": made["apart"], "max_abs_diff": 2e-3, "flips": 0}

    def ragged(seconds: float) -> dict[str, list[float]]:
        return {"arrival": [seconds, 1.01 * seconds, 0.99 * seconds]}

    def p50(seconds: float) -> dict[str, dict[str, list[float]]]:
        return {"128": {"p50": [seconds] * 3, "p99": [2 * seconds] * 3}}

    data: dict[str, dict[str, Any]] = {
        "facts": {"gpu": "a GPU"},
        "parity": {
            "texts": 2000,
            "models": {"example": {BERTRT: {**answers, "accuracy": 0.84, "texts": 2000}}},
        },
        "independence": {"models": {"example": {"random_batches": company, "shuffled": company}}},
        "single": {"seconds": {BERTRT: p50(made["single"]), EAGER: p50(made["single_eager"])}},
        "ragged": {
            "texts": 2000,
            "tokens": 47000,
            "seconds": {
                BERTRT: ragged(1.0),
                EAGER: {**ragged(made["eager"]), "sorted": [2.0, 2.0, 2.0]},
                COMPILED: ragged(made["compiled"]),
            },
            "differences": {BERTRT: {"mean": 1e-4, "max": 1e-3}},
            "failures": {"pytorch_cuda_graph": "no capture"},
        },
        "equal": {
            "texts": 4096,
            "tokens": 4096 * 128,
            "seconds": {FLOOR: ragged(made["floor"]), ENCODED: ragged(1.0)},
        },
        "attention": {
            "workloads": {
                "1 x 128": {
                    "tokens": 128,
                    "seconds": {"packed": [0.001], "portable": [0.002]},
                    "differences": {"packed": 0.0, "portable": 1e-3},
                }
            }
        },
        "cuda_graphs": {"lengths": {"8": {"seconds": {"on": [0.001], "off": [0.002]}}}},
        "ladder": {"sets": {"ragged": {"texts": 1, "tokens": 9, "seconds": {"64": [0.1]}}}},
        "nodes": {
            "graphs": {"artifact": {"providers": {"CUDA": 3}, "on_cpu": {"Add": 1}, "memcpy": 0}}
        },
        "attention_kernels": {"graphs": {"artifact": {"1 x 128": {"flash": 12}}}},
        "gpu_kernels": {
            "graphs": {"artifact": {"1 x 128": [{"kernel": "gemm", "us": 3.0, "calls": 1}]}}
        },
        "memory": {"engines": {BERTRT: {"loaded": 900.0, "ragged": 1000.0, "rss_mb": 500.0}}},
    }
    steps = {name: StepResult(1.0, found) for name, found in data.items()}
    return Results({"cpu": "a CPU"}, {"device": "cuda"}, "2026-11-25", steps)


def test_what_is_not_measured_says_so(tmp_path: Path) -> None:
    empty = Results.load_or_empty(tmp_path / "none.json")
    assert {row[2] for row in table(empty).rows} == {UNMEASURED}
    assert {row[3] for row in table(empty).rows} == {"–"}
    assert [goal.reached(empty) for goal in GOALS] == [None] * len(GOALS)
    for grid in grids(empty):
        assert grid.rows
        assert all(UNMEASURED in row for row in grid.rows)
        assert {len(row) for row in grid.rows} == {len(grid.columns)}
    assert len(engines_table(empty).rows) == len(RAGGED) > len(EQUAL)
    write_report(empty, tmp_path)
    assert UNMEASURED in (tmp_path / "report.md").read_text(encoding="utf-8")
    assert not list(tmp_path.glob("*.png"))


def test_a_run_is_a_report(tmp_path: Path) -> None:
    results = _results()
    results.steps["nothing"] = StepResult(2.0, error="it fell over")
    write_report(results, tmp_path)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    for words in (
        "example 99.95% of 2000 texts",
        "1.0e-04 (at most 2.0e-03)",
        "4.00x",
        "1.00 ms",
        "60.0%",
        "FAILED: nothing",
        "it fell over",
        "FAILED: ragged, pytorch_cuda_graph",
        "flash",
    ):
        assert words in text
    assert {file.name for file in tmp_path.glob("*.png")} == {
        "latency.png",
        "throughput.png",
        "ladder.png",
    }
    for grid in grids(results):
        assert {len(row) for row in grid.rows} == {len(grid.columns)}


def test_reached_goals() -> None:
    assert [goal.reached(_results()) for goal in GOALS] == [True] * len(GOALS)
    assert {row[3] for row in table(_results()).rows} == {"yes"}


@pytest.mark.parametrize(
    ("number", "changes"),
    [
        (0, {"agreement": 0.998}),
        (1, {"apart": 2e-3}),
        (1, {"apart": float("nan")}),
        (2, {"eager": 2.9}),
        (3, {"compiled": 1.4}),
        (4, {"single": 1.3e-3, "single_eager": 4e-3}),
        (5, {"single_eager": 2e-3}),
        (6, {"floor": 0.4}),
    ],
)
def test_a_goal_that_is_missed(number: int, changes: dict[str, float]) -> None:
    missed = [at for at, goal in enumerate(GOALS) if goal.reached(_results(**changes)) is False]
    assert missed == [number]


def test_ratios_are_of_the_texts_as_they_come() -> None:
    results = _results()
    ratio, share = times_as_fast(results, "ragged", EAGER), share_of_floor(results, ENCODED)
    assert ratio is not None and ratio.median == pytest.approx(4.0)
    assert share is not None and share.median == pytest.approx(60.0)
    # An engine that failed on the way has fewer rounds, which do not pair up.
    results.data("ragged")["seconds"][EAGER]["arrival"].pop()
    assert times_as_fast(results, "ragged", EAGER) is None


def test_results_are_a_file(tmp_path: Path) -> None:
    results = _results()
    results.steps["nothing"] = StepResult(2.0, error="it fell over")
    results.save(tmp_path / "new" / "results.json")
    assert Results.load(tmp_path / "new" / "results.json") == results


def test_a_trial_is_called_one() -> None:
    results = _results()
    results.settings["device"] = "cpu"
    assert "TRIAL" in table(results).title


# Steps


def _run(steps: list[Step], results: Results, tmp_path: Path, **changes: Any) -> list[str]:
    said: list[str] = []
    file = tmp_path / "results.json"
    settings: dict[str, Any] = {
        "seconds": 100.0,
        "on_step": said.append,
        "save": lambda found: found.save(file),
        "isolate": lambda step, given: step.isolated(given),
        **changes,
    }
    run_steps(steps, Settings.trial(tmp_path), results, **settings)
    return said


def _fail(_: Settings) -> dict[str, Any]:
    raise RuntimeError("the GPU has fallen off the bus")


def test_a_step_that_fails_stops_no_other(tmp_path: Path) -> None:
    results = Results()
    steps = [
        Step("first", "", isolated=lambda settings: {"device": settings.device}),
        Step("second", "", isolated=_fail),
        Step("third", "", isolated=lambda settings: {"failures": {"a part": "broke"}}),
        Step("fourth", "", isolated=lambda settings: {"no JSON": object()}),
    ]
    said = _run(steps, results, tmp_path)
    kept = Results.load(tmp_path / "results.json")
    assert kept == results
    assert results.data("first") == {"device": "cpu"}
    assert list(results.errors()) == ["second", "third, a part", "fourth"]
    assert "fallen off the bus" in results.errors()["second"]
    assert any("a part FAILED: broke" in words for words in said)


def test_every_step_is_saved_at_once(tmp_path: Path) -> None:
    saved: list[list[str]] = []
    steps = [Step(name, "", isolated=lambda settings: {}) for name in "abc"]
    _run(steps, Results(), tmp_path, save=lambda found: saved.append(list(found.steps)))
    assert saved == [["a"], ["a", "b"], ["a", "b", "c"]]


def test_a_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """What failed is tried again, and what was done is not."""
    ran: list[str] = []

    def note(name: str) -> dict[str, Any]:
        ran.append(name)
        return {}

    def step(name: str) -> Step:
        return Step(name, "", isolated=lambda settings: note(name))

    steps = {"done": StepResult(1.0, {"kept": 1}), "failed": StepResult(1.0, error="x")}
    results = Results(steps=steps)
    _run([step("done"), step("failed"), step("new")], results, tmp_path)
    assert ran == ["failed", "new"]
    assert results.data("done") == {"kept": 1}
    assert not results.errors()


def test_a_step_that_would_not_end_in_time_is_left_out(tmp_path: Path) -> None:
    results = Results()
    steps = [
        Step("long", "", isolated=lambda settings: {}, least_seconds=200),
        Step("short", "", isolated=lambda settings: {}, least_seconds=1),
    ]
    said = _run(steps, results, tmp_path)
    assert list(results.steps) == ["short"]
    assert any(words.startswith("long: left out") for words in said)


def test_a_pooled_step_gets_the_engines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_checkpoint: Path
) -> None:
    monkeypatch.setattr(pool_module, "checkpoint_of", lambda model, settings: tiny_checkpoint)
    results = Results()
    steps = [
        Step("one", "", pooled=lambda settings, pool: {"checkpoint": str(pool.checkpoint)}),
        Step("two", "", isolated=lambda settings: {}),
    ]
    _run(steps, results, tmp_path)
    assert results.data("one") == {"checkpoint": str(tiny_checkpoint)}


def test_a_process_that_fails_or_hangs_is_an_error(tmp_path: Path) -> None:
    settings = Settings.trial(tmp_path)
    with pytest.raises(StepError, match=r"ended with status 1:\n(.|\n)*Traceback"):
        in_own_process(Step("no such step", "", isolated=_fail), settings)
    with pytest.raises(StepError, match=r"took longer than 0\.01 s"):
        in_own_process(Step("nodes", "", isolated=_fail, timeout=0.01), settings)


def test_an_engine_that_fails_is_not_asked_again_in_the_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_checkpoint: Path
) -> None:
    monkeypatch.setattr(pool_module, "checkpoint_of", lambda model, settings: tiny_checkpoint)
    with contextlib.closing(Pool(Settings.trial(tmp_path), "tiny")) as pool:
        # There is no artifact, so it does not load.
        assert pool.classify(BERTRT, ["good"]) is None
        assert BERTRT in pool.failures
        assert pool.repeat(BERTRT, "good", 0.0, 1) is None
        pool.failures["hung"] = "x gave no answer to `classify` within 1 s and was ended"
        pool.retry()
        assert list(pool.failures) == ["hung"]


def test_steps_are_what_they_say() -> None:
    names = [step.name for step in STEPS]
    assert len(set(names)) == len(names)
    for step in STEPS:
        assert (step.isolated is None) != (step.pooled is None)
        assert step.least_seconds < step.timeout < 600


def test_settings_travel_as_json(tmp_path: Path) -> None:
    for made in (Settings(tmp_path), Settings.quick(tmp_path, rounds=2), Settings.trial(tmp_path)):
        assert Settings.from_json(json.loads(json.dumps(made.to_json()))) == made
        assert made.to_json() == json.loads(json.dumps(made.to_json()))
    assert Settings.quick(tmp_path, rounds=2).rounds == 2
    assert Settings.trial(tmp_path).environment()["BERTRT_BENCH_DEVICE"] == "cpu"


# Parts


def test_actions_take_turns_and_one_that_fails_takes_no_more() -> None:
    calls: list[str] = []

    def out_of_memory() -> None:
        calls.append("b")
        if calls.count("b") > 6:
            raise MemoryError("too large")

    actions: dict[str, Callable[[], object]] = {"a": lambda: calls.append("a"), "b": out_of_memory}
    seconds, failures = by_turns(actions, rounds=3, runs=2)
    assert len(seconds["a"]) == 3
    assert "b" not in seconds
    assert failures == {"b": "MemoryError: too large"}
    assert "".join(calls) == "aaaaabbbbb" + "aabb" + "aaaa"


def _node(name: str, operator: str, provider: str) -> dict[str, Any]:
    arguments = {"op_name": operator, "provider": provider}
    return {"cat": "Node", "name": f"{name}_kernel_time", "args": arguments}


def test_nodes_are_counted_once_by_where_they_ran() -> None:
    cuda, cpu = "CUDAExecutionProvider", "CPUExecutionProvider"
    events: list[dict[str, Any]] = [
        {"cat": "Session", "name": "model_run"},
        *[_node("a", "MatMul", cuda), _node("b", "Shape", cpu), _node("c", "MemcpyToHost", cuda)],
        _node("a", "MatMul", cuda),
        {"cat": "Node", "name": "a_fence_before", "args": {"op_name": "MatMul"}},
    ]
    assert placed(events) == {
        "providers": {cuda: 2, cpu: 1},
        "on_cpu": {"Shape": 1},
        "memcpy": 1,
        "operators": {"MatMul": 1, "Shape": 1, "MemcpyToHost": 1},
    }


def test_what_onnxruntime_says_of_its_kernels() -> None:
    line = "\x1b[33mOperator=PackedMultiHeadAttention Node=/layer.{}/att FLASH=1\x1b[0m"
    output = "\n".join(
        ["noise", "bertrt-bench:1 x 8", line.format(0), line.format(1), "bertrt-bench:2 x 8", ""]
    )
    words = "Operator=PackedMultiHeadAttention FLASH=1"
    assert said(output) == {"1 x 8": {words: 2}, "2 x 8": {}}


@pytest.mark.parametrize(
    ("texts", "longest", "full", "shape"),
    [
        (1, 1, True, (1, 16)),
        (1, 16, True, (1, 16)),
        (3, 17, False, (32, 32)),
        (32, 48, True, (32, 48)),
        (33, 512, True, (64, 512)),
    ],
)
def test_padded_batches_have_few_shapes(
    texts: int, longest: int, full: bool, shape: tuple[int, int]
) -> None:
    from bertrt_bench.peers.padded import padded
    from bertrt_bench.peers.torch_cuda import few_shapes

    ids = [np.full(longest if full else 1 + row, 7) for row in range(texts - 1)]
    ids.append(np.full(longest, 7))
    shaped = few_shapes(padded(ids, [np.zeros_like(row) for row in ids]))
    assert shaped["input_ids"].shape == shape
    assert ("attention_mask" not in shaped) == (full and shape == (texts, longest))
    if "attention_mask" in shaped:
        mask = shaped["attention_mask"]
        assert mask.sum(axis=1).min() == 1 or full
        np.testing.assert_array_equal(mask[:texts].sum(axis=1), [len(row) for row in ids])
        assert (mask[texts:].sum(axis=1) == 1).all()


def test_what_a_machine_lacks_for_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bertrt_bench.peers.registry.has_cuda", lambda: False)
    assert gpu_lacks() == "needs an NVIDIA GPU: this machine has no NVIDIA driver"
    monkeypatch.setattr("bertrt_bench.peers.registry.has_cuda", lambda: True)
    for providers in (["CPUExecutionProvider"], ["CUDAExecutionProvider", "CPUExecutionProvider"]):
        monkeypatch.setattr("onnxruntime.get_available_providers", lambda found=providers: found)
        lacks = gpu_lacks()
        assert lacks is None if len(providers) > 1 else "CUDAExecutionProvider" in str(lacks)


def test_the_script_names_what_is_missing(tmp_path: Path) -> None:
    """On this machine it is the CUDA build of onnxruntime, or PyTorch's."""
    if gpu_lacks() is None:
        pytest.skip("there is a GPU: the script would measure")
    environment = {**os.environ, "OUT": str(tmp_path / "out"), "PYTHON": sys.executable}
    environment["CARRIED"] = str(tmp_path / "carried")
    script = str(_ROOT / "bench" / "gpu.sh")
    ran = subprocess.run([script], env=environment, capture_output=True, text=True)
    assert ran.returncode == 2
    assert "build for the CPU" in ran.stderr or "lacks" in ran.stderr


# All of it


@pytest.mark.slow
def test_all_code_runs_on_the_cpu(tmp_path: Path) -> None:
    """A typing error must not cost time on a GPU: every step, in processes as there."""
    output = tmp_path / "out"
    command = [sys.executable, "-m", "bertrt_bench.gpu", "--trial", "--work", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run(
        [*command, "--output", str(output)], env=environment, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    results = Results.load(output / "results.json")
    assert list(results.steps) == [step.name for step in STEPS]
    assert not results.errors()
    assert None not in [goal.reached(results) for goal in GOALS]
    assert set(results.data("ragged")["seconds"]) == set(RAGGED)
    assert set(results.data("equal")["seconds"]) == set(EQUAL)
    for found in results.data("ragged")["differences"].values():
        assert found["max"] < 0.01
    for engines in results.data("parity")["models"].values():
        assert set(engines) == {"pytorch_fp32", EAGER, BERTRT}
        assert engines[BERTRT]["agreement"] == 1
    for peer in ENGINES.values():
        if peer.title != ENGINES["pytorch_fp32"].title:
            assert peer.title in (output / "report.md").read_text(encoding="utf-8")
    again = subprocess.run(
        [*command, "--output", str(output)], env=environment, capture_output=True, text=True
    )
    assert again.stdout.count("done before") == len(STEPS)
