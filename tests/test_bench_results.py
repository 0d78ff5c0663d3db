"""What follows from the figures of a run: ratios, percentiles, right and wrong, tables."""

import json
from pathlib import Path

import numpy as np
import pytest
from bertrt_bench.peers.registry import CONTROL, OURS, REFERENCE
from bertrt_bench.results import Answers, Results
from bertrt_bench.tables import all_tables, floors, latency, noise, summary, throughput

from tests.fake_results import ARRIVAL, SINGLE, SORTED, fake_results


def test_results_are_kept_as_they_are(tmp_path: Path) -> None:
    results = fake_results()
    results.save(tmp_path / "results.json")
    assert Results.load(tmp_path / "results.json") == results


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is no results.json of this benchmark"),
        ("{}", "is no results.json of this benchmark: 'format'"),
        ('{"format": 99}', "its format is 99, and this is bertrt's 1"),
        ('{"format": 1, "workloads": {}, "peers": {}, "more": 1}', "unexpected keyword"),
        (None, "cannot be read: No such file"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: str | None, message: str) -> None:
    file = tmp_path / "results.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ValueError, match=message) as raised:
        Results.load(file)
    assert str(file) in str(raised.value)


def test_ratios_are_taken_in_rounds_that_both_ran() -> None:
    results = fake_results()
    spread = results.ratio(REFERENCE, SINGLE)
    assert spread is not None
    assert (spread.median, spread.low, spread.high) == pytest.approx((9, 8, 10))
    results.peers[REFERENCE].seconds[SINGLE] = [0.008, None, 0.010]
    results.peers[OURS].seconds[SINGLE] = [0.001, 0.001, None]
    spread = results.ratio(REFERENCE, SINGLE)
    assert spread is not None and (spread.low, spread.high) == pytest.approx((8, 8))
    results.peers[OURS].seconds[SINGLE] = [None, 0.001, None]
    assert results.ratio(REFERENCE, SINGLE) is None
    assert results.ratio("nobody", SINGLE) is None
    results.peers[OURS].seconds[SINGLE] = [0.001]  # the other rounds are to come
    spread = results.ratio(REFERENCE, SINGLE)
    assert spread is not None and (spread.low, spread.high) == pytest.approx((8, 8))


def test_each_is_compared_in_its_best_way() -> None:
    results = fake_results()
    keys = results.of_set("ragged")
    assert keys == [ARRIVAL, SORTED]
    assert results.best("openvino_int8", keys) == SORTED
    ratio = results.best_ratio("openvino_int8", "ragged")
    assert ratio is not None and ratio.median == pytest.approx(1.0)
    in_order = results.ratio("openvino_int8", ARRIVAL)
    assert in_order is not None and in_order.median == pytest.approx(2.0)


def test_percentiles_are_of_all_runs() -> None:
    results = fake_results()
    results.peers[OURS].runs[SINGLE] = [number / 1000 for number in range(101)]
    assert results.percentiles(OURS, SINGLE) == pytest.approx((0.05, 0.095, 0.099))
    results.peers[OURS].runs = {}
    assert results.percentiles(OURS, SINGLE) is None


def test_noise_is_what_the_control_shows() -> None:
    results = fake_results()
    assert results.noise()[ARRIVAL].low == pytest.approx(0.98)
    assert results.noise()[ARRIVAL].high == pytest.approx(1.02)
    del results.peers[CONTROL]
    assert results.noise() == {}
    assert noise(results).rows == ()


@pytest.mark.parametrize(
    ("texts", "differ", "wrong"), [(1000, 50, False), (1000, 51, True), (20, 2, False)]
)
def test_an_answer_or_two_do_not_make_a_peer_wrong(texts: int, differ: int, wrong: bool) -> None:
    right = np.tile(np.array([[1.0, 0.0]], np.float32), (texts, 1))
    logits = right.copy()
    logits[:differ] = logits[:differ, ::-1]
    answers = Answers.of(logits, right, [0] * texts)
    assert answers.wrong == wrong
    assert answers.accuracy == answers.agreement == pytest.approx(1 - differ / texts)
    assert answers.max_abs_diff == 1
    assert answers.mean_abs_diff == pytest.approx(differ / texts)


def test_logits_that_are_no_numbers_are_wrong() -> None:
    right = np.array([[1.0, 0.0]], np.float32)
    assert Answers.of(right * np.nan, right).wrong


def test_a_peer_that_is_wrong_in_one_workload_is_wrong() -> None:
    results = fake_results()
    results.peers["openvino_int8"].answers_by_workload[ARRIVAL] = Answers(64, 0.5, 1.0, 2.0)
    assert results.peers["openvino_int8"].wrong
    assert "OpenVINO int8 (NNCF) (WRONG ANSWERS)" in [row[0] for row in summary(results).rows]


def test_tables_have_a_cell_a_column() -> None:
    for grid in all_tables(fake_results()):
        assert {len(row) for row in grid.rows} == {len(grid.columns)}
        assert grid.to_rich().row_count == len(grid.rows)


def test_the_figures_of_the_tables() -> None:
    results = fake_results()
    rows = {row[0]: row for row in summary(results).rows}
    assert set(rows) == {"bertrt int8", "PyTorch fp32", "OpenVINO int8 (NNCF)"}
    # the same label, 16 tokens, texts/s in its best way, ratio to bertrt, start, RSS, packages
    assert rows["PyTorch fp32"][1:] == (
        *("99.0%", "9.00", "35.6", "4.50x (4.25–4.75)", "1.60", "100", "200"),
    )
    assert rows["bertrt int8"][3:5] == ("160", "–")
    assert ("int8 products alone", "0.80 / 0.80 / 0.80") in latency(results).rows
    speeds, ratios = throughput(results, "ragged")
    assert speeds.columns[1] == "32 a call (2.00x padding)"
    assert ("PyTorch fp32", "17.8 (16.9–18.9)", "35.6 (33.8–37.8)") in speeds.rows
    assert ("PyTorch fp32", "9.00x (8.50–9.50)", "4.50x (4.25–4.75)") in ratios.rows
    assert floors(results).rows[0] == ("16 tokens", "1.25x (1.25–1.25)", "–")
    # 2 operations, 400,000 products a token, 16 tokens, 0.8 ms
    assert "16 GOP/s in int8" in floors(results).note
    assert "21 (20–22) GB/s" in floors(results).note


def test_nothing_measured_is_no_figure() -> None:
    results = fake_results()
    for peer in results.peers.values():
        peer.seconds, peer.runs, peer.answers, peer.start_seconds = {}, {}, None, []
        peer.failures = {"load": "died\nat once"}
    json.dumps([grid.rows for grid in all_tables(results)])
    assert all("(failed)" in row[0] for row in summary(results).rows)
