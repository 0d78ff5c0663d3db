"""Small token classifiers with random weights, one for each kind of tokenizer."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers import trainers as t

__all__ = ["LABELS", "MAX_LENGTH", "TAGGERS", "export_tagger", "save_tagger", "save_tokenizer"]

LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC", "MISC")

# Tokens a text may have: less than the longer sentences of SST-2 have, so that they are cut.
MAX_LENGTH = 40

_VOCABULARY = 1500


@dataclass(frozen=True)
class _Tagger:
    """How to train a tokenizer of one kind on texts, and what its family calls its tokens."""

    model_type: str
    train: Callable[[Sequence[str]], Tokenizer]
    special_tokens: dict[str, Any]


def save_tagger(name: str, texts: Sequence[str], folder: Path) -> None:
    """Save a checkpoint: a tokenizer trained on the texts, and a model with random weights."""
    _save_model(TAGGERS[name], save_tokenizer(name, texts, folder), texts[:20], folder)


def save_tokenizer(name: str, texts: Sequence[str], folder: Path) -> Tokenizer:
    """Save a tokenizer that is trained on the texts, alone; the tokenizer."""
    tagger = TAGGERS[name]
    tokenizer = tagger.train(texts)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        **tagger.special_tokens,
        "tokenizer_class": _CLASSES[tagger.model_type],
        "model_max_length": MAX_LENGTH,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return tokenizer


def _save_model(tagger: _Tagger, tokenizer: Tokenizer, texts: Sequence[str], folder: Path) -> None:
    # Imported here: torch and transformers take seconds that a test's collection need not wait for.
    import torch
    from transformers import AutoConfig, AutoModelForTokenClassification

    is_bert = tagger.model_type == "bert"
    pad = tokenizer.token_to_id(tagger.special_tokens["pad_token"])
    assert pad is not None
    config = AutoConfig.for_model(
        tagger.model_type,
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        # RoBERTa counts its positions from the one after the padding id.
        max_position_embeddings=MAX_LENGTH if is_bert else MAX_LENGTH + pad + 1,
        type_vocab_size=2 if is_bert else 1,
        initializer_range=0.2,
        pad_token_id=pad,
        id2label=dict(enumerate(LABELS)),
        label2id={label: index for index, label in enumerate(LABELS)},
    )
    torch.manual_seed(0)
    model = AutoModelForTokenClassification.from_config(config)  # type: ignore[no-untyped-call]
    # Random weights give all tokens nearly the same answer: take that away, and widen what is left.
    rows = [torch.tensor([tokenizer.encode(text).ids[:MAX_LENGTH]]) for text in texts]
    with torch.no_grad():
        logits = torch.cat([model.eval()(row).logits[0] for row in rows])
        scale = 2 / logits.std(dim=0)
        model.classifier.weight.mul_(scale[:, None])
        model.classifier.bias.copy_(-logits.mean(dim=0) * scale)
    model.save_pretrained(folder)


def _wordpiece(texts: Sequence[str]) -> Tokenizer:
    """BERT's, lower-casing."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = t.WordPieceTrainer(vocab_size=_VOCABULARY, special_tokens=special)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


_ROBERTA_TOKENS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def _byte_level(texts: Sequence[str], *, add_prefix_space: bool) -> Tokenizer:
    """RoBERTa's: words of bytes, with the space before them."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    trainer = t.BpeTrainer(
        vocab_size=_VOCABULARY,
        special_tokens=_ROBERTA_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=add_prefix_space
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _byte_level_with_prefix_space(texts: Sequence[str]) -> Tokenizer:
    return _byte_level(texts, add_prefix_space=True)


def _byte_level_without_prefix_space(texts: Sequence[str]) -> Tokenizer:
    return _byte_level(texts, add_prefix_space=False)


def _unigram(texts: Sequence[str]) -> Tokenizer:
    """XLM-RoBERTa's: sentencepiece, spaces written as `▁`."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    trainer = t.UnigramTrainer(
        vocab_size=_VOCABULARY, special_tokens=_ROBERTA_TOKENS, unk_token="<unk>"
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer


_CLASSES = {
    "bert": "BertTokenizer",
    "roberta": "RobertaTokenizer",
    "xlm-roberta": "XLMRobertaTokenizer",
}
_BERT = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
    "do_lower_case": True,
}
_ROBERTA = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "sep_token": "</s>",
    "cls_token": "<s>",
    "unk_token": "<unk>",
    "pad_token": "<pad>",
    # As its makers have it: the mask takes the space before it.
    "mask_token": {"__type": "AddedToken", "content": "<mask>", "lstrip": True, "rstrip": False,
                   "single_word": False, "normalized": False},
}  # fmt: skip

TAGGERS = {
    "wordpiece": _Tagger("bert", _wordpiece, _BERT),
    "byte-level": _Tagger(
        "roberta", _byte_level_without_prefix_space, {**_ROBERTA, "add_prefix_space": False}
    ),
    "byte-level-prefix-space": _Tagger(
        "roberta", _byte_level_with_prefix_space, {**_ROBERTA, "add_prefix_space": True}
    ),
    "unigram": _Tagger("xlm-roberta", _unigram, _ROBERTA),
}


def export_tagger(checkpoint: Path, folder: Path) -> Path:
    """Export a checkpoint to a folder; the folder."""
    from bertrt_export import export_model

    export_model(str(checkpoint), folder)
    return folder
