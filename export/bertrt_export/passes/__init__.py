"""Graph rewrites from a traced row of tokens to the packed graph, one per file."""

from typing import Literal

import onnx_ir as ir
from onnx_ir.passes import common

from bertrt_export.passes.drop_row_axis import DropRowAxisPass
from bertrt_export.passes.first_token_pushdown import FirstTokenPushdownPass
from bertrt_export.passes.fold_embeddings import FoldEmbeddingsPass
from bertrt_export.passes.fold_transposes import FoldTransposesPass
from bertrt_export.passes.fuse_attention import FuseAttentionPass
from bertrt_export.passes.heads_last_attention import HeadsLastAttentionPass
from bertrt_export.passes.packed_attention import PackedAttentionPass
from bertrt_export.passes.packed_inputs import PackedInputsPass
from bertrt_export.passes.to_half import RoundToHalfPass, ToHalfPass
from bertrt_export.passes.varlen_attention import VarlenAttentionPass

__all__ = [
    "AttentionForm",
    "DropRowAxisPass",
    "FirstTokenPushdownPass",
    "FoldEmbeddingsPass",
    "FoldTransposesPass",
    "FuseAttentionPass",
    "HeadsLastAttentionPass",
    "PackedAttentionPass",
    "PackedInputsPass",
    "RoundToHalfPass",
    "ToHalfPass",
    "VarlenAttentionPass",
    "packed_pipeline",
]


# How the packed rows attend. `portable`: in operators that the CPU has as well. `packed` and
# `rectangle`: onnxruntime's own operators for CUDA, and shapes that it need not compute.
AttentionForm = Literal["portable", "packed", "rectangle"]


def packed_pipeline(
    attention: AttentionForm = "portable", max_length: int = 512
) -> ir.passes.Sequential:
    """The passes in their order; each leaves a valid graph behind.

    max_length: tokens of a text at most, for the forms of CUDA.
    """
    portable = attention == "portable"
    return ir.passes.Sequential(
        FoldTransposesPass(),
        FuseAttentionPass(),
        HeadsLastAttentionPass(),
        common.RemoveUnusedNodesPass(),  # what is left of the head splitting counts as a use
        FirstTokenPushdownPass(through_attention=attention != "packed"),
        common.TopologicalSortPass(),  # the pushed Gathers stand before their index otherwise
        PackedInputsPass(None if portable else max_length),
        *([PackedAttentionPass()] if attention == "packed" else []),
        VarlenAttentionPass("MultiHeadAttention" if attention == "rectangle" else "Attention"),
        DropRowAxisPass(),
        common.RemoveUnusedNodesPass(),
        FoldEmbeddingsPass(),
        common.CommonSubexpressionEliminationPass(),
        common.RemoveUnusedNodesPass(),
        common.TopologicalSortPass(),
        common.ClearMetadataAndDocStringPass(),
    )
