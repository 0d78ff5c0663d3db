"""Texts to entities: forms of input and output, batches, long texts, streams, errors."""

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from bertrt import (
    ArtifactError,
    Classifier,
    EmptyInputError,
    Entity,
    InputError,
    TextTooLongError,
    TokenClassifier,
)
from bertrt.aggregation import STRATEGIES
from bertrt.artifact import MANIFEST

from tests.helpers import edit_config, edit_manifest
from tests.tiny_taggers import LABELS, MAX_LENGTH

_TEXT = "Angela Merkel met Barack Obama in Berlin (Germany)."
_LONG = " ".join(f"word number {number} of many" for number in range(MAX_LENGTH))
_TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def tagger(tagger_artifact: Path) -> TokenClassifier:
    return TokenClassifier(tagger_artifact, "cpu")


@pytest.fixture(scope="module")
def sentences(sst2_dev: list[tuple[str, int]]) -> list[str]:
    """Real sentences of all lengths, short enough for the model, and an empty one."""
    short = [text for text, _ in sst2_dev if len(text.split()) < MAX_LENGTH // 3]
    return ["", *short[:60]]


def _close(left: list[Entity], right: list[Entity]) -> bool:
    """Whether entities are the same but for the rounding of their scores."""
    facts = [
        [(e.label, e.start, e.end, e.word, e.index) for e in entities] for entities in (left, right)
    ]
    return facts[0] == facts[1] and [e.score for e in left] == pytest.approx(
        [e.score for e in right], abs=_TOLERANCE
    )


# What it says of itself


def test_says_what_it_loaded(tagger: TokenClassifier, tagger_artifact: Path) -> None:
    assert tagger.labels == LABELS
    assert tagger.provider == "CPUExecutionProvider"
    assert tagger.precision == "fp32"
    assert tagger.artifact.path == tagger_artifact
    assert tagger.artifact.task == "token-classification"


# Forms of input and output


def test_a_text_gives_a_list_of_entities(tagger: TokenClassifier) -> None:
    found = tagger(_TEXT)
    assert found
    assert all(isinstance(entity, Entity) for entity in found)


def test_a_list_gives_a_list_for_each_text(tagger: TokenClassifier) -> None:
    assert tagger([_TEXT]) == [tagger(_TEXT)]


def test_any_iterable_is_a_list(tagger: TokenClassifier) -> None:
    assert tagger(text for text in [_TEXT, ""]) == [tagger(_TEXT), []]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_entities_stand_in_the_text_in_order(tagger: TokenClassifier, strategy: str) -> None:
    found = tagger(_TEXT, aggregation_strategy=strategy, ignore_labels=())
    assert "".join(_TEXT[e.start : e.end] for e in found).replace(" ", "") == _TEXT.replace(" ", "")
    assert [entity.start for entity in found] == sorted(entity.start for entity in found)
    for entity in found:
        # This tokenizer writes lower case; single tokens have their mark.
        part = _TEXT[entity.start : entity.end].lower().replace(" ", "")
        assert entity.word.removeprefix("##").replace(" ", "") == part
        assert 0 < entity.score <= 1


def test_only_single_tokens_have_an_index(tagger: TokenClassifier) -> None:
    tokens = tagger(_TEXT, ignore_labels=())
    assert [entity.index for entity in tokens] == list(range(1, len(tokens) + 1))
    for strategy in STRATEGIES[1:]:
        assert {e.index for e in tagger(_TEXT, aggregation_strategy=strategy)} == {None}


def test_labels_of_groups_have_no_prefix(tagger: TokenClassifier) -> None:
    assert {e.label for e in tagger(_TEXT)} <= {*LABELS} - {"O"}
    grouped = tagger(_TEXT, aggregation_strategy="simple")
    assert {e.label for e in grouped} <= {"PER", "LOC", "MISC"}


def test_labels_may_be_ignored(tagger: TokenClassifier) -> None:
    everything = tagger(_TEXT, ignore_labels=())
    ignored = {everything[0].label, everything[-1].label}
    kept = [entity for entity in everything if entity.label not in ignored]
    assert tagger(_TEXT, ignore_labels=sorted(ignored)) == kept


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("text", ["", " ", " \t\n ", "\u200b"], ids=ascii)
def test_a_text_without_tokens_has_no_entities(
    tagger: TokenClassifier, text: str, strategy: str
) -> None:
    assert tagger(text, aggregation_strategy=strategy, ignore_labels=()) == []


def test_an_emoji_is_one_entity(tagger: TokenClassifier) -> None:
    """It is not in the vocabulary, so its word is what stands in the text."""
    (found,) = tagger("😀", ignore_labels=())
    assert (found.start, found.end, found.word, found.index) == (0, 1, "😀", 1)


def test_special_tokens_in_a_text_are_part_of_it(tagger: TokenClassifier) -> None:
    found = tagger("a [SEP] b", ignore_labels=())
    assert [(e.word, e.start, e.end) for e in found] == [
        ("a", 0, 1),
        ("[SEP]", 2, 7),
        ("b", 8, 9),
    ]


# Batches


def test_texts_together_equal_texts_alone(tagger: TokenClassifier, sentences: list[str]) -> None:
    together = tagger(sentences)
    assert all(_close(found, tagger(text)) for text, found in zip(sentences, together, strict=True))


@pytest.mark.parametrize("max_batch_tokens", [1, 30, 100_000])
def test_batch_size_does_not_change_the_answer(
    tagger: TokenClassifier, tagger_artifact: Path, sentences: list[str], max_batch_tokens: int
) -> None:
    other = TokenClassifier(tagger_artifact, "cpu", threads=1, max_batch_tokens=max_batch_tokens)
    assert all(map(_close, other(sentences), tagger(sentences)))


def test_threads_may_share_it(tagger: TokenClassifier, sentences: list[str]) -> None:
    expected = tagger(sentences)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: tagger(sentences), range(8)):
            assert all(map(_close, found, expected))


