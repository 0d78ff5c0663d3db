"""A tokenizer from its files, as Transformers would make it, without Transformers."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors

from bertrt.errors import ArtifactError
from bertrt.model_files import MANIFEST, TOKENIZER_CONFIG, has_tokenizer, read_optional_json
from bertrt.special_tokens import add_tokens, special_tokens

__all__ = ["load_tokenizer", "tokenizer_settings"]

_logger = logging.getLogger("bertrt")

_WORD_PIECE = (
    "BertTokenizer", "ConvBertTokenizer", "DistilBertTokenizer", "ElectraTokenizer",
    "MobileBertTokenizer", "SqueezeBertTokenizer",
)  # fmt: skip
_MPNET = "MPNetTokenizer"
_BYTE_PAIR = ("LongformerTokenizer", "RobertaTokenizer")

# Of these, Transformers makes the normalizer anew, whatever tokenizer.json says.
_RENORMALIZED = (
    "BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer", "MobileBertTokenizer", _MPNET,
)  # fmt: skip

# The class where tokenizer_config.json and config.json name none.
_CLASS_OF_MODEL = {
    "bert": "BertTokenizer",
    "distilbert": "DistilBertTokenizer",
    "electra": "ElectraTokenizer",
    "mobilebert": "MobileBertTokenizer",
    "mpnet": _MPNET,
}

# Transformers reads tokenizer.json of these as it stands, though they name BERT's class.
_CLASS_MEANS_NOTHING = ("modernbert",)

_BERT_TOKENS = {
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}
_ROBERTA_TOKENS = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "sep_token": "</s>",
    "pad_token": "<pad>",
    "cls_token": "<s>",
    "mask_token": "<mask>",
}
_MPNET_TOKENS = {**_ROBERTA_TOKENS, "unk_token": "[UNK]"}


def load_tokenizer(folder: Path) -> tokenizers.Tokenizer:
    """The tokenizer whose files are in a folder.

    tokenizer.json as it stands; in a folder that bertrt did not make, tokenizer_config.json's
    `do_lower_case`, `strip_accents` and `tokenize_chinese_chars` overrule it for BERT's classes, as
    in Transformers (an artifact's has been resolved and compared on export). Without tokenizer.json
    it is made from vocab.txt (BERT's WordPiece, or MPNet's) or from vocab.json with merges.txt
    (RoBERTa's byte-level BPE).
    Raises ArtifactError where there is no file to make one from, or one cannot be read.
    """
    file = folder / "tokenizer.json"
    if not has_tokenizer(folder):
        raise ArtifactError(
            f"{folder} has no tokenizer.json, vocab.txt, or vocab.json with merges.txt: copy the "
            "tokenizer's files from the model that was exported"
        )
    made = file if file.is_file() else folder
    settings = tokenizer_settings(folder)
    try:
        if not file.is_file():
            return _from_vocabulary(folder, settings)
        tokenizer = tokenizers.Tokenizer.from_file(str(file))
    except ArtifactError:
        raise
    except Exception as error:  # the library raises bare Exception
        raise ArtifactError(f"{made} cannot be read as a tokenizer: {error}") from error
    if not (folder / MANIFEST).exists():
        _renormalize(tokenizer, folder, settings)
    return tokenizer


def tokenizer_settings(folder: Path) -> dict[str, Any]:
    """tokenizer_config.json; empty where there is none."""
    return read_optional_json(folder, TOKENIZER_CONFIG)


def _renormalize(
    tokenizer: tokenizers.Tokenizer, folder: Path, settings: Mapping[str, Any]
) -> None:
    """Let the settings overrule a BERT normalizer, their defaults too: so does Transformers."""
    if _class_of(folder, settings) not in _RENORMALIZED:
        return
    stated = json.loads(tokenizer.to_str())["normalizer"] or {}
    if stated.get("type") != "BertNormalizer":
        return
    wanted = _bert_normalizer(settings)
    tokenizer.normalizer = wanted
    changed = json.loads(tokenizer.to_str())["normalizer"]
    differing = [name for name, value in changed.items() if stated.get(name) != value]
    if differing:
        _logger.warning(
            "%s: tokenizer.json has %s, and %s (whose defaults count too) overrules it with %s, as "
            "in Transformers",
            folder,
            ", ".join(f"{name}={stated.get(name)}" for name in differing),
            TOKENIZER_CONFIG,
            ", ".join(f"{name}={changed[name]}" for name in differing),
        )


def _class_of(folder: Path, settings: Mapping[str, Any]) -> str | None:
    """The name of Transformers' class; None where it would take tokenizer.json as it stands."""
    config = read_optional_json(folder, "config.json")
    model_type = config.get("model_type")
    if model_type in _CLASS_MEANS_NOTHING:
        return None
    name = settings.get("tokenizer_class") or config.get("tokenizer_class")
    return str(name).removesuffix("Fast") if name else _CLASS_OF_MODEL.get(str(model_type))


def _from_vocabulary(folder: Path, settings: Mapping[str, Any]) -> tokenizers.Tokenizer:
    """The tokenizer that Transformers makes of vocabulary files alone."""
    name = _class_of(folder, settings)
    if (folder / "vocab.txt").is_file():
        if name == _MPNET:
            return _mpnet(folder, settings)
        if name is None or name in _WORD_PIECE:
            return _word_piece(folder, settings)
    elif (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        if name is None or name in _BYTE_PAIR:
            return _byte_pair(folder, settings)
    elif (folder / "vocab.json").is_file():
        raise ArtifactError(f"{folder} has vocab.json without merges.txt: copy that file too")
    raise ArtifactError(
        f"{folder} has no tokenizer.json, and its files "
        f"({name or 'SentencePiece'}) cannot be read without Transformers: make it where that is "
        f'installed, with AutoTokenizer.from_pretrained("{folder}").save_pretrained("{folder}")'
    )


def _word_piece(folder: Path, settings: Mapping[str, Any]) -> tokenizers.Tokenizer:
    tokens = special_tokens(folder, settings, _BERT_TOKENS)
    tokenizer = _word_piece_model(folder, settings, tokens)
    first, last = (_with_id(tokenizer, tokens[name]) for name in ("cls_token", "sep_token"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first[0]}:0 $A:0 {last[0]}:0",
        pair=f"{first[0]}:0 $A:0 {last[0]}:0 $B:1 {last[0]}:1",
        special_tokens=[first, last],
    )
    return tokenizer


def _mpnet(folder: Path, settings: Mapping[str, Any]) -> tokenizers.Tokenizer:
    tokens = special_tokens(folder, settings, _MPNET_TOKENS, as_words=True)
    tokenizer = _word_piece_model(folder, settings, tokens)
    tokenizer.post_processor = processors.RobertaProcessing(
        _with_id(tokenizer, tokens["sep_token"]),
        _with_id(tokenizer, tokens["cls_token"]),
        trim_offsets=True,
        add_prefix_space=False,
    )
    return tokenizer


def _byte_pair(folder: Path, settings: Mapping[str, Any]) -> tokenizers.Tokenizer:
    tokens = special_tokens(folder, settings, _ROBERTA_TOKENS)
    prefix_space = bool(settings.get("add_prefix_space", False))
    tokenizer = tokenizers.Tokenizer(
        models.BPE.from_file(
            str(folder / "vocab.json"),
            str(folder / "merges.txt"),
            continuing_subword_prefix="",
            end_of_word_suffix="",
            fuse_unk=False,
        )
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    tokenizer.decoder = decoders.ByteLevel()
    add_tokens(tokenizer, folder, settings, tokens)
    tokenizer.post_processor = processors.RobertaProcessing(
        _with_id(tokenizer, tokens["sep_token"]),
        _with_id(tokenizer, tokens["cls_token"]),
        trim_offsets=bool(settings.get("trim_offsets", True)),
        add_prefix_space=prefix_space,
    )
    return tokenizer


def _word_piece_model(
    folder: Path, settings: Mapping[str, Any], tokens: Mapping[str, AddedToken]
) -> tokenizers.Tokenizer:
    """WordPiece over vocab.txt with BERT's normalizer and words, and the added tokens."""
    model = models.WordPiece.from_file(
        str(folder / "vocab.txt"), unk_token=tokens["unk_token"].content
    )
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.normalizer = _bert_normalizer(settings)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    add_tokens(tokenizer, folder, settings, tokens)
    return tokenizer


def _bert_normalizer(settings: Mapping[str, Any]) -> normalizers.Normalizer:
    return normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=bool(settings.get("tokenize_chinese_chars", True)),
        strip_accents=settings.get("strip_accents"),
        lowercase=bool(settings.get("do_lower_case", True)),
    )


def _with_id(tokenizer: tokenizers.Tokenizer, token: AddedToken) -> tuple[str, int]:
    number = tokenizer.token_to_id(token.content)
    assert number is not None, "it has just been added"
    return token.content, number
