"""Tokenizers made of whatever files there are: the same ids as Transformers' own."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from bertrt import ArtifactError
from bertrt.tokenizer import TextTokenizer
from bertrt.tokenizer_files import load_tokenizer

Text = str | tuple[str, str]

_TEXTS: list[Text] = [
    "",
    " ",
    "A plain sentence, of words that everybody knows.",
    "Café NAÏVE Ångström ÉCOLE e\u0301 ß İstanbul ﬁn",
    "中文分词 and 日本語テキスト, 한국어도",
    "emoji 😀👩‍👩‍👧 🇩🇪 ☃️ 👍🏽!",
    "control\x00 \x01chars\x1f and\u200bzero\u200dwidth \ufeff \u00ad \ufffd",
    "tabs\tand\nnew\r\nlines\u2028too \u00a0 \u3000 ideographic",
    "don't won't it's we'll 1,234.56 $9.99 50% a_b c-d e.f.g",
    "https://example.com/path?q=a%20b#frag me@example.org @user #tag",
    "x" * 300,
    "  leading and trailing  ",
    "[MASK] [SEP] [CLS][PAD] [UNK] here",
    "<s> </s> <pad> <unk> in text",
    "Supercalifragilisticexpialidocious antidisestablishmentarianism",
    "مرحبا بالعالم שלום עולם नमस्ते สวัสดี",
    ("a question?", "And its ANSWER."),
    ("", ""),
    ("only one", ""),
    ("Été", "日本 [SEP] <s>"),
]

Folder = Callable[..., Path]


@pytest.fixture(scope="session")
def vocabularies(
    encoder_folder: Path, sst2_dev: list[tuple[str, int]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, bytes]]:
    """The files of a vocabulary, by kind: BERT's, MPNet's and RoBERTa's."""
    words = (encoder_folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    mpnet = ["<s>", "<pad>", "</s>", "<unk>", *words, "<mask>"]
    # Cased words, so that case makes a difference to more than [UNK].
    bert = [*words, *(word.capitalize() for word in words[2000:4000] if word.isalpha())]
    learnt = tokenizers.ByteLevelBPETokenizer()
    learnt.train_from_iterator(
        [text for text, _ in sst2_dev],
        900,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        show_progress=False,
    )
    folder = tmp_path_factory.mktemp("bpe")
    learnt.save_model(str(folder))
    return {
        "bert": {"vocab.txt": "\n".join(dict.fromkeys(bert)).encode()},
        "mpnet": {"vocab.txt": "\n".join(mpnet).encode()},
        "roberta": {name: (folder / name).read_bytes() for name in ("vocab.json", "merges.txt")},
    }


@pytest.fixture
def folder(tmp_path: Path, vocabularies: dict[str, dict[str, bytes]]) -> Folder:
    """Makes a folder of a vocabulary, config.json, and other files by name (None: without it)."""

    def make(kind: str, settings: dict[str, Any] | None, model_type: str, **files: Any) -> Path:
        for name, content in vocabularies[kind].items():
            (tmp_path / name).write_bytes(content)
        written = {"config.json": {"model_type": model_type}, "tokenizer_config.json": settings}
        for name, value in {**written, **files}.items():
            if value is not None:
                (tmp_path / name).write_text(json.dumps(value))
        return tmp_path

    return make


def _assert_like_transformers(path: Path) -> None:
    """The same ids and segments for every text, alone and in pairs."""
    from transformers import AutoTokenizer

    expected = AutoTokenizer.from_pretrained(path)
    mine = TextTokenizer(path, 512)
    for text in _TEXTS:
        # In a list, because it takes an empty second text by itself for none.
        wanted = expected([text], truncation=True, max_length=512)
        (encoding,) = mine.encode([text])
        assert encoding.input_ids.tolist() == wanted["input_ids"][0], text
        if "token_type_ids" in wanted:
            assert encoding.token_type_ids.tolist() == wanted["token_type_ids"][0], text


# vocab.txt


@pytest.mark.parametrize(
    ("name", "model_type"),
    [
        ("BertTokenizer", "bert"),
        ("BertTokenizerFast", "bert"),
        ("DistilBertTokenizer", "distilbert"),
        ("ElectraTokenizer", "electra"),
        ("MobileBertTokenizer", "mobilebert"),
        (None, "bert"),
        (None, "distilbert"),
        (None, "electra"),
    ],
)
def test_word_piece_of_each_class(folder: Folder, name: str | None, model_type: str) -> None:
    settings = {"tokenizer_class": name} if name else {}
    _assert_like_transformers(folder("bert", settings, model_type))


@pytest.mark.parametrize(
    "settings",
    [
        None,
        {"do_lower_case": True},
        {"do_lower_case": False},
        {"do_lower_case": False, "strip_accents": True},
        {"do_lower_case": True, "strip_accents": False},
        {"tokenize_chinese_chars": False},
        {"do_lower_case": True, "never_split": ["CAFÉ"]},
    ],
)
def test_word_piece_with_each_setting(folder: Folder, settings: dict[str, Any] | None) -> None:
    _assert_like_transformers(folder("bert", settings, "bert"))


def test_the_settings_make_a_difference(folder: Folder) -> None:
    """Else equality would prove nothing."""
    seen = set()
    for settings in (
        {},
        {"do_lower_case": False},
        {"strip_accents": False},
        {"tokenize_chinese_chars": False},
    ):
        tokenizer = load_tokenizer(folder("bert", settings, "bert"))
        seen.add(str([tokenizer.encode(text).ids for text in _TEXTS if isinstance(text, str)]))
    assert len(seen) == 4


_MAP = {name: f"[{name[:-6].upper()}]" for name in ("unk_token", "cls_token", "pad_token")}
_OTHER = {"cls_token": "[unused1]", "sep_token": "[unused2]"}


@pytest.mark.parametrize(
    ("settings", "files"),
    [
        pytest.param(_OTHER, {}, id="other special tokens"),
        pytest.param({}, {"special_tokens_map.json": _OTHER}, id="in the older file"),
        pytest.param(
            {"cls_token": "[unused3]"},
            {"special_tokens_map.json": {**_MAP, "cls_token": "[unused4]"}},
            id="in both files",
        ),
        pytest.param(
            {},
            {
                "special_tokens_map.json": {
                    "mask_token": {
                        "content": "[MASK]",
                        "lstrip": True,
                        "rstrip": False,
                        "normalized": False,
                        "single_word": False,
                    }
                }
            },
            id="as an object",
        ),
        pytest.param(
            {}, {"added_tokens.json": {"[NEW]": 90_001, "plain": 90_000}}, id="added_tokens.json"
        ),
        pytest.param({"additional_special_tokens": ["control", "emoji"]}, {}, id="additional ones"),
        pytest.param(
            {
                "added_tokens_decoder": {
                    "0": {"content": "[PAD]", "special": True},
                    "100": {"content": "[UNK]", "special": True},
                    "101": {"content": "[CLS]", "special": True},
                    "102": {"content": "[SEP]", "special": True},
                    "90001": {"content": "plain", "normalized": True, "special": False},
                    "90000": {"content": "EVERYBODY", "normalized": False, "single_word": True},
                }
            },
            {"special_tokens_map.json": _OTHER},
            id="added_tokens_decoder",
        ),
    ],
)
def test_word_piece_with_other_tokens(
    folder: Folder, settings: dict[str, Any], files: dict[str, Any]
) -> None:
    _assert_like_transformers(folder("bert", settings, "bert", **files))


@pytest.mark.parametrize(
    "settings",
    [
        {"tokenizer_class": "MPNetTokenizer"},
        {"tokenizer_class": "MPNetTokenizer", "do_lower_case": False},
        {},
        {"tokenizer_class": "MPNetTokenizer", "cls_token": "<s>", "mask_token": "<mask>"},
    ],
)
def test_mpnet(folder: Folder, settings: dict[str, Any]) -> None:
    path = folder("mpnet", settings, "mpnet")
    _assert_like_transformers(path)
    ids = TextTokenizer(path, 512).encode([("a", "b")])[0].input_ids.tolist()
    assert ids[0] == 0 and ids.count(2) == 3


# vocab.json and merges.txt


@pytest.mark.parametrize(
    ("settings", "files"),
    [
        ({"tokenizer_class": "RobertaTokenizer"}, {}),
        ({"tokenizer_class": "RobertaTokenizerFast", "add_prefix_space": True}, {}),
        ({"tokenizer_class": "RobertaTokenizer", "trim_offsets": False}, {}),
        ({}, {}),
        ({}, {"added_tokens.json": {"plain": 90_000}}),
        ({"cls_token": "<mask>"}, {}),
    ],
)
def test_byte_pairs(folder: Folder, settings: dict[str, Any], files: dict[str, Any]) -> None:
    _assert_like_transformers(folder("roberta", settings, "roberta", **files))


# tokenizer.json


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize("stated", [True, False, None])
@pytest.mark.parametrize(
    ("name", "model_type"),
    [
        ("BertTokenizer", "bert"),
        ("DistilBertTokenizerFast", "distilbert"),
        ("ElectraTokenizer", "electra"),
        ("PreTrainedTokenizerFast", "bert"),
        (None, "bert"),
    ],
)
def test_the_settings_overrule_tokenizer_json_where_transformers_lets_them(
    folder: Folder,
    encoder_folder: Path,
    name: str | None,
    model_type: str,
    stated: bool | None,
    stored: bool,
) -> None:
    content = json.loads((encoder_folder / "tokenizer.json").read_text(encoding="utf-8"))
    content["normalizer"]["lowercase"] = stored
    settings = {"tokenizer_class": name, "do_lower_case": stated}
    given = {key: value for key, value in settings.items() if value is not None}
    path = folder("bert", given, model_type, **{"tokenizer.json": content})
    _assert_like_transformers(path)


def test_another_normalizer_than_berts_is_left_alone(
    folder: Folder, encoder_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = json.loads((encoder_folder / "tokenizer.json").read_text(encoding="utf-8"))
    content["normalizer"] = {"type": "NFC"}
    path = folder("bert", {"do_lower_case": True}, "bert", **{"tokenizer.json": content})
    with caplog.at_level(logging.WARNING, logger="bertrt"):
        tokenizer = load_tokenizer(path)
    assert json.loads(tokenizer.to_str())["normalizer"] == {"type": "NFC"}
    assert caplog.text == ""


def test_the_class_that_modernbert_names_means_nothing(
    folder: Folder, encoder_folder: Path
) -> None:
    """As in Transformers 5; 4.57 took BERT's class by its word."""
    content = json.loads((encoder_folder / "tokenizer.json").read_text(encoding="utf-8"))
    content["normalizer"]["lowercase"] = False
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": True}
    path = folder("bert", settings, "modernbert", **{"tokenizer.json": content})
    assert json.loads(load_tokenizer(path).to_str())["normalizer"]["lowercase"] is False


def test_an_artifacts_tokenizer_json_stands_as_it_is(copied_artifact: Callable[[], Path]) -> None:
    """It has been resolved and compared with the original on export."""
    path = copied_artifact()
    settings = json.loads((path / "tokenizer_config.json").read_text(encoding="utf-8"))
    settings["do_lower_case"] = False
    (path / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer = load_tokenizer(path)
    assert tokenizer.encode("GOOD").ids == tokenizer.encode("good").ids


# What is no tokenizer


def _message(path: Path) -> str:
    with pytest.raises(ArtifactError) as raised:
        load_tokenizer(path)
    return str(raised.value)


def test_no_file_at_all(tmp_path: Path) -> None:
    message = _message(tmp_path)
    assert f"{tmp_path} has no tokenizer.json, vocab.txt, or vocab.json with merges.txt" in message
    assert "copy the tokenizer's files" in message


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("sentencepiece.bpe.model", "XLMRobertaTokenizer"),
        ("sentencepiece.bpe.model", "CamembertTokenizer"),
        ("spiece.model", "AlbertTokenizer"),
        ("spm.model", "DebertaV2Tokenizer"),
        ("sentencepiece.bpe.model", None),
        ("vocab.txt", "BertJapaneseTokenizer"),
        ("vocab.txt", "BertweetTokenizer"),
    ],
)
def test_files_that_only_transformers_can_read(tmp_path: Path, file: str, name: str | None) -> None:
    (tmp_path / file).write_bytes(b"\n")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": name}))
    message = _message(tmp_path)
    assert f"({name or 'SentencePiece'}) cannot be read without Transformers" in message
    assert f'AutoTokenizer.from_pretrained("{tmp_path}").save_pretrained("{tmp_path}")' in message


def test_byte_pairs_of_another_class(folder: Folder) -> None:
    path = folder("roberta", {"tokenizer_class": "DebertaTokenizer"}, "deberta")
    assert "(DebertaTokenizer) cannot be read without Transformers" in _message(path)


def test_vocabulary_without_merges(folder: Folder) -> None:
    path = folder("roberta", {}, "roberta")
    (path / "merges.txt").unlink()
    assert "has vocab.json without merges.txt: copy that file too" in _message(path)


@pytest.mark.parametrize("name", ["tokenizer.json", "vocab.json"])
def test_damaged_files(folder: Folder, name: str) -> None:
    path = folder("roberta", {}, "roberta")
    (path / name).write_bytes(b"{")
    message = _message(path)
    assert "cannot be read as a tokenizer: " in message and str(path) in message


@pytest.mark.parametrize("settings", [{"added_tokens_decoder": {"x": {}}}, {"cls_token": {"a": 1}}])
def test_malformed_settings(folder: Folder, settings: dict[str, Any]) -> None:
    assert "cannot be read as a tokenizer: " in _message(folder("bert", settings, "bert"))


def test_a_token_that_no_vocabulary_has_gets_an_id(folder: Folder, encoder_folder: Path) -> None:
    path = folder("bert", {"cls_token": "[FIRST]"}, "bert")
    size = len((path / "vocab.txt").read_text(encoding="utf-8").splitlines())
    assert load_tokenizer(path).encode("good").ids[0] == size
    _assert_like_transformers(path)
    shutil.copy(encoder_folder / "tokenizer.json", path)
    assert load_tokenizer(path).encode("good").ids[0] == 101
