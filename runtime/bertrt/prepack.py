"""An artifact whose weights are stored as this machine's kernels want them.

onnxruntime rearranges the weights of matrix products when it loads a model, in memory of the
process's own: the file that is mapped into memory is shared among processes, and what they compute
with is not. Here the rearranged weights are stored as well, so that they are mapped too, and a
machine holds them once, however many processes it runs. See
https://github.com/microsoft/onnxruntime/pull/23069.
"""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bertrt.artifact import Artifact, load_artifact
from bertrt.backend import create_session
from bertrt.cpus import available_cpus
from bertrt.devices import CPU
from bertrt.errors import ArtifactError, BackendError
from bertrt.golden import golden_logits
from bertrt.loading import load_model
from bertrt.model_files import MANIFEST, external_data, file_sha256
from bertrt.packing import pack
from bertrt.prepacked import KEY, this_machine
from bertrt.staging import staged_folder, why_not_writable

__all__ = ["Prepacked", "prepack"]

# Of the CPU's graphs; fp16 is for CUDA, and is copied as it is.
_FOR_CPU = ("fp32", "int8")


@dataclass(frozen=True, slots=True)
class Prepacked:
    """What was written: the folder, and for each precision by how many bytes it is larger."""

    path: Path
    added_bytes: dict[str, int]


def prepack(
    model: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    on_graph: Callable[[str], None] = lambda precision: None,
) -> Prepacked:
    """Write a copy of an artifact with the weights packed for this machine's CPU as well.

    The copy answers bit by bit as the original does here, which is checked before it is put in
    place. On another CPU, or with another onnxruntime, it answers as the original does there, and
    shares less. on_graph: told the precision that is packed next.
    Raises ArtifactError for a model that bertrt did not export, one that is packed already, one for
    CUDA alone, and an output that may not be written; OSError where the disk is full or the like,
    and ArtifactError where onnxruntime finds it so.
    """
    artifact = load_artifact(model)
    names = _graphs(artifact)
    folder = Path(output).expanduser()
    reason = why_not_writable(folder, model=artifact.path, overwrite=overwrite)
    if reason is not None:
        raise ArtifactError(reason)
    with staged_folder(folder) as stage:
        _copy_others(artifact, stage, names)
        for precision in names:
            on_graph(precision)
            graph = artifact.graphs[precision]
            create_session(graph, [CPU], available_cpus(), save_to=stage / graph.name)
        _write_manifest(artifact, stage)
        for precision in names:
            _check_answers(artifact, stage, precision)
        added = {  # a small graph that is saved anew may be the smaller one
            name: max(0, _size(stage / file) - _size(artifact.path / file))
            for name, file in names.items()
        }
    return Prepacked(folder, added)


def _graphs(artifact: Artifact) -> dict[str, str]:
    """The files of the graphs to pack, by precision."""
    if artifact.manifest is None:
        raise ArtifactError(
            f"{artifact.path} was not exported by bertrt: prepack takes what export-model wrote"
        )
    if KEY in artifact.manifest:
        raise ArtifactError(
            f"{artifact.path} is packed already: give the folder that it was made from"
        )
    names = {name: file.name for name, file in artifact.graphs.items() if name in _FOR_CPU}
    if not names:
        raise ArtifactError(
            f"{artifact.path} holds {', '.join(artifact.graphs)} only, which runs on CUDA: weights "
            "are packed for the CPU, so export the model with --precision fp32 or int8"
        )
    return names


def _copy_others(artifact: Artifact, stage: Path, names: dict[str, str]) -> None:
    """Copy all files but the manifest and what is packed: the report as well."""
    packed = [artifact.path / name for name in names.values()]
    left_out = {
        MANIFEST,
        *(file.name for graph in packed for file in (graph, *external_data(graph))),
    }
    for file in artifact.path.iterdir():
        if file.is_file() and file.name not in left_out:
            shutil.copy(file, stage)


def _write_manifest(artifact: Artifact, stage: Path) -> None:
    """The artifact's own, of the files that are there now, and what packed them."""
    assert artifact.manifest is not None
    listed = {
        *artifact.manifest["files"],
        *(f"{file.name}.data" for file in artifact.graphs.values()),
    }
    files = [file for file in sorted(stage.iterdir()) if file.name in listed]
    manifest = {
        **artifact.manifest,
        KEY: this_machine(),
        "files": {
            file.name: {"size": file.stat().st_size, "sha256": file_sha256(file)} for file in files
        },
    }
    text = json.dumps(manifest, indent=2, ensure_ascii=False)
    (stage / MANIFEST).write_text(text + "\n", encoding="utf-8")


def _check_answers(artifact: Artifact, stage: Path, precision: str) -> None:
    """Raise BackendError unless the golden texts' logits are the same bit by bit."""
    assert artifact.manifest is not None
    texts, _ = golden_logits(artifact.manifest["golden"], precision)
    before, after = (
        model.session.run(pack(model.tokenizer.encode(texts)))
        for model in (
            load_model(folder, "cpu", precision=precision, check_files=False)
            for folder in (artifact.path, stage)
        )
    )
    if not np.array_equal(before, after):
        raise BackendError(
            f"the packed {precision} graph answers otherwise than {artifact.path}, so nothing was "
            "written: please report this, with what `bertrt doctor` prints"
        )


def _size(graph: Path) -> int:
    """Bytes of a graph with its weights."""
    return sum(file.stat().st_size for file in (graph, *external_data(graph)))
