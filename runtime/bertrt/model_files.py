"""Names of the files of a model folder, and reading the JSON among them."""

import hashlib
import json
from pathlib import Path
from typing import Any

from bertrt.errors import ArtifactError

__all__ = [
    "MANIFEST",
    "TOKENIZER_CONFIG",
    "VOCABULARIES",
    "external_data",
    "file_sha256",
    "has_tokenizer",
    "read_json",
    "read_optional_json",
]

MANIFEST = "bertrt.json"
TOKENIZER_CONFIG = "tokenizer_config.json"

# Any of these makes a tokenizer, or says which one it would be.
VOCABULARIES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "sentencepiece.bpe.model",
    "spiece.model",
    "spm.model",
)


def has_tokenizer(folder: Path) -> bool:
    """Whether there is a tokenizer's vocabulary, in whatever form."""
    return any((folder / name).is_file() for name in VOCABULARIES)


def external_data(graph: Path) -> list[Path]:
    """The files beside an ONNX file that hold its weights, by the names that exporters give them.

    `model.onnx.data` (PyTorch, bertrt), `model.onnx_data` and `model.onnx_data_1` (Optimum).
    """
    return sorted(
        file
        for file in graph.parent.iterdir()
        if file.name == f"{graph.name}.data" or file.name.startswith(f"{graph.name}_data")
    )


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_json(path: Path, name: str, hint: str) -> dict[str, Any]:
    """The JSON object in a file of a model folder; an ArtifactError with the hint if it is none."""
    try:
        content = json.loads((path / name).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtifactError(f"{path} has no {name}: {hint}") from error
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path / name} cannot be read as JSON ({error}): {hint}") from error
    if not isinstance(content, dict):
        raise ArtifactError(f"{path / name} is not a JSON object: {hint}")
    return content


def read_optional_json(path: Path, name: str) -> dict[str, Any]:
    """The JSON object in a file that may be missing: then an empty one."""
    if not (path / name).exists():
        return {}
    return read_json(path, name, "copy the file anew, or export the model again")
