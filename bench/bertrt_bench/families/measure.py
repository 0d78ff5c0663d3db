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

__all__ = ["FamilyResult", "measure_family"]

_SST2 = EXAMPLES / "data" / "sst2"
_COMPARED = 200  # texts whose logits are compared with PyTorch's
_TIMED = 64
_PYTORCH_BATCH = 8
_FITTED = 2_000


@dataclass(frozen=True, slots=True)
class FamilyResult:
    """One family against PyTorch float32, on sentences of SST-2's dev set.

    texts: how many were compared. max_abs_diff: |Δlogit| of the packed fp32 graph at most.
    agreement, mean_abs_diff: of int8; forms: its units by their form. accuracy: PyTorch's.
    seconds: of each round, by engine, for `timed` texts.
    """

    family: str
    sizes_of: str
    layers: int
    texts: int
    max_abs_diff: float
    agreement: float
    mean_abs_diff: float
    accuracy: float
    timed: int
    seconds: dict[str, list[float]]

    def to_json(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def measure_family(
    name: str, work: Path, rounds: int, on_progress: Callable[[str], None]
) -> FamilyResult:
    """Make a family's model, export it in fp32 and int8, and compare both with PyTorch."""
    checkpoint, artifact = work / name, work / f"{name}-artifact"
    texts, labels = read_labelled(_SST2 / "train.tsv")
    if not (checkpoint / "tokenizer.json").exists():
        on_progress("making the model")
        make(name, checkpoint, texts[:_FITTED], labels[:_FITTED])
    export_model(
        str(checkpoint),
        artifact,
        precision="fp32,int8",
        calibration=CalibrationFile(_SST2 / "train.tsv", text_column="1", label_column="2"),
        limits=Limits(),
        overwrite=True,
        on_progress=lambda what, done, total: on_progress(what),
    )
    dev, right = read_labelled(_SST2 / "dev.tsv")
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
        accuracy=float((best == np.array(right[:_COMPARED])).mean()),
        timed=len(timed),
        seconds=seconds,
    )
