"""Processes beside one another: their memory, their shares of the texts, the report of a run."""

import contextlib
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from bertrt import Classifier
from bertrt.prepack import prepack
from bertrt_bench.processes.measure import Plan, measure_memory, measure_rates
from bertrt_bench.processes.memory import Memory, memory_of
from bertrt_bench.processes.report import memory_table, rates_table, write_report
from bertrt_bench.processes.results import MemoryPoint, ModelResults, Results
from bertrt_bench.processes.team import Layout, Team, layouts

_TEXTS = ["good", "", "a waste of time , from the start to the very end", "café 好", "fun"]

_ROLLUP = """\
55b7a4a1f000-7ffd9a5fe000 ---p 00000000 00:00 0                          [rollup]
Rss:              117187 kB
Pss:               50000 kB
Pss_Anon:          20000 kB
Anonymous:         20000 kB
Locked:                0 kB
"""


def test_memory_is_read_in_mb_and_summed() -> None:
    memory = Memory.parse(_ROLLUP)
    assert memory == Memory(119.999488, 51.2, 20.48)
    assert memory + memory == Memory(2 * memory.rss_mb, 102.4, 40.96)
    with pytest.raises(ValueError, match="no Anonymous"):
        Memory.parse(_ROLLUP.replace("Anonymous", "Other"))


def test_the_memory_of_this_process_is_that_of_its_parts() -> None:
    before = memory_of([os.getpid()])
    assert before.rss_mb > before.pss_mb > before.own_mb > 0
    held = bytearray(os.urandom(50_000_000))
    after = memory_of([os.getpid()])
    assert len(held) == 50_000_000
    assert 40 < after.own_mb - before.own_mb < 110  # urandom's own bytes may be there still


@pytest.mark.parametrize(
    ("cpus", "expected"),
    [
        (1, [(1, 1)]),
        (2, [(1, 2), (2, 1), (2, 2)]),
        (3, [(1, 3), (3, 1), (3, 3)]),
        (8, [(1, 8), (2, 4), (4, 2), (8, 1), (8, 8)]),
    ],
)
def test_layouts_give_each_cpu_a_thread_and_then_too_many(
    cpus: int, expected: list[tuple[int, int]]
) -> None:
    assert [(found.processes, found.threads) for found in layouts(cpus)] == expected


def test_a_team_deals_the_texts_and_classifies_them(tiny_artifact: Path) -> None:
    classifier = Classifier(tiny_artifact, "cpu", threads=1)
    with contextlib.closing(Team(tiny_artifact, Layout(2, 1), _TEXTS)) as team:
        for share, digest in zip((_TEXTS[0::2], _TEXTS[1::2]), team.digests, strict=True):
            assert digest == hashlib.sha256(classifier.logits(share).tobytes()).hexdigest()
        assert len(team.load_seconds) == 2 and min(team.load_seconds) > 0
        assert team.run(1) > 0 and team.run(2) > 0
        assert team.memory().rss_mb > team.memory().pss_mb > team.memory().own_mb > 20


def test_a_process_that_ends_is_no_figure(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="a process of the benchmark ended"):
        Team(tmp_path / "nothing", Layout(1, 1), _TEXTS)


def test_a_run_measures_all_layouts_and_artifacts(tiny_artifact: Path, tmp_path: Path) -> None:
    packed = prepack(tiny_artifact, tmp_path / "packed").path
    plan = Plan(_TEXTS, cpus=1, rounds=2, seconds=0.01, processes=(1, 2), memory_texts=2)
    results, steps = ModelResults("tiny", "no model"), list[str]()
    measure_rates(results, tiny_artifact, packed, plan, steps.append)
    assert results.texts % len(_TEXTS) == 0 and results.texts > 0
    assert list(results.seconds) == ["1 × 1"]
    assert len(results.seconds["1 × 1"]) == len(results.prepacked_seconds) == 2
    measure_memory(results, {("fp32", True): packed}, plan, steps.append)
    assert [(p.precision, p.prepacked, p.processes) for p in results.memory] == [
        ("fp32", True, 1),
        ("fp32", True, 2),
    ]
    one, two = (point.memory for point in results.memory)
    assert one.own_mb * 1.7 < two.own_mb < one.own_mb * 2.3
    assert two.pss_mb < two.rss_mb
    assert results.identical
    assert "round 2 of 2: 1 × 1" in steps


def test_other_logits_are_told(
    tiny_artifact: Path, tiny_problem: Callable[[str], tuple[Path, Path]]
) -> None:
    plan = Plan(_TEXTS, cpus=1, rounds=1, seconds=0.01, processes=(1,))
    results = ModelResults("tiny", "no model")
    artifacts = {("fp32", False): tiny_artifact, ("fp32", True): tiny_problem("nli")[1]}
    measure_memory(results, artifacts, plan, lambda step: None)
    assert not results.identical
    results.seconds, results.prepacked_seconds, results.texts = {"1 × 1": [1.0]}, [1.0], 5
    assert "DIFFER" in memory_table(Results({}, 1, [results])).note


@pytest.fixture
def results() -> Results:
    """A run of two rounds with round figures."""
    model = ModelResults(
        "made-up",
        "no model",
        texts=1000,
        seconds={"1 × 2": [1.0, 2.0], "2 × 1": [2.0, 4.0], "2 × 2": [4.0, 2.0]},
        prepacked_seconds=[1.0, 2.0],
        memory=[
            MemoryPoint("fp32", False, 2, 64, Memory(300, 220, 200), 0.25),
            MemoryPoint("fp32", False, 1, 64, Memory(150, 120, 100), 0.5),
            MemoryPoint("int8", True, 2, 64, Memory(130, 70, 20), 0.02),
            MemoryPoint("int8", True, 1, 64, Memory(65, 60, 10), 0.1),
            MemoryPoint("int8", False, 1, 64, Memory(66, 61, 11), 0.1),
            MemoryPoint("int8", False, 2, 64, Memory(132, 75, 22), 0.125),
        ],
    )
    return Results({"cpu": "none", "cpus": 2}, 2, [model])


def test_ratios_are_taken_round_by_round(results: Results) -> None:
    table = rates_table(results)
    assert table.columns == ("int8", "1 × 2, texts/s", "2 × 1", "2 × 2", "1 × 2, prepacked")
    (row,) = table.rows
    assert row == (
        "made-up",
        "750 (625–875)",
        "0.50x (0.50–0.50)",
        "0.62x (0.44–0.81)",
        "1.00x (1.00–1.00)",
    )


def test_memory_is_shown_by_artifact(results: Results) -> None:
    table = memory_table(results)
    assert table.columns[1:4] == ("PSS of 1", "PSS of 2", "RSS of 2")
    assert table.rows == (
        ("made-up int8, as exported", "61", "75", "132", "11", "0.12"),
        ("made-up int8, prepacked", "60", "70", "130", "10", "0.02"),
        ("made-up fp32, as exported", "120", "220", "300", "100", "0.25"),
    )
    assert "after 64 sentences" in table.note and "same bit by bit" in table.note


def test_a_run_is_a_file_and_a_report(results: Results, tmp_path: Path) -> None:
    write_report(results, tmp_path / "report")
    assert Results.load(tmp_path / "report" / "results.json") == results
    page = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    for grid in (rates_table(results), memory_table(results)):
        assert grid.to_markdown() in page
    assert "- cpus: 2" in page and "made-up: no model" in page
    for picture in ("rates.png", "memory.png"):
        assert (tmp_path / "report" / picture).stat().st_size > 5_000
        assert f"({picture})" in page
