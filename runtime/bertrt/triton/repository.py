"""Write a model repository for Triton Inference Server."""

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bertrt.artifact import Artifact, load_artifact
from bertrt.errors import ArtifactError
from bertrt.model_files import MANIFEST, TOKENIZER_CONFIG, external_data
from bertrt.precision import is_for_cpu
from bertrt.staging import staged_folder, why_not_writable
from bertrt.triton.configs import (
    LABELS_FILE,
    Deployment,
    ensemble,
    labels_step,
    packed_step,
    tokenizer_step,
)
from bertrt.triton.host import DEFAULT_MAX_BATCH_SIZE
from bertrt.triton.marker import MARKER, marker_of
from bertrt.triton.pbtxt import Message, to_pbtxt
from bertrt.triton.readme import readme
from bertrt.triton.signature import Signature, Tensor, read_signature
from bertrt.version import __version__

__all__ = ["Written", "write_repository"]

_Device = Literal["cpu", "gpu"]

# Of what Triton's configuration holds as an int32.
_MOST = 2**31 - 1

# The best first.
_PRECISIONS: dict[str, tuple[str, ...]] = {"cpu": ("int8", "fp32"), "gpu": ("fp16", "fp32")}

# Triton takes the folder's name, and a shared session is found by a pattern made of it.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")

_MODEL_PY = '''\
"""The {what} of {name}, for Triton's Python backend. Written by bertrt {version}."""

from pathlib import Path

try:
    from bertrt.triton.{module} import {base}
except ImportError as error:
    raise ImportError(
        f"Triton's Python needs bertrt {version} or later ({{error}}): install it in the image, "
        "as README.md of the model repository says"
    ) from error

__all__ = ["TritonPythonModel"]


class TritonPythonModel({base}):
    """What Triton looks for."""

    folder = Path(__file__).parent
'''


@dataclass(frozen=True, slots=True)
class Written:
    """A repository that was written: where, and what it serves."""

    path: Path
    deployment: Deployment


def write_repository(
    model: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    name: str | None = None,
    device: _Device = "cpu",
    precision: str | None = None,
    max_batch_size: int | None = None,
    instances: int = 1,
    threads: int | None = None,
    truncate: bool = True,
    overwrite: bool = False,
) -> Written:
    """Write a repository that serves a packed artifact, as an ensemble with its tokenizer.

    name: the ensemble's; by default the model's own. precision: by default the best for the device
    that the artifact holds. The others are those of `Deployment`.
    Raises ArtifactError for a model that cannot be served so and an output that may not be written,
    ValueError for an argument out of range, OSError where the disk is full or the like.
    """
    for argument, number in (
        ("max_batch_size", max_batch_size),
        ("instances", instances),
        ("threads", threads),
    ):
        if number is not None and not 1 <= number <= _MOST:
            raise ValueError(f"{argument} is {number}: give 1 to {_MOST}")
    called = _checked_name(name) if name is not None else _name_of(model)
    artifact = load_artifact(model)
    _check_kind(artifact)
    chosen = _precision(artifact, precision, device)
    deployment = Deployment(
        name=called,
        artifact=artifact,
        precision=chosen,
        signature=_checked_signature(artifact, chosen),
        device=device,
        max_batch_size=max_batch_size or DEFAULT_MAX_BATCH_SIZE[device],
        instances=instances,
        threads=threads,
        truncate=truncate,
    )
    folder = Path(output).expanduser()
    reason = why_not_writable(
        folder,
        model=artifact.path,
        overwrite=overwrite,
        marker=MARKER,
        what="Triton repository of bertrt's",
    )
    if reason is not None:
        raise ArtifactError(reason)
    with staged_folder(folder) as stage:
        _write(deployment, stage)
    return Written(folder, deployment)


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"name is {name!r}: give letters, digits, - and _, beginning with neither")
    return name


def _name_of(model: str | os.PathLike[str]) -> str:
    """The last part of a folder's path or of a hub id, in characters that a name may have."""
    path = Path(model).expanduser()
    last = (path.resolve() if path.exists() else path).name
    return re.sub(r"[^A-Za-z0-9_-]+", "-", last).strip("-_") or "model"


def _check_kind(artifact: Artifact) -> None:
    if artifact.layout != "packed":
        raise ArtifactError(
            f"{artifact.path} is padded, and ragged batching is for packed models: export it with "
            "`export-model --layout packed` (where the architecture cannot be packed, Triton "
            "serves the graph with a configuration of your own)"
        )
    if artifact.task != "text-classification":
        raise ArtifactError(
            f"{artifact.path} is a model for {artifact.task}: the repository is for models that "
            "label whole texts; use TokenClassifier, or `bertrt tag`"
        )


