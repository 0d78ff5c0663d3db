"""Artifact folders that are there whole, or not at all."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bertrt.model_files import MANIFEST

__all__ = ["staged_folder", "why_not_writable"]


def why_not_writable(
    output: Path,
    *,
    model: str | os.PathLike[str],
    overwrite: bool,
    marker: str = MANIFEST,
    what: str = "bertrt artifact",
) -> str | None:
    """Why an artifact may not be written there; None if it may: nothing that is none is replaced.

    model: the folder that it is made from, which would go with the folder around it; or a hub id.
    overwrite: an artifact that is there may be replaced. marker, what: the file by which a folder
    of the kind is known, and what people call it.
    """
    if not output.exists():
        return None
    if not output.is_dir():
        return f"{output} is a file: choose another output directory"
    if any(output.iterdir()) and not (output / marker).exists():
        return (
            f"{output} is not empty and is no {what}, so it is never overwritten: "
            "choose another output directory"
        )
    if any(output.iterdir()) and not overwrite:
        return f"{output} exists: pass --overwrite to replace it"
    folder = Path(model).expanduser()
    if folder.exists() and folder.resolve().is_relative_to(output.resolve()):
        return f"{output} is the model itself, or holds it: choose another output directory"
    return None


@contextlib.contextmanager
def staged_folder(output: Path) -> Iterator[Path]:
    """A temporary sibling of `output`, which takes its place when the block ends well.

    Until then an artifact already there stays as it is; after an error nothing is left behind.
    Where `output` is a link, what it points to is replaced. Raises OSError, which names it, where
    the disk is full, write-protected or the like.
    """
    named, output = output, output.resolve()
    missing = [folder for folder in output.parents if not folder.exists()]
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with _replacing(output) as stage:
            yield stage
    except OSError as error:
        raise OSError(f"{named} cannot be written: {error}") from error
    finally:
        for folder in missing:  # the innermost first; all stay where the artifact is in them
            if folder.exists() and not any(folder.iterdir()):
                folder.rmdir()


@contextlib.contextmanager
def _replacing(output: Path) -> Iterator[Path]:
    stage = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    try:
        yield stage
        stage.chmod(0o755)  # mkdtemp makes folders private; an artifact is for its readers
        if output.exists():
            replaced = Path(tempfile.mkdtemp(prefix=f".{output.name}.old.", dir=output.parent))
            output.rename(replaced / "artifact")
            try:
                stage.rename(output)
            except OSError:
                (replaced / "artifact").rename(output)
                raise
            finally:
                shutil.rmtree(replaced)
        else:
            stage.rename(output)
    finally:
        shutil.rmtree(stage, ignore_errors=True)  # gone already where it was renamed
