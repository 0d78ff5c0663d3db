"""Parquet files, and rows as Arrow tables."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bertrt.errors import InputError, MissingDependencyError
from bertrt.jobs.chunks import Place, Position, Row

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError as error:
    raise MissingDependencyError(
        "Parquet needs pyarrow: install it with `pip install 'bertrt[cpu,jobs]'`"
    ) from error

__all__ = ["TableChunk", "parquet_chunks", "parquet_schema", "table_of_records"]

# Rows that are decoded at a time; what is read ahead of them, in bytes.
_BATCH = 1024
_BUFFER = 2**20


@dataclass(frozen=True, slots=True)
class TableChunk:
    """Rows of Parquet files: a pyarrow.Table, and where each of them stands."""

    rows: Any
    places: Sequence[Place]
    end: Position
    consumed: float | None

    def __len__(self) -> int:
        return len(self.places)

    def place(self, index: int) -> Place:
        """Where a row stands."""
        return self.places[index]

    def fault(self, index: int) -> str | None:
        """None: what is in a Parquet file is a row."""
        return None

    def column(self, name: str) -> Sequence[Any]:
        """The values of a column."""
        values: list[Any] = self.rows[name].to_pylist()
        return values

    def record(self, index: int) -> Any:
        """A row's values."""
        (values,) = _readable(self.rows.slice(index, 1)).to_pylist()
        return values

    def records(self, kept: Sequence[int]) -> Iterator[tuple[Mapping[str, Any], str | None]]:
        """The values of some rows."""
        for values in _readable(self.table(kept, None)).to_pylist():
            yield values, None

    def table(self, kept: Sequence[int], schema: Any) -> Any:
        """Some rows, with their own types: all files have the same."""
        if len(kept) == len(self):
            return self.rows
        # Slices: to take single rows is not possible of all types.
        runs = [self.rows.slice(first, count) for first, count in _runs(kept)]
        return pa.concat_tables(runs) if runs else self.rows.slice(0, 0)


def parquet_schema(file: str) -> Any:
    """The pyarrow.Schema of a file; InputError if it is no Parquet."""
    with _open(file) as opened:
        return opened.schema_arrow


def parquet_chunks(
    files: Sequence[str], start: Position, max_rows: int, max_bytes: int
) -> Iterator[TableChunk]:
    """The rows of files from a position on, in chunks of `max_rows`, or of about `max_bytes`.

    Chunks depend on where they begin and on the files alone. A file is never whole in memory.
    """
    counts = []
    for file in files:
        with _open(file) as opened:
            counts.append(opened.metadata.num_rows)
    total, done = sum(counts), sum(counts[: start.file]) + start.row
    pieces: list[Any] = []
    places: list[Place] = []
    size = 0
    end = start
    for number, row, piece in _pieces(files, start):
        pieces.append(piece)
        places += [Place(files[number], row + index) for index in range(1, len(piece) + 1)]
        end = Position(number, row + len(piece))
        size += piece.nbytes
        if len(places) >= max_rows or size >= max_bytes:
            done += len(places)
            yield TableChunk(_joined(pieces), places, end, done / total)
            pieces, places, size = [], [], 0
    if places:
        yield TableChunk(_joined(pieces), places, end, 1.0)


def _open(file: str) -> Any:
    try:
        # Without them whole row groups are read at once, which may be the whole file.
        return pq.ParquetFile(file, pre_buffer=False, buffer_size=_BUFFER)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{file} cannot be read as Parquet: {error}") from error


def _pieces(files: Sequence[str], start: Position) -> Iterator[tuple[int, int, Any]]:
    """(file number, rows of it before, the next rows of it as a Table)."""
    for number in range(start.file, len(files)):
        skipped = start.row if number == start.file else 0
        with _open(files[number]) as file:
            row = 0
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                if row + rows <= skipped:
                    row += rows
                    continue
                # A group by itself: batches would else begin elsewhere where reading does.
                for batch in _batches(files[number], file, group):
                    first = max(0, skipped - row)
                    if first < len(batch):
                        yield number, row + first, pa.Table.from_batches([batch.slice(first)])
                    row += len(batch)


def _batches(name: str, file: Any, group: int) -> Iterator[Any]:
    try:
        yield from file.iter_batches(_BATCH, row_groups=[group])
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{name}, row group {group}, cannot be read: {error}") from error


