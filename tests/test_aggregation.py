"""Scores of tokens to entities: each strategy's rules, on texts small enough to see through."""

from collections.abc import Sequence

import numpy as np
import pytest
from bertrt.aggregation import (
    STRATEGIES,
    Entity,
    Piece,
    aggregate,
    merge_overlapping,
    pieces_of,
)

_LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


def _join(tokens: Sequence[str]) -> str:
    """A decoder of WordPiece's kind."""
    return " ".join(tokens).replace(" ##", "")


def _pieces(words: str) -> list[Piece]:
    """Tokens of a text without punctuation: `mar ##ie curie`."""
    pieces: list[Piece] = []
    end = -1
    for index, token in enumerate(words.split(), start=1):
        continues = token.startswith("##")
        start = end + (0 if continues else 1)
        end = start + len(token.removeprefix("##"))
        pieces.append(Piece(token, index, start, end, continues))
    return pieces


def _scores(*rows: dict[str, float]) -> np.ndarray:
    """A row a token; what is not named has nothing."""
    return np.array([[row.get(label, 0) for label in _LABELS] for row in rows], dtype=np.float32)


def _entities(words: str, scores: np.ndarray, strategy: str) -> list[tuple[str, float, str]]:
    found = aggregate(_pieces(words), scores, _LABELS, strategy, _join)
    return [(entity.label, round(entity.score, 6), entity.word) for entity in found]


def _tagged(words: str, tags: str) -> list[tuple[str, str]]:
    """(label, word) of the groups that `simple` makes of tags."""
    scores = _scores(*({tag: 1.0} for tag in tags.split()))
    return [(label, word) for label, _, word in _entities(words, scores, "simple")]


def test_none_gives_every_token_with_its_place() -> None:
    scores = _scores({"B-PER": 0.75}, {"I-PER": 0.5, "O": 0.25}, {"O": 1})
    found = aggregate(_pieces("mar ##ie sings"), scores, _LABELS, "none", _join)
    assert found == [
        Entity("B-PER", 0.75, 0, 3, "mar", 1),
        Entity("I-PER", 0.5, 3, 5, "##ie", 2),
        Entity("O", 1.0, 6, 11, "sings", 3),
    ]


def test_simple_joins_what_continues_and_takes_the_mean_score() -> None:
    scores = _scores({"B-PER": 0.75}, {"I-PER": 0.5}, {"I-PER": 0.25})
    found = aggregate(_pieces("mar ##ie curie"), scores, _LABELS, "simple", _join)
    assert found == [Entity("PER", 0.5, 0, 11, "marie curie", None)]


def test_a_b_tag_begins_a_new_entity() -> None:
    assert _tagged("a b c", "B-PER B-PER I-PER") == [("PER", "a"), ("PER", "b c")]


def test_an_i_tag_of_another_kind_begins_a_new_entity() -> None:
    assert _tagged("a b c", "B-PER I-LOC I-LOC") == [("PER", "a"), ("LOC", "b c")]


def test_an_i_tag_alone_is_an_entity() -> None:
    assert _tagged("a b c", "O I-LOC O") == [("O", "a"), ("LOC", "b"), ("O", "c")]


def test_what_means_no_entity_is_grouped_too() -> None:
    assert _tagged("a b c", "O O B-PER") == [("O", "a b"), ("PER", "c")]


def test_labels_without_b_and_i_are_grouped_by_their_name() -> None:
    scores = np.eye(2, dtype=np.float32)[[0, 0, 1]]
    found = aggregate(_pieces("a b c"), scores, ("NOUN", "VERB"), "simple", _join)
    assert [(entity.label, entity.word) for entity in found] == [("NOUN", "a b"), ("VERB", "c")]


def test_of_another_scheme_the_letter_is_dropped() -> None:
    scores = np.eye(2, dtype=np.float32)[[0, 1]]
    found = aggregate(_pieces("a b"), scores, ("S-PER", "E-PER"), "simple", _join)
    assert [(entity.label, entity.word) for entity in found] == [("PER", "a"), ("PER", "b")]


@pytest.mark.parametrize(
    ("strategy", "label", "score"),
    [
        ("first", "PER", 0.5),  # the first token's label
        ("average", "LOC", 0.5),  # LOC: (0.375 + 0.625) / 2; PER: 0.25
        ("max", "LOC", 0.625),  # the surest token is the second
    ],
)
def test_a_word_has_one_label(strategy: str, label: str, score: float) -> None:
    scores = _scores({"B-PER": 0.5, "B-LOC": 0.375}, {"B-LOC": 0.625})
    assert _entities("mar ##ie", scores, strategy) == [(label, score, "marie")]


