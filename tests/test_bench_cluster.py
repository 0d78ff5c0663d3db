"""What the benchmark of Ray Data makes of what it measured."""

from dataclasses import replace
from pathlib import Path

import pytest
from bertrt_bench.cluster.measure import ClusterResult
from bertrt_bench.cluster.report import load_results, table, write_report


@pytest.fixture
def result() -> ClusterResult:
    return ClusterResult(
        model="a model",
        texts=1000,
        actors=2,
        call_seconds=[10.0, 20.0, 8.0],
        ray_seconds=[12.5, 20.0, 8.0],
        ray_with_start=[20.0, 40.0, 16.0],
        max_difference=0.0,
        same_labels=True,
    )


def test_shares_are_taken_round_by_round(result: ClusterResult) -> None:
    names, rates, shares = zip(*table(result).rows, strict=True)
    assert names == (
        "one process, 2 threads",
        "Ray Data, 2 actors of one CPU",
        "with their start, and loading the model",
    )
    assert rates[0] == "100 (75–112)"
    assert shares == ("–", "100.0% (90.0–100.0)", "50.0% (50.0–50.0)")


def test_other_answers_are_told(result: ClusterResult) -> None:
    assert "the same labels; the largest difference of a logit is 0." in table(result).note
    other = replace(result, same_labels=False, max_difference=0.0125)
    assert "OTHER LABELS; the largest difference of a logit is 0.01." in table(other).note


def test_a_run_is_a_file_and_a_report(result: ClusterResult, tmp_path: Path) -> None:
    write_report({"cpu": "some CPU", "gpu": None}, result, tmp_path)
    assert load_results(tmp_path / "results.json") == result
    report = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "- cpu: some CPU" in report and "gpu" not in report
    assert "| Ray Data, 2 actors of one CPU | 80 (65–102) | 100.0% (90.0–100.0) |" in report
