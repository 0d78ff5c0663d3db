"""checkpoint -> traced graph -> packed graph -> verified artifact."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir
from bertrt import BertrtError, Classifier
from bertrt.artifact import MIN_MAX_LENGTH

from bertrt_export.artifact_writer import (
    check_output,
    save_graph,
    staged_folder,
    write_manifest,
    write_tokenizer,
)
from bertrt_export.checkpoint import Checkpoint, load_checkpoint
from bertrt_export.errors import ExportError, UnsupportedModelError
from bertrt_export.passes import packed_pipeline
from bertrt_export.report import write_report
from bertrt_export.tracing import trace
from bertrt_export.verify import Verification, verify

__all__ = ["PRECISIONS", "ExportResult", "Progress", "export_model", "packed_graph"]

PRECISIONS = ("fp32",)

# Called with what is being done, how many steps of it are done, and how many there are.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What was exported: where it is, its size in bytes, and what was verified."""

    path: Path
    size: int
    verification: Verification


def export_model(
    model: str,
    output: str | Path,
    *,
    precision: str = "fp32",
    max_length: int | None = None,
    revision: str | None = None,
    allow_pickle: bool = False,
    external_data: bool = False,
    overwrite: bool = False,
    on_progress: Progress = lambda what, done, total: None,
) -> ExportResult:
    """Export a classifier (a directory or a hub id) to the folder `output`, verified.

    max_length: tokens a text may have; by default what the model and its tokenizer take.
    external_data: put the weights into model.onnx.data, which onnxruntime maps into memory.
    Raises ExportError, which says what is wrong; nothing is left behind then.
    """
    if precision not in PRECISIONS:
        raise ExportError(
            f"precision {precision} is not available in this version; "
            f"choose from {', '.join(PRECISIONS)}"
        )
    destination = Path(output).expanduser()
    check_output(destination, overwrite=overwrite)
    on_progress("loading the checkpoint", 0, 1)
    checkpoint = load_checkpoint(model, revision=revision, allow_pickle=allow_pickle)
    length = _resolved_max_length(checkpoint, max_length)
    on_progress("tracing", 0, 1)
    graph = packed_graph(checkpoint)
    with staged_folder(destination) as stage:
        on_progress("saving", 0, 1)
        file = save_graph(graph, stage, external_data=external_data)
        write_tokenizer(checkpoint, stage, length)
        verification = verify(
            checkpoint,
            stage,
            file,
            length,
            lambda done, total: on_progress("comparing with PyTorch", done, total),
        )
        manifest = write_manifest(
            checkpoint, stage, precision=precision, max_length=length, verification=verification
        )
        write_report(checkpoint, stage, precision=precision, verification=verification)
        try:
            Classifier(stage, "cpu")
        except BertrtError as error:
            raise ExportError(f"the runtime cannot load what was exported: {error}") from error
    size = sum(entry["size"] for entry in manifest["files"].values())
    return ExportResult(destination, size, verification)


def packed_graph(checkpoint: Checkpoint) -> ir.Model:
    """The checkpoint as a packed graph: [tokens] and [texts] in, logits out."""
    graph = trace(checkpoint.model, checkpoint.family)
    packed_pipeline()(graph)
    padded = [n for n in graph.graph if n.op_type == "Attention" and len(n.inputs) < 7]
    if padded or "lengths" not in {value.name for value in graph.graph.inputs}:
        raise UnsupportedModelError(
            f"the graph of {checkpoint.name} cannot be packed: {len(padded)} of its attentions "
            "have a form that the passes do not know"
        )
    return graph


def _resolved_max_length(checkpoint: Checkpoint, max_length: int | None) -> int:
    if max_length is None:
        return checkpoint.max_length
    if not MIN_MAX_LENGTH <= max_length <= checkpoint.max_length:
        raise ExportError(
            f"--max-length {max_length} is out of range: {checkpoint.name} takes "
            f"{MIN_MAX_LENGTH} to {checkpoint.max_length} tokens"
        )
    return max_length
