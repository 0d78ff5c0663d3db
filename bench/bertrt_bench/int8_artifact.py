"""The artifact of a benchmark's model."""

import importlib
import shutil
from pathlib import Path

from bertrt_bench import prepared
from bertrt_bench.models import BenchModel
from bertrt_bench.peers.registry import OURS, PEERS
from bertrt_bench.workloads import EXAMPLES, read_labelled

__all__ = ["artifact", "int8_artifact"]

_CALIBRATION_TEXTS = 512


def int8_artifact(model: BenchModel, work: Path) -> Path:
    """Export a checkpoint in int8, calibrated with SST-2's training sentences; made once."""
    return artifact(model, work, OURS)


def artifact(model: BenchModel, work: Path, peer: str) -> Path:
    """Export a checkpoint as a peer of bertrt's does (`bertrt_int8`, `bertrt_fp32`); made once."""
    texts, _ = read_labelled(EXAMPLES / "data" / "sst2" / "train.tsv")
    calibration = texts[:_CALIBRATION_TEXTS]
    sources = prepared.digests(model.path, calibration)
    folder = prepared.folder_of(peer, PEERS[peer], sources, work / "prepared" / model.name)
    if not folder.exists():
        unfinished = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        importlib.import_module(PEERS[peer].module).prepare(model.path, unfinished, calibration)
        unfinished.rename(folder)
    return folder / "artifact"
