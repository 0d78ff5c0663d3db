"""The number of CPUs: the affinity, cut by the control group's quota."""

import os
from pathlib import Path

import pytest
from bertrt.cpus import available_cpus

if not hasattr(os, "sched_getaffinity"):
    pytest.skip("affinity and control groups are Linux's", allow_module_level=True)


@pytest.fixture
def eight_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the process have eight CPUs by its affinity."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))


def _version_1(root: Path, quota_us: str, period_us: str) -> None:
    (root / "cpu").mkdir()
    (root / "cpu" / "cpu.cfs_quota_us").write_text(quota_us)
    (root / "cpu" / "cpu.cfs_period_us").write_text(period_us)


@pytest.mark.usefixtures("eight_cpus")
@pytest.mark.parametrize(
    ("cpu_max", "expected"),
    [
        pytest.param("200000 100000\n", 2, id="two"),
        pytest.param("100000 50000\n", 2, id="two, of another period"),
        pytest.param("300000\n", 3, id="three, period left out"),
        pytest.param("350000 100000\n", 3, id="three and a half is rounded down"),
        pytest.param("50000 100000\n", 1, id="half a CPU is still one"),
        pytest.param("6400000 100000\n", 8, id="more than the affinity"),
        pytest.param("max 100000\n", 8, id="no limit"),
    ],
)
def test_quota_of_control_groups_version_2(tmp_path: Path, cpu_max: str, expected: int) -> None:
    (tmp_path / "cpu.max").write_text(cpu_max)
    assert available_cpus(tmp_path) == expected


@pytest.mark.usefixtures("eight_cpus")
@pytest.mark.parametrize(
    ("quota_us", "expected"),
    [
        pytest.param("200000\n", 2, id="two"),
        pytest.param("250000\n", 2, id="two and a half is rounded down"),
        pytest.param("10000\n", 1, id="a tenth of a CPU is still one"),
        pytest.param("6400000\n", 8, id="more than the affinity"),
        pytest.param("-1\n", 8, id="no limit"),
    ],
)
def test_quota_of_control_groups_version_1(tmp_path: Path, quota_us: str, expected: int) -> None:
    _version_1(tmp_path, quota_us, "100000\n")
    assert available_cpus(tmp_path) == expected


@pytest.mark.usefixtures("eight_cpus")
def test_version_2_counts_where_both_are_there(tmp_path: Path) -> None:
    _version_1(tmp_path, "200000\n", "100000\n")
    (tmp_path / "cpu.max").write_text("500000 100000\n")
    assert available_cpus(tmp_path) == 5


@pytest.mark.usefixtures("eight_cpus")
def test_affinity_counts_where_there_is_no_control_group(tmp_path: Path) -> None:
    assert available_cpus(tmp_path) == 8
    assert available_cpus(tmp_path / "missing") == 8


@pytest.mark.usefixtures("eight_cpus")
def test_a_quota_without_a_period_is_no_limit(tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("200000\n")
    assert available_cpus(tmp_path) == 8


def test_affinity_below_the_quota_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {5})
    (tmp_path / "cpu.max").write_text("400000 100000\n")
    assert available_cpus(tmp_path) == 1


def test_this_process_has_at_least_one_and_no_more_than_its_affinity() -> None:
    assert 1 <= available_cpus() <= len(os.sched_getaffinity(0))
