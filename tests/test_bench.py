"""The parts that every benchmark stands on."""

import sys
from pathlib import Path

import numpy as np
import pytest
from bertrt_bench.installed import installed_mb
from bertrt_bench.measure import Spread, interleaved, ratio
from bertrt_bench.pytorch import load_pytorch
from bertrt_bench.startup import ANSWER_WITH_BERTRT, seconds_to_answer
from bertrt_bench.workloads import EXAMPLES, mixed_set, read_labelled
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
    assert ratio([2.0, 9.0, 8.0], [1.0, 3.0, 2.0]) == Spread(median=3.0, low=2.0, high=4.0)


def test_spread_is_readable() -> None:
    assert Spread.of([1.0, 4.0, 2.0]).format(1, "x") == "2.0x (1.0–4.0)"


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
