"""Of long texts the part that is needed: the tokens are those of the whole texts."""

import functools
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bertrt import Classifier, InputError
from bertrt.prefixes import Shortener
from bertrt.tokenizer import Strategy, TextInput, TextTokenizer
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

from tests.tiny_taggers import TAGGERS, save_tokenizer

_LIMIT = 16
# Of what nothing is left out: 8 characters a token, and four times of that.
_WHOLE = 4 * 8 * _LIMIT

_PIECES = (
    "good film and",
    "UNBELIEVABLE, it's (really) 1,000.50$!",
    "   ",
    " \t\r\n",
    "\n",
    "\u3000",
    "\u00a0",
    " \u200b ",
    "\u200d\ufeff",
    "e\u0301 \u0301 ",
    "caf\u00e9 \ufb01ne Gr\u00fc\u00dfe \u00bfD\u00f3nde? ",
    "这部电影非常好看",
    "عرض رائع ",
    "ൎ ",
    "\u1160\u3164 ",
    "👍🏽 🇩🇪 ",
    "x" * 120,
    "[MASK] <mask> </s>",
    "it's we'll 's ' s",
    "▁ ▁▁a",
    "\x00\x07",
    "a b c d e f g ",
    "1 2 345 ",
)


def _texts(count: int, longest: int) -> list[str]:
    """Texts of all lengths up to some characters, of pieces that meet in all orders."""
    rng = random.Random(0)
    texts = []
    for _ in range(count):
        length, text = rng.randint(0, longest), ""
        # Some are made of few pieces, lest each have words that a part may end with.
        pieces = rng.sample(_PIECES, rng.choice([1, 2, 3, len(_PIECES)]))
        while len(text) < length:
            text += rng.choice(pieces) + rng.choice(["", "", " "])
        texts.append(text)
    return texts


@pytest.fixture(scope="module")
def saved(
    tmp_path_factory: pytest.TempPathFactory, sst2_dev: list[tuple[str, int]]
) -> Callable[[str], Path]:
    @functools.cache
    def save(name: str) -> Path:
        folder = tmp_path_factory.mktemp(name)
        save_tokenizer(name, [text for text, _ in sst2_dev], folder)
        return folder

    return save


class _Counted:
    """Counts the texts that are shortened, and the characters that are left."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shortened, self.longest = 0, 0
        original = Shortener.shorten

        def counted(shortener: Shortener, texts: list[TextInput], *others: Any) -> Any:
            parts = original(shortener, texts, *others)
            self.shortened += sum(part != text for part, text in zip(parts, texts, strict=True))
            self.longest = max(len(part) for part in parts)
            return parts

        monkeypatch.setattr(Shortener, "shorten", counted)


def _library(folder: Path, strategy: str, side: str) -> Tokenizer:
    """What cuts whole texts."""
    library = Tokenizer.from_file(str(folder / "tokenizer.json"))
    library.enable_truncation(_LIMIT, strategy=strategy, direction=side)
    return library


@pytest.mark.parametrize("name", TAGGERS)
def test_tokens_are_those_of_the_whole_text(
    saved: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder, counted = saved(name), _Counted(monkeypatch)
    texts = _texts(400, 4 * _WHOLE)
    expected = _library(folder, "longest_first", "right").encode_batch(texts)
    tokenizer = TextTokenizer(folder, _LIMIT)
    for encoding, window, right in zip(
        tokenizer.encode(texts), tokenizer.located(texts), expected, strict=True
    ):
        assert encoding.input_ids.tolist() == window.encoding.input_ids.tolist() == right.ids
        assert encoding.truncated == window.encoding.truncated == bool(right.overflowing)
        assert window.offsets.tolist() == [list(span) for span in right.offsets]
        assert window.word_ids.tolist() == [-1 if at is None else at for at in right.word_ids]
    assert 2 * 150 < counted.shortened < 2 * 350


@pytest.mark.parametrize("strategy", ["longest_first", "only_first", "only_second"])
@pytest.mark.parametrize("name", TAGGERS)
def test_pairs_are_cut_as_whole_ones_are(
    saved: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, name: str, strategy: Strategy
) -> None:
    folder, counted = saved(name), _Counted(monkeypatch)
    library, tokenizer = _library(folder, strategy, "right"), TextTokenizer(folder, _LIMIT)
    short, long = _texts(100, 80), _texts(100, 4 * _WHOLE)
    order = random.Random(1)
    refused = 0
    for first, second in zip(short, long, strict=True):
        pair = (first, second) if order.random() < 0.5 else (second, first)
        try:
            right = library.encode(*pair)
        except Exception:
            refused += 1
            with pytest.raises(InputError, match=r"is not enough|the tokenizer failed"):
                tokenizer.encode([pair], strategy=strategy)
            continue
        (encoding,) = tokenizer.encode([pair], strategy=strategy)
        assert encoding.input_ids.tolist() == right.ids
        assert encoding.token_type_ids.tolist() == right.type_ids
        assert encoding.truncated == bool(right.overflowing)
    assert (refused > 10) == (strategy != "longest_first")
    assert (counted.shortened > 10) == (strategy != "only_second")


@pytest.mark.parametrize("tokens", range(_LIMIT + 4))
@pytest.mark.parametrize("limit", [_LIMIT, _LIMIT + 1])
def test_the_longer_text_of_a_pair_stays_the_longer_one(
    saved: Callable[[str], Path], tokens: int, limit: int
) -> None:
    """Where both are over half of the limit, the one token that is left is the longer one's."""
    folder = saved("wordpiece")
    library = _library(folder, "longest_first", "right")
    library.enable_truncation(limit)
    # A part of the long one has about as many tokens as the other has.
    for other in ("a " * tokens, "a " * (30 + 3 * tokens)):
        for pair in (("good " * 400, other), (other, "good " * 400)):
            (encoding,) = TextTokenizer(folder, limit).encode([pair])
            assert encoding.input_ids.tolist() == library.encode(*pair).ids


