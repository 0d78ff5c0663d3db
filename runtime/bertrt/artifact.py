"""The model folder that `export-model` writes: found, checked, read."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bertrt.errors import ArtifactError

__all__ = [
    "FORMAT_VERSION",
    "MANIFEST",
    "MIN_MAX_LENGTH",
    "Artifact",
    "file_sha256",
    "load_artifact",
    "read_json",
]

FORMAT_VERSION = 1
MANIFEST = "bertrt.json"

# The special tokens of a pair, and some text: no tokenizer can cut below its special tokens.
MIN_MAX_LENGTH = 8

_READ_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json")
_REQUIRED = (
    "bertrt_version",
    "files",
    "golden",
    "graphs",
    "layout",
    "max_length",
    "source",
    "verified",
)

_ACTIVATIONS = {
    "single_label_classification": "softmax",
    "multi_label_classification": "sigmoid",
    "regression": "none",
}


@dataclass(frozen=True, slots=True)
class Artifact:
    """A model folder whose files have been found and checked.

    labels: label names in logit order, from config.json's `id2label`.
    activation: `softmax`, `sigmoid` or `none` (regression), from `problem_type`.
    max_length: tokens a text may have, special tokens included.
    manifest: bertrt.json as it stands.
    """

    path: Path
    labels: tuple[str, ...]
    activation: str
    max_length: int
    manifest: Mapping[str, Any]

    def graph(self, precision: str) -> Path:
        """The ONNX file that holds the model in this precision."""
        return self.path / str(self.manifest["graphs"][precision])


def load_artifact(model: str | os.PathLike[str], *, check_files: bool = True) -> Artifact:
    """Read the artifact in a local folder, or in a Hugging Face hub repository.

    check_files: compare each file's size and SHA-256 with the manifest.
    Raises ArtifactError, which says what is wrong with which file.
    """
    path = Path(model).expanduser()
    if path.is_file():
        raise ArtifactError(f"{path} is a file: give the folder that export-model wrote")
    if not path.is_dir():
        path = _download(str(model))
    manifest = read_json(path, MANIFEST, "is this a folder that export-model wrote?")
    version = manifest.get("format_version")
    if not isinstance(version, int):
        raise ArtifactError(f"{path / MANIFEST} has no format_version: export the model again")
    if version > FORMAT_VERSION:
        raise ArtifactError(
            f"{path} has artifact format {version} and this bertrt reads up to {FORMAT_VERSION}: "
            "upgrade it with `pip install --upgrade bertrt`"
        )
    missing = [name for name in _REQUIRED if name not in manifest]
    if missing:
        raise _malformed(path, f"it has no {', '.join(missing)}")
    try:
        max_length, graphs = int(manifest["max_length"]), dict(manifest["graphs"])
        files = dict(manifest["files"])
        unlisted = {*_READ_FILES, *graphs.values()} - files.keys()
        _check_files(path, files, contents=check_files)
    except (KeyError, TypeError, ValueError) as error:
        raise _malformed(path, repr(error)) from error
    if not graphs or unlisted:
        raise _malformed(path, f"it lists no {', '.join(sorted(unlisted)) or 'graph'}")
    if max_length < MIN_MAX_LENGTH:
        raise _malformed(path, f"max_length is {max_length}, under {MIN_MAX_LENGTH}")
    config = read_json(path, "config.json", "export the model again")
    labels = _labels(config, path / "config.json")
    return Artifact(path, labels, _activation(config, path / "config.json"), max_length, manifest)


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_json(path: Path, name: str, hint: str) -> dict[str, Any]:
    """The JSON object in a file of an artifact; an ArtifactError with the hint if it is none."""
    try:
        content = json.loads((path / name).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtifactError(f"{path} has no {name}: {hint}") from error
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path / name} cannot be read as JSON ({error}): {hint}") from error
    if not isinstance(content, dict):
        raise ArtifactError(f"{path / name} is not a JSON object: {hint}")
    return content


def _malformed(path: Path, why: str) -> ArtifactError:
    return ArtifactError(
        f"{path / MANIFEST} is incomplete or malformed: {why}; export the model again"
    )


def _download(model: str) -> Path:
    """The local copy of a hub repository that holds an artifact."""
    if model.count("/") != 1 or model.startswith(("/", ".", "~")) or model.endswith("/"):
        raise ArtifactError(f"there is no folder {model!r}, and it is no hub id (`user/name`)")
    # Imported here: it takes longer than loading a local model does.
    from huggingface_hub import snapshot_download

    patterns = ["*.json", "*.onnx", "*.onnx.data", "vocab.txt"]
    try:
        path = Path(snapshot_download(model, allow_patterns=patterns))
    except Exception as error:  # the hub's own errors, and those of whichever HTTP library it uses
        reason = str(error).strip().split("\n", maxsplit=1)[0]
        raise ArtifactError(
            f"there is no folder {model!r}, and the Hugging Face hub gave no such model: {reason}"
        ) from error
    if not (path / MANIFEST).exists():
        raise ArtifactError(
            f"the hub repository {model!r} holds no bertrt artifact: "
            f"convert it with `export-model {model} OUTPUT`"
        )
    return path


def _check_files(path: Path, files: Mapping[str, Any], *, contents: bool) -> None:
    for name, expected in files.items():
        file = path / name
        if not file.is_file():
            raise ArtifactError(f"{file} is missing: copy the whole folder, or export it again")
        size = file.stat().st_size
        if size != expected["size"]:
            raise ArtifactError(
                f"{file} has {size} bytes where the manifest says {expected['size']}: "
                "it was cut short or changed; copy or export it again"
            )
        if contents and _readable_sha256(file) != expected["sha256"]:
            raise ArtifactError(
                f"{file} is not what was exported (its SHA-256 differs): copy or export it again"
            )


def _readable_sha256(file: Path) -> str:
    try:
        return file_sha256(file)
    except OSError as error:
        raise ArtifactError(f"{file} cannot be read: {error.strerror}") from error


def _labels(config: Mapping[str, Any], source: Path) -> tuple[str, ...]:
    id2label = config.get("id2label")
    if not isinstance(id2label, dict) or not id2label:
        raise ArtifactError(f"{source} has no id2label, so the labels are unknown: add it")
    try:
        return tuple(str(id2label[str(index)]) for index in range(len(id2label)))
    except KeyError as error:
        raise ArtifactError(
            f"{source}: id2label has {len(id2label)} entries but none for {error}: "
            f"number the labels 0 to {len(id2label) - 1}"
        ) from error


def _activation(config: Mapping[str, Any], source: Path) -> str:
    problem_type = config.get("problem_type")
    if problem_type is None:
        # One score and no competing label: a probability by itself, as in Transformers.
        return "sigmoid" if len(config["id2label"]) == 1 else "softmax"
    if problem_type == "single_label_classification" and len(config["id2label"]) == 1:
        return "sigmoid"
    if problem_type not in _ACTIVATIONS:
        raise ArtifactError(
            f"{source}: problem_type is {problem_type!r}, not one of {', '.join(_ACTIVATIONS)}"
        )
    return _ACTIVATIONS[problem_type]
