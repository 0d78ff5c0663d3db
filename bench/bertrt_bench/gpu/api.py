"""All that the GPU's benchmark asks of bertrt for a GPU, in one place.

On the CPU (`BERTRT_BENCH_DEVICE=cpu`) the same calls give float32 graphs: a trial of the rest.
Imports what a serving process has; the exporter only where something is exported.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bertrt import Classifier
from bertrt.backend import create_gpu_session, create_session
from bertrt.devices import CPU, Device
from bertrt.session import Session

from bertrt_bench.peers.device import DEVICE, MAX_BATCH_TOKENS, ON_GPU

if TYPE_CHECKING:
    from bertrt_export.checkpoint import Checkpoint
    from bertrt_export.passes import AttentionForm

__all__ = [
    "FORMS",
    "PRECISION",
    "artifact_graph",
    "attention_graph",
    "classifier",
    "export",
    "profiled_session",
    "session",
]

PRECISION = "fp16" if ON_GPU else "fp32"

# How the packed rows attend: bertrt_export.half.ATTENTION_FORMS.
FORMS: tuple["AttentionForm", ...] = ("packed", "rectangle", "portable")


def export(checkpoint: Path, folder: Path) -> None:
    """Write an artifact with the graph that runs on the GPU, and float32 beside it."""
    from bertrt_export import export_model

    export_model(str(checkpoint), folder, precision="fp32,fp16" if ON_GPU else "fp32")


def classifier(
    folder: Path, *, threads: int | None = None, precision: str = PRECISION
) -> Classifier:
    """The artifact on the device."""
    return Classifier(
        folder, DEVICE, threads=threads, precision=precision, max_batch_tokens=MAX_BATCH_TOKENS
    )


def artifact_graph(folder: Path) -> Path:
    """The file of an artifact's graph for the device."""
    from bertrt.artifact import load_artifact

    return load_artifact(folder).graphs[PRECISION]


def session(graph: Path, *, cuda_graphs: bool = False) -> Session:
    """A graph by itself on the device."""
    settings: dict[str, Any] = {"cuda_graphs": cuda_graphs} if ON_GPU else {}
    return Session(graph, device=DEVICE, threads=1, **settings)


def profiled_session(graph: Path, profile: Path) -> Any:
    """onnxruntime's own session of a graph, which writes what each node took.

    profile: what the file's name begins with.
    """
    if ON_GPU:
        return create_gpu_session(graph, Device.parse(DEVICE), profile=profile)
    return create_session(graph, [CPU], 1, profile=profile)


def attention_graph(checkpoint: "Checkpoint", form: "AttentionForm", folder: Path) -> Path:
    """Save the model for the device with one of FORMS, in a folder of its own."""
    from bertrt_export.artifact_writer import save_graph
    from bertrt_export.half import half_graph
    from bertrt_export.packed import packed_graph

    folder.mkdir(parents=True, exist_ok=True)
    length = checkpoint.max_length
    if ON_GPU:
        model = half_graph(checkpoint, form, length)
    else:  # which has no attention on packed rows
        model = packed_graph(checkpoint, "rectangle" if form == "packed" else form, length)
    return save_graph(model, folder, external_data=True)
