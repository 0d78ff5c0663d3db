"""Text to tokens: as the tokenizers library does it, cut to the limit, and checked."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from bertrt import ArtifactError, InputError, TextTooLongError
from bertrt.tokenizer import TextInput, TextTokenizer
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import edit_config, replace_file

_CLS, _SEP = 101, 102
_LIMIT = 12
_UNICODE = st.text(st.characters(exclude_categories=["Cs"]))  # Cs: surrogates
_TEXTS: list[TextInput] = [
    "",
    "good",
    "A gorgeous, witty, seductive movie.",
    "这部电影非常好看 👍🏽 — 本当に面白かった。",
    "¿Dónde está? ﬁne Grüße",
    "[MASK] [SEP] [CLS] <unk>",
    "\x00\t\r\n\u200d\ufeff",
    "x" * 300,
    ("A man is playing a guitar.", "Nobody is making music."),
    ("", "second"),
    ("first", ""),
    ("", ""),
]


@pytest.fixture(scope="module")
def tokenizer(tiny_artifact: Path) -> TextTokenizer:
    return TextTokenizer(tiny_artifact, 512)


@pytest.fixture(scope="module")
def short_tokenizer(tiny_artifact: Path) -> TextTokenizer:
    """Cuts texts to `_LIMIT` tokens."""
    return TextTokenizer(tiny_artifact, _LIMIT)


@pytest.fixture(scope="module")
def raw_tokenizer(encoder_folder: Path) -> tokenizers.Tokenizer:
    """The library's own tokenizer, neither cutting nor padding."""
    raw = tokenizers.Tokenizer.from_file(str(encoder_folder / "tokenizer.json"))
    raw.no_truncation()
    raw.no_padding()
    return raw


def _raw_ids(raw: tokenizers.Tokenizer, text: TextInput) -> list[int]:
    encoding = raw.encode(text) if isinstance(text, str) else raw.encode(*text)
    return [int(token) for token in encoding.ids]


def _ids(tokenizer: TextTokenizer, text: TextInput) -> list[int]:
    (encoding,) = tokenizer.encode([text])
    return [int(token) for token in encoding.input_ids]


# Tokens


@pytest.mark.parametrize("text", _TEXTS, ids=range(len(_TEXTS)))
def test_ids_equal_the_raw_library(
    tokenizer: TextTokenizer, raw_tokenizer: tokenizers.Tokenizer, text: TextInput
) -> None:
    assert _ids(tokenizer, text) == _raw_ids(raw_tokenizer, text)


def test_texts_in_a_batch_equal_texts_alone_and_keep_their_order(tokenizer: TextTokenizer) -> None:
    together = tokenizer.encode(_TEXTS)
    assert [encoding.input_ids.tolist() for encoding in together] == [
        _ids(tokenizer, text) for text in _TEXTS
    ]


def test_real_sentences_equal_the_raw_library(
    tokenizer: TextTokenizer,
    raw_tokenizer: tokenizers.Tokenizer,
    sst2_dev: list[tuple[str, int]],
) -> None:
    texts = [text for text, _ in sst2_dev]
    for text, encoding in zip(texts, tokenizer.encode(texts), strict=True):
        assert encoding.input_ids.tolist() == _raw_ids(raw_tokenizer, text)


def test_arrays_are_int64_of_one_length_without_padding(tokenizer: TextTokenizer) -> None:
    for encoding in tokenizer.encode(["good", "a longer text than the first"]):
        assert encoding.input_ids.dtype == encoding.token_type_ids.dtype == np.int64
        assert encoding.input_ids.shape == encoding.token_type_ids.shape == (len(encoding),)
        assert 0 not in encoding.input_ids  # [PAD]; this tokenizer.json asks for padding to 128


def test_empty_string_is_a_text(tokenizer: TextTokenizer) -> None:
    (encoding,) = tokenizer.encode([""])
    assert encoding.input_ids.tolist() == [_CLS, _SEP]
    assert not encoding.truncated


def test_no_texts_give_no_encodings(tokenizer: TextTokenizer) -> None:
    assert tokenizer.encode([]) == []


def test_segments_of_a_text_and_of_a_pair(tokenizer: TextTokenizer) -> None:
    text, pair = tokenizer.encode(["a b", ("a b", "c d e")])
    assert text.token_type_ids.tolist() == [0] * 4
    assert pair.token_type_ids.tolist() == [0] * 4 + [1] * 4
    assert pair.input_ids[[0, 3, 7]].tolist() == [_CLS, _SEP, _SEP]


# Truncation


def test_a_cut_text_keeps_its_beginning_and_both_special_tokens(
    short_tokenizer: TextTokenizer, raw_tokenizer: tokenizers.Tokenizer
) -> None:
    text = "one two three four five six seven eight nine ten eleven twelve"
    (encoding,) = short_tokenizer.encode([text])
    whole = _raw_ids(raw_tokenizer, text)
    assert encoding.input_ids.tolist() == [*whole[: _LIMIT - 1], _SEP]
    assert encoding.truncated


