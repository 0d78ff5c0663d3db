"""Load a PyTorch checkpoint of a text classifier, or say why it cannot be."""

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

from bertrt_export.checkpoint_files import hash_weights, locate, one_line, weight_files
from bertrt_export.errors import CheckpointError, UnsupportedModelError
from bertrt_export.families import (
    FAMILIES,
    Family,
    base_model,
    guess_family,
    position_limit,
    segment_table,
)

__all__ = ["Checkpoint", "load_checkpoint"]

# What the runtime calls the task, and what loads its models.
_TASKS = {
    "ForSequenceClassification": ("text-classification", AutoModelForSequenceClassification),
    "ForTokenClassification": ("token-classification", AutoModelForTokenClassification),
}

# For models without a limit of their own (relative positions), as those are trained with.
_DEFAULT_LENGTH = 512

_OTHER_TASKS = {
    "ForMaskedLM": "a masked language model",
    "ForPreTraining": "a pretraining model",
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
    task: `text-classification` or `token-classification`.
    family: how to trace it; None where nothing is known that could lead to a packed graph.
    model: float32, in eval mode. segments: whether it is fed `token_type_ids`.
    max_length: tokens that the model and its tokenizer take.
    """

    name: str
    revision: str | None
    folder: Path
    sha256: str
    task: str
    family: Family | None
    config: Any
    model: torch.nn.Module
    tokenizer: Any
    segments: bool
    max_length: int

    @property
    def per_token(self) -> bool:
        """Whether each token has an answer, instead of each text."""
        return self.task == "token-classification"


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
    task, loader = _task(config, name)
    _check_encoder(config, name)
    safetensors = weights[0].suffix == ".safetensors"
    model = _load_model(loader, folder, name, config, safetensors=safetensors)
    tokenizer = _load_tokenizer(folder, name, config.vocab_size)
    family = FAMILIES.get(config.model_type) or guess_family(base_model(model))
    return Checkpoint(
        name=name,
        revision=revision,
        folder=folder,
        sha256=hash_weights(weights),
        task=task,
        family=family,
        config=model.config,
        model=model,
        tokenizer=tokenizer,
        segments=_has_segments(model, tokenizer, packed=family is not None),
        max_length=_max_length(model, tokenizer),
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


def _task(config: Any, name: str) -> tuple[str, Any]:
    """What the checkpoint says it is: the task, and what loads it.

    One that says nothing is taken for a text classifier; its weights tell.
    """
    for architecture in getattr(config, "architectures", None) or []:
        for ending, task in _TASKS.items():
            if architecture.endswith(ending):
                return task
        for ending, other in _OTHER_TASKS.items():
            if architecture.endswith(ending):
                raise CheckpointError(
                    f"{name} is {other} ({architecture}), not a classifier: fine-tune it with "
                    "AutoModelForSequenceClassification (texts) or AutoModelForTokenClassification "
                    "(tokens) first"
                )
        raise CheckpointError(_without_head(name, architecture))
    return _TASKS["ForSequenceClassification"]


def _without_head(name: str, what: str) -> str:
    return (
        f"{name} is an encoder without a classification head ({what}): its answers would be "
        "random; fine-tune it with AutoModelForSequenceClassification first"
    )


def _check_encoder(config: Any, name: str) -> None:
    """Refuse what would not answer as an encoder does."""
    if getattr(config, "is_decoder", False):
        raise UnsupportedModelError(f"{name} is configured as a decoder: bertrt runs encoders")
    positions = getattr(config, "position_embedding_type", None) or "absolute"
    if positions != "absolute":
        raise UnsupportedModelError(
            f"{name} has {positions} position embeddings, which Transformers 5 gave up and bertrt "
            "does not support"
        )


def _load_model(
    loader: Any, folder: Path, name: str, config: Any, *, safetensors: bool
) -> torch.nn.Module:
    try:
        # Without a choice of attention: not every model has `sdpa`, and those that have take it.
        model, info = loader.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
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


def _has_segments(model: torch.nn.Module, tokenizer: Any, *, packed: bool) -> bool:
    """Whether the model is fed `token_type_ids`: the tokenizer gives them, and it has use for them.

    A table of one row, as RoBERTa's, has no second segment.
    """
    if "token_type_ids" not in tokenizer.model_input_names:
        return False
    if "token_type_ids" not in inspect.signature(model.forward).parameters:
        return False
    table = segment_table(base_model(model))
    return table.num_embeddings > 1 if table is not None else not packed


def _max_length(model: torch.nn.Module, tokenizer: Any) -> int:
    """Tokens that both take. Transformers marks "no limit stated" with 1e30."""
    limit = position_limit(base_model(model))
    return min(int(tokenizer.model_max_length), limit if limit is not None else _DEFAULT_LENGTH)