# Long texts


def test_a_long_text_is_cut(tagger: TokenClassifier) -> None:
    found = tagger(_LONG, ignore_labels=())
    assert [entity.index for entity in found] == list(range(1, MAX_LENGTH - 1))


def test_a_long_text_is_an_error_where_it_may_not_be_cut(tagger: TokenClassifier) -> None:
    with pytest.raises(TextTooLongError, match=f"text 1 has .* and the model takes {MAX_LENGTH}"):
        tagger(["short", _LONG], truncate=False)


@pytest.mark.parametrize("stride", [0, 8])
def test_stride_reads_all_of_a_long_text(tagger: TokenClassifier, stride: int) -> None:
    short, found = tagger(
        ["short", _LONG], aggregation_strategy="simple", stride=stride, ignore_labels=()
    )
    assert _close(short, tagger("short", aggregation_strategy="simple", ignore_labels=()))
    assert found[-1].end == len(_LONG)
    assert all(left.end <= right.start for left, right in pairwise(found))


def test_stride_takes_no_notice_of_truncate(tagger: TokenClassifier) -> None:
    cutting, whole = (
        tagger(_LONG, aggregation_strategy="first", stride=8, truncate=truncate)
        for truncate in (True, False)
    )
    assert cutting == whole


def test_stride_needs_an_aggregation_strategy(tagger: TokenClassifier) -> None:
    with pytest.raises(ValueError, match="choose one of simple, first, average, max"):
        tagger(_LONG, stride=8)


@pytest.mark.parametrize("stride", [-1, MAX_LENGTH - 2, MAX_LENGTH])
def test_stride_leaves_room_for_new_tokens(tagger: TokenClassifier, stride: int) -> None:
    with pytest.raises(ValueError, match=f"stride is {stride}: give 0 to {MAX_LENGTH - 3}"):
        tagger("short", aggregation_strategy="simple", stride=stride)


def test_a_tokenizer_that_cuts_on_the_left_keeps_the_end(
    tagger_artifact: Path, tagger: TokenClassifier, tmp_path: Path
) -> None:
    folder = tmp_path / "left"
    shutil.copytree(tagger_artifact, folder)
    edit_config(folder, {"truncation_side": "left"}, name="tokenizer_config.json")
    found = TokenClassifier(folder, "cpu", check_answers=False)(_LONG, ignore_labels=())
    assert len(found) == MAX_LENGTH - 2
    assert found[-1].end == len(_LONG)


# Streams


def test_a_stream_gives_what_a_call_gives(tagger: TokenClassifier, sentences: list[str]) -> None:
    found = list(tagger.stream(iter(sentences), aggregation_strategy="first", chunk_size=7))
    assert all(map(_close, found, tagger(sentences, aggregation_strategy="first")))
    assert len(found) == len(sentences)


def test_a_stream_reads_no_more_than_a_chunk_ahead(tagger: TokenClassifier) -> None:
    taken = 0

    def texts() -> Iterator[str]:
        nonlocal taken
        while True:
            taken += 1
            yield _TEXT

    next(tagger.stream(texts(), chunk_size=3))
    assert taken == 3


