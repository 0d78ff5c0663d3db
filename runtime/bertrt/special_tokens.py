"""Special and added tokens, as the files beside a vocabulary state them."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken

from bertrt.model_files import read_optional_json

__all__ = ["add_tokens", "special_tokens"]

# Transformers gives new ids in this order.
_NAMES = (
    "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token",
)  # fmt: skip
_EXTRA_NAMES = ("additional_special_tokens", "extra_special_tokens")

# A token in a file: its text, or an object that says how it matches too.
_Written = str | dict[str, Any]


def special_tokens(
    folder: Path,
    settings: Mapping[str, Any],
    defaults: Mapping[str, str],
    *,
    as_words: bool = False,
) -> dict[str, AddedToken]:
    """The special tokens by name (`cls_token` ..): those of the files, else the class's defaults.

    as_words: those written as mere text match after normalization, and the mask takes the space
    before it along, as MPNet's class has it.
    """
    stated = _stated(folder, settings)
    added = {token.content: token for token in _numbered_tokens(folder, settings)}
    tokens = {}
    for name in (name for name in _NAMES if stated.get(name) or name in defaults):
        value = stated.get(name) or defaults[name]
        if isinstance(value, str) and as_words:
            value = {"content": value, "normalized": True, "lstrip": name == "mask_token"}
        token = _token(value, special=True)
        tokens[name] = added.get(token.content, token)
    return tokens


def add_tokens(
    tokenizer: tokenizers.Tokenizer,
    folder: Path,
    settings: Mapping[str, Any],
    named: Mapping[str, AddedToken],
) -> None:
    """Let the tokenizer know the added tokens, then the special ones.

    Each keeps the vocabulary's id, or gets the next free one.
    """
    stated = _stated(folder, settings)
    extra = [_token(value, special=True) for name in _EXTRA_NAMES for value in _list(stated, name)]
    names = {token.content for token in named.values()}
    known: set[str] = set()
    for token in (*_numbered_tokens(folder, settings), *named.values(), *extra):
        if token.content not in known:
            known.add(token.content)
            token.special = token.special or token.content in names
            tokenizer.add_tokens([token])


def _stated(folder: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings, overruled by the older file where the newer form is not there."""
    if "added_tokens_decoder" in settings:
        return dict(settings)
    return {**settings, **read_optional_json(folder, "special_tokens_map.json")}


def _numbered_tokens(folder: Path, settings: Mapping[str, Any]) -> list[AddedToken]:
    """The tokens that were added to the vocabulary, in the order of their numbers."""
    if "added_tokens_decoder" in settings:
        written = {int(number): value for number, value in settings["added_tokens_decoder"].items()}
        return [_token(written[number], special=False) for number in sorted(written)]
    stated = _stated(folder, settings)
    named = [stated[name] for name in _NAMES if stated.get(name)]
    extra = [value for name in _EXTRA_NAMES for value in _list(stated, name)]
    special = {_token(value, special=True).content for value in (*named, *extra)}
    numbers = read_optional_json(folder, "added_tokens.json")
    return [
        AddedToken(content, special=content in special, normalized=content not in special)
        for content in sorted(numbers, key=numbers.__getitem__)
    ]


def _list(stated: Mapping[str, Any], name: str) -> Iterator[_Written]:
    value = stated.get(name) or ()
    yield from value.values() if isinstance(value, dict) else value


def _token(value: _Written, *, special: bool) -> AddedToken:
    if isinstance(value, str):
        return AddedToken(value, special=special)
    names = ("content", "single_word", "lstrip", "rstrip", "normalized", "special")
    matching = {name: value[name] for name in names if name in value}
    return AddedToken(**{"special": special, **matching})
