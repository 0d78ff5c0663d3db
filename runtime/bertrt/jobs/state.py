"""What a job has done, kept where a job that is killed at any time can go on from.

One SQLite file. A checkpoint and the answers to all texts since the last are one transaction, so
either both are there or neither: the output is cut back to the checkpoint, and what comes again is
computed, in the same chunks, from the same answers.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from bertrt.errors import InputError

__all__ = ["JobState"]

_TABLES = (
    "CREATE TABLE IF NOT EXISTS job (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS answers (text BLOB PRIMARY KEY, numbers BLOB NOT NULL)"
    " WITHOUT ROWID",
)


class JobState:
    """The state of a job, which no other process can have at the same time.

    Raises InputError where another process has it, and where the file is damaged; OSError where the
    disk is full or fails, as its methods do.
    """

    def __init__(self, file: Path) -> None:
        with self._guarded():
            self._database = sqlite3.connect(file, timeout=0)
        self._database.isolation_level = None  # transactions are begun and ended here
        try:
            # Held from the first transaction on, and not for each by itself.
            self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._database.execute("BEGIN EXCLUSIVE")
            for table in _TABLES:
                self._database.execute(table)
        except sqlite3.DatabaseError as error:
            self._database.close()
            code = error.sqlite_errorcode & 0xFF  # what is behind says where it was found
            if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
                raise OSError(f"{file} cannot be written: {error}") from error
            if code == sqlite3.SQLITE_BUSY:
                raise InputError(
                    f"another process is at work on this output, and has {file}: wait for it, or "
                    "stop it"
                ) from error
            raise InputError(
                f"{file} cannot be read ({error}): begin anew with --overwrite, and remove it"
            ) from error

    def close(self) -> None:
        """Forget what has not been committed."""
        self._database.close()

    def clear(self) -> None:
        """Begin anew."""
        with self._guarded():
            self._database.execute("DELETE FROM job")
            self._database.execute("DELETE FROM answers")
        self.commit({})

    def commit(self, values: Mapping[str, Any]) -> None:
        """Keep values, of kinds that JSON has, and all answers given until now."""
        rows = [(name, json.dumps(value)) for name, value in values.items()]
        with self._guarded():
            self._database.executemany("INSERT OR REPLACE INTO job VALUES (?, ?)", rows)
            self._database.execute("COMMIT")
            self._database.execute("BEGIN EXCLUSIVE")

    def value(self, name: str, default: Any = None) -> Any:
        """A value that was committed."""
        with self._guarded():
            rows = self._database.execute("SELECT value FROM job WHERE name = ?", (name,))
            found = rows.fetchone()
        return default if found is None else json.loads(found[0])

    def answers(self, texts: Iterable[bytes]) -> dict[bytes, np.ndarray]:
        """The numbers, float32 [labels], of those texts that have been answered, by their keys."""
        found = {}
        query = "SELECT numbers FROM answers WHERE text = ?"
        with self._guarded():
            for text in texts:
                row = self._database.execute(query, (text,)).fetchone()
                if row is not None:
                    found[text] = np.frombuffer(row[0], dtype=np.float32)
        return found

    def add_answers(self, texts: Sequence[bytes], numbers: np.ndarray) -> None:
        """Keep the numbers of texts, float32 [texts, labels], from the next commit on."""
        rows = zip(texts, (row.tobytes() for row in numbers), strict=True)
        with self._guarded():
            self._database.executemany("INSERT INTO answers VALUES (?, ?)", rows)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """What goes wrong with the file is an OSError, as for other files."""
        try:
            yield
        except sqlite3.Error as error:
            raise OSError(f"the state of the job cannot be read or written: {error}") from error
