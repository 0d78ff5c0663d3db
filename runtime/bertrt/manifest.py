"""bertrt.json: what export-model says of the folder that it wrote."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bertrt.errors import ArtifactError
from bertrt.model_files import MANIFEST, file_sha256, read_json

__all__ = [
    "FORMAT_VERSION",
    "MIN_MAX_LENGTH",
    "graphs_of",
    "known_word",
    "read_manifest",
    "thresholds_of",
]

FORMAT_VERSION = 1

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


def read_manifest(path: Path, *, check_files: bool) -> dict[str, Any]:
    """The manifest of a folder, with all keys that are read, over files that are as it says.

    check_files: compare the files' contents too, not their sizes alone.
    Raises ArtifactError.
    """
    manifest = read_json(path, MANIFEST, "is this a folder that export-model wrote?")
    _check_version(path, manifest)
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
    return manifest


def _check_version(path: Path, manifest: Mapping[str, Any]) -> None:
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


def known_word(
    path: Path, manifest: Mapping[str, Any], name: str, values: tuple[str, ...], default: str
) -> str:
    """A word of the manifest that this version knows."""
    value = manifest.get(name, default)
    if value not in values:
        raise ArtifactError(
            f"{path / MANIFEST}: the {name} is {value!r} and this bertrt knows "
            f"{', '.join(values)}: upgrade it with `pip install --upgrade bertrt`"
        )
    return str(value)


def thresholds_of(
    path: Path, manifest: Mapping[str, Any], labels: tuple[str, ...]
) -> tuple[float, ...] | None:
    """The manifest's thresholds in logit order."""
    given = manifest.get("thresholds")
    if given is None:
        return None
    if not isinstance(given, dict) or given.keys() != set(labels):
        raise _malformed(path, f"thresholds must name exactly the labels {', '.join(labels)}")
    for label, value in given.items():
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= 1:
            raise _malformed(path, f"the threshold of {label} is {value!r}, not 0 to 1")
    return tuple(float(given[label]) for label in labels)


def graphs_of(path: Path, manifest: Mapping[str, Any], file_name: str | None) -> dict[str, Path]:
    """The graphs by precision; only one where its file was asked for."""
    names = dict(manifest["graphs"])
    graphs = {precision: path / name for precision, name in names.items()}
    if file_name is None:
        return graphs
    chosen = {precision: file for precision, file in graphs.items() if file == path / file_name}
    if not chosen:
        raise ArtifactError(
            f"{path} is an artifact of bertrt's, whose graphs are {', '.join(names.values())}, not "
            f"{file_name}: leave file_name out and choose with --precision (in Python precision=)"
        )
    return chosen


def _malformed(path: Path, why: str) -> ArtifactError:
    return ArtifactError(
        f"{path / MANIFEST} is incomplete or malformed: {why}; export the model again"
    )


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
