"""What may be imported, and which half of the project may import what."""

import ast
import importlib
import importlib.metadata
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import bertrt
import bertrt_export
import pytest
from bertrt import errors

_ROOT = Path(__file__).resolve().parents[1]
_RUNTIME = sorted((_ROOT / "runtime" / "bertrt").rglob("*.py"))
_EXPORT = sorted((_ROOT / "export" / "bertrt_export").rglob("*.py"))
_MODULES = [
    ".".join(file.relative_to(_ROOT / "runtime").with_suffix("").parts)
    for file in _RUNTIME
    if not file.stem.startswith("__")
]
# What only the extra `serve` brings: whoever classifies, and the command's options, do without.
_SERVING = {"starlette", "uvicorn", "uvloop", "httptools", "msgspec", "prometheus_client"}
_WITHOUT_SERVING = [
    file
    for file in _RUNTIME
    if file.parent.name == "bertrt"
    or (file.parent.name == "server" and file.name in ("__init__.py", "cli.py", "settings.py"))
]
_FORBIDDEN = {"torch", "transformers", "onnx", "onnx_ir", "onnxscript", "rich"}


def _imports(file: Path) -> Iterator[tuple[str, str | None]]:
    """(module, name) of every import in a source file, those inside functions too."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} has a relative import"
            yield from ((node.module or "", alias.name) for alias in node.names)


def _name(file: Path) -> str:
    return str(file.relative_to(_ROOT))


def test_bertrt_offers_what_is_documented() -> None:
    assert bertrt.__all__ == [
        "ArtifactError",
        "BackendError",
        "BertrtError",
        "Classifier",
        "DeviceError",
        "Dialect",
        "EmptyInputError",
        "Entity",
        "InputError",
        "JobReport",
        "MissingDependencyError",
        "Prediction",
        "Ranked",
        "TextTooLongError",
        "TokenClassifier",
        "WindowPrediction",
        "ZeroShotClassifier",
        "__version__",
        "classify_files",
        "classify_text",
    ]


def test_bertrt_export_offers_what_is_documented() -> None:
    assert bertrt_export.__all__ == [
        "CalibrationError",
        "CalibrationFile",
        "CheckpointError",
        "ExportError",
        "ExportResult",
        "LabelledFile",
        "Limits",
        "QuantizationError",
        "UnsupportedModelError",
        "VerificationError",
        "export_model",
    ]


@pytest.mark.parametrize("name", bertrt.__all__)
def test_name_of_bertrt_resolves(name: str) -> None:
    assert getattr(bertrt, name) is not None


@pytest.mark.parametrize("name", bertrt_export.__all__)
def test_name_of_bertrt_export_resolves(name: str) -> None:
    assert getattr(bertrt_export, name) is not None


def test_unknown_name_of_bertrt_export_is_an_attribute_error() -> None:
    assert not hasattr(bertrt_export, "nope")


@pytest.mark.filterwarnings("ignore:::ray[.]")
@pytest.mark.parametrize("module", _MODULES)
def test_module_of_the_runtime_names_its_api(module: str) -> None:
    imported = importlib.import_module(module)
    assert imported.__all__
    assert len(set(imported.__all__)) == len(imported.__all__)
    assert [name for name in imported.__all__ if not hasattr(imported, name)] == []


def test_the_version_is_that_of_the_distribution() -> None:
    assert bertrt.__version__ == importlib.metadata.version("bertrt")


@pytest.mark.parametrize("file", _RUNTIME, ids=_name)
def test_the_runtime_imports_neither_the_export_nor_what_only_it_needs(file: Path) -> None:
    roots = {module.partition(".")[0] for module, _ in _imports(file)}
    assert roots & {*_FORBIDDEN, "bertrt_export", "bertrt_bench"} == set()


@pytest.mark.parametrize("file", _WITHOUT_SERVING, ids=_name)
def test_only_the_server_imports_what_the_extra_serve_brings(file: Path) -> None:
    assert {module.partition(".")[0] for module, _ in _imports(file)} & _SERVING == set()


@pytest.mark.parametrize("file", [f for f in _RUNTIME if "integrations" not in f.parts], ids=_name)
def test_only_the_integrations_import_the_engines(file: Path) -> None:
    engines = {"ray", "pyspark", "pandas"}
    assert {module.partition(".")[0] for module, _ in _imports(file)} & engines == set()


@pytest.mark.parametrize(
    ("module", "missing", "extra"),
    [
        ("ray", "ray", "cpu,ray"),
        ("ray.data", "ray", "cpu,ray"),
        ("ray.serve", "starlette", "cpu,ray,serve"),
        ("spark", "pyspark", "cpu,spark"),
        ("spark", "pandas", "cpu,spark"),
    ],
)
def test_an_integration_without_its_extra_names_it(module: str, missing: str, extra: str) -> None:
    program = f"import sys; sys.modules[{missing!r}] = None; import bertrt.integrations.{module}"
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1].startswith("bertrt.errors.MissingDependencyError")
    assert f"pip install 'bertrt[{extra}]'" in ran.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    "file", [f for f in _RUNTIME if f.stem not in ("backend", "cuda_graphs")], ids=_name
)
def test_only_the_backend_imports_onnxruntime(file: Path) -> None:
    assert "onnxruntime" not in {module.partition(".")[0] for module, _ in _imports(file)}


@pytest.mark.parametrize("file", [*_RUNTIME, *_EXPORT], ids=_name)
def test_modules_take_from_the_runtime_only_what_it_offers(file: Path) -> None:
    taken = [
        (module, name)
        for module, name in _imports(file)
        if name is not None and module.partition(".")[0] == "bertrt"
    ]
    missing = [
        f"{module}.{name}"
        for module, name in taken
        if name not in importlib.import_module(module).__all__
        and f"{module}.{name}" not in _MODULES
    ]
    assert missing == []


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_is_a_bertrt_error_and_public(name: str) -> None:
    assert issubclass(getattr(errors, name), bertrt.BertrtError)
    assert getattr(bertrt, name) is getattr(errors, name)


def test_errors_are_also_what_python_would_raise() -> None:
    assert issubclass(bertrt.InputError, ValueError)
    assert issubclass(bertrt.EmptyInputError, bertrt.InputError)
    assert issubclass(bertrt.TextTooLongError, bertrt.InputError)
    assert issubclass(bertrt.MissingDependencyError, ImportError)