def test_a_text_of_exactly_the_limit_is_not_cut(short_tokenizer: TextTokenizer) -> None:
    (encoding,) = short_tokenizer.encode([" ".join("abcdefghij")], truncate=False)
    assert len(encoding) == _LIMIT
    assert not encoding.truncated


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        pytest.param(("a b c d e f g h i", "x y"), ("a b c d e f g", "x y"), id="first"),
        pytest.param(("x y", "a b c d e f g h i"), ("x y", "a b c d e f g"), id="second"),
        pytest.param(("a b c d e f", ""), ("a b c d e f", ""), id="neither"),
        pytest.param(("", "a b c d e f g h i j k"), ("", "a b c d e f g h i"), id="empty first"),
    ],
)
def test_of_a_pair_the_longer_text_is_cut(
    short_tokenizer: TextTokenizer,
    tokenizer: TextTokenizer,
    text: tuple[str, str],
    kept: tuple[str, str],
) -> None:
    (cut,), (whole,) = short_tokenizer.encode([text]), tokenizer.encode([kept])
    assert cut.input_ids.tolist() == whole.input_ids.tolist()
    assert cut.token_type_ids.tolist() == whole.token_type_ids.tolist()
    assert cut.truncated == (text != kept)


def test_of_a_pair_of_long_texts_both_are_cut_to_like_length(
    short_tokenizer: TextTokenizer,
) -> None:
    (encoding,) = short_tokenizer.encode([("a b c d e f g h i", "r s t u v w x y")])
    assert len(encoding) == _LIMIT
    assert encoding.input_ids.tolist().count(_SEP) == 2
    first = int((encoding.token_type_ids == 0).sum()) - 2  # without [CLS] and [SEP]
    second = int((encoding.token_type_ids == 1).sum()) - 1
    assert first + second == _LIMIT - 3 and abs(first - second) <= 1


def test_truncation_side_left_keeps_the_end(copied_artifact: Callable[[], Path]) -> None:
    folder = copied_artifact()
    edit_config(folder, {"truncation_side": "left"}, name="tokenizer_config.json")
    tokenizer = TextTokenizer(folder, 5)
    assert _ids(tokenizer, "a b c d e f g") == _ids(tokenizer, "e f g")


def test_the_side_that_tokenizer_json_names_counts_where_the_config_names_none(
    copied_artifact: Callable[[], Path],
) -> None:
    folder = copied_artifact()
    edit_config(folder, {}, remove=["truncation_side"], name="tokenizer_config.json")
    truncation = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["truncation"]
    edit_config(folder, {"truncation": {**truncation, "direction": "Left"}}, name="tokenizer.json")
    tokenizer = TextTokenizer(folder, 5)
    assert _ids(tokenizer, "a b c d e f g") == _ids(tokenizer, "e f g")


def test_the_pair_strategy_that_tokenizer_json_names_counts(
    copied_artifact: Callable[[], Path],
) -> None:
    folder = copied_artifact()
    truncation = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["truncation"]
    edit_config(
        folder, {"truncation": {**truncation, "strategy": "OnlyFirst"}}, name="tokenizer.json"
    )
    tokenizer = TextTokenizer(folder, 8)
    assert _ids(tokenizer, ("a b c", "u v w x")) == _ids(tokenizer, ("a", "u v w x"))


# Texts over the limit, with truncation off


@pytest.mark.parametrize(
    ("text", "length"),
    [
        pytest.param(" ".join("abcdefghijk"), 13, id="one over"),
        pytest.param("a " * 1000, 1002, id="far over"),
        pytest.param(("a b c d e f", "u v w x y"), 14, id="pair"),
    ],
)
def test_a_text_over_the_limit_raises_its_exact_length(
    short_tokenizer: TextTokenizer, text: TextInput, length: int
) -> None:
    with pytest.raises(TextTooLongError) as raised:
        short_tokenizer.encode(["fits", text], truncate=False)
    error = raised.value
    assert (error.position, error.length, error.limit) == (1, length, _LIMIT)
    assert f"text 1 has {length} tokens and the model takes {_LIMIT}" in str(error)


def test_after_a_text_over_the_limit_texts_are_still_cut(short_tokenizer: TextTokenizer) -> None:
    before = _ids(short_tokenizer, "a " * 50)
    with pytest.raises(TextTooLongError):
        short_tokenizer.encode(["a " * 50], truncate=False)
    assert _ids(short_tokenizer, "a " * 50) == before
    assert len(before) == _LIMIT


# What is not a text


