"""The `bertrt bench` command: a real run on a small model, reports, comparisons, bad input."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from bertrt.cli import main as bertrt
from bertrt_bench import benchmark, cli, machine, models, planning
from bertrt_bench.plan import Plan, Turn
from bertrt_bench.results import Results

from tests.fake_results import fake_results

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `bertrt bench`: its exit code, what it printed, and its errors."""

    def bench(*arguments: object) -> tuple[int, str, str]:
        code = bertrt(["bench", *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return bench


@pytest.mark.slow
def test_a_run_from_checkpoint_to_report(
    run: Run, monkeypatch: pytest.MonkeyPatch, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr(benchmark, "PAUSE", 0.0)
    monkeypatch.setattr(machine, "_BANDWIDTH_BYTES", 1 << 20)
    texts = tmp_path / "reviews.tsv"
    texts.write_text("".join(f"a {'very ' * n}good film\t{n % 3}\n" for n in range(40)))
    code, output, errors = run(
        *("--model", tiny_checkpoint, "--texts", texts, "--labelled", "--rounds", 1),
        *("--peers", "bertrt_int8", "bertrt_fp32", "pytorch_fp32", "floor_fp32", "openvino_int8"),
        *("--lengths", 8, "--batch-sizes", 4, "all", "--max-texts", 20, "--mixed-texts", 10),
        *("--work", tmp_path / "work", "--environments", tmp_path / "envs", "--threads", 1),
        *("--calibration", texts),
    )
    assert (code, errors) == (0, "")
    assert "OpenVINO int8 (NNCF): left out, there is no environment 'openvino'" in output
    report = tmp_path / "work" / "reports" / tiny_checkpoint.name
    assert str(report / "report.html") in output.replace("\n", "")
    results = Results.load(report / "results.json")
    assert results.settings["command"].startswith("bertrt bench --model ")
    assert results.sets["ragged"]["texts"] == 20 and results.sets["mixed"]["texts"] == 10
    assert results.settings["checked_texts"] == 40
    assert list(results.workloads) == [
        "text-8",
        *("ragged-4-arrival", "ragged-4-sorted", "ragged-all-arrival"),
        *("mixed-4-arrival", "mixed-4-sorted", "mixed-all-arrival"),
    ]
    assert set(results.peers) == {"bertrt_int8", "bertrt_fp32", "pytorch_fp32", "floor_fp32"}
    for name, peer in results.peers.items():
        assert peer.failures == {} and not peer.wrong
        for key, facts in results.workloads.items():
            batches = name != "pytorch_fp32" or not facts.whole_list
            assert len(peer.measured(key)) == int(batches)
        if peer.kind != "floor":
            assert peer.answers is not None and peer.answers.accuracy is not None
            assert peer.answers.mean_abs_diff < (0.1 if name == "bertrt_int8" else 1e-5)
            assert None not in peer.start_seconds and None not in peer.start_rss_mb
    bertrt_mb, torch_mb = (results.peers[n].installed_mb for n in ("bertrt_fp32", "pytorch_fp32"))
    assert bertrt_mb is not None and torch_mb is not None and bertrt_mb < torch_mb / 2
    again, output, _ = run(
        *("--results", report / "results.json", "--compare", report / "results.json"),
        *("--output", tmp_path / "copy"),
    )
    assert again == 0
    copied = (tmp_path / "copy" / "report.md").read_text()
    first, comparison = copied.split("\n### Compared with the older run")
    assert first.strip() == (report / "report.md").read_text().strip()
    assert comparison.count("| same |") > 10


def test_rounds_are_kept_as_they_end(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    unfinished = tmp_path / "unfinished-example.json"

    def fails(plan: Plan, on_turn: Callable[[Turn, Results], None]) -> Results:
        on_turn(Turn("round 1", 0, 9), Results({}, {}, {}, {}, {}))
        assert not unfinished.exists()
        on_turn(Turn("round 2", 1, 9), fake_results())
        raise OSError("no space left")

    monkeypatch.setattr(cli, "run_benchmark", fails)
    code, _, errors = run("--quick", "--work", tmp_path)
    assert code == 1 and "no space left" in errors
    assert Results.load(unfinished).settings["command"].startswith("bertrt bench --quick")
    code, output, _ = run("--results", unfinished)
    assert code == 0 and "PyTorch fp32" in output


@pytest.mark.parametrize(
    ("factors", "code", "word"),
    [([8.0, 9.0, 10.0], 0, "9 of 9 ratios agree"), ([4.0, 4.0, 4.0], 1, "worse")],
)
def test_a_regression_is_told_and_is_the_exit_code(
    run: Run, tmp_path: Path, factors: list[float], code: int, word: str
) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    fake_results().save(old)
    fake_results(pytorch_fp32=factors).save(new)
    found, output, _ = run("--results", new, "--compare", old)
    assert found == code
    assert word in output and "PyTorch fp32" in output
    assert sorted(tmp_path.iterdir()) == [new, old], "no report was asked for"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--compare", "nowhere.json"], "nowhere.json cannot be read: No such file"),
        (["--results", "nowhere.json"], "nowhere.json cannot be read"),
        (["--model", "{tmp}"], "has no config.json: give a checkpoint as save_pretrained writes"),
        (["--quick", "--texts", "nowhere.txt"], "nowhere.txt"),
        (["--quick", "--texts", "{tmp}/empty.txt"], "empty.txt has no text"),
        (["--quick", "--texts", "{tmp}/text.txt", "--labelled"], "line 1, is not TEXT<TAB>LABEL"),
        (["--quick", "--lengths", "--batch-sizes"], "nothing to measure"),
        (["--quick", "--lengths", "9999"], "takes at most 512 tokens"),
        (["--quick", "--peers", "openvino_int8", "--environments", "{tmp}"], "no peer can run"),
        (["--create-environments", "nope"], "there is no environment nope"),
    ],
)
def test_what_cannot_be_run_is_told_in_one_line(
    run: Run, tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "text.txt").write_text("no label\n")
    code, _, errors = run(*(word.replace("{tmp}", str(tmp_path)) for word in arguments))
    assert code == 1
    assert errors.startswith("bertrt bench: error: ") and errors.count("\n") == 1
    assert message in errors


@pytest.mark.parametrize(
    "arguments", [["--rounds", "0"], ["--peers", "nobody"], ["--batch-sizes", "some"]]
)
def test_wrong_usage(run: Run, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        run(*arguments)
    assert raised.value.code == 2


def test_without_its_packages_the_command_says_what_to_install(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "bertrt_bench.cli", None)
    code, _, errors = run("--quick")
    assert code == 1
    assert "pip install --editable '.[cpu,export,bench]'" in errors


def test_without_a_checkout_the_command_says_so(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(planning, "_SST2", tmp_path / "nowhere")
    code, _, errors = run("--quick")
    assert code == 1 and "run it from a checkout" in errors


# Models


@pytest.mark.parametrize("size", models.SIZES)
def test_sizes_are_a_berts(size: str) -> None:
    sizes = models.SIZES[size]
    assert sizes["hidden_size"] % sizes["num_attention_heads"] == 0


def test_a_size_is_made_once(tmp_path: Path) -> None:
    model = models.find_model("tiny", tmp_path)
    assert model.random_weights and not model.knows_sst2
    assert model.products == 2 * 128 * (4 * 128 + 2 * 512)
    weights = model.path / "model.safetensors"
    before = weights.stat().st_mtime_ns
    assert models.find_model("tiny", tmp_path) == model
    assert weights.stat().st_mtime_ns == before


def test_the_example_knows_its_labels(tmp_path: Path) -> None:
    model = models.find_model("example", tmp_path)
    assert model.knows_sst2 and not model.random_weights
    assert (model.path / "model.safetensors").is_file()


def test_a_distilbert_has_sizes_under_other_names(tmp_path: Path) -> None:
    sizes = {"dim": 768, "hidden_dim": 3072, "n_layers": 6}
    (tmp_path / "config.json").write_text(json.dumps(sizes))
    assert models.BenchModel(tmp_path, "distil", "").products == 6 * 768 * (4 * 768 + 2 * 3072)


def test_what_is_no_model_is_an_error_with_the_built_in_names(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'no/such-model' is no built-in model .example, minilm"):
        models.find_model("no/such-model", tmp_path)
