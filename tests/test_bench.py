"""The parts that every benchmark stands on."""

import sys
from pathlib import Path

import numpy as np
import pytest
from bertrt_bench.installed import installed_mb
from bertrt_bench.measure import Spread, interleaved, ratio
from bertrt_bench.pytorch import load_pytorch
from bertrt_bench.startup import ANSWER_WITH_BERTRT, seconds_to_answer
from bertrt_bench.workloads import (
    EXAMPLES,
    TextSet,
    mixed_set,
    read_labelled,
    read_texts,
    text_of,
    throughput_workloads,
)
from tokenizers import Tokenizer


@pytest.fixture(scope="module")
def tokenizer(encoder_folder: Path) -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(encoder_folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def test_peers_take_turns_after_a_warm_up_that_is_not_counted() -> None:
    calls: list[tuple[str, int]] = []

    def slow(texts: list[str]) -> np.ndarray:
        calls.append(("slow", len(texts)))
        return np.array([[4.0]])

    def fast(texts: list[str]) -> np.ndarray:
        calls.append(("fast", len(texts)))
        return np.array([[5.0]])

    seconds, logits = interleaved({"slow": slow, "fast": fast}, ["text"] * 40, rounds=2)
    assert calls == [("slow", 32), ("fast", 32), *[("slow", 40), ("fast", 40)] * 2]
    assert {name: len(runs) for name, runs in seconds.items()} == {"slow": 2, "fast": 2}
    assert logits["slow"] == 4
    assert logits["fast"] == 5


def test_ratios_are_taken_round_by_round() -> None:
    spread = ratio([2.0, 9.0, 8.0], [1.0, 3.0, 2.0])
    assert (spread.low, spread.median, spread.high) == (2.0, 3.0, 4.0)


def test_a_spread_is_a_median_with_its_quartiles() -> None:
    spread = Spread.of([5.0, 1.0, 4.0, 2.0, 3.0])
    assert spread == Spread(3.0, first_quartile=2.0, third_quartile=4.0, low=1.0, high=5.0)
    assert spread.format(1, "x") == "3.0x (2.0–4.0)"
    assert Spread.of([2.0]).format(2) == "2.00 (2.00–2.00)"


def test_mixed_set_has_one_document_in_ten_and_is_repeatable(tokenizer: Tokenizer) -> None:
    sentences, _ = read_labelled(EXAMPLES / "data" / "sst2" / "dev.tsv")
    texts = mixed_set(sentences[:100], tokenizer)
    assert texts == mixed_set(sentences[:100], tokenizer)
    assert len(texts) == 100
    for start in range(0, 100, 10):
        documents = [text for text in texts[start : start + 10] if text not in sentences]
        assert len(documents) == 1
        # A document may pass its goal by the one sentence that reaches it.
        assert 200 <= len(tokenizer.encode(documents[0]).ids) < 512 + 80


def _set(tokenizer: Tokenizer, count: int) -> TextSet:
    sentences, labels = read_labelled(EXAMPLES / "data" / "sst2" / "dev.tsv")
    return TextSet.of("ragged", "dev", sentences[:count], tokenizer, labels[:count])


def test_workloads_are_calls_in_both_orders_and_none_twice(tokenizer: Tokenizer) -> None:
    texts = _set(tokenizer, 40)
    workloads = throughput_workloads(texts, [1, 8, 32, 0, 100, 8])
    assert [workload.key for workload in workloads] == [
        "ragged-1-arrival",
        *("ragged-8-arrival", "ragged-8-sorted"),
        *("ragged-32-arrival", "ragged-32-sorted"),
        *("ragged-all-arrival", "ragged-100-arrival"),
    ]
    assert [workload.facts.title for workload in workloads] == [
        *("1 a call", "8 a call", "8 a call, sorted", "32 a call", "32 a call, sorted"),
        *("all in one call", "100 a call"),
    ]
    assert [w.key for w in workloads if w.facts.whole_list] == ["ragged-all-arrival"]
    lengths = dict(zip(texts.texts, texts.lengths, strict=True))
    for workload in workloads:
        facts = workload.facts
        assert sorted(workload.texts) == sorted(texts.texts)
        assert (facts.texts, facts.tokens, facts.set) == (40, sum(texts.lengths), "ragged")
        ordered = [lengths[text] for text in workload.texts]
        if facts.order == "sorted":
            assert ordered == sorted(ordered, reverse=True)
        else:
            assert workload.texts == texts.texts
        size = facts.batch_size or 40
        calls = [ordered[start : start + size] for start in range(0, 40, size)]
        places = sum(max(call) * len(call) for call in calls)
        assert facts.padding == pytest.approx(places / sum(ordered))
    assert workloads[0].facts.padding == 1
    assert workloads[2].facts.padding < workloads[1].facts.padding < workloads[5].facts.padding


def test_the_head_of_a_set_keeps_lengths_and_labels(tokenizer: Tokenizer) -> None:
    assert _set(tokenizer, 40).head(7) == _set(tokenizer, 7)


@pytest.mark.parametrize("tokens", [3, 8, 16, 512])
def test_a_text_of_so_many_tokens(tokenizer: Tokenizer, tokens: int) -> None:
    sentences = _set(tokenizer, 40).texts
    text = text_of(tokens, sentences, tokenizer)
    assert len(tokenizer.encode(text).ids) == tokens
    assert text == text_of(tokens, sentences, tokenizer)
    assert set(text.split()) <= set(" ".join(sentences).split())


def test_texts_without_words_give_no_text_of_a_length(tokenizer: Tokenizer) -> None:
    with pytest.raises(ValueError, match="no word of the texts is a single token"):
        text_of(8, ["qwxzy vbnkj"], tokenizer)


def test_text_files(tmp_path: Path) -> None:
    file = tmp_path / "texts.txt"
    file.write_text("a b\t1\r\n\n c\u2028d \t0\n", encoding="utf-8", newline="")
    assert read_labelled(file) == (["a b", " c\u2028d "], [1, 0])
    assert read_texts(file) == ["a b\t1", " c\u2028d \t0"]


@pytest.mark.parametrize("line", ["no label", "text\tpositive", "text\t"])
def test_a_line_without_a_label_is_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "texts.tsv"
    file.write_text(f"fine\t1\n{line}\n")
    with pytest.raises(ValueError, match=r"texts\.tsv, line 2, is not TEXT<TAB>LABEL-ID"):
        read_labelled(file)


def test_pytorch_baseline_gives_logits_in_order(
    tiny_checkpoint: Path, sst2_dev: list[tuple[str, int]]
) -> None:
    texts = [text for text, _ in sst2_dev[:70]]
    classify = load_pytorch(tiny_checkpoint, threads=1)
    logits = classify(texts)
    assert logits.shape == (70, 3)
    assert np.abs(classify(texts[50:51])[0] - logits[50]).max() < 1e-4


def test_a_program_that_fails_is_no_start_up_time(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="returned non-zero exit status"):
        seconds_to_answer(sys.executable, ANSWER_WITH_BERTRT, tmp_path / "nowhere")


def test_start_up_of_a_program_that_answers(tiny_artifact: Path) -> None:
    assert seconds_to_answer(sys.executable, ANSWER_WITH_BERTRT, tiny_artifact) > 0


def test_installed_size_counts_requirements() -> None:
    assert installed_mb("tokenizers") > installed_mb("huggingface_hub") > installed_mb("tqdm") > 0
