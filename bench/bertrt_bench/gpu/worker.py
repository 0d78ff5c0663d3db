"""The process of an isolated step: `python -m bertrt_bench.gpu.worker STEP SETTINGS OUT`."""

import json
import sys
from pathlib import Path

from bertrt_bench.gpu.settings import Settings
from bertrt_bench.gpu.steps import STEPS

__all__ = ["main"]


def main() -> int:
    """Run the step, and write what it found."""
    name, given, out = sys.argv[1:]
    (step,) = (step for step in STEPS if step.name == name)
    assert step.isolated is not None
    found = step.isolated(Settings.from_json(json.loads(Path(given).read_text(encoding="utf-8"))))
    Path(out).write_text(json.dumps(found), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
