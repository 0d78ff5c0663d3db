"""The arithmetic of capacity, by examples computed by hand; the search for a load that holds."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bertrt_bench.capacity.arithmetic import Replica, Wishes, cost_per_million, usable_rate
from bertrt_bench.capacity.loads import highest_that_holds, holds, rising_loads
from bertrt_bench.capacity.report import loads_table, plan_table, verdict, write_report
from bertrt_bench.capacity.results import Online, Results, TextFacts
from bertrt_bench.serving.results import LoadPoint

# Arithmetic


@pytest.mark.parametrize(
    ("rate", "load", "headroom", "replicas"),
    [
        (100.0, 1000.0, 0.0, 10),
        (100.0, 1000.1, 0.0, 11),
        (100.0, 1000.0, 0.3, 15),  # 70 a replica: 14.29
        (100.0, 210.0, 0.3, 3),  # 70 a replica: just 3, whatever floats make of it
        (100.0, 10.0, 0.9, 1),  # 10 a replica, which floats make 9.999999999999998
        (100.0, 0.001, 0.3, 1),
        (100.0, 0.0, 0.3, 0),
        (1e-3, 7.0, 0.5, 14_000),
    ],
)
def test_replicas_are_whole_and_rounded_up(
    rate: float, load: float, headroom: float, replicas: int
) -> None:
    assert Replica(rate, 1).needed(load, headroom) == replicas
    assert Replica(rate, 4).cores_needed(load, headroom) == 4 * replicas


def test_rates_of_a_core_and_with_headroom() -> None:
    assert Replica(300.0, 4).rate_per_core == 75.0
    assert usable_rate(200.0, 0.25) == 150.0
    assert usable_rate(200.0, 0.0) == 200.0


def test_cost_of_a_million_texts() -> None:
    # 1,000,000 texts at 100 a second are 10,000 s, which is 2.777.. hours of 2 cores at 0.09 each.
    assert cost_per_million(0.09, 2, 100.0) == pytest.approx(0.5)
    replica = Replica(100.0, 2)
    assert replica.cost_at_full_use(0.09) == pytest.approx(0.5)
    # 350 a second need 5 replicas of 70: 10 cores for 2,857.14 s.
    assert replica.cost_at_load(0.09, 350.0, 0.3) == pytest.approx(0.09 * 10 * 1e6 / 350 / 3600)
    # 71 need 2: whole machines cost more for each text.
    assert replica.cost_at_load(0.09, 71.0, 0.3) == pytest.approx(0.09 * 4 * 1e6 / 71 / 3600)


def test_nothing_costs_nothing_and_no_load_has_no_cost_a_text() -> None:
    replica = Replica(100.0, 2)
    assert replica.cost_at_full_use(0.0) == 0.0
    assert replica.cost_at_load(0.0, 350.0, 0.3) == 0.0
    assert replica.cost_at_load(0.09, 0.0, 0.3) is None


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"load": -1.0}, "load is -1.0: give 0 or more"),
        ({"load": math.nan}, "load is nan: give 0 or more"),
        ({"load": math.inf}, "load is inf: give 0 or more"),
        ({"price_per_core_hour": -0.01}, "price_per_core_hour is -0.01: give 0 or more"),
        ({"latency_ms": 0.0}, "latency_ms is 0.0: give milliseconds, more than 0"),
        ({"latency_ms": math.nan}, "latency_ms is nan: give milliseconds"),
        ({"headroom": 1.0}, r"headroom is 1.0: give the share to keep free, 0 to under 1"),
        ({"headroom": -0.1}, r"headroom is -0.1: give the share"),
        ({"headroom": 30.0}, r"headroom is 30.0: give the share"),
        ({"currency": " "}, "currency is empty"),
    ],
)
def test_a_wish_that_means_nothing(wish: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Wishes(**wish)


@pytest.mark.parametrize(("rate", "cores"), [(0.0, 1), (-1.0, 1), (math.nan, 1), (10.0, 0)])
def test_a_replica_that_cannot_be(rate: float, cores: int) -> None:
    with pytest.raises(ValueError, match="a replica of"):
        Replica(rate, cores)


# Loads


def _point(offered: float, p99: float, **statuses: int) -> LoadPoint:
    percentiles = {"p50": p99 / 4, "p90": p99 / 2, "p95": p99 / 2, "p99": p99, "max": 2 * p99}
    counts = {name.removeprefix("s"): count for name, count in statuses.items()}
    return LoadPoint("bertrt serve", offered, 0.98 * offered, percentiles, counts or {"200": 500})


def _server(limit: float) -> tuple[Callable[[float], LoadPoint], list[float]]:
    """A server whose p99 is 10 ms up to a load, and 100 ms over it; and what it was asked."""
    asked: list[float] = []

    def probe(rate: float) -> LoadPoint:
        asked.append(rate)
        return _point(rate, 10.0 if rate <= limit else 100.0)

    return probe, asked


def test_a_load_holds_where_all_are_answered_in_time() -> None:
    assert holds(_point(10.0, 50.0), 50.0)
    assert not holds(_point(10.0, 50.1), 50.0)
    assert not holds(_point(10.0, 5.0, s200=499, s429=1), 50.0)
    assert not holds(LoadPoint("bertrt serve", 10.0, 0.0, {}, {"503": 9}), 50.0)
    assert not holds(LoadPoint("bertrt serve", 10.0, 0.0, {}, {}), 50.0)


def test_loads_rise_until_two_in_a_row_miss_and_then_the_gap_is_halved() -> None:
    probe, asked = _server(limit=33.0)
    points = rising_loads(probe, [10.0, 20.0, 30.0, 40.0, 50.0, 60.0], 50.0, refinements=2)
    assert asked == [10.0, 20.0, 30.0, 40.0, 50.0, 35.0, 32.5]
    assert [point.offered for point in points] == asked
    best = highest_that_holds(points, 50.0)
    assert best is not None and best.offered == 32.5


def test_one_load_that_misses_ends_nothing() -> None:
    missed = {20.0}

    def probe(rate: float) -> LoadPoint:
        return _point(rate, 100.0 if rate in missed or rate > 40 else 10.0)

    points = rising_loads(probe, [10.0, 20.0, 30.0, 40.0, 50.0, 60.0], 50.0, refinements=1)
    assert [point.offered for point in points] == [10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 45.0]
    best = highest_that_holds(points, 50.0)
    assert best is not None and best.offered == 40.0


def test_where_all_hold_there_is_nothing_between() -> None:
    probe, asked = _server(limit=1e9)
    rising_loads(probe, [10.0, 20.0], 50.0, refinements=3)
    assert asked == [10.0, 20.0]


def test_where_none_holds_lower_ones_are_tried() -> None:
    probe, asked = _server(limit=3.0)
    points = rising_loads(probe, [10.0, 20.0, 30.0], 50.0, refinements=2)
    assert asked == [10.0, 20.0, 5.0, 2.5]
    best = highest_that_holds(points, 50.0)
    assert best is not None and best.offered == 2.5
    probe, asked = _server(limit=0.0)
    points = rising_loads(probe, [10.0, 20.0, 30.0], 50.0, refinements=2)
    assert asked == [10.0, 20.0, 5.0, 2.5] and highest_that_holds(points, 50.0) is None


# What is shown


@pytest.fixture
def results() -> Results:
    """A replica of 2 cores: 400 texts/s of lists; within 50 ms 98 of requests."""
    return Results(
        machine={"cpu": "none", "cpus": 2},
        model="made-up",
        precision="int8",
        cores=2,
        texts=TextFacts("reviews.txt", 1234, 23.6, 41.2),
        wishes=Wishes(load=1000.0, latency_ms=50.0, headroom=0.3, price_per_core_hour=0.036),
        bulk=[390.0, 400.0, 410.0],
        online=Online(
            {"p50": 4.04, "p90": 5.0, "p95": 6.0, "p99": 9.06, "max": 12.0},
            180.0,
            [_point(50.0, 20.0), _point(100.0, 40.0), _point(150.0, 400.0)],
        ),
    )


def test_the_plan_is_what_follows(results: Results) -> None:
    table = plan_table(results)
    assert table.columns[1:] == (
        "lists: `classifier(texts)`",
        "requests: `bertrt serve`, p99 ≤ 50 ms",
    )
    assert table.rows == (
        ("a replica of 2 cores, texts/s", "400 (395–405)", "98"),
        ("a core, texts/s", "200", "49"),
        ("p50 and p99 then, ms", "–", "10.0, 40.0"),
        ("planned of a core, with 30% head-room, texts/s", "140", "34.3"),
        ("replicas for 1,000 texts/s", "4", "15"),  # 280 and 68.6 each
        ("cores for 1,000 texts/s", "8", "30"),
        # 0.036 an hour are 10 a million core-seconds
        ("USD per million texts, at full use", "0.05", "0.204"),
        ("USD per million texts, at 1,000 texts/s", "0.08", "0.3"),
    )
    assert "1,234 texts of reviews.txt" in table.note
    assert "p50 4.0 ms and p99 9.1 ms" in table.note and "0.036 USD an hour" in table.note
    assert verdict(results) == []


def test_what_was_not_stated_is_not_planned(results: Results) -> None:
    results.wishes, results.online = Wishes(), None
    assert [row[0] for row in plan_table(results).rows] == [
        "a replica of 2 cores, texts/s",
        "a core, texts/s",
        "planned of a core, with 30% head-room, texts/s",
    ]
    assert loads_table(results) is None
    assert verdict(results) == [
        "No latency was asked for (--latency-ms), so no server was measured."
    ]
    results.wishes = Wishes(load=0.0, price_per_core_hour=0.0, currency="EUR")
    rows = {row[0]: row[1] for row in plan_table(results).rows}
    assert rows["replicas for 0 texts/s"] == "0" and rows["cores for 0 texts/s"] == "0"
    assert rows["EUR per million texts, at full use"] == "0"
    assert rows["EUR per million texts, at 0 texts/s"] == "–"


def test_the_loads_are_shown_in_order(results: Results) -> None:
    assert results.online is not None
    results.online.points.reverse()
    table = loads_table(results)
    assert table is not None
    assert [(row[0], row[1], row[4], row[-1]) for row in table.rows] == [
        ("50", "49", "20.0", "yes"),
        ("100", "98", "40.0", "yes"),
        ("150", "147", "400.0", "no"),
    ]
    assert "It answers 180 at most." in table.note


def test_the_loads_of_a_run_before_were_tried_for_its_own_latency(results: Results) -> None:
    results.wishes = replace(results.wishes, latency_ms=500.0)
    table = loads_table(results)
    assert table is not None
    assert [row[-1] for row in table.rows] == ["yes"] * 3
    assert "missed the p99 that was asked for then" in table.note
    assert "99% of them within 500 ms." in table.note


def test_a_latency_out_of_reach_is_told(results: Results) -> None:
    assert results.online is not None
    results.wishes = replace(results.wishes, latency_ms=8.0)
    (sentence,) = verdict(results)
    assert "A p99 of 8 ms was held at no load, down to 50 requests a second." in sentence
    results.online.points, results.online.saturation = [], None
    (sentence,) = verdict(results)
    assert sentence.startswith(
        "A p99 of 8 ms is out of reach at any load: one request at a time, with nothing else to "
        "do, has p50 4.0 ms and p99 9.1 ms."
    )
    assert [row[2] for row in plan_table(results).rows] == ["out of reach", *["–"] * 7]
    results.wishes = replace(results.wishes, latency_ms=20.0)
    (sentence,) = verdict(results)
    assert sentence.startswith("That run tried no loads")
    results.online = None
    assert verdict(results) == ["That run measured no server: measure again, with --latency-ms."]


def test_a_load_that_is_not_the_most_is_told(results: Results) -> None:
    results.wishes = replace(results.wishes, latency_ms=500.0)
    (sentence,) = verdict(results)
    assert "a replica may do more than 147 requests a second" in sentence


@pytest.mark.parametrize("with_online", [True, False])
def test_a_run_is_a_file_and_a_report(results: Results, tmp_path: Path, with_online: bool) -> None:
    if not with_online:
        results.online = None
    write_report(results, tmp_path / "report")
    assert Results.load(tmp_path / "report" / "results.json") == results
    page = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert plan_table(results).to_markdown() in page
    pictures = {"cores.png", *(["latency.png"] if with_online else [])}
    assert {file.name for file in (tmp_path / "report").glob("*.png")} == pictures
    for picture in pictures:
        assert (tmp_path / "report" / picture).stat().st_size > 5_000
        assert f"({picture})" in page


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.pop("online"),
        lambda content: content.update(more=1),
        lambda content: content["wishes"].update(headroom=2),
        lambda content: content["texts"].pop("count"),
    ],
)
def test_a_file_that_is_something_else_is_told(
    results: Results, tmp_path: Path, change: Callable[[dict[str, Any]], Any]
) -> None:
    file = tmp_path / "results.json"
    results.save(file)
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"results.json is not what `bertrt bench --capacity`"):
        Results.load(file)
    file.write_text("[]")
    with pytest.raises(ValueError, match=r"results.json is not what"):
        Results.load(file)
    with pytest.raises(ValueError, match=r"nothing.json cannot be read: No such file"):
        Results.load(tmp_path / "nothing.json")
