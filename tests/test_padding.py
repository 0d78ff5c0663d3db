"""Packed batches to rectangles and back."""

import numpy as np
import pytest
from bertrt.packing import PackedBatch
from bertrt.padding import INPUTS, pad, unpad
from hypothesis import given
from hypothesis import strategies as st


def _batch(lengths: list[int]) -> PackedBatch:
    total = sum(lengths)
    return PackedBatch(
        np.arange(100, 100 + total),
        np.arange(total) % 2,
        np.array(lengths, dtype=np.int32),
    )


def test_a_row_a_text() -> None:
    inputs = pad(_batch([2, 3, 1]), pad_token_id=9, first_position=0)
    assert tuple(inputs) == INPUTS
    assert inputs["input_ids"].tolist() == [[100, 101, 9], [102, 103, 104], [105, 9, 9]]
    assert inputs["attention_mask"].tolist() == [[1, 1, 0], [1, 1, 1], [1, 0, 0]]
    assert inputs["token_type_ids"].tolist() == [[0, 1, 0], [0, 1, 0], [1, 0, 0]]
    assert inputs["position_ids"].tolist() == [[0, 1, 2]] * 3
    assert {values.dtype for values in inputs.values()} == {np.dtype(np.int64)}


def test_positions_may_begin_elsewhere() -> None:
    inputs = pad(_batch([1, 3]), pad_token_id=1, first_position=2)
    assert inputs["position_ids"].tolist() == [[2, 3, 4]] * 2


@given(st.lists(st.integers(1, 20), min_size=1, max_size=9))
def test_unpadding_gives_what_was_packed(lengths: list[int]) -> None:
    batch = _batch(lengths)
    inputs = pad(batch, pad_token_id=0, first_position=0)
    np.testing.assert_array_equal(unpad(inputs["input_ids"], batch.lengths), batch.input_ids)
    np.testing.assert_array_equal(
        unpad(inputs["token_type_ids"], batch.lengths), batch.token_type_ids
    )
    assert unpad(np.zeros((len(lengths), max(lengths), 4)), batch.lengths).shape == (
        sum(lengths),
        4,
    )


def test_lengths_that_are_not_those_of_the_tokens() -> None:
    batch = _batch([2, 3])
    with pytest.raises(ValueError, match="cannot assign 5"):
        pad(PackedBatch(batch.input_ids, batch.token_type_ids, np.array([2, 2])), 0, 0)
