"""A server that the files of this folder share."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from bertrt import Classifier

from tests.clients.expected import LONG_LABELS, TOPICS
from tests.helpers import edit_config
from tests.serving import Server, serving


@pytest.fixture(scope="session")
def classifier(tiny_artifact: Path) -> Classifier:
    """What all three models are but for their labels."""
    return Classifier(tiny_artifact, "cpu")


@pytest.fixture(scope="session")
def server(tiny_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The same weights three times.

    `sentiment` is `tiny_artifact`, `team/topics` scores each of its labels by itself, and the
    labels of `long` make its metadata long.
    """
    parent = tmp_path_factory.mktemp("models")
    for name, labels, problem in (
        ("topics", TOPICS, "multi_label_classification"),
        ("long", LONG_LABELS, "single_label_classification"),
    ):
        shutil.copytree(tiny_artifact, parent / name)
        names = {str(index): label for index, label in enumerate(labels)}
        edit_config(parent / name, {"id2label": names, "problem_type": problem})
    models = (f"sentiment={tiny_artifact}", f"team/topics={parent}/topics", f"{parent}/long")
    with serving(*models) as server:
        yield server


@pytest.fixture(scope="session")
def url(server: Server) -> str:
    return server.url


@pytest.fixture(scope="session")
def node_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """huggingface.mjs beside the packages that package-lock.json names."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program}: install Node.js 18 or newer with npm")
    folder = tmp_path_factory.mktemp("node")
    for name in ("package.json", "package-lock.json", "huggingface.mjs"):
        shutil.copy(Path(__file__).parent / name, folder)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder
