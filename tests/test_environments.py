"""The two environments hold the same versions, but for what the second is made for."""

import re
import tomllib
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[1]
# Optimum, what it pins, and what that pins.
_DIFFERENT = {"transformers", "tokenizers", "huggingface-hub"}
_ALONE = {"optimum", "optimum-onnx"}


def _pins(name: str) -> dict[str, str]:
    lines = (_ROOT / name).read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {package.lower().replace("_", "-"): version for package, version in pairs}


def test_only_what_optimum_pins_is_older() -> None:
    main, compat = _pins("constraints.txt"), _pins("constraints-compat.txt")
    assert compat.keys() - main.keys() == _ALONE
    differ = {name for name in compat.keys() & main.keys() if compat[name] != main[name]}
    assert differ == _DIFFERENT


def test_second_environment_has_the_oldest_transformers_that_is_supported() -> None:
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needs = project["optional-dependencies"]["export"]
    (oldest,) = re.findall(r"transformers>=([\d.]+)", " ".join(needs))
    assert _pins("constraints-compat.txt")["transformers"].startswith(f"{oldest}.")


def test_tests_of_optimum_are_never_skipped_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not collected here; in the environment that has Optimum, collected without any condition."""
    namespace: dict[str, object] = {}
    source = (_ROOT / "tests" / "compat" / "conftest.py").read_text(encoding="utf-8")
    for here, ignored in ((False, ["test_*.py"]), (True, [])):
        monkeypatch.delenv("BERTRT_COMPAT", raising=False)
        if here:
            monkeypatch.setenv("BERTRT_COMPAT", "1")
        exec(compile(source, "conftest.py", "exec"), namespace)
        assert namespace["collect_ignore_glob"] == ignored
    makefile = (_ROOT / "Makefile").read_text(encoding="utf-8")
    assert "BERTRT_COMPAT=1" in makefile and "COMPAT_TESTS := tests/compat " in makefile
    for file in (_ROOT / "tests" / "compat").glob("test_*.py"):
        assert not re.search(
            r"importorskip|mark\.skip|pytest\.skip", file.read_text(encoding="utf-8")
        )
