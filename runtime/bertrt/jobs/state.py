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

_TABLES = """
CREATE TABLE IF NOT EXISTS job (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS answers (text BLOB PRIMARY KEY, numbers BLOB NOT NULL) WITHOUT ROWID;
"""


class JobState:
    """The state of a job, which no other process can have at the same time.

    file: where it is kept; None for a job that cannot go on, whose answers are still on the disk.
    Raises InputError where another process has it.
    """

    def __init__(self, file: Path | None) -> None:
        # A file without a name is SQLite's own: it goes with the connection.
        self._database = sqlite3.connect("" if file is None else file, timeout=0)
        self._database.isolation_level = None  # transactions are begun and ended here
        try:
            self._database.executescript(_TABLES)
            self._database.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            self._database.close()
            raise InputError(
                f"another process is at work on this output ({file}: {error}): wait for it, or "
                "stop it"
            ) from error
        except sqlite3.DatabaseError as error:
            self._database.close()
            raise InputError(f"{file} is damaged ({error}): begin anew with --overwrite") from error

    def close(self) -> None:
        """Forget what has not been committed."""
        self._database.close()

    def commit(self, values: Mapping[str, Any]) -> None:
        """Keep values, of kinds that JSON has, and all answers given until now."""
        rows = [(name, json.dumps(value)) for name, value in values.items()]
        with self._writing():
            self._database.executemany("INSERT OR REPLACE INTO job VALUES (?, ?)", rows)
            self._database.execute("COMMIT")
            self._database.execute("BEGIN IMMEDIATE")

    def value(self, name: str, default: Any = None) -> Any:
        """A value that was committed."""
        found = self._database.execute("SELECT value FROM job WHERE name = ?", (name,)).fetchone()
        return default if found is None else json.loads(found[0])

    def answers(self, texts: Iterable[bytes]) -> dict[bytes, np.ndarray]:
        """The numbers, float32 [labels], of those texts that have been answered, by their keys."""
        found = {}
        query = "SELECT numbers FROM answers WHERE text = ?"
        for text in texts:
            row = self._database.execute(query, (text,)).fetchone()
            if row is not None:
                found[text] = np.frombuffer(row[0], dtype=np.float32)
        return found

    def add_answers(self, texts: Sequence[bytes], numbers: np.ndarray) -> None:
        """Keep the numbers of texts, float32 [texts, labels], from the next commit on."""
        rows = zip(texts, (row.tobytes() for row in numbers), strict=True)
        with self._writing():
            self._database.executemany("INSERT INTO answers VALUES (?, ?)", rows)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """A full disk is an OSError, as for other files."""
        try:
            yield
        except sqlite3.Error as error:
            raise OSError(f"the state of the job cannot be written: {error}") from error
