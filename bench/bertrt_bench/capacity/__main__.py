"""`python -m bertrt_bench.capacity`: `bertrt bench --capacity` of MiniLM-L6 in int8."""

import sys
from pathlib import Path

from rich.console import Console

from bertrt_bench.capacity.cli import main
from bertrt_bench.int8_artifact import int8_artifact
from bertrt_bench.models import find_model

_MODEL = "minilm-sst2"
_WORK = Path("build/bench")


def _linked() -> Path:
    """The artifact, made if it is not there, by a name that says what it is."""
    link = _WORK / "capacity" / f"{_MODEL}-int8"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(int8_artifact(find_model(_MODEL, _WORK), _WORK).resolve())
    return link


if __name__ == "__main__":
    with Console(stderr=True).status(f"{_MODEL}: exporting"):
        model = _linked()
    sys.exit(main([str(model), *sys.argv[1:]]))
