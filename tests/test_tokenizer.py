"""Text to tokens: as the tokenizers library does it, cut to the limit, and checked."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from bertrt import ArtifactError, InputError, TextTooLongError
from bertrt.tokenizer import Strategy, TextInput, TextTokenizer, Window
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import models, pre_tokenizers, processors

from tests.helpers import edit_config, replace_file

_CLS, _SEP = 101, 102
_LIMIT = 12
# As tokenizer.json has it
_TRUNCATION = {"direction": "Right", "max_length": 512, "strategy": "LongestFirst", "stride": 0}
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
    truncation = {**_TRUNCATION, "direction": "Left"}
    edit_config(folder, {"truncation": truncation}, name="tokenizer.json")
    tokenizer = TextTokenizer(folder, 5)
    assert _ids(tokenizer, "a b c d e f g") == _ids(tokenizer, "e f g")


def test_the_pair_strategy_that_tokenizer_json_names_counts(
    copied_artifact: Callable[[], Path],
) -> None:
    folder = copied_artifact()
    truncation = {**_TRUNCATION, "strategy": "OnlyFirst"}
    edit_config(folder, {"truncation": truncation}, name="tokenizer.json")
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


# Strategies


@pytest.mark.parametrize(
    ("strategy", "kept"),
    [
        pytest.param("longest_first", ("a b c d e", "r s t u"), id="longest first"),
        pytest.param("only_first", ("a b c", "r s t u v w"), id="only first"),
        pytest.param("only_second", ("a b c d e f g h", "r"), id="only second"),
    ],
)
@pytest.mark.parametrize("side", [None, "left"])
def test_a_pair_is_cut_as_the_strategy_says(
    short_tokenizer: TextTokenizer,
    raw_tokenizer: tokenizers.Tokenizer,
    strategy: Strategy,
    kept: tuple[str, str],
    side: str | None,
) -> None:
    pair = ("a b c d e f g h", "r s t u v w")
    (encoding,) = short_tokenizer.encode([pair], strategy=strategy, side=side)
    if side == "left":
        kept = (pair[0][-len(kept[0]) :], pair[1][-len(kept[1]) :])
    assert encoding.input_ids.tolist() == _raw_ids(raw_tokenizer, kept)
    assert encoding.truncated and len(encoding) == _LIMIT
    # Neither strategy nor side stays behind.
    assert _ids(short_tokenizer, pair) == _raw_ids(raw_tokenizer, ("a b c d e", "r s t u"))


@pytest.mark.parametrize(
    ("strategy", "text", "words"),
    [
        pytest.param("only_first", ("a b", "c " * 12), "only the first of", id="first"),
        pytest.param("only_second", ("c " * 12, "a b"), "only the second of", id="second"),
        pytest.param("only_second", "c " * 13, "only the second of", id="no second"),
    ],
)
def test_what_the_strategy_cannot_cut_is_named(
    short_tokenizer: TextTokenizer, strategy: Strategy, text: TextInput, words: str
) -> None:
    texts: list[TextInput] = [("fits", "too"), text]
    with pytest.raises(
        InputError, match=f"^text 8 has 1[57] tokens .*cut {words} .* shorten"
    ) as raised:
        short_tokenizer.encode(texts, strategy=strategy, first=7)
    assert not isinstance(raised.value, TextTooLongError)
    with pytest.raises(TextTooLongError, match=r"^text 1 has 1[57] tokens"):
        short_tokenizer.encode(texts, strategy=strategy, truncate=False)


def test_unknown_strategy(tokenizer: TextTokenizer) -> None:
    with pytest.raises(ValueError, match="strategy is 'both': choose one of longest_first, "):
        tokenizer.encode(["good"], strategy="both")  # type: ignore[arg-type]  # what is tested


# Windows

_BYTES = {char: at for at, char in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()), 2)}
_LETTERS = " ".join("abcdefghijklmnopqrst")  # 20 tokens, of which a window holds 10


def _window_texts(windows: list[Window]) -> list[str]:
    return [" ".join(window.tokens) for window in windows]


def test_a_long_text_gives_overlapping_windows(short_tokenizer: TextTokenizer) -> None:
    (windows,) = short_tokenizer.windows([_LETTERS], stride=3)
    assert _window_texts(windows) == [
        "[CLS] a b c d e f g h i j [SEP]",
        "[CLS] h i j k l m n o p q [SEP]",
        "[CLS] o p q r s t [SEP]",
    ]
    assert [window.span for window in windows] == [(0, 19), (14, 33), (28, 39)]
    last = windows[-1]
    assert last.offsets.tolist()[:3] == [[0, 0], [28, 29], [30, 31]]
    assert last.offsets.tolist()[-1] == [0, 0]
    assert last.word_ids.tolist() == [-1, 14, 15, 16, 17, 18, 19, -1]
    assert last.sequence_ids.tolist() == [-1, 0, 0, 0, 0, 0, 0, -1]
    assert last.windowed == 0 and len(last) == 8


@pytest.mark.parametrize("text", _TEXTS, ids=range(len(_TEXTS)))
def test_a_text_that_fits_is_one_window_that_equals_its_encoding(
    tokenizer: TextTokenizer, text: TextInput
) -> None:
    (encoding,), ((window,),) = tokenizer.encode([text]), tokenizer.windows([text], stride=0)
    assert window.encoding.input_ids.tolist() == encoding.input_ids.tolist()
    assert window.encoding.token_type_ids.tolist() == encoding.token_type_ids.tolist()
    assert not window.encoding.truncated
    for array in (window.offsets, window.word_ids, window.sequence_ids):
        assert array.dtype == np.int64 and len(array) == len(window.tokens) == len(encoding)


@pytest.mark.parametrize("windowed", [0, 1])
def test_of_a_pair_the_longer_text_is_windowed_and_the_other_repeated(
    short_tokenizer: TextTokenizer, windowed: int
) -> None:
    pair = ("x y", _LETTERS) if windowed else (_LETTERS, "x y")
    (windows,) = short_tokenizer.windows([pair], stride=2)
    assert len(windows) == 4
    for window, part in zip(windows, ("abcdefg", "fghijkl", "klmnopq", "pqrst"), strict=True):
        texts = [["x", "y"], list(part)] if windowed else [list(part), ["x", "y"]]
        assert list(window.tokens) == ["[CLS]", *texts[0], "[SEP]", *texts[1], "[SEP]"]
        first = len(texts[0]) + 2
        assert window.encoding.token_type_ids.tolist() == [0] * first + [1] * (len(texts[1]) + 1)
        assert window.windowed == windowed
        start, end = window.span
        assert _LETTERS[start:end] == " ".join(part)


def test_two_long_texts_of_a_pair_are_no_obstacle_while_the_shorter_leaves_room(
    tokenizer: TextTokenizer,
) -> None:
    (windows,) = tokenizer.windows([("x " * 400, "y " * 500)], stride=64)
    assert [window.tokens.count("y") for window in windows] == [109] * 9 + [95]
    assert {window.tokens.count("x") for window in windows} == {400}


@pytest.mark.parametrize("pair", [("x " * 8, "y " * 9), ("x " * 40, "y " * 30)])
def test_a_pair_that_leaves_its_windows_no_room(
    short_tokenizer: TextTokenizer, pair: tuple[str, str]
) -> None:
    with pytest.raises(InputError, match=r"^text 6 is a pair whose shorter .* they share 1: short"):
        short_tokenizer.windows(["good", pair], stride=1, first=5)


@pytest.mark.parametrize("stride", [-1, _LIMIT - 2, 10**30])
def test_a_stride_out_of_range(short_tokenizer: TextTokenizer, stride: int) -> None:
    with pytest.raises(ValueError, match=f"stride is {stride}: give 0 to {_LIMIT - 3}, as"):
        short_tokenizer.windows(["good"], stride=stride)


@pytest.mark.parametrize("stride", [True, 1.0, "1", None])
def test_a_stride_that_is_no_whole_number(short_tokenizer: TextTokenizer, stride: object) -> None:
    with pytest.raises(ValueError, match="give a whole number of tokens") as raised:
        short_tokenizer.windows(["good"], stride=stride)  # type: ignore[arg-type]  # what is tested
    assert f"stride is {stride!r}" in str(raised.value)


def test_windows_of_what_is_not_a_text(short_tokenizer: TextTokenizer) -> None:
    for wrong in (None, "\ud800", ("a",)):
        with pytest.raises(InputError, match=r"^text 3 "):
            short_tokenizer.windows(["good", wrong], stride=1, first=2)  # type: ignore[list-item]


@given(text=_UNICODE, words=st.integers(1, 40), stride=st.integers(0, _LIMIT - 3))
def test_windows_of_any_text_equal_the_library_and_hold_all_of_it(
    short_tokenizer: TextTokenizer,
    raw_tokenizer: tokenizers.Tokenizer,
    text: str,
    words: int,
    stride: int,
) -> None:
    text = f"{text} " * words
    (windows,) = short_tokenizer.windows([text], stride=stride)
    cutting = tokenizers.Tokenizer.from_str(raw_tokenizer.to_str())
    cutting.enable_truncation(_LIMIT, stride=stride)
    first = cutting.encode(text)
    expected = [first, *first.overflowing]
    assert [list(window.tokens) for window in windows] == [cut.tokens for cut in expected]
    assert [w.encoding.input_ids.tolist() for w in windows] == [cut.ids for cut in expected]
    assert [[(s, e) for s, e in w.offsets.tolist()] for w in windows] == [
        cut.offsets for cut in expected
    ]
    assert [w.word_ids.tolist() for w in windows] == [
        [-1 if word is None else word for word in cut.word_ids] for cut in expected
    ]
    # And by itself: no more than the limit, `stride` shared, nothing lost.
    assert all(len(window) <= _LIMIT for window in windows)
    parts = [window.encoding.input_ids[window.sequence_ids == 0].tolist() for window in windows]
    joined = parts[0]
    for part in parts[1:]:
        assert len(part) > stride and joined[len(joined) - stride :] == part[:stride]
        joined = joined + part[stride:]
    assert joined == _raw_ids(raw_tokenizer, text)[1:-1]


def test_windows_of_a_byte_level_tokenizer_equal_the_library(
    copied_artifact: Callable[[], Path],
) -> None:
    """RoBERTa's has two special tokens between two texts, and takes the space off a word's offsets.

    The library forgets that for the first token of each window but the first.
    """
    raw = tokenizers.Tokenizer(models.BPE({"<s>": 0, "</s>": 1, **_BYTES}, []))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0))
    folder = copied_artifact()
    replace_file(folder, "tokenizer.json", raw.to_str().encode())
    text = " caf\u00e9 au  lait \U0001f44d"
    raw.enable_truncation(_LIMIT, stride=2, strategy="only_first")
    moved = 0
    for pair in (text, (text, "a b")):
        first = raw.encode(pair) if isinstance(pair, str) else raw.encode(*pair)
        expected = [first, *first.overflowing]
        (windows,) = TextTokenizer(folder, _LIMIT).windows([pair], stride=2)
        assert len(expected) > 2
        assert [list(window.tokens) for window in windows] == [cut.tokens for cut in expected]
        for window, cut in zip(windows, expected, strict=True):
            offsets = [(start, end) for start, end in window.offsets.tolist()]
            assert offsets[:1] + offsets[2:] == cut.offsets[:1] + cut.offsets[2:]
            moved += offsets[1] != cut.offsets[1]
        assert windows[0].span[0] == 0 and windows[-1].span[1] == len(text)
    assert moved  # else the library has learnt it: compare all offsets


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
