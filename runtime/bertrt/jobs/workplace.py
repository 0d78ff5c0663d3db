"""Where a job's output grows until it is whole, and from where it goes on after a kill."""

import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bertrt.errors import InputError
from bertrt.jobs.formats import STANDARD_STREAM
from bertrt.jobs.state import JobState

__all__ = ["Workplace"]


class _Appended:
    """A file that only grows, from a size on; what is behind that is cut off."""

    def __init__(self, file: Path, size: int) -> None:
        file.touch()
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


class Workplace:
    """The folder OUTPUT.partial, with the rows that are done and a job's state.

    output: a file, or standard output, which has no folder and cannot be gone on with.
    errors: the file of rows that are left out, if it is wanted; it grows as FILE.partial.
    resume: go on with a job that was stopped, if there is one. overwrite: replace the output that
    is there, and a job that was stopped.
    Raises InputError where neither is asked for and one is there, and for a folder that is not.
    """

    def __init__(self, output: str, errors: str | None, *, resume: bool, overwrite: bool) -> None:
        self._output = None if output == STANDARD_STREAM else Path(output)
        self._errors = None if errors is None else Path(errors)
        self._folder = None if self._output is None else Path(f"{self._output}.partial")
        self._check_targets(resume, overwrite)
        if self._folder is not None:
            if overwrite and not resume and self._folder.exists():
                JobState(self._state_file).close()  # whether another process has it
                shutil.rmtree(self._folder)
            self._folder.mkdir(exist_ok=True)
        self.state = JobState(self._state_file)
        self.complete = bool(self.state.value("complete", False))
        self.rows: _Appended | _Standard | None = None
        self._errors_sink: _Appended | None = None
        try:
            self._check_errors_file()
            if not self.complete:
                self._open()
        except BaseException:
            self.state.close()
            raise

    def add_error(self, line: bytes) -> None:
        """Write of a row that is left out, on a line."""
        assert self._errors_sink is not None
        self._errors_sink.append(line)

    def add_rows(self, data: bytes) -> None:
        """Write rows that are done."""
        assert self.rows is not None
        self.rows.append(data)

    def checkpoint(self, values: Mapping[str, Any]) -> None:
        """Keep what has been written until now, and values that belong to it."""
        assert self.rows is not None
        sizes = {"rows size": self.rows.sync()}
        if self._errors_sink is not None:
            sizes |= {"errors size": self._errors_sink.sync()}
        self.state.commit({**values, **sizes, "errors": self._errors and str(self._errors)})

    def publish(self, finish: Callable[[Path], Path]) -> None:
        """Put the files in place: the errors, and then the output; and remove the folder.

        A job that is killed meanwhile does so again, with what is not in place yet.
        finish: makes of the file of rows the output, in the same folder.
        """
        for sink in (self.rows, self._errors_sink):
            if isinstance(sink, _Appended):
                sink.close()
        if self._errors is not None and _partial(self._errors).exists():
            _put_in_place(_partial(self._errors), self._errors)
        if self._output is not None and self._parts.exists():
            _put_in_place(finish(self._parts), self._output)
        self.state.close()
        if self._folder is not None:
            shutil.rmtree(self._folder)

    def abandon(self) -> None:
        """Leave the job as it was at its last checkpoint, or remove one that has none."""
        begun = self.state.value("position") is not None
        self.state.close()
        if not begun:
            if self._folder is not None:
                shutil.rmtree(self._folder)
            if self._errors is not None:
                _partial(self._errors).unlink(missing_ok=True)

    def _check_targets(self, resume: bool, overwrite: bool) -> None:
        for file in (self._output, self._errors):
            if file is None:
                continue
            if not file.parent.is_dir():
                raise InputError(
                    f"{file} cannot be written, as {file.parent} is no folder: make it"
                )
            if file.is_dir():
                raise InputError(f"{file} is a folder: give the name of a file")
        if self._output is None:
            if resume:
                raise InputError("what goes to standard output cannot be resumed: give --output")
            return
        assert self._folder is not None
        begun = self._folder.exists()
        if begun and not resume and not overwrite:
            raise InputError(
                f"a job that was to write {self._output} was stopped: go on with --resume, or "
                "begin anew with --overwrite"
            )
        if self._output.exists() and not overwrite and not (resume and begun):
            raise InputError(f"{self._output} is there already: replace it with --overwrite")

    def _check_errors_file(self) -> None:
        written, given = self.state.value("errors"), self._errors and str(self._errors)
        if self.state.value("errors size", 0) and written != given:
            raise InputError(
                f"the job that was stopped has left out rows, which are in {written}.partial: give "
                f"--errors {written}"
            )

    @property
    def _state_file(self) -> Path | None:
        return None if self._folder is None else self._folder / "state.sqlite"

    @property
    def _parts(self) -> Path:
        """The file that the rows are in, before they are in place."""
        assert self._folder is not None
        return self._folder / "rows"

    def _open(self) -> None:
        if self._folder is None:
            self.rows = _Standard()
        else:
            self.rows = _Appended(self._parts, self.state.value("rows size", 0))
        if self._errors is not None:
            size = self.state.value("errors size", 0)
            self._errors_sink = _Appended(_partial(self._errors), size)


def _partial(file: Path) -> Path:
    return Path(f"{file}.partial")


def _put_in_place(file: Path, target: Path) -> None:
    """Rename a file, so that after a power cut the target is whole, the new one or the old."""
    with file.open("rb") as written:
        os.fsync(written.fileno())
    file.replace(target)
    if os.name == "posix":  # others cannot open a folder
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
