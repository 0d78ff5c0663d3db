"""Text to tokens."""

import functools
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import index
from pathlib import Path
from typing import Literal, SupportsIndex

import numpy as np
import tokenizers

from bertrt.errors import ArtifactError, InputError, TextTooLongError
from bertrt.prefixes import Shortener
from bertrt.tokenizer_files import load_tokenizer, tokenizer_settings

__all__ = ["Encoding", "Strategy", "TextInput", "TextTokenizer", "Window"]

# A text, or a pair of texts.
TextInput = str | tuple[str, str]

# Which text of a pair is cut.
Strategy = Literal["longest_first", "only_first", "only_second"]
_STRATEGIES = ("longest_first", "only_first", "only_second")


@dataclass(frozen=True, slots=True)
class Encoding:
    """The tokens of one text or pair.

    input_ids, token_type_ids: int64 [tokens], special tokens included, no padding.
    truncated: whether the text was cut to the model's limit.
    """

    input_ids: np.ndarray
    token_type_ids: np.ndarray
    truncated: bool

    def __len__(self) -> int:
        return len(self.input_ids)


@dataclass(frozen=True, slots=True)
class Window:
    """One of the overlapping parts of a text or pair that together hold all of it.

    encoding: what the model gets: the special tokens, the part, and the other text of a pair whole.
    offsets: int64 [tokens, 2], characters of a token's own text, start and end; (0, 0) for special
        tokens.
    word_ids: int64 [tokens], the word of its own text that a token is part of; -1 for special ones.
    sequence_ids: int64 [tokens], 0 for the first text, 1 for the second, -1 for special tokens.
    tokens: as the vocabulary writes them.
    windowed: which text the window is a part of: 0, or 1 for the second of a pair.
    """

    encoding: Encoding
    offsets: np.ndarray
    word_ids: np.ndarray
    sequence_ids: np.ndarray
    tokens: tuple[str, ...]
    windowed: int

    def __len__(self) -> int:
        return len(self.encoding)

    @property
    def span(self) -> tuple[int, int]:
        """Start and end, in characters of the windowed text; (0, 0) where it has no token."""
        own = self.offsets[self.sequence_ids == self.windowed]
        return (int(own[:, 0].min()), int(own[:, 1].max())) if len(own) else (0, 0)


