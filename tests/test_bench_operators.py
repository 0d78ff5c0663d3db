"""Milliseconds by operator: from the profiler's events, and of an artifact."""

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bertrt_bench import operators
from bertrt_bench.operators import OperatorTime, operator_times, random_batch

_WARM_UP = 5
_RUN: dict[str, Any] = {"cat": "Session", "name": "model_run", "dur": 999}


def _node(name: str, operator: str, microseconds: int) -> dict[str, Any]:
    return {
        "cat": "Node",
        "name": f"{name}_kernel_time",
        "dur": microseconds,
        "args": {"op_name": operator},
    }


def _run(*microseconds: int) -> list[dict[str, Any]]:
    """A run of two Adds and a MatMul, with what else the profiler writes."""
    first, product, second = microseconds
    return [
        {"cat": "Node", "name": "a_fence_before", "dur": 77, "args": {"op_name": "Add"}},
        _node("a", "Add", first),
        _node("m", "MatMul", product),
        _node("b", "Add", second),
        {"cat": "Session", "name": "SequentialExecutor::Execute", "dur": 888},
        _RUN,
    ]


_LOADING: list[dict[str, Any]] = [
    {"cat": "Session", "name": "model_loading_uri", "dur": 5},
    {"cat": "Session", "name": "session_initialization", "dur": 6},
]
_WARM = [event for _ in range(_WARM_UP) for event in _run(10_000, 10_000, 10_000)]
_EVENTS = [*_LOADING, *_WARM, *_run(1000, 5000, 500), *_run(3000, 4000, 0), *_run(2000, 9000, 500)]


def test_operators_are_medians_of_their_sums_the_slowest_first() -> None:
    assert operators._summed(_EVENTS, by_node=False) == [
        OperatorTime("MatMul", 1, 5.0),
        OperatorTime("Add", 2, 2.5),  # 1.5, 3.0, 2.5
    ]


def test_nodes_are_medians_by_themselves() -> None:
    assert operators._summed(_EVENTS, by_node=True) == [
        OperatorTime("m", 1, 5.0),
        OperatorTime("a", 1, 2.0),
        OperatorTime("b", 1, 0.5),
    ]


@pytest.mark.parametrize("runs", [1, 4])
def test_operators_of_an_artifact(tiny_int8_artifact: Path, runs: int) -> None:
    graph, batch = tiny_int8_artifact / "model_int8.onnx", random_batch(2, 8)
    rows, plain = operator_times(graph, batch, runs=runs, threads=1)
    assert plain > 0
    times = [row.milliseconds for row in rows]
    assert times == sorted(times, reverse=True)
    assert min(times) >= 0 and sum(times) > 0
    counts = {row.name: row.nodes for row in rows}
    assert counts["Attention"] == 2  # a layer's
    assert counts["LayerNormalization"] == 5  # two a layer, and one of the embeddings
    nodes, _ = operator_times(graph, batch, runs=runs, threads=1, by_node=True)
    assert {row.nodes for row in nodes} == {1}
    assert len({row.name for row in nodes}) == len(nodes) == sum(counts.values())


def test_a_random_batch_is_full_and_repeatable() -> None:
    batch = random_batch(3, 7)
    assert batch.lengths.tolist() == [7, 7, 7]
    assert batch.input_ids.shape == batch.token_type_ids.shape == (21,)
    assert batch.input_ids.dtype == batch.token_type_ids.dtype == np.int64
    assert batch.lengths.dtype == np.int32
    assert (batch.input_ids == random_batch(3, 7).input_ids).all()


@pytest.mark.parametrize(
    ("options", "row"),
    [
        pytest.param(["--precision", "int8"], r"MatMulIntegerToFloat +│ \d+ ", id="int8"),
        pytest.param(["--precision", "fp32"], r"Attention +│ 2 ", id="fp32"),
        pytest.param(["--precision", "int8", "--nodes"], r"\S*Attention_\d+ +│ 1 ", id="nodes"),
    ],
)
def test_the_table(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tiny_int8_artifact: Path,
    options: list[str],
    row: str,
) -> None:
    shape = ["--tokens", "8", "--texts", "2", "--runs", "2", "--threads", "1"]
    monkeypatch.setattr(sys, "argv", ["operators", str(tiny_int8_artifact), *options, *shape])
    assert operators.main() == 0
    output = capsys.readouterr().out
    assert f"{options[1]}: 2 x 8 tokens" in " ".join(output.split())
    assert ("node " if "--nodes" in options else "operator") in output
    figures = r"\d+\.\d{3} +│ \d+\.\d +│ "
    assert re.search(rf"│ {row} +│ {figures}\d+\.\d% +│", output)
    assert re.search(rf"│ all +│ \d+ +│ {figures} +│", output)
    assert re.search(r"Without the profiler: \d+\.\d{3} ms \(medians of 2 runs\)", output)
    shares = [float(share) for share in re.findall(r"(\d+\.\d)% +│", output)]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(100, abs=0.05 * len(shares))