@pytest.mark.parametrize("truncate", [True, False])
@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param(None, ["of type NoneType", "string"], id="None"),
        pytest.param(b"good", ["of type bytes", "string"], id="bytes"),
        pytest.param(3, ["of type int", "string"], id="int"),
        pytest.param(["a", "b"], ["of type list", "tuple of two strings"], id="list"),
        pytest.param(("a",), ["(str)", "two strings"], id="tuple of one"),
        pytest.param(("a", "b", "c"), ["(str, str, str)", "two strings"], id="tuple of three"),
        pytest.param((), ["()", "two strings"], id="empty tuple"),
        pytest.param(("a", None), ["(str, NoneType)", "two strings"], id="tuple with None"),
        pytest.param((b"a", "b"), ["(bytes, str)", "two strings"], id="tuple with bytes"),
        pytest.param("a\ud800b", ["not valid Unicode", "character 1"], id="surrogate"),
        pytest.param(("a", "bc\udcff"), ["not valid Unicode", "character 2"], id="in a pair"),
    ],
)
def test_what_is_not_a_text_is_named_with_its_position(
    tokenizer: TextTokenizer, text: object, words: list[str], truncate: bool
) -> None:
    texts: list[TextInput] = ["good", text]  # type: ignore[list-item]  # what is tested
    with pytest.raises(InputError) as raised:
        tokenizer.encode(texts, truncate=truncate)
    assert "text 1 " in str(raised.value)
    assert all(word in str(raised.value) for word in words)
    assert isinstance(raised.value, ValueError)


@pytest.mark.parametrize("text", [None, "\ud800", ("a",), "long " * 20], ids=ascii)
def test_first_is_added_to_the_positions_in_errors(
    short_tokenizer: TextTokenizer, text: object
) -> None:
    texts: list[TextInput] = ["good", text]  # type: ignore[list-item]  # what is tested
    with pytest.raises(InputError, match=r"^text 2049 "):
        short_tokenizer.encode(texts, truncate=False, first=2048)


# Damaged artifacts


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"[]", b"\xff"])
def test_damaged_tokenizer_json(copied_artifact: Callable[[], Path], content: bytes) -> None:
    folder = copied_artifact()
    replace_file(folder, "tokenizer.json", content)
    with pytest.raises(ArtifactError) as raised:
        TextTokenizer(folder, 512)
    assert f"{folder / 'tokenizer.json'} cannot be read as a tokenizer" in str(raised.value)


def test_missing_tokenizer_json(copied_artifact: Callable[[], Path]) -> None:
    folder = copied_artifact()
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ArtifactError, match=r"has no tokenizer\.json, vocab\.txt"):
        TextTokenizer(folder, 512)


@pytest.mark.parametrize("content", [b"{", b"[]"])
def test_damaged_tokenizer_config(copied_artifact: Callable[[], Path], content: bytes) -> None:
    folder = copied_artifact()
    replace_file(folder, "tokenizer_config.json", content)
    with pytest.raises(ArtifactError, match=r"tokenizer_config\.json .*export the model again"):
        TextTokenizer(folder, 512)


def test_unknown_truncation_side(copied_artifact: Callable[[], Path]) -> None:
    folder = copied_artifact()
    edit_config(folder, {"truncation_side": "middle"}, name="tokenizer_config.json")
    with pytest.raises(ArtifactError, match=r"tokenizer_config\.json.*middle"):
        TextTokenizer(folder, 512)


# Any text


@given(text=_UNICODE)
def test_any_text_has_special_tokens_and_at_most_the_limit(
    short_tokenizer: TextTokenizer, raw_tokenizer: tokenizers.Tokenizer, text: str
) -> None:
    (encoding,) = short_tokenizer.encode([text])
    assert 2 <= len(encoding) <= _LIMIT
    assert encoding.input_ids[0] == _CLS and encoding.input_ids[-1] == _SEP
    whole = _raw_ids(raw_tokenizer, text)
    assert encoding.truncated == (len(whole) > _LIMIT)
    assert encoding.input_ids[:-1].tolist() == whole[:-1][: _LIMIT - 1]


@given(text=st.tuples(_UNICODE, _UNICODE))
def test_any_pair_has_special_tokens_and_at_most_the_limit(
    short_tokenizer: TextTokenizer, raw_tokenizer: tokenizers.Tokenizer, text: tuple[str, str]
) -> None:
    (encoding,) = short_tokenizer.encode([text])
    length = len(_raw_ids(raw_tokenizer, text))
    assert 3 <= len(encoding) == min(length, _LIMIT)
    assert encoding.input_ids[0] == _CLS and encoding.input_ids[-1] == _SEP
    assert encoding.truncated == (length > _LIMIT)


@given(text=_UNICODE)
def test_any_text_is_refused_exactly_where_it_would_be_cut(
    short_tokenizer: TextTokenizer, raw_tokenizer: tokenizers.Tokenizer, text: str
) -> None:
    length = len(_raw_ids(raw_tokenizer, text))
    if length <= _LIMIT:
        (encoding,) = short_tokenizer.encode([text], truncate=False)
        assert len(encoding) == length
        return
    with pytest.raises(TextTooLongError) as raised:
        short_tokenizer.encode([text], truncate=False)
    assert raised.value.length == length
