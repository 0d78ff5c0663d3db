"""All that the GPU's benchmark asks of bertrt for a GPU, in one place.

On the CPU (`BERTRT_BENCH_DEVICE=cpu`) the same calls give float32 graphs: a trial of the rest.
Imports what a serving process has; the exporter only where something is exported.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bertrt import Classifier
from bertrt.session import Session, create_session

from bertrt_bench.peers.device import DEVICE, MAX_BATCH_TOKENS, ON_GPU

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = [
    "FORMS",
    "PRECISION",
    "artifact_graph",
    "attention_graph",
    "classifier",
    "export",
    "packed_model",
    "profiled_session",
    "session",
]

PRECISION = "fp16" if ON_GPU else "fp32"

# How the packed rows attend: bertrt_export.half.ATTENTION_FORMS.
FORMS = ("packed", "rectangle", "portable")


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
    providers = ["CPUExecutionProvider"]
    if ON_GPU:
        providers.insert(0, "CUDAExecutionProvider")
    return create_session(graph, providers, 1, profile=profile)


def packed_model(checkpoint: Path) -> "ir.Model":
    """The checkpoint as a packed graph in float32, which `attention_graph` takes."""
    from bertrt_export.checkpoint import load_checkpoint
    from bertrt_export.packed import packed_graph

    return packed_graph(load_checkpoint(str(checkpoint)))


def attention_graph(model: "ir.Model", form: str, folder: Path) -> Path:
    """Save the model for the device with one of FORMS, in a folder of its own."""
    from bertrt_export.artifact_writer import save_graph

    folder.mkdir(parents=True, exist_ok=True)
    if ON_GPU:
        from bertrt_export.half import half_graph  # type: ignore[import-not-found, unused-ignore]

        model = half_graph(model, attention=form)
    return save_graph(model, folder, external_data=True)
