"""A model folder: one that `export-model` wrote, or an ONNX export that bertrt did not make."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bertrt.config import (
    TASKS,
    activation_of,
    first_position,
    labels_of,
    pad_token,
    task_of,
    token_limit,
)
from bertrt.errors import ArtifactError
from bertrt.foreign import check_file_name, file_beside, find_graph, precision_of
from bertrt.hub import download
from bertrt.manifest import (
    FORMAT_VERSION,
    MIN_MAX_LENGTH,
    graphs_of,
    known_word,
    read_manifest,
    thresholds_of,
)
from bertrt.model_files import (
    MANIFEST,
    TOKENIZER_CONFIG,
    external_data,
    file_sha256,
    has_tokenizer,
    read_json,
    read_optional_json,
)

__all__ = [
    "FORMAT_VERSION",
    "LAYOUTS",
    "MANIFEST",
    "MIN_MAX_LENGTH",
    "Artifact",
    "file_sha256",
    "fingerprint",
    "load_artifact",
    "read_json",
]

# How a graph takes its texts: one after another, or a row each.
LAYOUTS = ("packed", "padded")


@dataclass(frozen=True, slots=True)
class Artifact:
    """A model folder whose files have been found and checked.

    task: `text-classification` or `token-classification`.
    layout: `packed` (texts one after another) or `padded` (a row a text, the standard graph).
    labels: label names in logit order, from config.json's `id2label`.
    activation: `softmax`, `sigmoid` or `none` (regression), from `problem_type`.
    thresholds: the score from which each label is given, in logit order; None: none were tuned.
    max_length: tokens a text may have, special tokens included.
    pad_token_id: what a padded graph's rows are filled up with.
    graphs: the ONNX file of each precision. Those of other exporters have the precision that the
        file's name says: `model.onnx` is fp32, `model_quantized.onnx` quantized.
    manifest: bertrt.json as it stands; None for a folder that bertrt did not make.
    first_position: the position of a text's first token, for graphs that want `position_ids`.
    """

    path: Path
    task: str
    layout: str
    labels: tuple[str, ...]
    activation: str
    thresholds: tuple[float, ...] | None
    max_length: int
    pad_token_id: int
    graphs: Mapping[str, Path]
    manifest: Mapping[str, Any] | None
    first_position: int = 0

    @property
    def tokenizer_path(self) -> Path:
        """The folder that holds the tokenizer: the model's own, or that of the graph."""
        places = (self.path, *(graph.parent for graph in self.graphs.values()))
        return next((place for place in places if has_tokenizer(place)), self.path)

    @property
    def config_path(self) -> Path:
        """config.json: in the model's folder, or beside the graph."""
        graph = next(iter(self.graphs.values()))
        return file_beside(self.path, graph, "config.json") / "config.json"


def load_artifact(
    model: str | os.PathLike[str], *, file_name: str | None = None, check_files: bool = True
) -> Artifact:
    """Read the model in a local folder, or in a Hugging Face hub repository.

    With bertrt.json it is an artifact that export-model wrote. Without, it is another exporter's: a
    padded ONNX graph (`model.onnx` or `onnx/model.onnx`), config.json and a tokenizer.

    file_name: the graph to run, relative to the folder, such as `onnx/model_quantized.onnx`.
    check_files: compare each file's size and SHA-256 with the manifest, where there is one.
    Raises ArtifactError, which says what is wrong with which file.
    """
    path = Path(model).expanduser()
    if file_name is not None:
        check_file_name(file_name)
    if path.is_file():
        raise ArtifactError(
            f"{path} is a file: give the folder that holds it (and its name with --file-name, in "
            "Python file_name=, where the folder holds several ONNX files)"
        )
    if not path.is_dir():
        path = download(str(model), file_name)
    if (path / MANIFEST).exists():
        return _own(path, file_name, check_files=check_files)
    return _foreign(path, file_name)


def fingerprint(artifact: Artifact, precision: str) -> str:
    """A SHA-256 that says which model this is, in hexadecimal.

    Of the manifest, which holds those of all files; without one, of config.json and the graph with
    its weights.
    """
    if artifact.manifest is not None:
        return file_sha256(artifact.path / MANIFEST)
    graph = artifact.graphs[precision]
    digests = map(file_sha256, (artifact.config_path, graph, *external_data(graph)))
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def _own(path: Path, file_name: str | None, *, check_files: bool) -> Artifact:
    """An artifact of export-model's."""
    manifest = read_manifest(path, check_files=check_files)
    source = path / "config.json"
    config = read_json(path, "config.json", "export the model again")
    labels = labels_of(config, source, default_names=False)
    return Artifact(
        path=path,
        task=known_word(path, manifest, "task", tuple(TASKS.values()), "text-classification"),
        layout=known_word(path, manifest, "layout", LAYOUTS, "packed"),
        labels=labels,
        activation=activation_of(config, len(labels), source),
        thresholds=thresholds_of(path, manifest, labels),
        max_length=int(manifest["max_length"]),
        pad_token_id=pad_token(config),
        graphs=graphs_of(path, manifest, file_name),
        manifest=manifest,
        first_position=first_position(config),
    )


def _foreign(path: Path, file_name: str | None) -> Artifact:
    """Another exporter's folder. Its layout is that of all of them; the session sees to it."""
    graph = find_graph(path, file_name)
    place = file_beside(path, graph, "config.json")
    source = place / "config.json"
    config = read_json(
        place, "config.json", "copy it from the model that was exported; it names the labels"
    )
    labels = labels_of(config, source, default_names=True)
    settings = read_optional_json(file_beside(path, graph, TOKENIZER_CONFIG), TOKENIZER_CONFIG)
    max_length = token_limit(config, settings, source)
    if max_length < MIN_MAX_LENGTH:
        raise ArtifactError(
            f"{source} and {TOKENIZER_CONFIG} limit texts to {max_length} tokens, under "
            f"{MIN_MAX_LENGTH}: correct max_position_embeddings or model_max_length"
        )
    return Artifact(
        path=path,
        task=task_of(config, source),
        layout="padded",
        labels=labels,
        activation=activation_of(config, len(labels), source),
        thresholds=None,
        max_length=max_length,
        pad_token_id=pad_token(config),
        graphs={precision_of(graph): graph},
        manifest=None,
        first_position=first_position(config),
    )
