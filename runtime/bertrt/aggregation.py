"""Scores of tokens to entities, as Transformers' token-classification pipeline groups them.

All is done on the tokens of one text, in the order of the text, special tokens left out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

__all__ = ["STRATEGIES", "Entity", "Piece", "aggregate", "merge_overlapping", "pieces_of"]

STRATEGIES = ("none", "simple", "first", "average", "max")

# Joins tokens into readable text, as the tokenizer's decoder does.
Join = Callable[[Sequence[str]], str]


@dataclass(frozen=True, slots=True)
class Entity:
    """A labelled stretch of a text.

    label: the model's label (`B-PER`) of a single token, the group's (`PER`) of aggregated ones.
    score: the label's probability; of several tokens or words, the mean of theirs.
    start, end: characters of the text, so that `text[start:end]` is what was labelled.
    word: the tokens as the tokenizer writes them (lower case, `##`), so it may differ from that.
    index: the token's place in its text, special tokens counted; None where tokens are aggregated.
    """

    label: str
    score: float
    start: int
    end: int
    word: str
    index: int | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """A token of the text: its place among the tokens, and the characters that it stands for.

    continues: whether it belongs to the same word as the token before it.
    """

    token: str
    index: int
    start: int
    end: int
    continues: bool


@dataclass(frozen=True, slots=True)
class _Unit:
    """What is labelled as one, a token or a word; `label` as the model names it."""

    label: str
    score: np.float32
    start: int
    end: int
    word: str


def pieces_of(
    text: str,
    tokens: Sequence[str],
    offsets: np.ndarray,
    is_special: np.ndarray,
    is_unknown: np.ndarray,
    *,
    marks_subwords: bool,
) -> list[Piece]:
    """The tokens that stand for text.

    tokens: as they stand in the vocabulary. offsets: int64 [tokens, 2], characters of `text`.
    is_special, is_unknown: bool [tokens], added by the tokenizer, and not in its vocabulary.
    marks_subwords: whether the vocabulary marks what continues a word, as WordPiece's `##` does. If
    not, a token continues a word where no space stands before it or at its start: punctuation then
    belongs to the word that it follows.
    """
    pieces = []
    for index in np.flatnonzero(~is_special).tolist():
        start, end = offsets[index].tolist()
        token = tokens[index]
        if is_unknown[index]:
            token, continues = text[start:end], False
        elif marks_subwords:
            continues = len(token) != end - start
        else:
            continues = start > 0 and " " not in text[start - 1 : start + 1]
        pieces.append(Piece(token, index, start, end, continues))
    return pieces


def aggregate(
    pieces: Sequence[Piece],
    scores: np.ndarray,
    labels: Sequence[str],
    strategy: str,
    join: Join,
) -> list[Entity]:
    """The entities of a text, those that mean "no entity" (`O`) too, in the order of the text.

    scores: float32 [pieces, labels], probabilities.
    strategy: `none`, one entity a token; `simple`, neighbours of one tag are one entity, and `B-`
    begins a new one; `first`, `average` and `max` do the same with words, which take the label of
    their first token, of the mean of their tokens' scores, or of the token with the highest score.
    """
    if strategy == "none":
        units = _token_units(pieces, scores, labels)
        return [
            Entity(unit.label, float(unit.score), unit.start, unit.end, unit.word, piece.index)
            for unit, piece in zip(units, pieces, strict=True)
        ]
    if strategy == "simple":
        units = _token_units(pieces, scores, labels)
    else:
        units = _word_units(pieces, scores, labels, strategy, join)
    return [_entity(group, join) for group in _runs(units)]


def merge_overlapping(entities: Sequence[Entity]) -> list[Entity]:
    """The entities of one text's overlapping windows without those that another one covers.

    Of entities that begin within one another the longer one is kept, of two of one length that with
    the higher score. In the order of the text. So does the pipeline; but it lists the first one
    twice where that stands for no character.
    """
    merged: list[Entity] = []
    for entity in sorted(entities, key=lambda entity: entity.start):
        if not merged or not merged[-1].start <= entity.start < merged[-1].end:
            merged.append(entity)
        elif _rank(entity) > _rank(merged[-1]):
            merged[-1] = entity
    return merged


def _rank(entity: Entity) -> tuple[int, float]:
    return entity.end - entity.start, entity.score


def _token_units(pieces: Sequence[Piece], scores: np.ndarray, labels: Sequence[str]) -> list[_Unit]:
    return [
        _Unit(labels[best], row[best], piece.start, piece.end, piece.token)
        for piece, row, best in zip(pieces, scores, _best(scores), strict=True)
    ]


def _word_units(
    pieces: Sequence[Piece], scores: np.ndarray, labels: Sequence[str], strategy: str, join: Join
) -> list[_Unit]:
    begins = [place for place, piece in enumerate(pieces) if place == 0 or not piece.continues]
    units = []
    for first, after in pairwise([*begins, len(pieces)]):
        word = pieces[first:after]
        row = _word_scores(scores[first:after], strategy)
        best = int(row.argmax())
        text = join([piece.token for piece in word])
        units.append(_Unit(labels[best], row[best], word[0].start, word[-1].end, text))
    return units


def _word_scores(scores: np.ndarray, strategy: str) -> np.ndarray:
    """A word's scores, float32 [labels], of those of its tokens, float32 [tokens, labels]."""
    if strategy == "first":
        row = scores[0]
    elif strategy == "max":
        row = scores[scores.max(axis=-1).argmax()]
    else:
        assert strategy == "average"  # the caller has checked it
        row = scores.mean(axis=0)
    return np.asarray(row)


def _runs(units: Sequence[_Unit]) -> list[list[_Unit]]:
    """Neighbours of one tag together; `B-` begins a new run."""
    runs: list[list[_Unit]] = []
    for unit in units:
        begins, tag = _tag(unit.label)
        if runs and not begins and tag == _tag(runs[-1][-1].label)[1]:
            runs[-1].append(unit)
        else:
            runs.append([unit])
    return runs


def _tag(label: str) -> tuple[bool, str]:
    """Whether a label begins an entity, and of which kind; one without `B-` or `I-` continues."""
    return label.startswith("B-"), label[2:] if label.startswith(("B-", "I-")) else label


def _entity(units: Sequence[_Unit], join: Join) -> Entity:
    # What stands before the first hyphen is dropped, whatever scheme it is of (BIOES, BILOU).
    label = units[0].label.split("-", 1)[-1]
    score = float(np.mean([unit.score for unit in units]))
    return Entity(label, score, units[0].start, units[-1].end, join([u.word for u in units]))


def _best(scores: np.ndarray) -> list[int]:
    best: list[int] = scores.argmax(axis=-1).tolist()
    return best
