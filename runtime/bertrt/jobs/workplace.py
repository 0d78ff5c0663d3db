"""Where a job's output grows until it is whole, and from where it goes on after a kill."""

import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bertrt.errors import InputError
from bertrt.jobs.formats import STANDARD_STREAM, compression_of
from bertrt.jobs.state import JobState
from bertrt.jobs.streams import compress

__all__ = ["Workplace", "partial_folder"]

_STATE = "state.sqlite"
# All that a job puts into its folder, the state last: while it is there, there is a job.
_OWN = ("rows", "errors", "finished", f"{_STATE}-journal", _STATE)


class _Appended:
    """A file that only grows, from a size on; what is behind that is cut off.

    Raises InputError where it is shorter: then it is not the one that was written.
    """

    def __init__(self, file: Path, size: int) -> None:
        file.touch()
        if file.stat().st_size < size:
            raise InputError(
                f"{file} has lost what the job that was stopped had written: begin anew with "
                "--overwrite"
            )
        self._file = file.open("r+b")
        self._file.truncate(size)
        self._file.seek(size)

    def append(self, data: bytes) -> None:
        self._file.write(data)

    def sync(self) -> int:
        """Bring all of it to the disk; its size."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        self._file.close()


class _Standard:
    """Standard output."""

    def append(self, data: bytes) -> None:
        sys.stdout.buffer.write(data)

    def sync(self) -> int:
        sys.stdout.buffer.flush()
        return 0

    def close(self) -> None:
        """It stays open."""


class Workplace:
    """The folder OUTPUT.partial: rows that are done, rows that are left out, and a job's state.

    output: a file, or standard output, which has a folder elsewhere and cannot be gone on with.
    errors: the file for rows that are left out, if it is wanted.
    resume: go on with a job that was stopped, if there is one. overwrite: replace files that are
    there, and a job that was stopped.
    Raises InputError where neither is asked for and one is there, and for what cannot be a file.
    """

    def __init__(self, output: str, errors: str | None, *, resume: bool, overwrite: bool) -> None:
        for file in (output, errors):
            if file not in (None, STANDARD_STREAM) and Path(file).exists():
                _check_regular(Path(file))  # before links are followed: a pipe's leads nowhere
        # Resolved: what a link leads to is written, and not the link.
        self._output = None if output == STANDARD_STREAM else Path(output).resolve()
        self._errors = None if errors is None else Path(errors).resolve()
        self._errors_compression = None if errors is None else compression_of(errors)
        if self._output is None and resume:
            raise InputError("what goes to standard output cannot be resumed: give --output")
        self._folder = _folder_of(self._output)
        begun = (self._folder / _STATE).exists()
        self._check_targets(begun, resume, overwrite)
        if self._output is not None:
            self._folder.mkdir(exist_ok=True)
        try:
            self.state = JobState(self._folder / _STATE)
        except OSError:
            if not begun:  # else there would seem to be a job that was stopped
                self._remove()
            raise
        self._rows: _Appended | _Standard | None = None
        self._errors_sink: _Appended | None = None
        try:
            if overwrite and not resume:
                self.state.clear()
            self._check_errors()
            self.complete = bool(self.state.value("complete", False))
            if not self.complete:
                self._open()
        except BaseException:
            self.abandon()
            raise

    def add_rows(self, data: bytes) -> None:
        """Write rows that are done."""
        assert self._rows is not None
        self._rows.append(data)

    def add_errors(self, lines: bytes) -> None:
        """Write of rows that are left out, each on a line."""
        assert self._errors_sink is not None
        self._errors_sink.append(compress(lines, self._errors_compression))

    def checkpoint(self, values: Mapping[str, Any]) -> None:
        """Keep what has been written until now, and values that belong to it."""
        assert self._rows is not None
        written: dict[str, Any] = {"rows size": self._rows.sync()}
        if self._errors_sink is not None:
            written["errors size"] = self._errors_sink.sync()
            written["errors compression"] = self._errors_compression
        self.state.commit({**values, **written})

    def publish(self, finish: Callable[[Path], Path]) -> None:
        """Put the files in place: the errors, and then the output; and remove the folder.

        A job that is killed meanwhile does so again, with what is not in place yet.
        finish: makes of the file of rows the output, in the same folder.
        """
        self._close_sinks()
        try:
            if self._errors is not None and (self._folder / "errors").exists():
                _put_in_place(self._folder / "errors", self._errors)
            if self._output is not None and (self._folder / "rows").exists():
                _put_in_place(finish(self._folder / "rows"), self._output)
        finally:
            self.state.close()  # else this process would be in its own way
        self._remove()

    def abandon(self) -> None:
        """Leave the job as it was at its last checkpoint, or remove one that has none."""
        self._close_sinks()
        begun = self._output is not None and self.state.value("position") is not None
        self.state.close()
        if not begun:
            self._remove()

    def _check_targets(self, begun: bool, resume: bool, overwrite: bool) -> None:
        for file in (self._output, self._errors):
            if file is None:
                continue
            if not file.parent.is_dir():
                raise InputError(
                    f"{file} cannot be written, as {file.parent} is no folder: make it"
                )
            if not os.access(file.parent, os.W_OK | os.X_OK):
                raise InputError(f"{file} cannot be written: no permission for {file.parent}")
            if file.exists() and not overwrite and not (resume and begun):
                raise InputError(f"{file} is there already: replace it with --overwrite")
        if (
            self._folder.exists()
            and not begun
            and (not self._folder.is_dir() or _full(self._folder))
        ):
            raise InputError(f"{self._folder} is there, and no job's: move it away")
        if begun and not resume and not overwrite:
            raise InputError(
                f"a job that was to write {self._output} was stopped: go on with --resume, or "
                "begin anew with --overwrite"
            )

    def _check_errors(self) -> None:
        """InputError where rows have been left out that the errors asked for now cannot hold."""
        if not self.state.value("errors size", 0):
            return
        if self._errors is None:
            raise InputError("the job that was stopped has left out rows: give --errors FILE too")
        kept = self.state.value("errors compression")
        if kept != self._errors_compression:
            raise InputError(
                "the errors of the job that was stopped have another compression, "
                f"{kept or 'none'}: name --errors accordingly, or begin anew with --overwrite"
            )

    def _open(self) -> None:
        if self._output is None:
            self._rows = _Standard()
        else:
            self._rows = _Appended(self._folder / "rows", self.state.value("rows size", 0))
        if self._errors is not None:
            size = self.state.value("errors size", 0)
            self._errors_sink = _Appended(self._folder / "errors", size)
        _sync_folder(self._folder)  # else the state might outlive the files that it is of

    def _close_sinks(self) -> None:
        for sink in (self._rows, self._errors_sink):
            if sink is not None:
                sink.close()

    def _remove(self) -> None:
        """Remove the folder, with what a job puts there."""
        for name in _OWN:
            (self._folder / name).unlink(missing_ok=True)
        if not _full(self._folder):
            self._folder.rmdir()


def _folder_of(output: Path | None) -> Path:
    """Beside the output; for standard output one that nobody else has."""
    return Path(tempfile.mkdtemp(prefix="bertrt-")) if output is None else partial_folder(output)


def partial_folder(output: Path) -> Path:
    """Where a job is until its output is whole; a link is followed."""
    return Path(f"{output.resolve()}.partial")


def _check_regular(file: Path) -> None:
    if not file.is_file():
        raise InputError(
            f"{file} is no regular file: give the name of one, a new name, or {STANDARD_STREAM} as "
            "the output, for standard output"
        )


def _full(folder: Path) -> bool:
    return any(folder.iterdir())


def _put_in_place(file: Path, target: Path) -> None:
    """Move a file, so that after a power cut the target is whole, the new one or the old."""
    with file.open("r+b") as written:
        os.fsync(written.fileno())
    try:
        file.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        # The errors may be wanted on another disk than the output.
        beside = target.with_name(f"{target.name}.partial")
        shutil.copyfile(file, beside)
        _put_in_place(beside, target)
        file.unlink()
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    """Bring the names of a folder's files to the disk."""
    if os.name != "posix":  # others cannot open a folder
        return
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
