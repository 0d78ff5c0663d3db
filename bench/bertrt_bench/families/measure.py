"""What one family's model does: how faithful it is, and how fast."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from bertrt import Classifier
from bertrt.cpus import available_cpus
from bertrt_export import CalibrationFile, Limits, export_model
from bertrt_export.checkpoint import load_checkpoint
from bertrt_export.verify import pytorch_logits

from bertrt_bench.families.models import FAMILY_MODELS, make
from bertrt_bench.measure import interleaved
from bertrt_bench.pytorch import load_pytorch
from bertrt_bench.workloads import EXAMPLES, read_labelled

__all__ = ["FamilyResult", "measure_family", "prepare_family"]

_SST2 = EXAMPLES / "data" / "sst2"
_COMPARED = 200  # texts whose logits are compared with PyTorch's
_TIMED = 64
_PYTORCH_BATCH = 8
_READ = 1_000  # texts that the last layer is set with
_CALIBRATION = 512  # half of them set scales


@dataclass(frozen=True, slots=True)
class FamilyResult:
    """One family against PyTorch float32, on sentences of SST-2's dev set.

    texts: how many were compared. max_abs_diff: |Δlogit| of the packed fp32 graph at most.
    agreement, mean_abs_diff: of int8.
    seconds: of each round, by engine, for `timed` texts.
    """

    family: str
    sizes_of: str
    layers: int
    texts: int
    max_abs_diff: float
    agreement: float
    mean_abs_diff: float
    timed: int
    seconds: dict[str, list[float]]

    def to_json(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def prepare_family(name: str, work: Path, on_progress: Callable[[str], None]) -> None:
    """Make a family's model and export it in fp32 and int8, under `work`, if it is not there."""
    checkpoint, artifact = work / name, work / f"{name}-artifact"
    texts, _ = read_labelled(_SST2 / "train.tsv")
    if not (checkpoint / "tokenizer.json").exists():
        on_progress("making the model")
        make(name, checkpoint, texts[:_READ])
    if artifact.exists():
        return
    calibration = work / "calibration.txt"
    calibration.write_text("\n".join(texts[-_CALIBRATION:]), encoding="utf-8")
    export_model(
        str(checkpoint),
        artifact,
        precision="fp32,int8",
        calibration=CalibrationFile(calibration),
        limits=Limits(),
        on_progress=lambda what, done, total: on_progress(what),
    )


def measure_family(
    name: str, work: Path, rounds: int, on_progress: Callable[[str], None]
) -> FamilyResult:
    """Compare what `prepare_family` made with PyTorch."""
    checkpoint, artifact = work / name, work / f"{name}-artifact"
    dev, _ = read_labelled(_SST2 / "dev.tsv")
    fp32, int8 = (Classifier(artifact, "cpu", precision=p) for p in ("fp32", "int8"))
    compared = dev[:_COMPARED]
    on_progress("comparing with PyTorch")
    loaded = load_checkpoint(str(checkpoint))
    encodings = fp32.tokenizer.encode(compared)
    expected = np.concatenate(pytorch_logits(loaded, encodings, lambda done, total: None))
    own, rounded = fp32.logits(compared), int8.logits(compared)
    best = expected.argmax(axis=1)
    # Sorted, so that PyTorch pads least; bertrt sorts by itself.
    timed = sorted(dev[:_TIMED], key=len)
    engines = {
        "PyTorch fp32": load_pytorch(checkpoint, available_cpus(), _PYTORCH_BATCH),
        "bertrt fp32": fp32.logits,
        "bertrt int8": int8.logits,
    }
    seconds, _ = interleaved(engines, timed, rounds, lambda peer, done: on_progress(peer))
    return FamilyResult(
        family=name,
        sizes_of=FAMILY_MODELS[name].sizes_of,
        layers=FAMILY_MODELS[name].layers,
        texts=len(compared),
        max_abs_diff=float(np.abs(own - expected).max()),
        agreement=float((rounded.argmax(axis=1) == best).mean()),
        mean_abs_diff=float(np.abs(rounded - expected).mean()),
        timed=len(timed),
        seconds=seconds,
    )
