"""Load a PyTorch checkpoint of a text classifier, or say why it cannot be."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from bertrt_export.checkpoint_files import hash_weights, locate, one_line, weight_files
from bertrt_export.errors import CheckpointError, UnsupportedModelError
from bertrt_export.families import FAMILIES, Family

__all__ = ["Checkpoint", "load_checkpoint"]

_OTHER_TASKS = {
    "ForMaskedLM": "a masked language model",
    "ForPreTraining": "a pretraining model",
    "ForTokenClassification": "a token classifier (NER)",
    "ForQuestionAnswering": "a question answering model",
    "ForMultipleChoice": "a multiple choice model",
    "ForNextSentencePrediction": "a next sentence predictor",
    "ForCausalLM": "a causal language model",
    "LMHeadModel": "a causal language model",
    "ForConditionalGeneration": "a text generator",
}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A loaded classifier.

    name: the directory or hub id that the user gave; revision: the hub revision, None if local.
    sha256: hash over the weight files, each by name and content.
    model: float32, in eval mode. max_length: tokens that the model and its tokenizer take.
    """

    name: str
    revision: str | None
    folder: Path
    sha256: str
    family: Family
    config: Any
    model: torch.nn.Module
    tokenizer: Any
    max_length: int


def load_checkpoint(
    name: str, *, revision: str | None = None, allow_pickle: bool = False
) -> Checkpoint:
    """Load a classifier from a directory or a hub id, with the real `from_pretrained`.

    Code from the checkpoint is never run; pickled weights only with `allow_pickle`.
    Raises CheckpointError or UnsupportedModelError.
    """
    folder, revision = locate(name, revision, allow_pickle)
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"{name} has no config.json, so it is no Hugging Face checkpoint")
    weights = weight_files(folder, name, allow_pickle)
    config = _load_config(folder, name)
    _check_task(config, name)
    family = _family(config, name)
    model = _load_model(folder, name, config, safetensors=weights[0].suffix == ".safetensors")
    tokenizer = _load_tokenizer(folder, name, config.vocab_size)
    # Transformers marks "no limit stated" with 1e30; the position table always has one.
    max_length = min(int(tokenizer.model_max_length), int(config.max_position_embeddings))
    sha256 = hash_weights(weights)
    return Checkpoint(
        name, revision, folder, sha256, family, model.config, model, tokenizer, max_length
    )


def _load_config(folder: Path, name: str) -> Any:
    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        if "trust_remote_code" in str(error):
            raise UnsupportedModelError(
                f"{name} brings its own Python code, which bertrt never runs: "
                "only architectures of Transformers itself can be exported"
            ) from error
        raise CheckpointError(
            f"the config.json of {name} cannot be read: {one_line(error)}"
        ) from error


def _check_task(config: Any, name: str) -> None:
    """Refuse a checkpoint that says it is something else than a text classifier."""
    for architecture in getattr(config, "architectures", None) or []:
        if architecture.endswith("ForSequenceClassification"):
            return
        for ending, task in _OTHER_TASKS.items():
            if architecture.endswith(ending):
                raise CheckpointError(
                    f"{name} is {task} ({architecture}), not a text classifier: "
                    "fine-tune it with AutoModelForSequenceClassification first"
                )
        raise CheckpointError(_without_head(name, architecture))


def _without_head(name: str, what: str) -> str:
    return (
        f"{name} is an encoder without a classification head ({what}): its answers would be "
        "random; fine-tune it with AutoModelForSequenceClassification first"
    )


def _family(config: Any, name: str) -> Family:
    family = FAMILIES.get(config.model_type)
    if family is None:
        raise UnsupportedModelError(
            f"{name} is a {config.model_type} model, which this version cannot pack; "
            f"supported: {', '.join(sorted(FAMILIES))}"
        )
    if getattr(config, "is_decoder", False):
        raise UnsupportedModelError(f"{name} is configured as a decoder: bertrt runs encoders")
    positions = getattr(config, "position_embedding_type", None) or "absolute"
    if positions != "absolute":
        raise UnsupportedModelError(
            f"{name} has {positions} position embeddings, which this version cannot pack"
        )
    return family


def _load_model(folder: Path, name: str, config: Any, *, safetensors: bool) -> torch.nn.Module:
    try:
        model, info = AutoModelForSequenceClassification.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            attn_implementation="sdpa",
            use_safetensors=safetensors,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except Exception as error:  # each weight format has errors of its own
        reason = one_line(error)
        raise CheckpointError(f"the weights of {name} cannot be loaded: {reason}") from error
    missing = sorted(info["missing_keys"])
    if any("classifier" in key for key in missing):
        raise CheckpointError(_without_head(name, f"no weights for {', '.join(missing)}"))
    if missing:
        raise CheckpointError(
            f"the weights of {name} are incomplete: {', '.join(missing[:5])}"
            f"{' and more' if len(missing) > 5 else ''} missing"
        )
    loaded: torch.nn.Module = model.eval()
    return loaded


def _load_tokenizer(folder: Path, name: str, rows: int) -> Any:
    """The fast tokenizer, all of whose ids the model's embedding table, of `rows` rows, has."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, ImportError, KeyError) as error:
        reason = one_line(error)
        raise CheckpointError(f"the tokenizer of {name} cannot be loaded: {reason}") from error
    if not getattr(tokenizer, "is_fast", False):
        raise UnsupportedModelError(f"{name} has no fast tokenizer, which bertrt needs")
    vocabulary = tokenizer.get_vocab()
    if len(vocabulary) <= len(tokenizer.all_special_tokens):
        # What Transformers 5 makes where neither tokenizer.json nor vocab.txt is there.
        raise CheckpointError(
            f"{name} has no vocabulary, so its tokenizer knows no words: save the one it was "
            "trained with next to the weights, by tokenizer.save_pretrained(DIR)"
        )
    last = max(vocabulary.values())
    if last >= rows:
        raise CheckpointError(
            f"the tokenizer of {name} gives ids up to {last}, but the model's embedding table has "
            f"{rows} rows: save the tokenizer that it was trained with, or fine-tune it after "
            "model.resize_token_embeddings(len(tokenizer))"
        )
    return tokenizer
