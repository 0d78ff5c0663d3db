"""The saved tokenizer gives the original's ids, and an export that would not fails."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bertrt import Classifier
from bertrt.tokenizer import Encoding, TextTokenizer
from bertrt_export import VerificationError, export_model
from bertrt_export.artifact_writer import write_tokenizer
from bertrt_export.checkpoint import load_checkpoint
from bertrt_export.tokenizer_fidelity import AWKWARD_TEXTS, check_tokenizer, notice_of_own_file
from transformers import AutoTokenizer

from tests.helpers import edit_json
from tests.tiny_models import deberta_checkpoint, roberta_checkpoint

_CASED = "MiXeD CaSe, ÀÉÎ"


def _checked(checkpoint: Path, folder: Path) -> tuple[Any, TextTokenizer]:
    """The tokenizer of a checkpoint, and the runtime's from what the export saves; they agree."""
    loaded = load_checkpoint(str(checkpoint))
    write_tokenizer(loaded, folder, loaded.max_length)
    saved = TextTokenizer(folder, loaded.max_length)
    check_tokenizer(loaded.tokenizer, saved, loaded.max_length, segments=loaded.segments)
    return loaded.tokenizer, saved


# What is saved


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"do_lower_case": False},
        {"do_lower_case": True, "strip_accents": False},
        {"tokenize_chinese_chars": False},
        {"truncation_side": "left"},
        {"model_max_length": 64},
    ],
    ids=str,
)
@pytest.mark.parametrize("file", ["tokenizer.json", "vocab.txt"])
def test_settings_against_the_default_are_kept(
    copied_checkpoint: Callable[[], Path],
    encoder_folder: Path,
    tmp_path: Path,
    settings: dict[str, object],
    file: str,
) -> None:
    """The settings are of tokenizer_config.json; tokenizer.json says the default, or is not there.

    The tokenizer of the runtime is compared with Transformers' own of the checkpoint.
    """
    checkpoint = copied_checkpoint()
    for name in ("tokenizer.json", "vocab.txt", "special_tokens_map.json"):
        (checkpoint / name).unlink(missing_ok=True)
    shutil.copy(encoder_folder / file, checkpoint)
    shutil.copy(encoder_folder / "tokenizer_config.json", checkpoint)
    edit_json(checkpoint / "tokenizer_config.json", settings)
    _, saved = _checked(checkpoint, tmp_path)
    assert saved.max_length == settings.get("model_max_length", 512)
    assert saved.truncation_side == settings.get("truncation_side", "right")
    lowered = saved.encode([_CASED.lower()])[0].input_ids.tolist()
    differs = saved.encode([_CASED])[0].input_ids.tolist() != lowered
    assert differs == (settings.get("do_lower_case") is False)


@pytest.mark.parametrize("make", [roberta_checkpoint, deberta_checkpoint])
def test_other_kinds_of_tokenizers(make: Callable[[Path], Path], tmp_path: Path) -> None:
    """Byte-level BPE from vocab.json and merges.txt, and Unigram from tokenizer.json."""
    checkpoint = make(tmp_path / "checkpoint")
    (tmp_path / "saved").mkdir()
    original, saved = _checked(checkpoint, tmp_path / "saved")
    pair = saved.encode([("one", "two")])[0]
    assert pair.input_ids.tolist() == original("one", "two")["input_ids"]


