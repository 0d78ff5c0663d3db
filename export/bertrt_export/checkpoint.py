"""Load a PyTorch checkpoint of a text classifier, or say why it cannot be."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from bertrt.artifact import file_sha256
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

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
_HUB_FILES = ["*.json", "*.txt", "*.model", "*.safetensors"]
_PICKLES = ["pytorch_model.bin", "pytorch_model.bin.index.json"]


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
    folder, revision = _locate(name, revision, allow_pickle)
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"{name} has no config.json, so it is no Hugging Face checkpoint")
    weights = _weight_files(folder, name, allow_pickle)
    config = _load_config(folder, name)
    _check_task(config, name)
    family = _family(config, name)
    model = _load_model(folder, name, config, safetensors=weights[0].suffix == ".safetensors")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, ImportError, KeyError) as error:
        raise CheckpointError(f"the tokenizer of {name} cannot be loaded: {error}") from error
    if not getattr(tokenizer, "is_fast", False):
        raise UnsupportedModelError(f"{name} has no fast tokenizer, which bertrt needs")
    # Transformers marks "no limit stated" with 1e30; the position table always has one.
    max_length = min(int(tokenizer.model_max_length), int(config.max_position_embeddings))
    sha256 = _hash(weights)
    return Checkpoint(
        name, revision, folder, sha256, family, model.config, model, tokenizer, max_length
    )


def _locate(name: str, revision: str | None, allow_pickle: bool) -> tuple[Path, str | None]:
    """The local folder of the checkpoint, and the hub revision that it is."""
    path = Path(name).expanduser()
    if path.is_dir():
        if revision is not None:
            raise CheckpointError(f"--revision is for hub models, and {name} is a local directory")
        return path, None
    if path.exists():
        raise CheckpointError(f"{name} is a file: give the directory that holds the checkpoint")
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) or name.startswith((".", "-")):
        raise CheckpointError(f"there is no directory {name}, and it is no hub id (`user/name`)")
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        info = HfApi().model_info(name, revision=revision)
        patterns = [*_HUB_FILES, *(_PICKLES if allow_pickle else [])]
        files = {sibling.rfilename for sibling in info.siblings or []}
        if not any(file.endswith(".safetensors") for file in files):
            _refuse_weights(files, name, allow_pickle)
            patterns += ["pytorch_model*.bin"]
        folder = snapshot_download(name, revision=info.sha, allow_patterns=patterns)
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().split("\n", maxsplit=1)[0]
        raise CheckpointError(
            f"there is no directory {name}, and the Hugging Face hub gave no such model: {reason}"
        ) from error
    return Path(folder), info.sha


def _weight_files(folder: Path, name: str, allow_pickle: bool) -> list[Path]:
    """The files that `from_pretrained` will read, safetensors before pickles."""
    safe = sorted(folder.glob("model*.safetensors"))
    if safe:
        return safe
    _refuse_weights({path.name for path in folder.iterdir()}, name, allow_pickle)
    return sorted(folder.glob("pytorch_model*.bin"))


def _refuse_weights(files: set[str], name: str, allow_pickle: bool) -> None:
    """Raise unless `files`, which hold no safetensors, hold pickled weights that are allowed."""
    if any(file in _PICKLES for file in files):
        if allow_pickle:
            return
        raise CheckpointError(
            f"{name} has its weights in pickle format only (pytorch_model.bin), which can run any "
            "code when it is read: if you trust where it comes from, pass --allow-pickle; or save "
            "it as safetensors with model.save_pretrained(DIR)"
        )
    foreign = {"tf_model.h5": "TensorFlow", "flax_model.msgpack": "Flax"}
    for file, framework in foreign.items():
        if file in files:
            raise CheckpointError(
                f"{name} is a {framework} checkpoint ({file}): convert it once with Transformers "
                f"4, from_pretrained(.., from_{'tf' if framework == 'TensorFlow' else 'flax'}=True)"
                " and save_pretrained(DIR), then export DIR"
            )
    if any(file.endswith(".onnx") for file in files):
        raise CheckpointError(
            f"{name} holds an ONNX model, not PyTorch weights: give the checkpoint it was made from"
        )
    raise CheckpointError(f"{name} has no model.safetensors: these are no model weights")


def _load_config(folder: Path, name: str) -> Any:
    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        if "trust_remote_code" in str(error):
            raise UnsupportedModelError(
                f"{name} brings its own Python code, which bertrt never runs: "
                "only architectures of Transformers itself can be exported"
            ) from error
        raise CheckpointError(f"the config.json of {name} cannot be read: {error}") from error


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
        raise CheckpointError(f"the weights of {name} cannot be loaded: {error}") from error
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


def _hash(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name}\0{file_sha256(file)}\n".encode())
    return digest.hexdigest()
