"""Embedding tables in fewer bytes."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import onnx_ir as ir

from bertrt_export.passes._graph import Rewriter, attribute, constant

__all__ = ["QuantizeEmbeddingsPass", "TableForm", "find_tables", "round_table"]

TableForm = Literal["int8", "fp16", "float"]

# Smaller tables are not worth an operator more.
_MIN_ROWS = 128


class QuantizeEmbeddingsPass(ir.passes.InPlacePass):
    """Store embedding tables as int8 or float16, and compute with float32 rows of them.

    Fires for `Gather(table, ids, axis=0)` with a constant float32 table of at least 128 rows whose
    form is

    1. int8: `DequantizeLinear(Gather(table', ids), Gather(scales, ids), axis=0)`, one scale a row,
       for ids [tokens]; for others `Mul(Cast(Gather(table', ids)), Gather(scales, ids)[.., None])`,
       as that operator's scales are of one axis;
    2. fp16: `Cast(Gather(table', ids))`.

    Must not fire for a table without a form, or whose form is float, or that has other uses.
    """

    def __init__(self, forms: Mapping[str, TableForm]) -> None:
        self._forms = forms

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for name, gather in find_tables(model.graph).items():
            form = self._forms.get(name, "float")
            if form != "float":
                _rewrite(name, gather, form)
                modified = True
        return ir.passes.PassResult(model, modified=modified)


def find_tables(graph: ir.Graph) -> dict[str, ir.Node]:
    """The Gathers from embedding tables, by the name of the table."""
    found: dict[str, ir.Node] = {}
    for node in graph:
        if node.op_type != "Gather" or node.domain != "" or attribute(node, "axis", 0) != 0:
            continue
        value = node.inputs[0]
        table = constant(value)
        if value is None or table is None or table.ndim != 2 or table.dtype != np.float32:
            continue
        if len(table) >= _MIN_ROWS and len(value.uses()) == 1:
            found[(value.name or "embeddings").removesuffix(".weight")] = node
    return found


def round_table(table: np.ndarray, form: TableForm) -> tuple[np.ndarray, np.ndarray | None]:
    """The table as it is stored, and its scales, float32 [rows], where it needs some."""
    if form == "float":
        return table, None
    if form == "fp16":
        return table.astype(np.float16), None
    largest = np.abs(table).max(axis=1)
    scales = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    return np.rint(table / scales[:, None]).astype(np.int8), scales


def _rewrite(name: str, gather: ir.Node, form: TableForm) -> None:
    rewriter, ids = Rewriter(gather), gather.inputs[1]
    table = constant(gather.inputs[0])
    assert table is not None  # find_tables asks for a constant
    rounded, scales = round_table(table, form)
    stored = rewriter.constant(f"{name}.weight_{form}", rounded)
    rows = rewriter.op("Gather", [stored, ids], {"axis": 0})
    if scales is None:
        rewriter.replace(rewriter.op("Cast", [rows], {"to": ir.DataType.FLOAT}))
        return
    steps = rewriter.constant(f"{name}.weight_scale", scales)
    row_scales = rewriter.op("Gather", [steps, ids], {"axis": 0})
    if ids is not None and ids.shape is not None and len(ids.shape) == 1:
        rewriter.replace(rewriter.op("DequantizeLinear", [rows, row_scales], {"axis": 0}))
        return
    column = rewriter.op("Unsqueeze", [row_scales, rewriter.ints([-1])])
    rewriter.replace(
        rewriter.op("Mul", [rewriter.op("Cast", [rows], {"to": ir.DataType.FLOAT}), column])
    )
