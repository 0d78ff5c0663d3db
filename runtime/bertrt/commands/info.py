"""`bertrt info`."""

import argparse
import json
from typing import Any

from bertrt.artifact import MANIFEST
from bertrt.commands.arguments import Commands, add_model_arguments
from bertrt.errors import ArtifactError
from bertrt.instructions import describe_int8
from bertrt.loading import LoadedModel, load_model
from bertrt.model_files import external_data
from bertrt.prepacked import KEY as PREPACKED

__all__ = ["add_command"]


def add_command(commands: Commands) -> None:
    """Add `info`."""
    info = commands.add_parser(
        "info", help="what a model is and how it would run here", description="Describe a model."
    )
    add_model_arguments(info)
    info.add_argument("--json", action="store_true", help="print one JSON object")
    info.set_defaults(run=_info)


def _info(arguments: argparse.Namespace) -> None:
    loaded = load_model(
        arguments.model,
        arguments.device,
        threads=arguments.threads,
        precision=arguments.precision,
        file_name=arguments.file_name,
    )
    try:
        facts = _facts(loaded)
    except (KeyError, TypeError) as error:
        raise ArtifactError(
            f"{loaded.artifact.path / MANIFEST} is incomplete or malformed: {error!r}; "
            "export the model again"
        ) from error
    if arguments.json:
        print(json.dumps(facts, ensure_ascii=False, indent=2))
        return
    readable = {
        **facts,
        "exported_from": facts["exported_from"] or "unknown",
        "exported_with": facts["exported_with"] or "unknown",
        "labels": ", ".join(facts["labels"]),
        "thresholds": _thresholds_line(facts["thresholds"]),
        "max_length": f"{facts['max_length']} tokens",
        "size": f"{facts['size'] / 1e6:.1f} MB",
        "precisions": ", ".join(facts["precisions"]),
        "prepacked": _prepacked_line(facts["prepacked"]),
        "verified": _verified_line(facts["verified"]),
    }
    width = max(len(name) for name in readable)
    for name, value in readable.items():
        print(f"{name.replace('_', ' '):<{width}}  {value}")


def _facts(loaded: LoadedModel) -> dict[str, Any]:
    """What there is to say of a model: sizes in bytes, the rest as in the manifest."""
    artifact = loaded.artifact
    manifest, graph = artifact.manifest, artifact.graphs[loaded.precision]
    exported: dict[str, Any] = {"exported_from": None, "exported_with": None}
    prepacked, verified = None, None
    sizes = [file.stat().st_size for file in (graph, *external_data(graph))]
    if manifest is not None:
        exported["exported_from"] = manifest["source"]["model"]
        exported["exported_with"] = f"bertrt {manifest['bertrt_version']}"
        verified = manifest["verified"][loaded.precision]
        sizes = [file["size"] for file in manifest["files"].values()]
        prepacked = manifest.get(PREPACKED)
    thresholds = artifact.thresholds
    return {
        "model": str(artifact.path),
        **exported,
        "task": artifact.task,
        "labels": list(artifact.labels),
        "scores": "raw values" if artifact.activation == "none" else artifact.activation,
        "thresholds": thresholds and dict(zip(artifact.labels, thresholds, strict=True)),
        "max_length": artifact.max_length,
        "precisions": list(artifact.graphs),
        "precision": loaded.precision,
        "layout": artifact.layout,
        "size": sum(sizes),
        "prepacked": prepacked,
        "verified": verified,
        "runs_on": loaded.provider,
        "threads": loaded.threads,
        "cpu_int8": describe_int8(),
    }


def _thresholds_line(thresholds: dict[str, float] | None) -> str:
    if thresholds is None:
        return "none tuned"
    return ", ".join(f"{label} {value:g}" for label, value in thresholds.items())


def _prepacked_line(machine: dict[str, Any] | None) -> str:
    """Where `bertrt prepack` packed the weights."""
    if machine is None:
        return "no: each process has packed weights of its own"
    return f"on {machine['cpu']}, by onnxruntime {machine['onnxruntime']}"


def _verified_line(verified: dict[str, Any] | None) -> str:
    """What the exporter measured against PyTorch, in the precision that is loaded."""
    if verified is None:
        return "by nobody: not exported by bertrt"
    difference, texts = verified["max_abs_diff"], f"{verified['texts']} texts"
    if "agreement" not in verified:
        limit = verified["tolerance"]
        return f"max |Δlogit| {difference:.1e} against PyTorch on {texts} (limit {limit:.0e})"
    compared = f"{verified['tokens']} tokens" if verified.get("tokens") else texts
    return (
        f"same answer as PyTorch for {verified['agreement']:.2%} of {compared}, mean |Δlogit| "
        f"{verified['mean_abs_diff']:.3f}, max {difference:.3f}"
    )
