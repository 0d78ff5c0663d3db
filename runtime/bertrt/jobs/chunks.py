"""Some rows of a job's input, whatever file they come from."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["MISSING", "Chunk", "Place", "Position", "RecordChunk", "Row", "no_text"]

# The value of a column that a row does not have.
MISSING: Any = object()


@dataclass(frozen=True, slots=True)
class Position:
    """How far the input has been read: `row` rows of file number `file`, and all files before."""

    file: int = 0
    row: int = 0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row stands: its file, its number there, from 1, and its line where it has one."""

    file: str
    row: int
    line: int | None = None

    def __str__(self) -> str:
        line = "" if self.line in (None, self.row) else f" (line {self.line})"
        return f"{self.file}, row {self.row}{line}"


class Chunk(Protocol):
    """Rows that follow one another.

    end: where the rest of the input begins. consumed: the share of the input up to there, from 0 to
    1; None where that is unknown.
    """

    @property
    def end(self) -> Position:
        """See the class."""

    @property
    def consumed(self) -> float | None:
        """See the class."""

    def __len__(self) -> int: ...

    def place(self, index: int) -> Place:
        """Where a row stands."""

    def fault(self, index: int) -> str | None:
        """Why a row is none, as `is not JSON`; None for those that can be read."""

    def column(self, name: str) -> Sequence[Any]:
        """The values of a column, MISSING where a row has none."""

    def record(self, index: int) -> Any:
        """A row as JSON can hold it, or as much of it as could be read."""

    def records(self, kept: Sequence[int]) -> Iterator[tuple[Mapping[str, Any], str | None]]:
        """The values of some rows by column, and the JSON that the row was, if it was."""

    def table(self, kept: Sequence[int], schema: Any) -> Any:
        """Some rows as a pyarrow.Table of a schema; None: of what fits these."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a text format.

    values: by column. size: characters that it has in the file. json: the line, where it is a JSON
    object. fault: why there are no values; content: as much as could be read then.
    """

    place: Place
    values: Mapping[str, Any]
    size: int
    json: str | None = None
    fault: str | None = None
    content: Any = None


@dataclass(frozen=True, slots=True)
class RecordChunk:
    """Rows of text formats."""

    rows: Sequence[Row]
    end: Position
    consumed: float | None

    def __len__(self) -> int:
        return len(self.rows)

    def place(self, index: int) -> Place:
        """Where a row stands."""
        return self.rows[index].place

    def fault(self, index: int) -> str | None:
        """Why a row is none."""
        return self.rows[index].fault

    def column(self, name: str) -> Sequence[Any]:
        """The values of a column."""
        return [row.values.get(name, MISSING) for row in self.rows]

    def record(self, index: int) -> Any:
        """A row's values, or what stands in its place."""
        row = self.rows[index]
        return row.content if row.fault is not None else dict(row.values)

    def records(self, kept: Sequence[int]) -> Iterator[tuple[Mapping[str, Any], str | None]]:
        """The values of some rows, and their JSON."""
        for index in kept:
            yield self.rows[index].values, self.rows[index].json

    def table(self, kept: Sequence[int], schema: Any) -> Any:
        """Some rows as a pyarrow.Table."""
        from bertrt.jobs.tables import table_of_records

        return table_of_records([self.rows[index] for index in kept], schema)


def no_text(name: str, value: Any) -> str:
    """What is wrong with a row whose value in a column is no string."""
    if value is MISSING:
        return f"has no column {name!r}"
    kind = "null" if value is None else f"of type {type(value).__name__}"
    return f"has no text in column {name!r}: it is {kind}"
