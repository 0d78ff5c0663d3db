"""Batches: every text once, within the budget, and packed without loss."""

import numpy as np
import pytest
from bertrt.packing import pack, plan_batches
from bertrt.tokenizer import Encoding
from hypothesis import given
from hypothesis import strategies as st

_LENGTHS = st.lists(st.integers(2, 512), max_size=200)
_BUDGETS = st.integers(1, 10_000)


@st.composite
def _encodings(draw: st.DrawFn) -> list[Encoding]:
    lengths = draw(st.lists(st.integers(1, 40), min_size=1, max_size=20))
    numbers = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return [
        Encoding(numbers.integers(30_522, size=n), numbers.integers(2, size=n), False)
        for n in lengths
    ]


@given(_LENGTHS, _BUDGETS)
def test_every_position_stands_in_one_batch(lengths: list[int], budget: int) -> None:
    positions = [position for batch in plan_batches(lengths, budget) for position in batch]
    assert sorted(positions) == list(range(len(lengths)))


@given(_LENGTHS, _BUDGETS)
def test_no_batch_exceeds_the_budget_but_a_long_text_alone(lengths: list[int], budget: int) -> None:
    for batch in plan_batches(lengths, budget):
        rectangle = len(batch) * max(lengths[position] for position in batch)
        assert rectangle <= budget or len(batch) == 1


@given(_LENGTHS, _BUDGETS)
def test_longest_texts_come_first_and_equals_in_input_order(
    lengths: list[int], budget: int
) -> None:
    positions = [position for batch in plan_batches(lengths, budget) for position in batch]
    assert positions == sorted(positions, key=lambda position: (-lengths[position], position))


@given(_LENGTHS, _BUDGETS)
def test_no_batch_is_cut_while_the_next_text_fits(lengths: list[int], budget: int) -> None:
    batches = plan_batches(lengths, budget)
    for batch in batches[:-1]:
        assert (len(batch) + 1) * lengths[batch[0]] > budget


@given(_LENGTHS, _BUDGETS)
def test_the_same_lengths_give_the_same_batches(lengths: list[int], budget: int) -> None:
    assert plan_batches(lengths, budget) == plan_batches(tuple(lengths), budget)


@pytest.mark.parametrize(
    ("lengths", "budget", "batches"),
    [
        pytest.param([], 8, [], id="no text"),
        pytest.param([3, 5, 4, 2], 10, [[1, 2], [0, 3]], id="pairs that fill the budget"),
        pytest.param([9, 20, 1], 8, [[1], [0], [2]], id="over-long texts stand alone"),
        pytest.param([4, 4, 4], 12, [[0, 1, 2]], id="exactly the budget"),
        pytest.param([4, 4, 4], 11, [[0, 1], [2]], id="one place short"),
        pytest.param([2, 2], 1, [[0], [1]], id="a budget that nothing fits"),
    ],
)
def test_batches_of_known_lengths(
    lengths: list[int], budget: int, batches: list[list[int]]
) -> None:
    assert plan_batches(lengths, budget) == batches


@given(_encodings())
def test_splitting_a_batch_by_its_lengths_gives_the_encodings_back(
    encodings: list[Encoding],
) -> None:
    batch = pack(encodings)
    starts = np.cumsum(batch.lengths)[:-1]
    ids, types = np.split(batch.input_ids, starts), np.split(batch.token_type_ids, starts)
    assert len(ids) == len(types) == len(encodings)
    for encoding, input_ids, token_type_ids in zip(encodings, ids, types, strict=True):
        np.testing.assert_array_equal(input_ids, encoding.input_ids)
        np.testing.assert_array_equal(token_type_ids, encoding.token_type_ids)


@given(_encodings())
def test_a_batch_has_no_padding_and_the_types_of_the_graph(encodings: list[Encoding]) -> None:
    batch = pack(encodings)
    tokens = sum(len(encoding) for encoding in encodings)
    assert batch.input_ids.shape == batch.token_type_ids.shape == (tokens,)
    assert batch.lengths.shape == (len(encodings),)
    assert batch.input_ids.dtype == batch.token_type_ids.dtype == np.int64
    assert batch.lengths.dtype == np.int32
