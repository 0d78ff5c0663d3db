"""The packed graph of a checkpoint."""

import onnx_ir as ir

from bertrt_export.checkpoint import Checkpoint
from bertrt_export.checkpoint_files import one_line
from bertrt_export.errors import UnsupportedModelError
from bertrt_export.families import FAMILIES
from bertrt_export.passes import AttentionForm, packed_pipeline
from bertrt_export.tracing import trace

__all__ = ["packed_graph"]


def packed_graph(
    checkpoint: Checkpoint, attention: AttentionForm = "portable", max_length: int = 512
) -> ir.Model:
    """The checkpoint as a packed graph: [tokens] and [texts] in, logits out.

    attention, max_length: as `packed_pipeline` takes them.
    Raises UnsupportedModelError where it cannot be packed, and says why.
    """
    family, name = checkpoint.family, f"{checkpoint.name} ({checkpoint.config.model_type})"
    if family is None:
        raise UnsupportedModelError(
            f"{name} cannot be packed: it has no table of position embeddings, and is none of "
            f"{', '.join(sorted(FAMILIES))}"
        )
    if getattr(checkpoint.config, "attention_type", None) == "block_sparse":
        # Transformers turns it into whole attention, for good, at the first short text: PyTorch's
        # answers to long texts depend on what it was asked before, so comparing shows nothing.
        raise UnsupportedModelError(
            f"{name} cannot be packed: its attention is block-sparse on long texts and whole on "
            "short ones; if it is to be whole on all, set attention_type to original_full in its "
            "config.json"
        )
    try:
        graph = trace(
            checkpoint.model,
            family,
            segments=checkpoint.segments,
            per_token=checkpoint.per_token,
        )
    except Exception as error:  # an architecture may do anything while it is traced
        if family is FAMILIES.get(checkpoint.config.model_type):
            raise
        # The exporter's own error is advice on exporting, in colours; what it met is the cause.
        met = error.__cause__ if isinstance(error.__cause__, Exception) else error
        raise UnsupportedModelError(
            f"{name} cannot be packed: tracing it as one row of all tokens failed: {one_line(met)}"
        ) from error
    packed_pipeline(attention, max_length)(graph)
    attentions = [node for node in graph.graph if node.op_type.endswith("Attention")]
    padded = [node for node in attentions if node.op_type == "Attention" and len(node.inputs) < 7]
    if not attentions or padded or "lengths" not in {value.name for value in graph.graph.inputs}:
        raise UnsupportedModelError(
            f"{name} cannot be packed: "
            + (
                f"{len(padded)} of its {len(attentions)} attentions have a form that the passes do "
                "not know"
                if attentions
                else "none of its operators is an attention that the passes know"
            )
        )
    return graph
