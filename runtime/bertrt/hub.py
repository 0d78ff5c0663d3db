"""Models on the Hugging Face hub: only those files are fetched that will be read."""

from collections.abc import Sequence
from pathlib import Path

from bertrt.errors import ArtifactError
from bertrt.model_files import MANIFEST

__all__ = ["DEFAULT_GRAPHS", "download"]

# Where exporters put a model, in the order in which they are sought.
DEFAULT_GRAPHS = ("model.onnx", "onnx/model.onnx")

# `*` matches folders too.
_SMALL_FILES = ("*.json", "vocab.txt", "merges.txt", "onnx/vocab.txt", "onnx/merges.txt")


def download(model: str, file_name: str | None) -> Path:
    """The local copy of a hub repository that holds an artifact, or an ONNX file.

    A repository may hold the model in ten precisions, so the small files come first, and then the
    graphs that they call for: an artifact's own, else `file_name`, else DEFAULT_GRAPHS.
    Raises ArtifactError for what is no hub id, and where the hub does not give the files.
    """
    if model.count("/") != 1 or model.startswith(("/", ".", "~")) or model.endswith("/"):
        raise ArtifactError(f"there is no folder {model!r}, and it is no hub id (`user/name`)")
    path = _snapshot(model, _SMALL_FILES, None)
    if (path / MANIFEST).exists():
        return _snapshot(model, ("*.onnx", "*.onnx.data"), path.name)
    wanted = DEFAULT_GRAPHS if file_name is None else (file_name,)
    patterns = [name + ending for name in wanted for ending in ("", ".data", "_data*")]
    path = _snapshot(model, patterns, path.name)
    if not any((path / name).is_file() for name in wanted):
        raise _no_graph(model, path.name, wanted)
    return path


def _snapshot(model: str, patterns: Sequence[str], revision: str | None) -> Path:
    # Imported here: it takes longer than loading a local model does.
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=list(patterns)))
    except Exception as error:  # the hub's own errors, and those of whichever HTTP library it uses
        reason = str(error).strip().split("\n", maxsplit=1)[0]
        raise ArtifactError(
            f"there is no folder {model!r}, and the Hugging Face hub gave no such model: {reason}"
        ) from error


def _no_graph(model: str, revision: str, wanted: Sequence[str]) -> ArtifactError:
    """Why a repository cannot be used, with the ONNX files that it does hold."""
    from huggingface_hub import list_repo_files

    try:
        files = list_repo_files(model, revision=revision)
    except Exception as error:  # without network there is a copy, but no list
        return ArtifactError(
            f"the local copy of the hub repository {model!r} holds no {' or '.join(wanted)}, and "
            f"the hub cannot be asked: {str(error).strip().splitlines()[0]}"
        )
    graphs = sorted(name for name in files if name.endswith(".onnx"))
    if not graphs:
        return ArtifactError(
            f"the hub repository {model!r} holds no bertrt artifact and no ONNX file: "
            f"convert it with `export-model {model} OUTPUT`"
        )
    return ArtifactError(
        f"the hub repository {model!r} holds no {' or '.join(wanted)}, but {', '.join(graphs)}: "
        "pick one with --file-name (in Python file_name=)"
    )
