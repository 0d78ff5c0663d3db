"""Entities are those of Transformers' token-classification pipeline, for each kind of tokenizer."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from bertrt import Entity, TokenClassifier
from bertrt.aggregation import STRATEGIES

from tests.tiny_taggers import LABELS, MAX_LENGTH, TAGGERS, export_tagger, save_tagger

if TYPE_CHECKING:
    from transformers import TokenClassificationPipeline

_SCORE_TOLERANCE = 1e-4

# What tokenizers stumble over: cases, scripts, punctuation, white space, their own special tokens.
_AWKWARD = [
    "",
    " ",
    " \t \n ",
    "😀",
    "👨‍👩‍👧 🇩🇪🤷🏽‍♀️",
    "Angela Merkel met Barack Obama in Berlin (Germany), on 5 May 2014.",
    'The U.S.A.\'s "state-of-the-art" e-mail: jane_doe@example.com -- http://x.y/z?a=1&b=2#c',
    "...!?!... (a) [b] {c} <d> a/b a\\b $1,000.00 50% it's don't O'Neill--so",
    "Ça va à Montréal, Zürich & São Paulo? ¿Dónde está Ñandú?",
    "e\u0301 and é, ﬁ and fi, İstanbul, ẞ and ß, ǅ",
    "我在北京的清华大学学习。",
    "東京タワーは高い。 서울은 한국의 수도이다",
    "Привет, Москва! Γειά σου Κόσμε",
    "مرحبا بالعالم שלום עולם हिन्दी ไทย",
    "zero\u200bwidth, no\u00a0break, thin\u2009space, soft\u00adhyphen, \ufeffmark",
    "tabs\tand\nnew\r\nlines\x00and\x07controls",
    "a  double   space and  a    fourfold",
    "   leading and trailing   ",
    "[CLS] [SEP] [MASK] [UNK] [PAD] within the text[SEP].",
    "<s> </s> <mask>  <mask> <unk> <pad> within the text</s>.",
    "McDonald's iPhone-12 COVID-19 3M AT&T R2-D2 ISO-8859-1",
    "supercalifragilisticexpialidocious" * 4,
    "x" * 150,
    "A SHOUTED SENTENCE FROM NEW YORK CITY , AND A Mixed One",
]


@dataclass(frozen=True)
class _Pair:
    """One checkpoint, as the pipeline and as bertrt run it."""

    pipeline: "TokenClassificationPipeline"
    classifier: TokenClassifier
    adds_space: bool


@pytest.fixture(scope="module", params=list(TAGGERS))
def pair(
    request: pytest.FixtureRequest,
    sst2_dev: list[tuple[str, int]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[_Pair]:
    import torch
    from transformers import pipeline

    folder: Path = tmp_path_factory.mktemp("tagger")
    save_tagger(request.param, [text for text, _ in sst2_dev], folder)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # more only wait for one another in a model this small
    yield _Pair(
        pipeline("token-classification", model=str(folder), device="cpu"),
        TokenClassifier(export_tagger(folder, folder / "exported"), "cpu"),
        request.param == "byte-level-prefix-space",
    )
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def texts(sst2_dev: list[tuple[str, int]]) -> list[str]:
    return [text for text, _ in sst2_dev[:200]] + _AWKWARD


def _facts(found: dict[str, Any]) -> tuple[str, int, int, str, int | None]:
    label = found["entity_group"] if "entity_group" in found else found["entity"]
    return label, found["start"], found["end"], found["word"], found.get("index")


def _assert_equal(
    texts: list[str], found: list[list[Entity]], expected: list[list[dict[str, Any]]]
) -> None:
    for text, ours, theirs in zip(texts, found, expected, strict=True):
        facts = [(e.label, e.start, e.end, e.word, e.index) for e in ours]
        assert facts == [_facts(entity) for entity in theirs], text
        assert [entity.score for entity in ours] == pytest.approx(
            [float(entity["score"]) for entity in theirs], abs=_SCORE_TOLERANCE
        ), text


def test_the_models_use_every_label(pair: _Pair, texts: list[str]) -> None:
    """Otherwise the tests below would compare little."""
    found = pair.classifier(texts, ignore_labels=())
    counts = Counter(entity.label for entities in found for entity in entities)
    assert set(counts) == set(LABELS)
    assert min(counts.values()) > 0.05 * counts.total()


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.filterwarnings("ignore:Tokenizer does not support real words")
def test_entities_are_the_pipelines(pair: _Pair, texts: list[str], strategy: str) -> None:
    expected = pair.pipeline(texts, aggregation_strategy=strategy, batch_size=32)
    found = pair.classifier(texts, aggregation_strategy=strategy)
    assert sum(map(len, found)) > len(texts)
    _assert_equal(texts, found, expected)


@pytest.mark.parametrize(
    ("strategy", "ignored"),
    [("none", ["B-LOC", "MISC", "PER"]), ("simple", ["PER", "B-LOC"]), ("first", [])],
)
@pytest.mark.filterwarnings("ignore:Tokenizer does not support real words")
def test_labels_that_are_ignored_are_the_pipelines(
    pair: _Pair, texts: list[str], strategy: str, ignored: list[str]
) -> None:
    """Labels of tokens (`B-PER`) without aggregation, of groups (`PER`) with it."""
    expected = pair.pipeline(
        texts, aggregation_strategy=strategy, ignore_labels=ignored, batch_size=32
    )
    found = pair.classifier(texts, aggregation_strategy=strategy, ignore_labels=ignored)
    _assert_equal(texts, found, expected)


@pytest.mark.parametrize(
    ("strategy", "stride"),
    # The last gives a window for every two tokens.
    [*((strategy, 7) for strategy in STRATEGIES[1:]), ("simple", 0), ("simple", MAX_LENGTH - 4)],
)
@pytest.mark.filterwarnings("ignore:Tokenizer does not support real words")
def test_windows_of_long_texts_are_the_pipelines(
    pair: _Pair,
    texts: list[str],
    strategy: str,
    stride: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    long_texts = [" ".join(texts[first : first + 3]) for first in range(0, len(texts), 3)]
    if stride > MAX_LENGTH // 2:
        long_texts = long_texts[::10]
    found = pair.classifier(long_texts, aggregation_strategy=strategy, stride=stride)
    if pair.adds_space:
        monkeypatch.setattr(pair.pipeline, "preprocess", _without_spaces(pair.pipeline.preprocess))
    expected = pair.pipeline(
        long_texts, aggregation_strategy=strategy, stride=stride, batch_size=32
    )
    _assert_equal(long_texts, found, [_without_repeated_first(entities) for entities in expected])


def _without_spaces(preprocess: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    """The pipeline's windows, whose first token does not begin at the space before it.

    Where a byte-level tokenizer adds a space before a text, the library takes the space before
    each window's first token for that one, and counts it in. Ours are the offsets of the token.
    """

    def corrected(sentence: str, **options: Any) -> Iterator[Any]:
        for number, window in enumerate(preprocess(sentence, **options)):
            first = window["offset_mapping"][0, 1]  # after the special token
            if number > 0 and sentence[int(first[0])] == " ":
                first[0] += 1
                first[1] = max(first[0], first[1])
            yield window

    return corrected


def _without_repeated_first(entities: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The pipeline lists the first entity of windows twice where it stands for no character."""
    return entities[1:] if entities[:1] == entities[1:2] else entities


def test_a_text_alone_gives_a_list_and_a_list_of_one_a_list_of_lists(pair: _Pair) -> None:
    text = "Angela Merkel met Barack Obama in Berlin."
    for texts in (text, [text]):
        found, expected = pair.classifier(texts), pair.pipeline(texts)
        assert isinstance(found[0], list) == isinstance(expected[0], list)
    _assert_equal([text], pair.classifier([text]), pair.pipeline([text]))