def _runs(kept: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Rows that stand together, of those in ascending order: the first, and how many."""
    first = 0
    for at in range(1, len(kept) + 1):
        if at == len(kept) or kept[at] != kept[at - 1] + 1:
            yield kept[first], at - first
            first = at


def _readable(table: Any) -> Any:
    """Dates and times as text: Python's have no nanoseconds, and end with the year 9999."""
    for index, field in enumerate(table.schema):
        kind = _readable_type(field.type)
        if kind != field.type:
            table = table.set_column(index, field.name, table[index].cast(kind))
    return table


def _readable_type(kind: Any) -> Any:
    """A type with text in place of dates and times, within others too."""
    if pa.types.is_temporal(kind) and not pa.types.is_duration(kind):
        return pa.string()
    if pa.types.is_dictionary(kind):
        inner = _readable_type(kind.value_type)
        return kind if inner == kind.value_type else inner
    if pa.types.is_list(kind):
        return pa.list_(_readable_field(kind.value_field))
    if pa.types.is_large_list(kind):
        return pa.large_list(_readable_field(kind.value_field))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_readable_field(kind.value_field), kind.list_size)
    if pa.types.is_struct(kind):
        return pa.struct([_readable_field(field) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(_readable_field(kind.key_field), _readable_field(kind.item_field))
    return kind


def _readable_field(field: Any) -> Any:
    return field.with_type(_readable_type(field.type))


def _joined(pieces: Sequence[Any]) -> Any:
    return pa.concat_tables(pieces).combine_chunks().unify_dictionaries()


# Rows of text formats


def table_of_records(rows: Sequence[Row], schema: Any) -> Any:
    """The values of rows as a pyarrow.Table of a schema; None: of one that is inferred from them.

    Raises InputError, which names the row, for a value that does not fit.
    """
    if schema is None:
        schema = _inferred(rows)
    names = set(schema.names)
    for row in rows:
        extra = row.values.keys() - names
        if extra:
            raise InputError(
                f"{row.place}, has a column {min(extra)!r}, and the rows before have none, so it "
                "has no place in a Parquet file: write JSON Lines (.jsonl)"
            )
    columns = [_column(rows, field) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def _inferred(rows: Sequence[Row]) -> Any:
    names = list(dict.fromkeys(name for row in rows for name in row.values))
    fields = []
    for name in names:
        values = [row.values.get(name) for row in rows]
        try:
            kind = pa.infer_type(values)
        except (pa.ArrowException, OverflowError) as error:
            raise InputError(
                f"the values of column {name!r} are of several types, and Parquet takes one: write "
                f"JSON Lines (.jsonl) ({error})"
            ) from error
        fields.append((name, pa.string() if pa.types.is_null(kind) else kind))
    return pa.schema(fields)


def _column(rows: Sequence[Row], field: Any) -> Any:
    values = [row.values.get(field.name) for row in rows]
    try:
        array = pa.array(values, field.type)
        if _alike(values, array.to_pylist()):
            return array
    except (pa.ArrowException, OverflowError, TypeError):
        array = None  # which row it is, is found below
    for row, value in zip(rows, values, strict=True):
        try:
            fits = _alike([value], pa.array([value], field.type).to_pylist())
        except (pa.ArrowException, OverflowError, TypeError):
            fits = False
        if not fits:
            raise InputError(
                f"{row.place}: the value of column {field.name!r} is no {field.type}, as those "
                "before it are: write JSON Lines (.jsonl)"
            )
    raise InputError(f"the values of column {field.name!r} do not fit {field.type}")


def _alike(value: Any, kept: Any) -> bool:
    """Whether Arrow has kept a value of JSON: it cuts fractions off, and drops unknown keys."""
    if isinstance(value, dict) and isinstance(kept, dict):
        others = kept.keys() - value.keys()
        return all(kept[key] is None for key in others) and all(
            key in kept and _alike(item, kept[key]) for key, item in value.items()
        )
    if isinstance(value, list) and isinstance(kept, list):
        return len(value) == len(kept) and all(map(_alike, value, kept))
    return bool(value == kept) or (value != value and kept != kept)  # NaN is not itself