class TextTokenizer:
    """The tokenizer whose files are in a folder, cut to `max_length` tokens, without padding.

    Texts are cut on the side that tokenizer_config.json's `truncation_side` names. Of a pair, the
    longer text is cut, token by token (`longest_first`, as Transformers' `truncation=True`), unless
    tokenizer.json itself names another strategy. Special tokens are always kept.
    """

    def __init__(self, folder: Path, max_length: int) -> None:
        self._tokenizer = load_tokenizer(folder)
        self.max_length = max_length
        self.vocabulary_size = self._tokenizer.get_vocab_size()
        saved = self._tokenizer.truncation or {}
        settings = tokenizer_settings(folder)
        side = settings.get("truncation_side", saved.get("direction", "right"))
        if side not in ("left", "right"):
            raise ArtifactError(
                f"{folder / 'tokenizer_config.json'}: truncation_side is {side!r}, "
                "not 'left' or 'right'"
            )
        # What stands for words that the vocabulary does not have; -1 where there is no such token.
        self.unknown_id: int = _unknown_id(self._tokenizer, settings.get("unk_token"))
        self._tokenizer.no_padding()
        self._strategy = saved.get("strategy", "longest_first")
        self.truncation_side: str = side
        self._set_truncation(self._tokenizer, self._strategy, side)
        # Others are cloned as they are asked for: at most one for each strategy and side.
        self._cutting = {(self._strategy, side): self._tokenizer}
        self._whole: tokenizers.Tokenizer | None = None
        self._shortener = Shortener(self._tokenizer, max_length)
        self._cloning = threading.Lock()

    def encode(
        self,
        texts: Sequence[TextInput],
        *,
        truncate: bool = True,
        first: int = 0,
        side: str | None = None,
        strategy: Strategy | None = None,
    ) -> list[Encoding]:
        """Encode texts and (text, pair) tuples, in order.

        first: the number that errors give to the first text.
        side: `left` or `right`, where texts are cut; by default as the artifact says.
        strategy: which text of a pair is cut: `longest_first` (the longer one, token by token),
        `only_first` or `only_second`; by default as the artifact says.
        Raises InputError for what is not a text and for a pair that the strategy cannot cut to the
        limit, TextTooLongError for a text over `max_length` tokens where `truncate` is false.
        """
        if strategy is not None and strategy not in _STRATEGIES:
            raise ValueError(f"strategy is {strategy!r}: choose one of {', '.join(_STRATEGIES)}")
        # Offsets are not needed, so they are not computed.
        encoded = self._encoded(
            tokenizers.Tokenizer.encode_batch_fast,
            texts,
            strategy or self._strategy,
            side or self.truncation_side,
            truncate=truncate,
            first=first,
        )
        return [_encoding(encoding) for encoding in encoded]

    def located(
        self, texts: Sequence[TextInput], *, truncate: bool = True, first: int = 0
    ) -> list[Window]:
        """Encode texts and tuples as `encode` does, with where each token stands in its text.

        A text over `max_length` tokens is cut, so each text or pair gives one window, in order.
        """
        encoded = self._encoded(
            tokenizers.Tokenizer.encode_batch,
            texts,
            self._strategy,
            self.truncation_side,
            truncate=truncate,
            first=first,
        )
        return [
            window
            for position, encoding in enumerate(encoded, first)
            for window in self._windows_of(encoding, 0, position)
        ]

    def _encoded(
        self,
        method: Callable[[tokenizers.Tokenizer, list[TextInput]], list[tokenizers.Encoding]],
        texts: Sequence[TextInput],
        strategy: str,
        side: str,
        *,
        truncate: bool,
        first: int,
    ) -> list[tokenizers.Encoding]:
        """What the library makes of texts, with the errors of `encode`; by one of its methods."""
        for position, text in enumerate(texts, first):
            _check_text(position, text)
        cutting = self._cutting_tokenizer(strategy, side)
        encode_batch = functools.partial(method, cutting)
        given = whole = list(texts)
        try:
            if truncate and side == "right":
                given = self._shortener.shorten(whole, cutting, strategy)
            encoded = encode_batch(given)
        except Exception as error:
            for position, text in enumerate(texts, first):
                _check_unicode(position, text)
                self._check_cut(position, text, encode_batch, strategy, truncate)
            raise InputError(f"the tokenizer failed: {error}") from error
        if given is not whole:  # the library has not seen all of some
            for position, text in enumerate(texts, first):
                _check_unicode(position, text)
        if not truncate:
            for position, (text, encoding) in enumerate(zip(texts, encoded, strict=True), first):
                if encoding.overflowing:
                    raise TextTooLongError(position, self._full_length(text), self.max_length)
        return encoded

    def windows(
        self, texts: Sequence[TextInput], *, stride: int, first: int = 0
    ) -> list[list[Window]]:
        """Cut each text or pair into overlapping windows of at most `max_length` tokens, in order.

        A window has the special tokens too. Consecutive ones share `stride` tokens of text; all but
        the last are full. Of a pair the longer text is cut so, and the other is in every window. A
        text that fits gives one window. Nothing is lost, so the artifact's side does not matter.
        first: the number that errors give to the first text.
        Raises ValueError for a stride out of range, InputError for what is not a text and for a
        pair whose shorter text leaves windows no more room than `stride`.
        """
        room = self.max_length - self._tokenizer.num_special_tokens_to_add(False)
        if not isinstance(stride, SupportsIndex) or isinstance(stride, bool):
            raise ValueError(f"stride is {stride!r}: give a whole number of tokens")
        if not 0 <= index(stride) < room:
            raise ValueError(
                f"stride is {stride}: give 0 to {room - 1}, as a window holds {room} tokens of text"
            )
        for position, text in enumerate(texts, first):
            _check_text(position, text)
        try:
            encoded = self._whole_tokenizer().encode_batch(list(texts))
        except Exception as error:
            for position, text in enumerate(texts, first):
                _check_unicode(position, text)
            raise InputError(f"the tokenizer failed: {error}") from error
        return [
            list(self._windows_of(encoding, index(stride), position))
            for position, encoding in enumerate(encoded, first)
        ]

    def join(self, tokens: Sequence[str]) -> str:
        """Tokens to readable text, as the tokenizer's decoder joins them."""
        decoder = self._tokenizer.decoder
        return " ".join(tokens) if decoder is None else str(decoder.decode(list(tokens)))

    @property
    def marks_subwords(self) -> bool:
        """Whether a token shows that it continues a word, as WordPiece's `##` does."""
        return bool(getattr(self._tokenizer.model, "continuing_subword_prefix", None))

    def from_ids(self, texts: Sequence[Sequence[int]]) -> list[Encoding]:
        """Encodings of texts that somebody else has tokenized, special tokens included.

        Raises InputError for an id that the tokenizer does not have and for a text without tokens,
        TextTooLongError for one of more than `max_length`.
        """
        for position, ids in enumerate(texts):
            if not ids:
                raise InputError(f"text {position} has no tokens")
            if len(ids) > self.max_length:
                raise TextTooLongError(position, len(ids), self.max_length)
            if not all(0 <= token < self.vocabulary_size for token in ids):
                raise InputError(
                    f"text {position} has a token id outside 0 to {self.vocabulary_size - 1}"
                )
        return [
            Encoding(np.array(ids, dtype=np.int64), np.zeros(len(ids), dtype=np.int64), False)
            for ids in texts
        ]

    def _cutting_tokenizer(self, strategy: str, side: str) -> tokenizers.Tokenizer:
        """The tokenizer that cuts so; made once, where it is not the artifact's."""
        if (strategy, side) not in self._cutting:
            with self._cloning:
                clone = tokenizers.Tokenizer.from_str(self._tokenizer.to_str())
                self._set_truncation(clone, strategy, side)
                self._cutting[strategy, side] = clone
        return self._cutting[strategy, side]

    def _set_truncation(self, tokenizer: tokenizers.Tokenizer, strategy: str, side: str) -> None:
        tokenizer.enable_truncation(self.max_length, strategy=strategy, direction=side)

    def _whole_tokenizer(self) -> tokenizers.Tokenizer:
        """The tokenizer that does not cut; made once."""
        with self._cloning:
            if self._whole is None:
                whole = tokenizers.Tokenizer.from_str(self._tokenizer.to_str())
                whole.no_truncation()
                self._whole = whole
        return self._whole

    def _windows_of(
        self, encoding: tokenizers.Encoding, stride: int, position: int
    ) -> Iterator[Window]:
        # The library's own list has what stands in the text where that is not in the vocabulary.
        tokens = [str(self._tokenizer.id_to_token(token)) for token in encoding.ids]
        return _cut_into_windows(encoding, tokens, self.max_length, stride, position)

    def _full_length(self, text: TextInput) -> int:
        """Tokens of a text that is not cut."""
        return len(self._whole_tokenizer().encode_batch_fast([text])[0].ids)

    def _check_cut(
        self,
        position: int,
        text: TextInput,
        encode_batch: Callable[[list[TextInput]], list[tokenizers.Encoding]],
        strategy: str,
        truncate: bool,
    ) -> None:
        """InputError or TextTooLongError for a text that the library refuses to cut."""
        try:
            encode_batch([text])
        except Exception as error:
            length = self._full_length(text)
            if not truncate:
                raise TextTooLongError(position, length, self.max_length) from error
            raise InputError(
                f"text {position} has {length} tokens and the model takes {self.max_length}, and "
                f"to cut {strategy.replace('_', ' the ')} of its texts is not enough: shorten it"
            ) from error