def test_errors_in_a_stream_count_all_texts(tagger: TokenClassifier) -> None:
    stream = tagger.stream(["a", "b", "c", _LONG], truncate=False, chunk_size=2)
    with pytest.raises(TextTooLongError, match="text 3 has"):
        list(stream)


def test_no_texts_stream_nothing(tagger: TokenClassifier) -> None:
    assert list(tagger.stream([])) == []


def test_a_stream_of_one_string_is_an_error(tagger: TokenClassifier) -> None:
    with pytest.raises(InputError, match="put the one text into a list"):
        tagger.stream("text")


def test_a_chunk_of_nothing_is_an_error(tagger: TokenClassifier) -> None:
    with pytest.raises(ValueError, match="chunk_size is 0: give 1 or more"):
        tagger.stream(["text"], chunk_size=0)


# Errors


def test_an_unknown_strategy_is_an_error_that_lists_them(tagger: TokenClassifier) -> None:
    with pytest.raises(
        ValueError,
        match="aggregation_strategy is 'mean': choose one of none, simple, first, average, max",
    ):
        tagger(_TEXT, aggregation_strategy="mean")


def test_ignored_labels_are_a_list(tagger: TokenClassifier) -> None:
    with pytest.raises(ValueError, match="ignore_labels is 'PER': give a list of label names"):
        tagger(_TEXT, ignore_labels="PER")


@pytest.mark.parametrize("texts", [5, None, b"bytes", {"text": "a"}, ("a", "b")], ids=repr)
def test_what_is_no_list_of_texts_is_an_error(tagger: TokenClassifier, texts: Any) -> None:
    with pytest.raises(InputError, match=r"texts is of type .*: give a string or a list of them"):
        tagger(texts)


@pytest.mark.parametrize("text", [5, None, ("a", "pair"), b"bytes"], ids=repr)
def test_what_is_no_text_is_an_error_that_names_it(tagger: TokenClassifier, text: Any) -> None:
    with pytest.raises(InputError, match=r"text 1 is of type .*: a token classifier takes strings"):
        tagger(["a", text])


def test_invalid_unicode_is_an_error_that_names_it(tagger: TokenClassifier) -> None:
    for stride in (None, 4):
        with pytest.raises(InputError, match="text 1 is not valid Unicode"):
            tagger(["a", "b\ud800"], aggregation_strategy="simple", stride=stride)


def test_an_empty_list_is_an_error(tagger: TokenClassifier) -> None:
    with pytest.raises(EmptyInputError, match="there is no text to tag"):
        tagger([])


def test_a_text_classifier_is_refused(tiny_artifact: Path) -> None:
    with pytest.raises(
        ArtifactError,
        match=r"is a model for text-classification, which labels whole texts: use Clas",
    ):
        TokenClassifier(tiny_artifact, "cpu")


def test_a_classifier_refuses_a_token_classifier(tagger_artifact: Path) -> None:
    with pytest.raises(
        ArtifactError, match=r"is a model for token-classification, .*: use TokenClassifier"
    ):
        Classifier(tagger_artifact, "cpu")


@pytest.mark.parametrize(
    ("option", "message"),
    [("threads", "threads is 0"), ("max_batch_tokens", "max_batch_tokens is 0: give 1 or more")],
)
def test_options_of_loading_are_checked(tagger_artifact: Path, option: str, message: str) -> None:
    options: dict[str, Any] = {option: 0}
    with pytest.raises(ValueError, match=message):
        TokenClassifier(tagger_artifact, "cpu", **options)


def test_changed_files_are_refused_unless_unchecked(tagger_artifact: Path, tmp_path: Path) -> None:
    folder = tmp_path / "changed"
    shutil.copytree(tagger_artifact, folder)
    config = folder / "config.json"
    config.write_text(config.read_text(encoding="utf-8").replace("PER", "ORG"), encoding="utf-8")
    with pytest.raises(ArtifactError, match="its SHA-256 differs"):
        TokenClassifier(folder, "cpu")
    assert "B-ORG" in TokenClassifier(folder, "cpu", check_files=False).labels


def test_other_answers_than_the_exporters_are_refused_unless_unchecked(
    tagger_artifact: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "changed"
    shutil.copytree(tagger_artifact, folder)
    golden = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["golden"]
    assert [len(row) for row in golden[0]["logits"]["fp32"]] == [len(LABELS)] * 2  # [CLS], [SEP]
    golden[0]["logits"]["fp32"][1][2] += 0.5
    edit_manifest(folder, {"golden": golden})
    with pytest.raises(ArtifactError, match="answer otherwise than the exporter's"):
        TokenClassifier(folder, "cpu")
    assert TokenClassifier(folder, "cpu", check_answers=False)(_TEXT)
