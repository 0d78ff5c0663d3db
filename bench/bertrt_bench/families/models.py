"""One classifier of each family: its real sizes at reduced depth, with random weights.

Hub downloads are not to be had everywhere, and speed depends on the sizes alone. BERT is the real
MiniLM-L6. The last layer reads the direction in which texts differ most: so int8 has answers to
keep, if none that mean anything.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import nn

from bertrt_bench.models import encoder_folder

__all__ = ["FAMILY_MODELS", "FamilyModel", "make"]

_LAYERS = 4
_VOCABULARY = 8_000

# Random weights of this gain a layer keep texts apart. With the usual deviation of 0.02, the first
# token's hidden state hardly depends on the text, and to read it from there magnifies rounding.
_GAIN = 1.4
_BATCH = 32

_BASE = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_attention_heads": 12,
    "num_hidden_layers": _LAYERS,
}
_ROBERTA = {**_BASE, "max_position_embeddings": 514, "type_vocab_size": 1}
_DISTILBERT = {"dim": 768, "hidden_dim": 3072, "n_heads": 12, "n_layers": _LAYERS}

# The special tokens of each kind of tokenizer: first, last, padding, unknown, mask.
_BERT_TOKENS = ("[CLS]", "[SEP]", "[PAD]", "[UNK]", "[MASK]")
_ROBERTA_TOKENS = ("<s>", "</s>", "<pad>", "<unk>", "<mask>")


@dataclass(frozen=True, slots=True)
class FamilyModel:
    """A model of one family.

    sizes_of: the hub model whose sizes it has, at `_LAYERS` layers. config: the name of its class
    in Transformers, without `Config`. tokenizer: `wordpiece`, `byte-level` or `unigram`.
    """

    sizes_of: str
    config: str
    settings: Mapping[str, Any]
    tokenizer: str

    @property
    def layers(self) -> int:
        """Its depth."""
        return int(self.settings.get("num_hidden_layers") or self.settings["n_layers"])


FAMILY_MODELS = {
    "BERT": FamilyModel("MiniLM-L6", "Bert", {"num_hidden_layers": 6}, "its own"),
    "RoBERTa": FamilyModel("roberta-base", "Roberta", _ROBERTA, "byte-level"),
    "XLM-RoBERTa": FamilyModel("xlm-roberta-base", "XLMRoberta", _ROBERTA, "unigram"),
    "CamemBERT": FamilyModel("camembert-base", "Camembert", _ROBERTA, "unigram"),
    "DistilBERT": FamilyModel("distilbert-base-uncased", "DistilBert", _DISTILBERT, "wordpiece"),
    "ELECTRA": FamilyModel(
        "electra-small-discriminator",
        "Electra",
        {
            "embedding_size": 128,
            "hidden_size": 256,
            "intermediate_size": 1024,
            "num_attention_heads": 4,
            "num_hidden_layers": _LAYERS,
        },
        "wordpiece",
    ),
    "MPNet": FamilyModel(
        "mpnet-base", "MPNet", {**_BASE, "max_position_embeddings": 514}, "wordpiece"
    ),
    "ALBERT": FamilyModel("albert-base-v2", "Albert", {**_BASE, "embedding_size": 128}, "unigram"),
    "ModernBERT": FamilyModel(
        "ModernBERT-base", "ModernBert", {**_BASE, "intermediate_size": 1152}, "byte-level"
    ),
}


def make(name: str, folder: Path, texts: Sequence[str]) -> None:
    """Write the checkpoint of one of FAMILY_MODELS, whose last layer tells such texts apart."""
    family = FAMILY_MODELS[name]
    torch.manual_seed(0)
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    names = {"id2label": {0: "negative", 1: "positive"}, "label2id": {"negative": 0, "positive": 1}}
    if family.tokenizer == "its own":
        tokenizer: Any = transformers.AutoTokenizer.from_pretrained(encoder_folder())
        tokenizer.model_max_length = 512
        model = transformers.AutoModelForSequenceClassification.from_pretrained(
            encoder_folder(), dtype=torch.float32, **names
        )
    else:
        tokenizer = _tokenizer(family.tokenizer, texts)
        special = {
            f"{role}_token_id": getattr(tokenizer, f"{token}_token_id")
            for role, token in _ROLES.items()
        }
        width = family.settings.get("hidden_size") or family.settings["dim"]
        config = getattr(transformers, f"{family.config}Config")(
            **family.settings,
            **names,
            **special,
            vocab_size=len(tokenizer),
            initializer_range=_GAIN / math.sqrt(width),
        )
        classifier: Any = transformers.AutoModelForSequenceClassification
        model = classifier.from_config(config, dtype=torch.float32)
    model.eval()
    _set_last_layer(model, tokenizer, texts)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


# A configuration's ids, and the tokenizer's tokens that they are of.
_ROLES = {"pad": "pad", "cls": "cls", "sep": "sep", "bos": "cls", "eos": "sep"}


def _set_last_layer(model: Any, tokenizer: Any, texts: Sequence[str]) -> None:
    """Let the last layer read the direction in which what it is given differs most.

    The logits of the texts have a mean of 0 then, and a standard deviation of 2.
    """
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    last = [layer for layer in layers if layer.out_features == model.config.num_labels][-1]
    given: list[torch.Tensor] = []
    hook = last.register_forward_pre_hook(lambda module, args: given.append(args[0]))
    order = sorted(texts, key=len)
    with torch.inference_mode():
        for start in range(0, len(order), _BATCH):
            batch = order[start : start + _BATCH]
            model(**tokenizer(batch, padding=True, truncation=True, return_tensors="pt"))
    hook.remove()
    features = torch.cat(given)
    mean = features.mean(dim=0)
    _, spread, directions = torch.linalg.svd(features - mean, full_matrices=False)
    row = directions[0] * (2 * math.sqrt(len(features)) / spread[0])
    with torch.no_grad():
        last.weight.copy_(torch.stack([-row, row]))
        last.bias.copy_(torch.stack([row @ mean, -(row @ mean)]))


def _tokenizer(kind: str, texts: Sequence[str]) -> Any:
    """A tokenizer of this kind with a vocabulary of these texts."""
    tokenizer, trainer, special = _KINDS[kind]()
    tokenizer.train_from_iterator(texts, trainer)
    first, last, padding, unknown, mask = special
    ids = {token: tokenizer.token_to_id(token) for token in (first, last)}
    middle = f"{last} {last}" if special is _ROBERTA_TOKENS else last
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}",
        pair=f"{first} $A {middle} $B {last}",
        special_tokens=list(ids.items()),
    )
    made: Any = transformers.PreTrainedTokenizerFast
    return made(
        tokenizer_object=tokenizer,
        cls_token=first,
        sep_token=last,
        pad_token=padding,
        unk_token=unknown,
        mask_token=mask,
        model_max_length=512,
        model_input_names=["input_ids", "attention_mask"],
    )


_Made = tuple[tokenizers.Tokenizer, Any, tuple[str, ...]]


def _wordpiece() -> _Made:
    tokenizer = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))  # noqa: S106 (no secret)
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=_VOCABULARY, special_tokens=list(_BERT_TOKENS), show_progress=False
    )
    return tokenizer, trainer, _BERT_TOKENS


def _byte_level() -> _Made:
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY,
        special_tokens=list(_ROBERTA_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    return tokenizer, trainer, _ROBERTA_TOKENS


def _unigram() -> _Made:
    tokenizer = tokenizers.Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=_VOCABULARY,
        special_tokens=list(_ROBERTA_TOKENS),
        unk_token="<unk>",  # noqa: S106 (no secret)
        show_progress=False,
    )
    return tokenizer, trainer, _ROBERTA_TOKENS


_KINDS: Mapping[str, Callable[[], _Made]] = {
    "wordpiece": _wordpiece,
    "byte-level": _byte_level,
    "unigram": _unigram,
}
