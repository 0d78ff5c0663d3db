"""Results of a benchmark that never ran, with figures that tests can count on."""

from typing import Any

import numpy as np
from bertrt_bench.peers.registry import CONTROL, OURS, PEERS, REFERENCE
from bertrt_bench.results import Answers, PeerResult, Results
from bertrt_bench.workloads import Order, WorkloadFacts

SINGLE, ARRIVAL, SORTED = "text-16", "ragged-32-arrival", "ragged-32-sorted"


def fake_results(**factors: list[float]) -> Results:
    """Three rounds of bertrt, its control, PyTorch, OpenVINO and a floor.

    factors: by peer, how many times as long as bertrt it takes, round by round.
    """
    by_round = {
        OURS: [1.0, 1.0, 1.0],
        CONTROL: [1.0, 0.98, 1.02],
        REFERENCE: [8.0, 9.0, 10.0],
        "openvino_int8": [2.0, 2.2, 1.9],
        "floor_int8": [0.8, 0.8, 0.8],
        **factors,
    }
    results = Results(
        machine={
            "cpu": "Some CPU",
            "instructions": ["avx2"],
            "cpus": 2,
            "memory_gb": 8.0,
            "gpu": None,
            "system": "Linux",
            "python": "3.13",
            "bertrt": "0.1",
            "commit": "abc",
            "versions": {"onnxruntime": "1.32.0"},
        },
        model={
            "name": "tiny",
            "description": "a tiny <model>",
            "random_weights": False,
            "products": 400_000,
        },
        settings={"threads": 2, "rounds": 3, "checked_texts": 100, "command": "bertrt bench"},
        sets={"ragged": {"description": "sentences", "texts": 64, "tokens": 900, "longest": 40}},
        workloads={
            SINGLE: WorkloadFacts("16 tokens", "", 1, "arrival", 1, 16, 1.0),
            ARRIVAL: _facts("32 a call", "arrival", 2.0),
            SORTED: _facts("32 a call, sorted", "sorted", 1.1),
        },
        left_out={"CTranslate2 int8": "there is no environment"},
        bandwidth=[20.0, 21.0, 22.0],
        rounds=3,
        started="2026-01-01T00:00:00+00:00",
        seconds=90.0,
    )
    for name, values in by_round.items():
        results.peers[name] = _peer(name, values)
    return results


def _facts(title: str, order: Order, padding: float) -> WorkloadFacts:
    return WorkloadFacts(title, "ragged", 32, order, 64, 900, padding)


def _peer(name: str, factors: list[float]) -> PeerResult:
    peer = PEERS[name]
    found = PeerResult(peer.title, peer.precision, peer.kind, packages={"numpy": "2.4.6"})
    found.seconds = {
        SINGLE: [0.001 * factor for factor in factors],
        ARRIVAL: [0.4 * factor for factor in factors],
        # Sorted batches are good for those that pad.
        SORTED: [0.4 * factor * (1.0 if "bertrt" in name else 0.5) for factor in factors],
    }
    found.runs = {SINGLE: [0.001 * factor for factor in np.repeat(factors, 10).tolist()]}
    if peer.kind == "floor":
        return found
    found.answers = Answers(100, 0.99, 0.01, 0.2, 0.9)
    found.answers_by_workload = {ARRIVAL: Answers(64, 1.0, 0.01, 0.2)}
    found.start_seconds = [0.2 * factors[0], None, None]
    found.start_rss_mb = [100.0, None, None]
    found.disk_mb, found.installed_mb, found.rss_mb, found.peak_mb = 20.0, 200.0, 120.0, 130.0
    return found


def first_rows(markdown: str, title: str) -> dict[str, list[str]]:
    """The cells of a table of a report in Markdown, by the first cell of each row."""
    lines = markdown.split(f"### {title}\n\n", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    cells: list[list[Any]] = [line.strip("| ").split(" | ") for line in lines]
    return {row[0]: row[1:] for row in cells}
