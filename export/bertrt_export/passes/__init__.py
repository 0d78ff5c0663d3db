"""Graph rewrites from a traced row of tokens to the packed graph, one per file."""

import onnx_ir as ir
from onnx_ir.passes import common

from bertrt_export.passes.drop_row_axis import DropRowAxisPass
from bertrt_export.passes.first_token_pushdown import FirstTokenPushdownPass
from bertrt_export.passes.fold_embeddings import FoldEmbeddingsPass
from bertrt_export.passes.fuse_attention import FuseAttentionPass
from bertrt_export.passes.heads_last_attention import HeadsLastAttentionPass
from bertrt_export.passes.packed_inputs import PackedInputsPass
from bertrt_export.passes.varlen_attention import VarlenAttentionPass

__all__ = [
    "DropRowAxisPass",
    "FirstTokenPushdownPass",
    "FoldEmbeddingsPass",
    "FuseAttentionPass",
    "HeadsLastAttentionPass",
    "PackedInputsPass",
    "VarlenAttentionPass",
    "packed_pipeline",
]


def packed_pipeline() -> ir.passes.Sequential:
    """The passes in their order; each leaves a valid graph behind."""
    return ir.passes.Sequential(
        FuseAttentionPass(),
        HeadsLastAttentionPass(),
        common.RemoveUnusedNodesPass(),  # what is left of the head splitting counts as a use
        FirstTokenPushdownPass(),
        common.TopologicalSortPass(),  # the pushed Gathers stand before their index otherwise
        PackedInputsPass(),
        VarlenAttentionPass(),
        DropRowAxisPass(),
        common.RemoveUnusedNodesPass(),
        FoldEmbeddingsPass(),
        common.CommonSubexpressionEliminationPass(),
        common.RemoveUnusedNodesPass(),
        common.TopologicalSortPass(),
        common.ClearMetadataAndDocStringPass(),
    )
