"""The files of a job."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bertrt.errors import InputError
from bertrt.jobs.formats import STANDARD_STREAM, Dialect, FileFormat

__all__ = ["JobFiles", "check_files"]


@dataclass(frozen=True, slots=True)
class JobFiles:
    """What a job reads and writes.

    inputs: files of one format, one after another; or `-`, standard input.
    output: a file, which appears when it is whole; or `-`, standard output.
    errors: the file of rows that cannot be classified, JSON Lines; None: such a row ends the job.
    text_column, pair_column: where the texts are; None for the column that must be meant, and for
        texts that are no pairs.
    dialect: of CSV and TSV; that of the output, where only that is one, or both are the same.
    """

    inputs: Sequence[str]
    input_format: FileFormat
    output: str
    output_format: FileFormat
    errors: str | None = None
    text_column: str | None = None
    pair_column: str | None = None
    dialect: Dialect = field(default_factory=Dialect)


def check_files(files: JobFiles, *, resume: bool) -> None:
    """Raise InputError for files that do not go together."""
    streams = [file for file in files.inputs if not _is_regular(file)]
    if streams and len(files.inputs) > 1:
        raise InputError(f"{streams[0]} is no regular file, and those are read alone")
    if streams and resume:
        raise InputError(
            f"{streams[0]} is no regular file, and cannot be read again from where the job was "
            "stopped: begin anew with --overwrite"
        )
    if files.errors == STANDARD_STREAM:
        raise InputError("--errors - is not possible: give the name of a file")
    taken = {Path(file).resolve() for file in files.inputs if file not in streams}
    for target in (files.output, files.errors):
        if target in (None, STANDARD_STREAM):
            continue
        assert target is not None
        if Path(target).resolve() in taken:
            raise InputError(f"{target} is asked for twice: read from one file, write to others")
        taken.add(Path(target).resolve())
    tables = {files.input_format.name, files.output_format.name} & {"csv", "tsv"}
    if files.dialect != Dialect() and not tables:
        raise InputError("delimiter, quotes and header are of CSV and TSV, and no file is either")


def _is_regular(file: str) -> bool:
    # One that is not there is found missing when it is opened.
    return file != STANDARD_STREAM and (Path(file).is_file() or not Path(file).exists())
