"""What the README tells people to type works as it stands."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from bertrt_bench.capacity.report import plan_table
from bertrt_bench.capacity.results import Results as CapacityResults
from bertrt_bench.cluster.report import load_results as load_cluster
from bertrt_bench.cluster.report import table as cluster_table
from bertrt_bench.families.report import load_results
from bertrt_bench.families.report import table as families_table
from bertrt_bench.gpu.goals import table as gpu_table
from bertrt_bench.gpu.results import Results as GpuResults
from bertrt_bench.grid import Grid
from bertrt_bench.jobs.report import load_results as load_jobs
from bertrt_bench.jobs.report import table as jobs_table
from bertrt_bench.processes.report import memory_table, rates_table
from bertrt_bench.processes.results import Results as ProcessesResults
from bertrt_bench.results import Results
from bertrt_bench.serving.report import summary as serving_summary
from bertrt_bench.serving.results import Results as ServingResults
from bertrt_bench.tables import summary

from tests.serving import serving
from tests.tiny_taggers import export_tagger, save_tagger

_ROOT = Path(__file__).resolve().parents[1]
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_BLOCKS = _BLOCK.findall((_ROOT / "README.md").read_text(encoding="utf-8"))
_PYTHON = [code for language, code in _BLOCKS if language == "python"]
_COMMANDS = [
    line.removeprefix("$ ")
    for language, code in _BLOCKS
    if language == "console"
    for line in code.splitlines()
]


_SERVE = "bertrt serve model"
_CURL = "curl localhost:8000/predict "


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_problem: Callable[[str], tuple[Path, Path]],
    sst2_dev: list[tuple[str, int]],
) -> Path:
    """A folder in which the README's commands have been run, one after another."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "nli-model").symlink_to(tiny_problem("nli")[1])
    (folder / "reranker").symlink_to(tiny_problem("reranker")[1])
    texts = [text for text, _ in sst2_dev[:200]]
    tagger = tmp_path_factory.mktemp("tagger")
    save_tagger("wordpiece", texts, tagger)
    export_tagger(tagger, folder / "ner-model")
    (folder / "examples").symlink_to(_ROOT / "examples")
    (folder / "reviews.txt").write_text("great fun\na waste of time\n")
    scripts = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for command in _COMMANDS:
        if command.startswith(("bertrt ", "export-model ")) and command != _SERVE:
            environment = {**os.environ, "PATH": scripts}
            subprocess.run(command, shell=True, check=True, cwd=folder, env=environment)
    return folder


@pytest.mark.parametrize("code", _PYTHON, ids=lambda code: code.strip().splitlines()[0])
def test_python_block_runs(folder: Path, code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True, cwd=folder)


_EXCERPTS = [code for language, code in _BLOCKS if language == "py"]


@pytest.mark.parametrize("code", _EXCERPTS, ids=lambda code: code.strip().splitlines()[-1])
def test_a_block_that_needs_a_cluster_is_part_of_an_example(code: str) -> None:
    """Line by line; the examples run in test_ray.py and test_spark.py."""
    wanted = [line.strip() for line in code.splitlines() if line.strip()]
    examples = (_ROOT / "examples").glob("*/*.py")
    sources = [example.read_text(encoding="utf-8").splitlines() for example in examples]
    assert any(_is_part(wanted, [line.strip() for line in source]) for source in sources)


def _is_part(wanted: list[str], lines: list[str]) -> bool:
    """Whether the wanted lines are among the lines, in their order."""
    remaining = iter(lines)
    return all(line in remaining for line in wanted)


def test_the_export_command_is_among_those_run(folder: Path) -> None:
    assert (folder / "model" / "bertrt.json").is_file()


def test_the_server_answers_as_shown(folder: Path) -> None:
    """The curl command, and an answer that begins as the one below it."""
    assert _SERVE in _COMMANDS
    ((command, shown),) = [
        (command, _COMMANDS[at + 1])
        for at, command in enumerate(_COMMANDS)
        if command.startswith(_CURL)
    ]
    with serving(folder / "model") as server:
        here = command.replace("localhost:8000", server.url.removeprefix("http://"))
        answer = subprocess.run(here, shell=True, check=True, capture_output=True, text=True).stdout
    for part in shown.split("…"):
        assert part in answer


# The tables between markers, and how each is made of the file that its marker names. Of the GPU's,
# a file that is not there says that nothing has been measured.
_TABLES: dict[str, Callable[[Path], Grid]] = {
    "summary": lambda file: summary(Results.load(file)),
    "serving": lambda file: serving_summary(ServingResults.load(file)),
    "families": lambda file: families_table(load_results(file)),
    "jobs": lambda file: jobs_table(load_jobs(file)),
    "cluster": lambda file: cluster_table(load_cluster(file)),
    "memory": lambda file: memory_table(ProcessesResults.load(file)),
    "processes": lambda file: rates_table(ProcessesResults.load(file)),
    "capacity": lambda file: plan_table(CapacityResults.load(file)),
    "gpu": lambda file: gpu_table(GpuResults.load_or_empty(file)),
}


@pytest.mark.parametrize("name", _TABLES)
def test_a_table_is_that_of_the_committed_run(name: str) -> None:
    """No figure of the benchmarks is typed by hand."""
    text = (_ROOT / "README.md").read_text(encoding="utf-8")
    (found,) = re.findall(
        rf"<!-- {name} of (\S+) -->\n(.*?)<!-- end -->\n", text, re.MULTILINE | re.DOTALL
    )
    file, shown = found
    expected = _TABLES[name](_ROOT / file).to_markdown().split("\n\n")[1]
    assert shown.strip() == expected


def test_make_targets_exist() -> None:
    targets = re.findall(r"^([a-z0-9-]+):", (_ROOT / "Makefile").read_text(), re.MULTILINE)
    named = [command.split()[1] for command in _COMMANDS if command.startswith("make ")]
    assert named
    assert set(named) <= set(targets)
