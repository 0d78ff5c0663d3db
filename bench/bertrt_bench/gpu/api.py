"""All that the GPU's benchmark asks of bertrt for a GPU, in one place.

On the CPU (`BERTRT_BENCH_DEVICE=cpu`) float16 is exported as well, but float32 is what runs.
Imports what a serving process has; the exporter only where something is exported.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from bertrt import Classifier
from bertrt.backend import create_gpu_session, create_session
from bertrt.devices import CPU, Device
from bertrt.session import Session

from bertrt_bench.peers.device import DEVICE, MAX_BATCH_TOKENS, ON_GPU

if TYPE_CHECKING:
    from bertrt_export.checkpoint import Checkpoint

__all__ = [
    "FORMS",
    "PRECISION",
    "artifact_graph",
    "attention_graph",
    "classifier",
    "export",
    "load_checkpoint",
    "profiled_session",
    "session",
]

PRECISION = "fp16" if ON_GPU else "fp32"

# How the packed rows attend, as bertrt_export.passes has them: onnx_ir would come with it.
AttentionForm = Literal["packed", "rectangle", "portable"]
FORMS: tuple[AttentionForm, ...] = get_args(AttentionForm)


def export(checkpoint: Path, folder: Path) -> None:
    """Write an artifact with the graph that runs on the GPU, and float32 beside it."""
    from bertrt_export import Limits, export_model

    # Random weights decide nothing, and the benchmark measures agreement by itself.
    limits = Limits(min_agreement=0.5, max_accuracy_drop=1.0)
    export_model(str(checkpoint), folder, precision="fp32,fp16", limits=limits)


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
    return Session(graph, device=DEVICE, threads=1, cuda_graphs=cuda_graphs and ON_GPU)


def profiled_session(graph: Path, profile: Path) -> Any:
    """onnxruntime's own session of a graph, which writes what each node took.

    profile: what the file's name begins with.
    """
    if ON_GPU:
        return create_gpu_session(graph, Device.parse(DEVICE), profile=profile)
    return create_session(graph, [CPU], 1, profile=profile)


def load_checkpoint(checkpoint: Path) -> "Checkpoint":
    """The checkpoint, as `attention_graph` takes it."""
    from bertrt_export.checkpoint import load_checkpoint

    return load_checkpoint(str(checkpoint))


def attention_graph(checkpoint: "Checkpoint", form: AttentionForm, folder: Path) -> Path:
    """Save the checkpoint in float16 with a form of attention, in a folder of its own."""
    from bertrt_export.artifact_writer import save_graph
    from bertrt_export.half import half_graph
    from bertrt_export.packed import packed_graph

    folder.mkdir(parents=True, exist_ok=True)
    graph = half_graph(checkpoint, form)
    if not ON_GPU:  # it has been a trial, and its operators are CUDA's
        graph = packed_graph(checkpoint)
    return save_graph(graph, folder, external_data=True)
