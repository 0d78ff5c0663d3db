"""Logits to columns of results as Arrow has them."""

from typing import Any

import numpy as np

from bertrt.columns import Column, ResultColumns
from bertrt.errors import MissingDependencyError

try:
    import pyarrow as pa
except ImportError as error:
    raise MissingDependencyError(
        "Parquet and Arrow need pyarrow: install it with `pip install 'bertrt[cpu,jobs]'`"
    ) from error

__all__ = ["PREDICTIONS", "arrow_columns"]

# The type of a column of predictions.
PREDICTIONS = pa.list_(pa.struct([("label", pa.string()), ("score", pa.float32())]))


def arrow_columns(result: ResultColumns, logits: np.ndarray) -> dict[str, Any]:
    """`result.of(logits)` as pyarrow arrays, by name; logits: float32 [texts, labels], 0 or more.

    Labels are strings, numbers float32, predictions lists of structs {label, score}.
    """
    alone = result.selection.alone
    return {name: _array(column, alone) for name, column in result.of(logits).items()}


def _array(column: Column, alone: bool) -> Any:
    if isinstance(column, np.ndarray):
        return pa.array(column, pa.float32())
    if alone:
        return pa.array(column, pa.string())
    rows = [
        [{"label": best.label, "score": best.score} for best in row]  # type: ignore[union-attr]
        for row in column
    ]
    return pa.array(rows, PREDICTIONS)
