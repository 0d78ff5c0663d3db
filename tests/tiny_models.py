"""Small checkpoints of families that need a tokenizer of their own, with random weights."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tokenizers import (
    ByteLevelBPETokenizer,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import (
    AutoModelForSequenceClassification,
    DebertaV2Config,
    PretrainedConfig,
    RobertaConfig,
)

__all__ = ["SMALL", "deberta_checkpoint", "roberta_checkpoint", "save_model"]

# What the configs of most families call it.
SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "initializer_range": 0.2,  # the usual 0.02 gives logits near 0, which hide differences
    "id2label": {0: "negative", 1: "neutral", 2: "positive"},
}

_VOCABULARY = 400

# Of the published DeBERTa-v3 models; its config class does not name them.
_AS_PUBLISHED: dict[str, Any] = {
    "position_buckets": 16,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
}


def save_model(config: PretrainedConfig, folder: Path) -> None:
    """Save a classifier of random weights."""
    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    model = AutoModelForSequenceClassification.from_config(config)  # type: ignore[no-untyped-call]
    model.save_pretrained(folder)


def roberta_checkpoint(folder: Path, **settings: object) -> Path:
    """RoBERTa: byte-level BPE, from vocab.json and merges.txt; 514 positions for 512 tokens.

    settings: of tokenizer_config.json.
    """
    save_model(
        RobertaConfig(
            **SMALL,
            vocab_size=_VOCABULARY,
            max_position_embeddings=514,
            type_vocab_size=1,
            pad_token_id=1,
        ),
        folder,
    )
    tokenizer = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer.train_from_iterator(
        _sentences(), vocab_size=_VOCABULARY, special_tokens=special, show_progress=False
    )
    tokenizer.save_model(str(folder))
    _write_settings(folder, {"tokenizer_class": "RobertaTokenizer", **settings})
    return folder


def deberta_checkpoint(folder: Path) -> Path:
    """DeBERTa-v2, whose attention depends on distances: a Unigram tokenizer.json, no .model."""
    save_model(
        DebertaV2Config(
            **SMALL,
            vocab_size=_VOCABULARY,
            max_position_embeddings=128,
            type_vocab_size=0,
            relative_attention=True,
            pos_att_type=["p2c", "c2p"],
            position_biased_input=False,
            pad_token_id=0,
            **_AS_PUBLISHED,
        ),
        folder,
    )
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    special = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]
    trainer = trainers.UnigramTrainer(
        vocab_size=_VOCABULARY, special_tokens=special, unk_token="[UNK]", show_progress=False
    )
    tokenizer.train_from_iterator(_sentences(), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    tokens = zip(("pad", "cls", "sep", "unk", "mask"), special, strict=True)
    _write_settings(
        folder,
        {
            "tokenizer_class": "DebertaV2Tokenizer",
            "model_max_length": 128,
            **{f"{name}_token": token for name, token in tokens},
        },
    )
    return folder


def _write_settings(folder: Path, settings: dict[str, object]) -> None:
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")


def _sentences() -> Iterator[str]:
    file = Path(__file__).resolve().parents[1] / "examples/data/sst2/dev.tsv"
    for line in file.read_text(encoding="utf-8").splitlines():
        yield line.partition("\t")[0]
