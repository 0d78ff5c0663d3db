"""The serving environment: bertrt[cpu] alone, made by `make test` in .venv-serve."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.foreign import FAMILIES, LABELS, Foreign

_PROGRAM = """
import importlib.metadata, json, sys
from bertrt import Classifier
prediction = Classifier(sys.argv[1])("a gorgeous film")
print(json.dumps({
    "label": prediction.label,
    "modules": sorted({name.partition(".")[0] for name in sys.modules}),
    "installed": sorted(d.metadata["Name"].lower() for d in importlib.metadata.distributions()),
}))
"""


@pytest.fixture(scope="module")
def serving_python() -> str:
    python = os.environ.get("BERTRT_SERVING_PYTHON")
    if python is None:
        pytest.fail("BERTRT_SERVING_PYTHON is not set: run the tests with `make test`")
    return python


def test_classifies_without_torch_transformers_or_onnx(
    serving_python: str, tiny_artifact: Path
) -> None:
    command = [serving_python, "-c", _PROGRAM, str(tiny_artifact)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    answer = json.loads(ran.stdout)
    assert answer["label"] in {"negative", "neutral", "positive"}
    for package in ("torch", "transformers", "onnx", "onnx_ir", "onnxscript", "bertrt_export"):
        assert package not in answer["modules"]
    assert {"bertrt", "onnxruntime", "numpy", "tokenizers"} <= set(answer["installed"])
    for package in ("torch", "transformers", "onnx", "onnx-ir", "onnxscript"):
        assert package not in answer["installed"]


@pytest.mark.parametrize("family", FAMILIES)
def test_another_exporters_model_needs_none_of_them_either(
    serving_python: str, foreign: Callable[[str], Foreign], family: str
) -> None:
    """Its tokenizer is made of vocab.txt, tokenizer.json, or vocab.json and merges.txt."""
    command = [serving_python, "-c", _PROGRAM, str(foreign(family).path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    answer = json.loads(ran.stdout)
    assert answer["label"] in {*LABELS, "LABEL_0", "LABEL_1"}
    assert {"torch", "transformers", "onnx", "huggingface_hub"} & set(answer["modules"]) == set()


def test_a_local_model_loads_without_the_hub_client(
    serving_python: str, tiny_artifact: Path
) -> None:
    """The hub client takes longer to import than the model takes to load."""
    command = [serving_python, "-c", _PROGRAM, str(tiny_artifact)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "huggingface_hub" not in json.loads(ran.stdout)["modules"]


def test_missing_onnxruntime_names_the_extra(serving_python: str) -> None:
    program = "import sys; sys.modules['onnxruntime'] = None; from bertrt import Classifier"
    ran = subprocess.run(
        [serving_python, "-c", program], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1
    assert "pip install 'bertrt[cpu]'" in ran.stderr


def test_serving_without_its_extra_names_it(serving_python: str, tiny_artifact: Path) -> None:
    command = [serving_python, "-m", "bertrt", "serve", str(tiny_artifact)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert "pip install 'bertrt[cpu,serve]'" in ran.stderr and "Traceback" not in ran.stderr


def test_the_server_imports_no_more_than_its_extra_brings() -> None:
    program = "import bertrt.server.run, json, sys; print(json.dumps(list(sys.modules)))"
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    roots = {name.partition(".")[0] for name in json.loads(ran.stdout)}
    assert {"starlette", "uvicorn", "msgspec"} <= roots
    for package in ("torch", "transformers", "onnx", "bertrt_export", "pydantic", "fastapi"):
        assert package not in roots
