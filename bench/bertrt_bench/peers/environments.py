"""Create the virtual environments of the peers that need one."""

import argparse
import subprocess
import sys
from pathlib import Path

__all__ = ["REQUIREMENTS", "create", "main"]

REQUIREMENTS = Path(__file__).resolve().parents[2] / "envs"

# By itself and in this version: any other way brings gigabytes of CUDA libraries.
_TORCH = "torch==2.13.0"


def main() -> int:
    """Create those named, or all, and say where they are."""
    names = sorted(file.stem for file in REQUIREMENTS.glob("*.txt"))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument("--root", type=Path, default=Path("build/bench/envs"))
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.names) - set(names))
    if unknown:
        parser.error(f"there is no environment {', '.join(unknown)}: choose of {', '.join(names)}")
    for name in arguments.names or names:
        create(name, arguments.root)
    return 0


def create(name: str, root: Path) -> None:
    """Create one environment under `root`, unless it is there with the same requirements.

    Raises subprocess.CalledProcessError if pip fails, RuntimeError if CUDA libraries came along.
    """
    requirements, folder = REQUIREMENTS / f"{name}.txt", root / name
    ready = folder / "requirements.txt"
    if ready.exists() and ready.read_text() == requirements.read_text():
        print(f"{name}: {folder} is there already")
        return
    print(f"{name}: creating {folder} (some minutes)", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    python = folder / "bin" / "python"
    for packages in ([_TORCH], ["--requirement", str(requirements)]):
        print(f"{name}: pip install {' '.join(packages)}", flush=True)
        _pip(python, "install", "--quiet", *packages)
    installed = _pip(python, "list", "--format", "freeze").splitlines()
    cuda = [package for package in installed if package.startswith("nvidia-")]
    if cuda:
        raise RuntimeError(f"{name}: pip brought CUDA libraries: {', '.join(cuda)}")
    ready.write_text(requirements.read_text())
    print(f"{name}: ready, {len(installed)} packages")


def _pip(python: Path, *arguments: str) -> str:
    command = [str(python), "-m", "pip", "--disable-pip-version-check", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
