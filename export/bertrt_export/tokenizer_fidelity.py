"""The saved tokenizer must split texts as the original does, awkward ones included."""

import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tokenizers
import transformers
from bertrt.tokenizer import TextInput, TextTokenizer

from bertrt_export.errors import VerificationError
from bertrt_export.golden import GOLDEN_TEXTS

__all__ = ["AWKWARD_TEXTS", "check_tokenizer", "notice_of_own_file"]

AWKWARD_TEXTS: tuple[TextInput, ...] = (
    " ",
    "\n",
    "  leading and trailing  ",
    "tabs\tand\nnew lines\r\nand\u2028separators\u0085",
    "MiXeD CaSe, ÀÉÎÕÜ, ÇŞĞİ, STRASSE and straße, ǅ",
    "caf\u00e9 and cafe\u0301, \u00c5 and \u212b, \u1e9b\u0323, a\u0300\u0301\u0302\u0303",
    "ﬁne ﬂour, ½ of №5, Ⅷ, ℌ, ｆｕｌｌ ｗｉｄｔｈ, ｶﾀｶﾅ",
    "这部电影非常好看，我喜欢。本当に面白かった！ 정말 좋아요 𠮷野家",
    "שלום עולם, مرحبا بالعالم، بِسْمِ ٱللَّهِ, \u202bright\u202c to \u200fleft",
    "नमस्ते दुनिया, สวัสดีชาวโลก, ကမ္ဘာ, Здравствуй, мир, Γειά σου Κόσμε",
    "👍🏽 👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪 ☺️ ☺ 🧑🏿‍🚀 1️⃣",
    "zero\u200bwidth\u200cjoin\u200ders\ufeffand\u2060others, soft\u00adhyphen",
    "nul\x00bell\x07escape\x1bdelete\x7fnext\x9a, replaced \ufffd, private \ue000, last \U0010ffff",
    "no\u00a0break\u202fspaces\u3000and\u2009thin ones",
    "don't can’t “quoted” «text» – — … ‘’ `` ''",
    "1,234.56 3.14e-10 0x1F 10% $5 €7 2024-02-30T12:34:56Z 192.168.0.1",
    "https://example.org/a_b?c=d&e=%20#f user@example.org #tag @name C++ a/b\\c",
    "!!!???...,,,;;;:::---___***((()))[[[]]]{{{}}}<<<>>>",
    "x" * 101,
    "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft",
    "一" * 120,
    "word" * 60 + "\u0301" * 60,
    ("a pair", "of texts"),
    ("the first\tis LONGER than\nthe second", "é"),
    ("👍🏽", "这部电影 非常好看"),
)


def check_tokenizer(
    original: Any, saved: TextTokenizer, max_length: int, *, segments: bool = True
) -> None:
    """Compare the runtime's tokenizer with the one of Transformers that it was saved from.

    The texts are GOLDEN_TEXTS, AWKWARD_TEXTS, the special tokens within a text, and texts and pairs
    of more than `max_length` tokens, which are cut on either side. Where the model takes segments,
    theirs are compared too.
    Raises VerificationError with the text, and what either makes of it.
    """
    special = " and ".join(original.all_special_tokens)
    long, longer = "one two three " * (max_length // 2), "four five " * max_length
    texts = (
        *GOLDEN_TEXTS,
        *AWKWARD_TEXTS,
        special,
        f"in{''.join(original.all_special_tokens)}side",
        longer,
        (long, longer),
        ("short", longer),
        (longer, "short"),
    )
    usual = original.truncation_side
    try:
        for side in ("right", "left"):
            original.truncation_side = side
            for text, encoding in zip(texts, saved.encode(texts, side=side), strict=True):
                parts = (text,) if isinstance(text, str) else text
                expected = original(*parts, truncation=True, max_length=max_length)
                _compare(text, "", encoding.input_ids.tolist(), expected["input_ids"])
                if segments:
                    # Without them the model takes all tokens for the first segment's.
                    types = expected.get("token_type_ids", [0] * len(encoding))
                    _compare(text, "token types ", encoding.token_type_ids.tolist(), types)
    finally:
        original.truncation_side = usual


def _compare(text: TextInput, what: str, saved: Sequence[int], original: Sequence[int]) -> None:
    if list(saved) == list(original):
        return
    raise VerificationError(
        f"the saved tokenizer splits {_shown(text)} otherwise than the original: "
        f"{what}{_shown(list(saved))} instead of {_shown(list(original))}; nothing was written. "
        "The tokenizer's own code or settings (split_special_tokens, say) do something that "
        "tokenizer.json cannot hold: save it without them"
    )


def notice_of_own_file(original: Any, folder: Path) -> str | None:
    """What to tell of a checkpoint whose tokenizer.json Transformers does not follow, or None.

    A setting of tokenizer_config.json goes before it, such as `do_lower_case`; and so, for some
    tokenizer classes and versions of Transformers, does the default of a setting that is not there.
    The export does as Transformers does, but the model may have been trained otherwise.
    """
    file = folder / "tokenizer.json"
    if not file.is_file():
        return None
    own = tokenizers.Tokenizer.from_file(str(file))
    own.no_truncation()
    own.no_padding()
    for text in (*GOLDEN_TEXTS, *AWKWARD_TEXTS):
        parts = (text,) if isinstance(text, str) else text
        resolved = original(*parts, verbose=False)["input_ids"]
        as_filed = own.encode(*parts).ids
        if resolved != as_filed:
            return (
                f"Transformers {transformers.__version__} splits {_shown(text)} otherwise than the "
                f"checkpoint's tokenizer.json by itself: {_shown(resolved)}, not "
                f"{_shown(as_filed)}. The export does as Transformers does; if the model was "
                "trained otherwise, correct tokenizer_config.json (do_lower_case, strip_accents, "
                "tokenizer_class) and export again"
            )
    return None


_REPR = reprlib.Repr()
_REPR.maxstring, _REPR.maxlist = 80, 64
_shown = _REPR.repr