def _precision(artifact: Artifact, precision: str | None, device: str) -> str:
    runs = _PRECISIONS[device]
    held, other = ", ".join(artifact.graphs), "cpu" if device == "gpu" else "gpu"
    if precision is not None and precision not in artifact.graphs:
        raise ArtifactError(f"{artifact.path} holds no {precision} graph, only {held}")
    if precision is not None and precision not in runs:
        raise ArtifactError(
            f"{precision} does not run on a {device.upper()}: choose {' or '.join(runs)}, or "
            f"--device {other}"
        )
    for name in runs if precision is None else [precision]:
        if name in artifact.graphs:
            if device == "gpu" and is_for_cpu(artifact, name):
                raise ArtifactError(
                    f"the weights of {artifact.path} were packed for the CPU: give --device cpu, "
                    "or the folder that `bertrt prepack` was given"
                )
            return name
    raise ArtifactError(
        f"{artifact.path} holds {held} only, which does not run on a {device.upper()}: export the "
        f"model with --precision {runs[0]}, or give --device {other}"
    )


def _checked_signature(artifact: Artifact, precision: str) -> Signature:
    """The graph's signature, which is what Triton's backend will compare the configuration with.

    Source: ValidateInputs, ValidateOutputs of onnxruntime_backend/src/onnxruntime.cc.
    """
    graph = artifact.graphs[precision]
    signature = read_signature(graph)
    ids = ("input_ids", "token_type_ids")
    known = {
        *(Tensor(name, "TYPE_INT64", (-1,)) for name in ids),
        Tensor("lengths", "TYPE_INT32", (-1,)),
    }
    names = {tensor.name for tensor in signature.inputs}
    logits = Tensor("logits", "TYPE_FP32", (-1, len(artifact.labels)))
    fits = known.issuperset(signature.inputs) and {"input_ids", "lengths"} <= names
    if not fits or signature.outputs != (logits,):
        raise ArtifactError(
            f"{graph} takes {_described(signature.inputs)} and gives "
            f"{_described(signature.outputs)}, which is no packed classifier of "
            f"{len(artifact.labels)} labels: export the model again"
        )
    return signature


def _described(tensors: tuple[Tensor, ...]) -> str:
    return ", ".join(f"{t.name} {t.data_type}{list(t.shape)}" for t in tensors) or "nothing"


def _write(deployment: Deployment, folder: Path) -> None:
    artifact, graph = deployment.artifact, deployment.artifact.graphs[deployment.precision]
    tokenizer, packed, labels = deployment.steps
    version = _write_model(folder, deployment.name, ensemble(deployment))
    # Some stores of files, and git, keep no empty folder, and Triton wants one of the version.
    (version / ".keep").touch()

    version = _write_model(folder, tokenizer, tokenizer_step(deployment))
    _write_model_py(version, deployment, "tokenizer_step", "TokenizerStep")
    # By the manifest the tokenizer is known as one that the export has resolved.
    for name in ("tokenizer.json", TOKENIZER_CONFIG, MANIFEST):
        shutil.copyfile(artifact.path / name, version / name)

    version = _write_model(folder, packed, packed_step(deployment))
    for file in (graph, *external_data(graph)):
        shutil.copyfile(file, version / file.name)

    version = _write_model(folder, labels, labels_step(deployment))
    _write_model_py(version, deployment, "labels_step", "LabelsStep")

    for name in (deployment.name, labels):
        _write_text(folder / name / LABELS_FILE, _label_lines(artifact.labels))
    _write_text(folder / "README.md", readme(deployment))
    _write_text(folder / MARKER, marker_of(deployment).to_json())


def _write_model(folder: Path, name: str, config: Message) -> Path:
    """Write a model's configuration; returns the folder of its version 1."""
    version = folder / name / "1"
    version.mkdir(parents=True)
    header = f"# Written by bertrt {__version__}; README.md of this repository explains it.\n"
    _write_text(folder / name / "config.pbtxt", header + to_pbtxt(config))
    return version


def _write_model_py(version: Path, deployment: Deployment, module: str, base: str) -> None:
    text = _MODEL_PY.format(
        what=module.replace("_", " "),
        name=deployment.name,
        module=module,
        base=base,
        version=__version__,
    )
    _write_text(version / "model.py", text)


def _label_lines(labels: tuple[str, ...]) -> str:
    """A label a line: one that holds line ends has spaces instead."""
    return "".join(" ".join(label.splitlines()) + "\n" for label in labels)


def _write_text(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")
