"""The report of a run, and the comparison of two."""

import re
from pathlib import Path

import pytest
from bertrt_bench.compare import compare
from bertrt_bench.plots import PLOTS, write_plots
from bertrt_bench.report import write_report
from bertrt_bench.results import Answers, Results

from tests.fake_results import ARRIVAL, SINGLE, fake_results, first_rows

# The report


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reports") / "deep" / "report"
    results = fake_results()
    results.peers["openvino_int8"].answers = Answers(100, 0.4, 1.0, 2.0, 0.4)
    write_report(results, folder)
    return folder


def test_a_report_has_everything(report: Path) -> None:
    assert Results.load(report / "results.json").peers["openvino_int8"].wrong
    assert {file.name for file in report.iterdir()} == {
        *("results.json", "report.md", "report.html", "plots"),
    }
    names = {f"{plot.name}.{suffix}" for plot in PLOTS for suffix in ("png", "svg")}
    assert {file.name for file in (report / "plots").iterdir()} == names
    for file in (report / "plots").glob("*.png"):
        assert file.read_bytes().startswith(b"\x89PNG")
    for file in (report / "plots").glob("*.svg"):
        assert "</svg>" in file.read_text()
    assert [folder.name for folder in report.parent.iterdir()] == ["report"], "no leftovers"


def test_the_page_stands_by_itself(report: Path) -> None:
    page = (report / "report.html").read_text(encoding="utf-8")
    sources = re.findall(r'(?:src|href)="([^"]{0,30})', page)
    assert len(sources) == len(PLOTS)
    assert all(source.startswith("data:image/svg+xml;base64,") for source in sources)
    assert "a tiny &lt;model&gt;" in page and "<model>" not in page
    for words in ("Some CPU", "bertrt bench", "WRONG ANSWERS", "CTranslate2 int8", "9.00x"):
        assert words in page


def test_the_markdown_says_how_and_where(report: Path) -> None:
    text = (report / "report.md").read_text(encoding="utf-8")
    assert "- command: `bertrt bench`" in text and "Some CPU (avx2), 2 CPUs, 8.0 GB; no GPU" in text
    for file in re.findall(r"\]\((plots/[^)]+)\)", text):
        assert (report / file).is_file()
    rows = first_rows(text, "Summary")
    assert rows["PyTorch fp32"][:2] == ["99.0%", "9.00"]
    assert "OpenVINO int8 (NNCF) (WRONG ANSWERS)" in rows
    assert first_rows(text, "Left out, failed, or wrong")["CTranslate2 int8"][0] == "left out"


def test_a_report_replaces_an_older_one_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "report"
    write_report(fake_results(), folder)
    (folder / "plots" / "older.png").touch()
    write_report(fake_results(), folder)
    assert not (folder / "plots" / "older.png").exists()
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "chapter.txt").write_text("years of work")
    with pytest.raises(ValueError, match="is no report of this benchmark"):
        write_report(fake_results(), other)
    assert (other / "chapter.txt").read_text() == "years of work"


def test_plots_without_figures_are_left_out(tmp_path: Path) -> None:
    results = fake_results()
    results.sets, results.workloads = {}, {SINGLE: results.workloads[SINGLE]}
    for peer in results.peers.values():
        peer.start_seconds = []
    assert [plot.name for plot in write_plots(results, tmp_path)] == ["latency"]


# The comparison


def test_a_run_agrees_with_itself() -> None:
    comparison = compare(fake_results(), fake_results())
    assert {change.verdict for change in comparison.changes} == {"same"}
    # PyTorch, OpenVINO and the floor, in three workloads
    assert len(comparison.changes) == 9
    assert comparison.to_grid().rows == ()
    assert len(comparison.to_grid(everything=True).rows) == 9
    assert "9 of 9 ratios agree" in comparison.to_grid().note


@pytest.mark.parametrize(
    ("factors", "verdict"),
    [
        ([8.0, 9.0, 10.0], "same"),
        ([6.0, 7.5, 8.1], "same"),
        ([5.0, 5.3, 5.2], "worse"),
        ([5.0, 5.0, 5.0], "worse"),
        ([14.0, 15.0, 16.0], "better"),
        ([14.0, 2.0, 16.0], "same"),  # such rounds say little
    ],
)
def test_ratios_beyond_the_noise_are_told(factors: list[float], verdict: str) -> None:
    comparison = compare(fake_results(), fake_results(pytorch_fp32=factors))
    # In the sorted batches PyTorch takes half as long, in both runs.
    found = {c.verdict for c in comparison.changes if c.peer == "pytorch_fp32"}
    assert found == {verdict}
    assert {c.verdict for c in comparison.changes if c.peer != "pytorch_fp32"} == {"same"}
    assert len(comparison.regressions) == (3 if verdict == "worse" else 0)


def test_noise_of_the_control_widens_what_is_the_same() -> None:
    noisy = [1.0, 0.7, 1.4]
    old = fake_results(bertrt_int8_again=noisy)
    new = fake_results(bertrt_int8_again=noisy, pytorch_fp32=[5.0, 5.3, 5.2])
    assert compare(old, new).regressions == ()


def test_an_interval_is_students() -> None:
    change, *_ = compare(fake_results(), fake_results()).changes
    assert (change.peer, change.workload) == ("pytorch_fp32", "16 tokens")
    # exp(mean ± 4.30 * deviation / √3) of the logarithms of 8, 9, 10
    assert change.old_interval == pytest.approx((6.791, 11.817), rel=1e-3)
    assert change.new_interval == change.old_interval


def test_one_round_is_no_evidence() -> None:
    old, new = fake_results(), fake_results()
    for peer in new.peers.values():
        peer.seconds = {key: [10 * (values[0] or 0)] for key, values in peer.seconds.items()}
    assert {change.verdict for change in compare(old, new).changes} == {"same"}


def test_only_like_runs_are_compared() -> None:
    other = fake_results()
    other.model = {**other.model, "name": "another"}
    with pytest.raises(ValueError, match="other models: tiny and another"):
        compare(fake_results(), other)
    other = fake_results()
    del other.workloads[SINGLE]
    assert len(compare(fake_results(), other).changes) == 6
    other.workloads = {ARRIVAL: fake_results().workloads[SINGLE]}
    with pytest.raises(ValueError, match=f"other texts in the workload {ARRIVAL}"):
        compare(fake_results(), other)
    other.workloads = {}
    with pytest.raises(ValueError, match="no workload in common"):
        compare(fake_results(), other)
