"""bertrt itself, with int8 as `export-model --precision int8` makes it."""

import json
from collections.abc import Sequence
from pathlib import Path

from bertrt_bench.peers.bertrt_fp32 import load, run

__all__ = ["load", "prepare", "run"]


def prepare(checkpoint: Path, folder: Path, calibration: Sequence[str]) -> None:
    """Export in int8, calibrated with the texts."""
    from bertrt_export import CalibrationFile, export_model

    file = folder / "calibration.jsonl"
    file.write_text("\n".join(json.dumps(text) for text in calibration), encoding="utf-8")
    export_model(
        str(checkpoint), folder / "artifact", precision="int8", calibration=CalibrationFile(file)
    )
    file.unlink()
