"""Finding the graph in a folder that bertrt did not make."""

from pathlib import Path, PurePosixPath

from bertrt.errors import ArtifactError
from bertrt.hub import DEFAULT_GRAPHS
from bertrt.model_files import MANIFEST

__all__ = ["check_file_name", "file_beside", "find_graph", "precision_of"]

_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


def find_graph(folder: Path, file_name: str | None) -> Path:
    """The ONNX file to run: `file_name`, else the usual names, else the only one that there is.

    Raises ArtifactError, which lists what there is instead.
    """
    held = sorted(
        file.relative_to(folder).as_posix()
        for place in (folder, folder / "onnx")
        for file in place.glob("*.onnx")
    )
    if file_name is not None:
        if (folder / file_name).is_file():
            return folder / file_name
        raise ArtifactError(
            f"{folder} has no {file_name}, {'only ' + ', '.join(held) if held else 'nor any ONNX'}"
            ": give the file's name relative to the folder"
        )
    for name in DEFAULT_GRAPHS:
        if (folder / name).is_file():
            return folder / name
    if len(held) == 1:
        return folder / held[0]
    if held:
        raise ArtifactError(
            f"{folder} has no {' or '.join(DEFAULT_GRAPHS)}, but {', '.join(held)}: pick one with "
            "--file-name (in Python file_name=)"
        )
    if any(file for pattern in _WEIGHTS for file in folder.glob(pattern)):
        raise ArtifactError(
            f"{folder} holds a PyTorch checkpoint that has not been exported: convert it with "
            f"`export-model {folder} OUTPUT`, and give OUTPUT"
        )
    raise ArtifactError(
        f"{folder} has no {MANIFEST} and no ONNX file: is this a folder that export-model wrote, "
        f"or one with {' or '.join(DEFAULT_GRAPHS)}?"
    )


def check_file_name(file_name: str) -> None:
    """Raise ArtifactError unless it names a file inside a folder, relative to it.

    By its words alone: in the hub's cache every file is a link that leads out of its folder.
    """
    path = PurePosixPath(file_name)
    if not file_name or path.is_absolute() or ".." in path.parts or "\\" in file_name:
        raise ArtifactError(
            f"file_name is {file_name!r}: give a file inside the model's folder, relative to it, "
            "such as onnx/model_quantized.onnx"
        )


def precision_of(graph: Path) -> str:
    """What a graph's name says of its precision: `model` is fp32, `model_int8` and `int8` int8."""
    stem = graph.stem
    return "fp32" if stem == "model" else stem.removeprefix("model_") or stem


def file_beside(folder: Path, graph: Path, name: str) -> Path:
    """The folder that holds a file: the model's own, or that of its graph if it is only there."""
    return (
        folder if (folder / name).exists() or not (graph.parent / name).exists() else graph.parent
    )
