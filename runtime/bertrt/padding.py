"""Packed batches to rectangles and back, for graphs of the padded layout."""

import numpy as np

from bertrt.packing import PackedBatch

__all__ = ["INPUTS", "pad", "unpad"]

# What can be fed to a padded graph.
INPUTS = ("input_ids", "attention_mask", "token_type_ids", "position_ids")


def pad(batch: PackedBatch, pad_token_id: int, first_position: int) -> dict[str, np.ndarray]:
    """The inputs of a padded graph by name, int64 [texts, longest]: a row a text, padded behind it.

    `attention_mask` is 1 at tokens and 0 at padding; types of padding are 0; `position_ids` count
    from `first_position` in every row.
    """
    mask = _places(batch.lengths)
    positions = np.arange(first_position, first_position + mask.shape[1])
    return {
        "input_ids": _filled(mask, batch.input_ids, pad_token_id),
        "attention_mask": mask.astype(np.int64),
        "token_type_ids": _filled(mask, batch.token_type_ids, 0),
        "position_ids": np.tile(positions, (len(mask), 1)),
    }


def unpad(values: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The rows of tokens, [tokens, ..], of values [texts, longest, ..] of a padded graph."""
    rows: np.ndarray = values[_places(lengths)]
    return rows


def _places(lengths: np.ndarray) -> np.ndarray:
    """Where tokens are, bool [texts, longest]. Read row by row they are the packed order."""
    places: np.ndarray = np.arange(lengths.max()) < lengths[:, None]
    return places


def _filled(mask: np.ndarray, values: np.ndarray, filling: int) -> np.ndarray:
    rectangle = np.full(mask.shape, filling, dtype=np.int64)
    rectangle[mask] = values
    return rectangle