def test_simple_may_cut_a_word() -> None:
    assert _tagged("mar ##ie", "B-PER B-LOC") == [("PER", "mar"), ("LOC", "##ie")]


@pytest.mark.parametrize("strategy", ["first", "average", "max"])
def test_words_of_one_tag_are_one_entity_with_the_mean_of_their_scores(strategy: str) -> None:
    scores = _scores({"B-PER": 0.5}, {"B-PER": 0.5}, {"I-PER": 1})
    found = aggregate(_pieces("mar ##ie curie"), scores, _LABELS, strategy, _join)
    assert found == [Entity("PER", 0.75, 0, 11, "marie curie", None)]


@pytest.mark.parametrize("strategy", ["first", "average", "max"])
def test_what_continues_at_the_beginning_is_a_word(strategy: str) -> None:
    """A window may begin within a word."""
    scores = _scores({"B-PER": 1}, {"O": 1})
    assert _entities("##ie sings", scores, strategy) == [("PER", 1, "##ie"), ("O", 1, "sings")]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_tokens_are_no_entities(strategy: str) -> None:
    scores = np.empty((0, len(_LABELS)), dtype=np.float32)
    assert aggregate([], scores, _LABELS, strategy, _join) == []


def test_equal_scores_go_to_the_first_label() -> None:
    assert _entities("a", _scores({"B-LOC": 0.5, "I-PER": 0.5}), "none") == [("I-PER", 0.5, "a")]


def _pieces_of(
    text: str, tokens: str, offsets: list[tuple[int, int]], *, marks_subwords: bool
) -> list[tuple[str, bool]]:
    """(token, continues) of tokens between two special ones; `[UNK]` is the unknown one."""
    names = ["[CLS]", *tokens.split(), "[SEP]"]
    pieces = pieces_of(
        text,
        names,
        np.array([(0, 0), *offsets, (0, 0)], dtype=np.int64),
        np.array([name in ("[CLS]", "[SEP]") for name in names]),
        np.array([name == "[UNK]" for name in names]),
        marks_subwords=marks_subwords,
    )
    assert [piece.index for piece in pieces] == list(range(1, len(names) - 1))
    assert [(piece.start, piece.end) for piece in pieces] == offsets
    return [(piece.token, piece.continues) for piece in pieces]


def test_marks_say_what_continues_a_word() -> None:
    offsets = [(0, 3), (3, 5), (5, 6)]
    assert _pieces_of("marie.", "mar ##ie .", offsets, marks_subwords=True) == [
        ("mar", False),
        ("##ie", True),
        (".", False),
    ]


def test_without_marks_spaces_say_what_continues_a_word() -> None:
    offsets = [(0, 3), (3, 5), (5, 6), (6, 8)]
    assert _pieces_of("marie. a", "mar ie . \u0120a", offsets, marks_subwords=False) == [
        ("mar", False),
        ("ie", True),
        (".", True),
        ("\u0120a", False),
    ]


def test_without_marks_a_space_may_be_left_out_of_the_offsets() -> None:
    assert _pieces_of("a b", "a b", [(0, 1), (2, 3)], marks_subwords=False) == [
        ("a", False),
        ("b", False),
    ]


@pytest.mark.parametrize("marks_subwords", [True, False])
def test_an_unknown_token_is_a_word_and_reads_as_in_the_text(marks_subwords: bool) -> None:
    offsets = [(0, 1), (1, 3)]
    pieces = _pieces_of("a你好", "a [UNK]", offsets, marks_subwords=marks_subwords)
    assert pieces == [("a", False), ("你好", False)]


def _spans(*spans: tuple[int, int, float]) -> list[Entity]:
    return [Entity("PER", score, start, end, "") for start, end, score in spans]


def test_of_entities_within_one_another_the_longer_is_kept() -> None:
    whole, rest = _spans((0, 11, 0.5), (6, 11, 0.9))
    assert merge_overlapping([rest, whole]) == [whole]


def test_a_longer_entity_displaces_the_one_that_began_before_it() -> None:
    cut, whole = _spans((0, 5, 0.9), (3, 11, 0.5))
    assert merge_overlapping([cut, whole]) == [whole]


def test_of_two_of_one_length_the_surer_is_kept() -> None:
    once, again = _spans((0, 5, 0.5), (0, 5, 0.75))
    assert merge_overlapping([once, again]) == [again]
    assert merge_overlapping([again, once]) == [again]


def test_entities_that_touch_are_both_kept_in_order() -> None:
    first, second = _spans((0, 5, 0.5), (5, 11, 0.5))
    assert merge_overlapping([second, first]) == [first, second]


def test_no_entities_stay_none() -> None:
    assert merge_overlapping([]) == []
