"""Artifacts that are different or damaged, CPUs that are others, and commands to run."""

import contextlib
import json
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from bertrt import instructions
from bertrt.artifact import MANIFEST, file_sha256

__all__ = [
    "edit_config",
    "edit_json",
    "edit_manifest",
    "full_disk",
    "pretend_cpu",
    "rehash",
    "replace_file",
    "run_bertrt",
]


def edit_json(file: Path, changes: dict[str, Any], remove: Sequence[str] = ()) -> None:
    """Set and remove keys of the JSON object in a file."""
    content = {**json.loads(file.read_text(encoding="utf-8")), **changes}
    kept = {name: value for name, value in content.items() if name not in remove}
    file.write_text(json.dumps(kept), encoding="utf-8")


def edit_manifest(folder: Path, changes: dict[str, Any], remove: Sequence[str] = ()) -> None:
    """Set and remove keys of the manifest."""
    edit_json(folder / MANIFEST, changes, remove)


@contextlib.contextmanager
def full_disk(free: int) -> Iterator[None]:
    """As if the disk were full: no file can have more than so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def edit_config(
    folder: Path, changes: dict[str, Any], remove: Sequence[str] = (), *, name: str = "config.json"
) -> None:
    """Set and remove keys of config.json (or another JSON file), and let the manifest agree."""
    edit_json(folder / name, changes, remove)
    rehash(folder, name)


def replace_file(folder: Path, name: str, content: bytes) -> None:
    """Give a file other content, and let the manifest agree."""
    (folder / name).write_bytes(content)
    rehash(folder, name)


def rehash(folder: Path, name: str) -> None:
    """Write the size and SHA-256 that a file has now into the manifest."""
    file = folder / name
    files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
    entry = {"size": file.stat().st_size, "sha256": file_sha256(file)}
    edit_manifest(folder, {"files": {**files, name: entry}})


def pretend_cpu(
    monkeypatch: pytest.MonkeyPatch, folder: Path, machine: str, cpuinfo: str | None
) -> None:
    """Let bertrt see another CPU: its architecture, and what /proc/cpuinfo holds (None: no file).

    folder: where that text may be put.
    """
    file = folder / "cpuinfo"
    if cpuinfo is not None:
        file.write_text(cpuinfo, encoding="utf-8")
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(instructions, "Path", {"/proc/cpuinfo": file}.__getitem__)


def run_bertrt(
    *arguments: str, stdin: bytes = b"", stdout: int | None = None, **environment: str
) -> subprocess.CompletedProcess[bytes]:
    """`python -m bertrt` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "bertrt", *arguments],
        input=stdin,
        stdout=subprocess.PIPE if stdout is None else stdout,
        stderr=subprocess.PIPE,
        env={**os.environ, **environment},
        check=False,
    )