def _cut_into_windows(
    encoded: tokenizers.Encoding,
    tokens: Sequence[str],
    max_length: int,
    stride: int,
    position: int,
) -> Iterator[Window]:
    """The windows of a text that was tokenized whole, or cut to the limit, which gives one.

    Special tokens stand around the texts, so a window is the whole without the rest of its text.
    The library's own `stride` gives the same; but it needs a tokenizer for each stride, takes no
    pair of two long texts, and ends in a panic where a pair leaves no room.
    """
    arrays = [
        np.array(encoded.ids, dtype=np.int64),
        np.array(encoded.type_ids, dtype=np.int64),
        np.array(encoded.offsets, dtype=np.int64).reshape(-1, 2),
        _numbered(encoded.word_ids),
        _numbered(encoded.sequence_ids),
    ]
    sequence_ids = arrays[-1]
    windowed = int((sequence_ids == 1).sum() > (sequence_ids == 0).sum())
    own = np.flatnonzero(sequence_ids == windowed)
    room = max_length - (len(tokens) - len(own))
    if len(own) > room and room <= stride:
        raise InputError(
            f"text {position} is a pair whose shorter text leaves windows of the longer one "
            f"{max(room, 0)} of the model's {max_length} tokens, and they share {stride}: "
            "shorten it, or use a smaller stride"
        )
    begin = own[0] if len(own) else 0  # a text's tokens stand together
    before, after = np.arange(begin), np.arange(begin + len(own), len(tokens))
    starts = range(0, len(own) - stride, room - stride) if len(own) > room else (0,)
    for start in starts:
        kept = np.concatenate([before, own[start : start + room], after])
        input_ids, token_type_ids, offsets, word_ids, sequences = (array[kept] for array in arrays)
        yield Window(
            Encoding(input_ids, token_type_ids, bool(encoded.overflowing)),
            offsets,
            word_ids,
            sequences,
            tuple(tokens[at] for at in kept),
            windowed,
        )


