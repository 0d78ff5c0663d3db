"""The kinds of files that a job reads and writes, told by their names."""

from dataclasses import dataclass
from pathlib import Path

from bertrt.errors import InputError

__all__ = ["FORMATS", "STANDARD_STREAM", "Dialect", "FileFormat", "compression_of", "file_format"]

FORMATS = ("csv", "tsv", "jsonl", "parquet", "text")

# Stands for standard input, or output.
STANDARD_STREAM = "-"

_FORMAT_OF = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".txt": "text",
}
_COMPRESSION_OF = {".gz": "gzip", ".zst": "zstd"}


@dataclass(frozen=True, slots=True)
class FileFormat:
    """How a file is laid out.

    name: one of FORMATS. compression: `gzip`, `zstd`, or None; of Parquet, which compresses within,
    always None.
    """

    name: str
    compression: str | None = None


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a CSV or TSV file is written.

    delimiter: between fields; None for the format's own, a comma or a tab.
    quotes: whether quotes around a field hide delimiters and line breaks in it (RFC 4180, and what
        spreadsheets, pandas and databases write); where false, a quote is a character like others.
    header: whether the first line names the columns; where false, they are called 1, 2, ..
    Raises ValueError for a delimiter that is none.
    """

    delimiter: str | None = None
    quotes: bool = True
    header: bool = True

    def __post_init__(self) -> None:
        given = self.delimiter
        if given is not None and (len(given) != 1 or given in '"\r\n'):
            raise ValueError(f"the delimiter is {given!r}: give one character, no quote")

    def delimiter_of(self, name: str) -> str:
        """The delimiter of a `csv` or `tsv` file."""
        return self.delimiter or {"csv": ",", "tsv": "\t"}[name]

    def of_output(self, given: str, wanted: str) -> "Dialect":
        """That of an output of format `wanted` for an input of format `given`."""
        shared = given == wanted or given not in ("csv", "tsv")
        return self if shared else Dialect(header=self.header)


def compression_of(file: str) -> str | None:
    """`gzip` or `zstd`, by a file's name; None for what is not compressed."""
    return _COMPRESSION_OF.get(Path(file).suffix.lower())


def file_format(file: str, given: str | None, option: str) -> FileFormat:
    """The format that is given, or that the file's name says; compression by the name.

    option: where the format can be given, for the error.
    Raises InputError where it cannot be told, ValueError for one that is none.
    """
    if given is not None and given not in FORMATS:
        raise ValueError(f"the format is {given!r}: choose one of {', '.join(FORMATS)}")
    compression = compression_of(file)
    inner = Path(file) if compression is None else Path(file).with_suffix("")
    name = given or _FORMAT_OF.get(inner.suffix.lower())
    if name is None:
        what = "standard input or output" if file == STANDARD_STREAM else repr(file)
        raise InputError(
            f"the format of {what} is not to be told by its name: give {option} "
            f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]} (or name it {', '.join(_FORMAT_OF)}, "
            "compressed .gz or .zst)"
        )
    if name == "parquet" and (compression is not None or file == STANDARD_STREAM):
        raise InputError(
            f"{file!r} cannot be Parquet, which is read and written in a file by itself, and "
            "compressed within: give a file named .parquet"
        )
    return FileFormat(name, compression)