def test_what_the_last_call_cut_and_padded_to_is_not_saved(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    loaded = load_checkpoint(str(tiny_checkpoint))
    loaded.tokenizer("a few words", truncation=True, max_length=9, padding="max_length")
    write_tokenizer(loaded, tmp_path, 512)
    content = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    assert content["truncation"] is None and content["padding"] is None


def test_saved_tokenizer_is_what_transformers_reads(tiny_artifact: Path) -> None:
    """Other tools than bertrt read the folder with AutoTokenizer."""
    read = AutoTokenizer.from_pretrained(tiny_artifact)
    saved = TextTokenizer(tiny_artifact, 512)
    assert read.model_max_length == 512
    check_tokenizer(read, saved, 512)


def test_plain_fast_tokenizer_keeps_the_name_that_all_versions_know(
    copied_checkpoint: Callable[[], Path], tmp_path: Path
) -> None:
    """Transformers 5 calls it TokenizersBackend, which 4 (and so Optimum) cannot load."""
    checkpoint = copied_checkpoint()
    edit_json(checkpoint / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast"})
    _checked(checkpoint, tmp_path)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert settings["tokenizer_class"] == "PreTrainedTokenizerFast"


# What is noticed


def test_awkward_texts_are_distinct_and_make_tokens(tiny_artifact: Path) -> None:
    assert len(set(AWKWARD_TEXTS)) == len(AWKWARD_TEXTS)
    encoded = TextTokenizer(tiny_artifact, 512).encode(AWKWARD_TEXTS)
    assert len({text.input_ids.tobytes() for text in encoded}) > len(AWKWARD_TEXTS) - 3


class _Changed:
    """A tokenizer whose encodings are changed on their way."""

    def __init__(self, tokenizer: TextTokenizer, change: Callable[[Encoding], Encoding]) -> None:
        self._tokenizer, self._change = tokenizer, change

    def encode(self, texts: Any, *, side: str) -> list[Encoding]:
        return [self._change(text) for text in self._tokenizer.encode(texts, side=side)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        # An id of CJK text, the length of long texts, and the second segment.
        (
            lambda e: Encoding(
                np.where(e.input_ids == 1876, 100, e.input_ids), e.token_type_ids, e.truncated
            ),
            ["splits '这部", "instead of ["],
        ),
        (
            lambda e: Encoding(e.input_ids[:511], e.token_type_ids[:511], e.truncated),
            ["splits 'four five", "instead of ["],
        ),
        (
            lambda e: Encoding(e.input_ids, 0 * e.token_type_ids, e.truncated),
            ["splits ('A man is playing", "token types [0, 0"],
        ),
    ],
)
def test_difference_is_an_error_with_the_text_and_both(
    tiny_checkpoint: Path,
    tiny_artifact: Path,
    change: Callable[[Encoding], Encoding],
    words: list[str],
) -> None:
    original = AutoTokenizer.from_pretrained(tiny_checkpoint)
    changed: Any = _Changed(TextTokenizer(tiny_artifact, 512), change)
    with pytest.raises(VerificationError) as raised:
        check_tokenizer(original, changed, 512)
    for word in ["the saved tokenizer", "nothing was written", *words]:
        assert word in str(raised.value)
    assert original.truncation_side == "right"  # as it was


def test_segments_do_not_matter_where_the_model_has_none(
    tiny_checkpoint: Path, tiny_artifact: Path
) -> None:
    original = AutoTokenizer.from_pretrained(tiny_checkpoint)
    changed: Any = _Changed(
        TextTokenizer(tiny_artifact, 512),
        lambda e: Encoding(e.input_ids, 0 * e.token_type_ids, e.truncated),
    )
    check_tokenizer(original, changed, 512, segments=False)


def test_setting_that_tokenizer_json_cannot_hold_is_an_error(
    copied_checkpoint: Callable[[], Path], tmp_path: Path
) -> None:
    """With split_special_tokens, "[SEP]" within a text is text; the file cannot say so."""
    checkpoint = copied_checkpoint()
    edit_json(checkpoint / "tokenizer_config.json", {"split_special_tokens": True})
    with pytest.raises(VerificationError, match=r"split_special_tokens.*save it without"):
        _checked(checkpoint, tmp_path)


def test_file_that_transformers_does_not_follow_is_told_of(
    copied_checkpoint: Callable[[], Path], encoder_folder: Path
) -> None:
    """tokenizer.json is cased, tokenizer_config.json says nothing, and the default lowers."""
    checkpoint = copied_checkpoint()
    content = json.loads((encoder_folder / "tokenizer.json").read_text(encoding="utf-8"))
    assert content["normalizer"]["lowercase"] is True
    original = AutoTokenizer.from_pretrained(checkpoint)
    assert notice_of_own_file(original, checkpoint) is None
    content["normalizer"]["lowercase"] = False
    (checkpoint / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    edit_json(checkpoint / "tokenizer_config.json", {}, ["do_lower_case"])
    notice = notice_of_own_file(AutoTokenizer.from_pretrained(checkpoint), checkpoint)
    assert notice is not None
    assert "otherwise than the checkpoint's tokenizer.json" in notice and "do_lower_case" in notice
    (checkpoint / "tokenizer.json").unlink()
    assert notice_of_own_file(original, checkpoint) is None


def test_notice_of_the_tokenizer_is_part_of_the_export(
    copied_checkpoint: Callable[[], Path],
    encoder_folder: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """tokenizer_config.json goes before tokenizer.json, and the answers say that it does."""
    checkpoint = copied_checkpoint()
    shutil.copy(encoder_folder / "tokenizer.json", checkpoint)
    edit_json(checkpoint / "tokenizer_config.json", {"do_lower_case": False})
    result = export_model(str(checkpoint), tmp_path / "out")
    (notice,) = result.notices
    assert f"Notice: {notice}" in caplog.text and "tokenizer.json by itself" in notice
    assert json.loads((tmp_path / "out" / "bertrt.json").read_text())["notices"] == [notice]
    cased = Classifier(tmp_path / "out", "cpu").logits(["GREAT fun", "great fun"])
    assert np.abs(cased[0] - cased[1]).max() > 1e-3


# Limits


@pytest.mark.parametrize("settings", [{}, {"model_max_length": int(1e30)}], ids=["none", "1e30"])
def test_tokenizer_that_states_no_limit(
    copied_checkpoint: Callable[[], Path], tmp_path: Path, settings: dict[str, object]
) -> None:
    """The model's positions are the limit: BERT's all, RoBERTa's but those up to the padding's."""
    bert, roberta = copied_checkpoint(), roberta_checkpoint(tmp_path / "roberta", **settings)
    edit_json(
        bert / "tokenizer_config.json", settings, ["model_max_length"] if not settings else []
    )
    for checkpoint, positions in ((bert, 512), (roberta, 514)):
        loaded = load_checkpoint(str(checkpoint))
        assert loaded.tokenizer.model_max_length > 1e29
        assert loaded.config.max_position_embeddings == positions
        assert loaded.max_length == 512


def test_roberta_runs_512_tokens_with_514_positions(tmp_path: Path) -> None:
    checkpoint = roberta_checkpoint(tmp_path / "checkpoint")
    export_model(str(checkpoint), tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / "bertrt.json").read_text(encoding="utf-8"))
    assert manifest["layout"] == "packed"
    assert manifest["max_length"] == manifest["verified"]["fp32"]["lengths"][-1] == 512
    classifier = Classifier(tmp_path / "out", "cpu")
    assert np.isfinite(classifier.logits(["word " * 2000])).all()
    assert AutoTokenizer.from_pretrained(tmp_path / "out").model_max_length == 512
