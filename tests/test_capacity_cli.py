"""`bertrt bench --capacity`: real, short runs, and what it says of what it cannot do."""

import importlib.util
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from bertrt.cli import main as bertrt
from bertrt_bench.capacity import cli
from bertrt_bench.capacity.results import Results

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs the command in an empty folder: its exit code, what it printed, and its errors."""
    monkeypatch.chdir(tmp_path)

    def capacity(*words: object) -> tuple[int, str, str]:
        code = bertrt(["bench", *map(str, words)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return capacity


def test_a_run_from_artifact_to_report_and_a_plan_anew(
    run: Run, tiny_artifact: Path, tmp_path: Path
) -> None:
    texts = tmp_path / "reviews.txt"
    texts.write_text("\n".join(f"a {'very ' * (n % 9)}good film" for n in range(90)) + "\n\n")
    code, output, errors = run(
        *("--capacity", tiny_artifact, "--quick", "--texts", texts, "--threads", 1),
        *("--load", 1e6, "--latency-ms", 10_000, "--price-per-core-hour", 0.04),
        *("--output", tmp_path / "report"),
    )
    assert (code, errors) == (0, "")
    assert "cores for 1,000,000 texts/s" in output and "USD per million texts" in output
    assert f"Report: {tmp_path / 'report' / 'report.md'}" in output.replace("\n", "")
    results = Results.load(tmp_path / "report" / "results.json")
    assert (results.model, results.precision, results.cores) == (tiny_artifact.name, "fp32", 1)
    assert results.texts.count == 90 and results.texts.source == str(texts)
    assert 5 < results.texts.mean_tokens < results.texts.p95_tokens < 20
    assert len(results.bulk) == 2 and min(results.bulk) > 10
    assert results.online is not None and results.chosen is not None
    assert results.online.alone["p50"] <= results.online.alone["p99"]
    assert len(results.online.points) >= 4
    assert sum(results.chosen.statuses.values()) >= 50

    code, output, errors = run(
        "--capacity",
        *("--results", tmp_path / "report" / "results.json"),
        *("--load", 7, "--currency", "EUR", "--headroom", 0),
    )
    assert (code, errors) == (0, "")
    assert "cores for 7 texts/s" in output and "EUR per million texts, at 7 texts/s" in output
    assert "with 0% head-room" in output
    assert not (tmp_path / "build").exists(), "no report was asked for"


def test_lists_alone_need_no_server(
    run: Run, tiny_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> Any:
        raise AssertionError("no server was asked for")

    monkeypatch.setattr(cli, "measure_online", refuse)
    code, output, _ = run(f"--capacity={tiny_artifact}", "--quick", "--threads", 1)
    assert code == 0
    assert "No latency was asked for" in output and "872 texts of SST-2's dev set" in output
    report = Path("build/bench/reports/capacity") / tiny_artifact.name / "report.md"
    assert report.is_file() and str(report) in output


def test_a_latency_out_of_reach_is_a_sentence_and_exit_code_1(
    run: Run, tiny_artifact: Path
) -> None:
    code, output, errors = run(
        "--capacity", tiny_artifact, "--quick", "--threads", 1, "--latency-ms", 0.001
    )
    assert (code, errors) == (1, "")
    assert "A p99 of 0.001 ms is out of reach at any load" in output.replace("\n", " ")
    assert "out of reach" in output and "Loads" not in output


def test_texts_that_the_server_refuses_are_no_latency(
    run: Run, tiny_artifact: Path, tmp_path: Path
) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text(f"good\n{'x ' * 60_000}\n")
    code, _, errors = run(
        *("--capacity", tiny_artifact, "--quick", "--threads", 1, "--latency-ms", 1000),
        *("--texts", texts),
    )
    assert code == 1
    assert errors.startswith("bertrt bench: error: the server answered 200: ")
    assert "413: " in errors and "leave out texts that it refuses" in errors


def test_many_texts_are_sampled(tmp_path: Path) -> None:
    file = tmp_path / "texts.txt"
    file.write_text("\n".join(map(str, range(12_000))))
    source, texts = cli._texts(file)
    assert source == str(file) and len(texts) == len(set(texts)) == 10_000
    assert texts != sorted(texts, key=int) and texts == cli._texts(file)[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--capacity"], "give a MODEL to measure, or --results FILE.json"),
        (["--capacity", "m", "--results", "r.json"], "give a MODEL to measure, or --results"),
        (["--capacity", "--results", "r.json"], "r.json cannot be read: No such file"),
        (["--capacity", "--results", "r.json", "--threads", "1"], "--threads is for measuring"),
        (["--capacity", "--results", "r.json", "--quick"], "--quick is for measuring"),
        (["--capacity", "m", "--load", "-5"], "load is -5.0: give 0 or more"),
        (["--capacity", "m", "--headroom", "30"], "headroom is 30.0: give the share"),
        (["--capacity", "m", "--latency-ms", "0"], "latency_ms is 0.0: give milliseconds"),
        (["--capacity", "m", "--price-per-core-hour", "nan"], "price_per_core_hour is nan"),
        (["--capacity", "m", "--threads", "9999"], "--threads is 9999 and this process may use"),
        (["--capacity", "m", "--texts", "nothing.txt"], "nothing.txt"),
        (["--capacity", "m", "--texts", "empty.txt"], "empty.txt has no text"),
        (["--capacity", "empty.txt"], "empty.txt is a file: give the folder that holds it"),
        (["--capacity", "m", "--output", "empty.txt/report"], "empty.txt: it is a file): give"),
    ],
)
def test_what_cannot_be_run_is_told_in_one_line(
    run: Run, tmp_path: Path, words: list[str], message: str
) -> None:
    (tmp_path / "empty.txt").write_text("\n")
    code, output, errors = run(*words)
    assert (code, output) == (1, "")
    assert errors.startswith("bertrt bench: error: ") and errors.count("\n") == 1
    assert message in errors


@pytest.mark.parametrize(
    ("words", "message"),
    [(["--load", "many"], "invalid float value: 'many'"), (["--threads", "0"], "is not a whole")],
)
def test_wrong_usage(
    run: Run, capsys: pytest.CaptureFixture[str], words: Sequence[str], message: str
) -> None:
    with pytest.raises(SystemExit) as raised:
        run("--capacity", "m", *words)
    assert raised.value.code == 2
    assert message in capsys.readouterr().err


def test_a_server_without_its_packages_is_told_before_anything_is_measured(
    run: Run, tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    code, _, errors = run("--capacity", tiny_artifact, "--latency-ms", 50)
    assert code == 1
    assert "without uvicorn: install it with `pip install 'bertrt[cpu,serve,bench]'`" in errors


def test_a_missing_package_of_the_benchmark_is_told(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named 'rich' for {name}", name="rich")

    monkeypatch.setattr("bertrt.cli.importlib.import_module", missing)
    assert run("--capacity", "m") == (
        1,
        "",
        "bertrt: error: the benchmark needs rich: install it with "
        "`pip install 'bertrt[cpu,serve,bench]'`\n",
    )
    assert "bertrt from a checkout with `pip install --editable" in run("--quick")[2]


def test_it_needs_no_pytorch() -> None:
    """Nor the other packages of the comparison with PyTorch, nor the server's for lists alone."""
    program = (
        "import sys\n"
        "import bertrt_bench.capacity.cli\n"
        "heavy = {'torch', 'transformers', 'onnx', 'onnx_ir', 'bertrt_export', 'fastapi', "
        "'jinja2', 'uvloop', 'uvicorn', 'starlette'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert found.stdout == "[]\n"


def test_the_comparison_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    for words, expected in (
        (["bench", "--help"], "bertrt bench --capacity --help"),
        (["bench", "--capacity", "--help"], "usage: bertrt bench --capacity"),
    ):
        with pytest.raises(SystemExit) as raised:
            bertrt(words)
        assert raised.value.code == 0
        assert expected in " ".join(capsys.readouterr().out.split())
