"""Find the files of a checkpoint, in a folder or on the Hugging Face hub."""

import hashlib
import re
import textwrap
from pathlib import Path

from bertrt.artifact import file_sha256

from bertrt_export.errors import CheckpointError

__all__ = ["hash_weights", "locate", "one_line", "weight_files"]

_HUB_FILES = ["*.json", "*.txt", "*.model", "*.safetensors"]
_PICKLES = ["pytorch_model.bin", "pytorch_model.bin.index.json"]


def locate(name: str, revision: str | None, allow_pickle: bool) -> tuple[Path, str | None]:
    """The local folder of the checkpoint, and the hub revision that it is."""
    if not name:
        raise CheckpointError("an empty name is no directory and no hub id (`user/name`)")
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

    try:
        info = HfApi().model_info(name, revision=revision)
        patterns = [*_HUB_FILES, *(_PICKLES if allow_pickle else [])]
        files = {sibling.rfilename for sibling in info.siblings or []}
        if not any(file.endswith(".safetensors") for file in files):
            _refuse_weights(files, name, allow_pickle)
            patterns += ["pytorch_model*.bin"]
        folder = snapshot_download(name, revision=info.sha, allow_patterns=patterns)
    except CheckpointError:
        raise
    except Exception as error:  # the hub's own errors, and those of whichever HTTP library it uses
        reason = str(error).strip().split("\n", maxsplit=1)[0]
        raise CheckpointError(
            f"there is no directory {name}, and the Hugging Face hub gave no such model: {reason}"
        ) from error
    return Path(folder), info.sha


def weight_files(folder: Path, name: str, allow_pickle: bool) -> list[Path]:
    """The files that `from_pretrained` will read, safetensors before pickles."""
    safe = sorted(folder.glob("model*.safetensors"))
    if safe:
        return safe
    files = {path.name for path in (*folder.glob("*"), *folder.glob("*/*.onnx"))}
    _refuse_weights(files, name, allow_pickle)
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


def hash_weights(files: list[Path]) -> str:
    """One sha256 over all the files, each by name and content."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name}\0{file_sha256(file)}\n".encode())
    return digest.hexdigest()


def one_line(error: Exception) -> str:
    """What a library's error says, as part of a sentence of ours."""
    return textwrap.shorten(str(error), 300, placeholder=" ..")
