"""The int8 artifact of a benchmark's model."""

import shutil
from pathlib import Path

from bertrt_bench import prepared
from bertrt_bench.models import BenchModel
from bertrt_bench.peers import bertrt_int8
from bertrt_bench.peers.registry import OURS, PEERS
from bertrt_bench.workloads import EXAMPLES, read_labelled

__all__ = ["int8_artifact"]

_CALIBRATION_TEXTS = 512


def int8_artifact(model: BenchModel, work: Path) -> Path:
    """Export a checkpoint in int8, calibrated with SST-2's training sentences; made once."""
    texts, _ = read_labelled(EXAMPLES / "data" / "sst2" / "train.tsv")
    calibration = texts[:_CALIBRATION_TEXTS]
    sources = prepared.digests(model.path, calibration)
    folder = prepared.folder_of(OURS, PEERS[OURS], sources, work / "prepared" / model.name)
    if not folder.exists():
        unfinished = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        bertrt_int8.prepare(model.path, unfinished, calibration)
        unfinished.rename(folder)
    return folder / "artifact"
