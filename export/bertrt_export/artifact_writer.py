"""Write a model folder in one step: it is there whole, or not at all."""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from bertrt import staging
from bertrt.artifact import FORMAT_VERSION, MANIFEST, file_sha256
from bertrt.version import __version__
from onnx_ir.external_data import convert_tensors_to_external

from bertrt_export.checkpoint import Checkpoint
from bertrt_export.errors import ExportError
from bertrt_export.golden import GOLDEN_TEXTS

__all__ = [
    "BERTRT",
    "GRAPH_FILES",
    "check_output",
    "remove_graph",
    "save_graph",
    "staged_folder",
    "write_manifest",
    "write_tokenizer",
]

# What makes the packed graphs.
BERTRT = f"bertrt {__version__}"

# The names that the hub's exports have, by precision.
GRAPH_FILES = {"fp32": "model.onnx", "int8": "model_int8.onnx", "fp16": "model_fp16.onnx"}

# A protobuf message, and so an ONNX file with its weights inside, ends at 2 GiB.
_MAX_INLINE_BYTES = 2**31 - 2**24

# Smaller tensors stay in the ONNX file: shape inference reads them there.
_MIN_EXTERNAL_BYTES = 256


def check_output(output: Path, *, model: str, overwrite: bool) -> None:
    """Raise ExportError unless `output` is free, or an artifact that may be replaced.

    model: the checkpoint, which must not be in it.
    """
    reason = staging.why_not_writable(output, model=model, overwrite=overwrite)
    if reason is not None:
        raise ExportError(reason)


@contextlib.contextmanager
def staged_folder(output: Path) -> Iterator[Path]:
    """`bertrt.staging.staged_folder`; ExportError where the disk is full or the like."""
    try:
        with staging.staged_folder(output) as stage:
            yield stage
    except OSError as error:
        raise ExportError(str(error)) from error


def save_graph(
    graph: ir.Model, folder: Path, *, precision: str = "fp32", external_data: bool
) -> Path:
    """Save the graph; its weights go to a second file if asked for or past protobuf's 2 GiB."""
    file = folder / GRAPH_FILES[precision]
    weights = [
        v.const_value for v in graph.graph.initializers.values() if v.const_value is not None
    ]
    external = external_data or sum(tensor.nbytes for tensor in weights) > _MAX_INLINE_BYTES
    if external:
        _save_external(graph, file)
    else:
        ir.save(graph, file)
    return file


def _save_external(graph: ir.Model, file: Path) -> None:
    """Save with the weights in a second file, each tensor once: layers may share one (ALBERT)."""
    held = {
        value: value.const_value
        for value in graph.graph.initializers.values()
        if value.const_value is not None
        and value.const_value.nbytes >= _MIN_EXTERNAL_BYTES
        and not value.is_graph_input()  # what an input is by default is no weight
    }
    tensors = list({id(tensor): tensor for tensor in held.values()}.values())
    stored = convert_tensors_to_external(tensors, file.parent, f"{file.name}.data")
    by_tensor = {id(tensor): outside for tensor, outside in zip(tensors, stored, strict=True)}
    try:
        for value, tensor in held.items():
            value.const_value = by_tensor[id(tensor)]
        ir.save(graph, file)
    finally:
        for value, tensor in held.items():
            value.const_value = tensor


def remove_graph(folder: Path, precision: str) -> None:
    """Remove a graph that is not to be part of the artifact after all."""
    for file in folder.glob(f"{GRAPH_FILES[precision]}*"):
        file.unlink()


def write_tokenizer(checkpoint: Checkpoint, folder: Path, max_length: int) -> None:
    """Save config.json and the resolved fast tokenizer, with the limit that was exported."""
    config = checkpoint.config.to_diff_dict()
    config.pop("_name_or_path", None)
    # Transformers leaves labels with their default names out of the file; a client needs them.
    config |= {name: getattr(checkpoint.config, name) for name in ("id2label", "label2id")}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    checkpoint.tokenizer.model_max_length = max_length
    # What its last call cut and padded to would be saved with it, and a reader would take it over.
    checkpoint.tokenizer.backend_tokenizer.no_truncation()
    checkpoint.tokenizer.backend_tokenizer.no_padding()
    checkpoint.tokenizer.save_pretrained(folder)
    _name_class_as_ever(folder / "tokenizer_config.json")


def _name_class_as_ever(file: Path) -> None:
    """Give the plain fast tokenizer the name that Transformers 4 knows, and 5 reads as well."""
    settings = json.loads(file.read_text(encoding="utf-8"))
    if settings.get("tokenizer_class") == "TokenizersBackend":
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"
        text = json.dumps(settings, indent=2, ensure_ascii=False)
        file.write_text(text + "\n", encoding="utf-8")


def write_manifest(
    checkpoint: Checkpoint,
    folder: Path,
    *,
    max_length: int,
    verified: Mapping[str, Any],
    golden: Mapping[str, np.ndarray | Sequence[np.ndarray]],
    layout: str = "packed",
    exporter: str = BERTRT,
    notices: Sequence[str] = (),
    thresholds: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Write bertrt.json over the files that are in the folder by now; returns its content.

    verified: what was verified of each precision. golden: the logits of each of GOLDEN_TEXTS by
    precision, as the artifact's own graphs give them. exporter: what made the graphs. notices: what
    is not as was asked for, or may surprise. thresholds: of each label, where they were tuned.
    The manifest lists what the runtime reads; the report comes later and may be edited freely.
    """
    files = sorted(path for path in folder.iterdir() if path.is_file())
    manifest = {
        "format_version": FORMAT_VERSION,
        "bertrt_version": __version__,
        "task": checkpoint.task,
        "layout": layout,
        "exporter": exporter,
        **({"notices": list(notices)} if notices else {}),
        "graphs": {precision: GRAPH_FILES[precision] for precision in golden},
        "max_length": max_length,
        "source": {
            "model": checkpoint.name,
            "revision": checkpoint.revision,
            "weights_sha256": checkpoint.sha256,
        },
        **({"thresholds": dict(thresholds)} if thresholds is not None else {}),
        "verified": dict(verified),
        "golden": [
            {
                "text": text,
                "logits": {precision: rows[number].tolist() for precision, rows in golden.items()},
            }
            for number, text in enumerate(GOLDEN_TEXTS)
        ],
        "files": {
            path.name: {"size": path.stat().st_size, "sha256": file_sha256(path)} for path in files
        },
    }
    text = json.dumps(manifest, indent=2, ensure_ascii=False)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
    return manifest
