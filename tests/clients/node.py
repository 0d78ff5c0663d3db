"""Calls of the JavaScript client."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["run_node"]


def run_node(folder: Path, method: str, calls: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What comes of calls of one of the client's methods, each with the arguments of one call.

    folder: huggingface.mjs beside its packages (the fixture `node_folder`).
    """
    done = subprocess.run(
        ["node", "huggingface.mjs", method],
        cwd=folder,
        input=json.dumps(calls),
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    outcomes: list[dict[str, Any]] = json.loads(done.stdout)
    return outcomes
