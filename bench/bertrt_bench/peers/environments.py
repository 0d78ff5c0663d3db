"""The virtual environments of the peers that need one."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

__all__ = ["MAIN", "REQUIREMENTS", "create", "environment_python", "names"]

# The environment of the benchmark itself.
MAIN = "main"

REQUIREMENTS = Path(__file__).resolve().parents[2] / "envs"

# By itself and in this version: any other way brings gigabytes of CUDA libraries.
_TORCH = "torch==2.13.0"


def names() -> list[str]:
    """The environments that there can be."""
    return sorted(file.stem for file in REQUIREMENTS.glob("*.txt"))


def environment_python(name: str, root: Path) -> Path:
    """The Python of an environment under `root`, or this one for `main`."""
    return Path(sys.executable) if name == MAIN else root / name / "bin" / "python"


def create(chosen: Sequence[str], root: Path, say: Callable[[str], None]) -> None:
    """Create environments under `root`, unless they are there with the same requirements.

    Raises ValueError for a name that there is not, subprocess.CalledProcessError if pip fails,
    RuntimeError if CUDA libraries came along.
    """
    unknown = sorted(set(chosen) - set(names()))
    if unknown:
        raise ValueError(
            f"there is no environment {', '.join(unknown)}: choose of {', '.join(names())}"
        )
    for name in chosen:
        _create(name, root, say)


def _create(name: str, root: Path, say: Callable[[str], None]) -> None:
    requirements, folder = REQUIREMENTS / f"{name}.txt", root / name
    ready = folder / "requirements.txt"
    if ready.exists() and ready.read_text() == requirements.read_text():
        say(f"{name}: {folder} is there already")
        return
    say(f"{name}: creating {folder} (some minutes)")
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    python = environment_python(name, root)
    for packages in ([_TORCH], ["--requirement", str(requirements)]):
        say(f"{name}: pip install {' '.join(packages)}")
        _pip(python, "install", "--quiet", *packages)
    installed = _pip(python, "list", "--format", "freeze").splitlines()
    cuda = [package for package in installed if package.startswith("nvidia-")]
    if cuda:
        raise RuntimeError(f"{name}: pip brought CUDA libraries: {', '.join(cuda)}")
    ready.write_text(requirements.read_text())
    say(f"{name}: ready, {len(installed)} packages")


def _pip(python: Path, *arguments: str) -> str:
    command = [str(python), "-m", "pip", "--disable-pip-version-check", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