def _encoding(encoded: tokenizers.Encoding) -> Encoding:
    return Encoding(
        np.array(encoded.ids, dtype=np.int64),
        np.array(encoded.type_ids, dtype=np.int64),
        bool(encoded.overflowing),
    )


def _numbered(ids: Sequence[int | None]) -> np.ndarray:
    return np.array([-1 if number is None else number for number in ids], dtype=np.int64)


def _unknown_id(tokenizer: tokenizers.Tokenizer, named: object) -> int:
    """The id of the token that tokenizer_config.json names, or else of the model's own.

    named: the token, or an object that holds it as `content`; None where the file has none.
    """
    token = named.get("content") if isinstance(named, dict) else named
    if token is None:
        token = getattr(tokenizer.model, "unk_token", None)
    if token is None and isinstance(tokenizer.model, tokenizers.models.Unigram):
        found = json.loads(tokenizer.to_str())["model"].get("unk_id")  # no attribute has it
    else:
        found = tokenizer.token_to_id(token) if isinstance(token, str) else None
    return -1 if found is None else int(found)


def _check_text(position: int, text: object) -> None:
    if isinstance(text, str):
        return
    if not isinstance(text, tuple):
        raise InputError(
            f"text {position} is of type {type(text).__name__}: "
            "give a string, or a tuple of two strings for a pair"
        )
    if len(text) != 2 or not all(isinstance(part, str) for part in text):
        kinds = ", ".join(type(part).__name__ for part in text)
        raise InputError(
            f"text {position} is a tuple of ({kinds}): a pair is a tuple of two strings"
        )


def _check_unicode(position: int, text: TextInput) -> None:
    for part in (text,) if isinstance(text, str) else text:
        try:
            part.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InputError(
                f"text {position} is not valid Unicode: a lone surrogate stands at character "
                f"{error.start}; decode the bytes with errors='replace'"
            ) from error
