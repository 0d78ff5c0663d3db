"""Where tokens stand in a text, and what they read as, for each kind of tokenizer."""

from collections.abc import Callable
from pathlib import Path

import pytest
from bertrt import InputError, TextTooLongError
from bertrt.tokenizer import TextInput, TextTokenizer

from tests.helpers import edit_json
from tests.tiny_taggers import MAX_LENGTH, TAGGERS, save_tokenizer

_TEXTS = ["Paris, in the film 你好", "", "   a  text", "one two " * MAX_LENGTH]


@pytest.fixture(scope="module")
def folders(
    sst2_dev: list[tuple[str, int]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """A tokenizer of each kind. Read only."""
    made = {name: tmp_path_factory.mktemp(name) for name in TAGGERS}
    for name, folder in made.items():
        save_tokenizer(name, [text for text, _ in sst2_dev], folder)
    return made


@pytest.fixture(params=list(TAGGERS))
def tokenizer(request: pytest.FixtureRequest, folders: dict[str, Path]) -> TextTokenizer:
    return TextTokenizer(folders[request.param], MAX_LENGTH)


@pytest.fixture
def with_settings(folders: dict[str, Path], tmp_path: Path) -> Callable[..., TextTokenizer]:
    """Loads a tokenizer whose tokenizer_config.json has been changed."""

    def load(name: str, *, remove: tuple[str, ...] = (), **changes: object) -> TextTokenizer:
        for file in ("tokenizer.json", "tokenizer_config.json"):
            (tmp_path / file).write_bytes((folders[name] / file).read_bytes())
        edit_json(tmp_path / "tokenizer_config.json", changes, remove)
        return TextTokenizer(tmp_path, MAX_LENGTH)

    return load


def test_located_tokens_are_the_encoded_ones(tokenizer: TextTokenizer) -> None:
    texts: list[TextInput] = [*_TEXTS, ("a pair", "of texts")]
    encodings = tokenizer.encode(texts)
    for window, encoding in zip(tokenizer.located(texts), encodings, strict=True):
        assert window.encoding.input_ids.tolist() == encoding.input_ids.tolist()
        assert window.encoding.token_type_ids.tolist() == encoding.token_type_ids.tolist()
        assert window.encoding.truncated == encoding.truncated
        assert len(window.tokens) == len(window.offsets) == len(window.word_ids) == len(encoding)


def test_offsets_are_characters_of_the_text(tokenizer: TextTokenizer) -> None:
    text = _TEXTS[0]
    (window,) = tokenizer.located([text])
    own = window.sequence_ids == 0
    assert own.tolist() == [False] + [True] * (len(own) - 2) + [False]
    covered = {at for start, end in window.offsets[own].tolist() for at in range(start, end)}
    assert {at for at, character in enumerate(text) if character != " "} <= covered


def test_a_long_text_is_cut_on_the_artifacts_side(
    with_settings: Callable[..., TextTokenizer],
) -> None:
    text = " ".join(map(str, range(MAX_LENGTH)))
    right, left = (
        with_settings("wordpiece", truncation_side=side).located([text])[0]
        for side in ("right", "left")
    )
    assert right.encoding.truncated and left.encoding.truncated
    assert right.offsets[1].tolist() == [0, 1]
    assert left.offsets[-2, 1] == len(text)


def test_a_long_text_may_be_refused(tokenizer: TextTokenizer) -> None:
    with pytest.raises(TextTooLongError, match="text 8 has"):
        tokenizer.located(_TEXTS, truncate=False, first=5)


def test_errors_name_the_text(tokenizer: TextTokenizer) -> None:
    with pytest.raises(InputError, match="text 6 is not valid Unicode"):
        tokenizer.located(["a", "\ud800"], first=5)


@pytest.mark.parametrize(
    ("name", "marked"),
    [
        ("wordpiece", True),
        ("byte-level", False),
        ("byte-level-prefix-space", False),
        ("unigram", False),
    ],
)
def test_only_wordpiece_marks_what_continues_a_word(
    folders: dict[str, Path], name: str, marked: bool
) -> None:
    assert TextTokenizer(folders[name], MAX_LENGTH).marks_subwords is marked


@pytest.mark.parametrize(
    ("name", "tokens", "text"),
    [
        ("wordpiece", ["mar", "##ie", "sang", "."], "marie sang."),
        ("byte-level", ["Ġcaf", "Ã©"], " café"),
        ("unigram", ["▁mar", "ie", "▁curie"], "marie curie"),
    ],
)
def test_tokens_are_joined_as_the_decoder_does(
    folders: dict[str, Path], name: str, tokens: list[str], text: str
) -> None:
    assert TextTokenizer(folders[name], MAX_LENGTH).join(tokens) == text


def test_without_a_decoder_spaces_join_tokens(folders: dict[str, Path], tmp_path: Path) -> None:
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / file).write_bytes((folders["unigram"] / file).read_bytes())
    edit_json(tmp_path / "tokenizer.json", {"decoder": None})
    assert TextTokenizer(tmp_path, MAX_LENGTH).join(["▁a", "b"]) == "▁a b"


def test_what_is_not_in_the_vocabulary_reads_as_its_token(folders: dict[str, Path]) -> None:
    """The library gives Unigram's unknown tokens as they stand in the text."""
    tokenizer = TextTokenizer(folders["unigram"], MAX_LENGTH)
    (window,) = tokenizer.located(["你"])
    assert window.tokens == ("<s>", "▁", "<unk>", "</s>")
    assert window.encoding.input_ids[2] == tokenizer.unknown_id


@pytest.mark.parametrize("name", ["wordpiece", "unigram"])
@pytest.mark.parametrize("stated", [None, "text", "object"])
def test_the_unknown_token_is_the_one_named_or_the_models(
    with_settings: Callable[..., TextTokenizer], name: str, stated: str | None
) -> None:
    token = str(TAGGERS[name].special_tokens["unk_token"])
    settings = {"text": token, "object": {"content": token, "lstrip": False}}
    if stated is None:
        tokenizer = with_settings(name, remove=("unk_token",))
    else:
        tokenizer = with_settings(name, unk_token=settings[stated])
    (window,) = tokenizer.located(["你"])
    assert tokenizer.unknown_id == window.encoding.input_ids[-2]


def test_bytes_need_no_unknown_token(with_settings: Callable[..., TextTokenizer]) -> None:
    assert with_settings("byte-level", remove=("unk_token",)).unknown_id == -1