def test_all_that_is_tokenized_of_a_book_is_its_beginning(
    tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = _Counted(monkeypatch)
    book = "It was a good film , and a long one . " * 100_000
    (encoding,) = TextTokenizer(tiny_artifact, 512).encode([book])
    assert len(encoding) == 512 and encoding.truncated
    assert counted.longest < 10_000


def test_answers_are_those_of_the_whole_text(
    tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = Classifier(tiny_artifact, "cpu")
    texts: list[TextInput] = ["good film " * 5000, "short", ("why", "a bad film " * 5000)]
    shortened = classifier.logits(texts)
    monkeypatch.setattr(Shortener, "shorten", lambda _, texts, *__: list(texts))
    assert np.array_equal(shortened, classifier.logits(texts))


@pytest.mark.parametrize("where", ["beginning", "end"])
def test_what_is_no_unicode_is_found_where_no_token_is(tiny_artifact: Path, where: str) -> None:
    tokenizer = TextTokenizer(tiny_artifact, 512)
    text = "\ud800" + "good " * 9000 if where == "beginning" else "good " * 9000 + "\ud800"
    with pytest.raises(InputError, match="text 1 is not valid Unicode"):
        tokenizer.encode(["fine", text])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"truncate": False}, "good " * 10),
        ({"side": "left"}, "good " * 9000),
        ({}, "这" * 40_000),
        ({}, " " * 40_000),
    ],
    ids=["not to be cut", "cut on the left", "no spaces", "nothing but spaces"],
)
def test_what_stays_whole(
    tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], text: str
) -> None:
    counted = _Counted(monkeypatch)
    TextTokenizer(tiny_artifact, 512).encode([text], **options)
    assert counted.shortened == 0


def _of_words(**parts: Any) -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "good": 1}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = parts.get("splits", pre_tokenizers.BertPreTokenizer())
    tokenizer.normalizer = parts.get("normalizer")
    tokenizer.add_tokens(parts.get("added", []))
    return tokenizer


_SEQUENCE = normalizers.Sequence
_SPLITS = pre_tokenizers.Sequence


@pytest.mark.parametrize(
    ("parts", "shortened"),
    [
        ({}, True),
        ({"normalizer": _SEQUENCE([normalizers.NFKC(), normalizers.Replace("``", '"')])}, True),
        ({"normalizer": normalizers.Replace(Regex(" {2,}"), " ")}, True),
        ({"normalizer": normalizers.Replace(Regex("good (?=x)"), "")}, False),
        ({"normalizer": normalizers.Replace("d g", "")}, False),
        ({"normalizer": normalizers.ByteLevel()}, False),
        ({"splits": None}, False),
        ({"splits": pre_tokenizers.Metaspace()}, True),
        ({"splits": pre_tokenizers.Metaspace(split=False)}, False),
        ({"splits": pre_tokenizers.ByteLevel(use_regex=False)}, False),
        ({"splits": pre_tokenizers.Split(Regex("(?=x)"), "isolated")}, False),
        ({"splits": pre_tokenizers.Punctuation()}, False),
        (
            {"splits": _SPLITS([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])},
            True,
        ),
        (
            {
                "splits": _SPLITS(
                    [pre_tokenizers.Whitespace(), pre_tokenizers.Split("o", "removed")]
                )
            },
            False,
        ),
        ({"added": [AddedToken("New")]}, True),
        ({"added": [AddedToken("New York")]}, False),
    ],
)
def test_only_where_a_space_ends_all(parts: dict[str, Any], *, shortened: bool) -> None:
    tokenizer = _of_words(**parts)
    tokenizer.enable_truncation(_LIMIT)
    text = "good " * 4000
    (part,) = Shortener(tokenizer, _LIMIT).shorten([text], tokenizer, "longest_first")
    assert (len(part) < len(text)) == shortened
