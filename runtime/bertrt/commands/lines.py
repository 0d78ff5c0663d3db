"""Texts from the command line or standard input, and progress over them."""

import argparse
import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from bertrt.errors import InputError

__all__ = ["chunk_size_of", "stdin_lines", "with_progress"]


_Result = TypeVar("_Result")


def stdin_lines() -> Iterator[str]:
    """The lines of standard input; InputError for one that is not UTF-8."""
    if sys.stdin is None:
        raise InputError("there is no text to classify, and standard input is closed")
    if sys.stdin.isatty():
        print("bertrt: reading one text a line; end with Ctrl-D", file=sys.stderr)
    for number, line in enumerate(sys.stdin.buffer, start=1):
        try:
            yield line.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise InputError(
                f"line {number} of standard input is not UTF-8 ({error.reason} at byte "
                f"{error.start}): convert the input with iconv"
            ) from error


def chunk_size_of(arguments: argparse.Namespace, size: int) -> int:
    """Someone who types wants each answer at once; a file goes faster in large chunks."""
    typed = not arguments.texts and sys.stdin is not None and sys.stdin.isatty()
    return 1 if typed else size


def with_progress(results: Iterable[tuple[_Result, str]]) -> Iterable[tuple[_Result, str]]:
    """Count texts on standard error, if that is a terminal and the results go elsewhere."""
    if sys.stdout.isatty() or not sys.stderr.isatty():
        return results
    from tqdm import tqdm  # comes with huggingface_hub; not needed where nobody looks

    counted: Iterable[tuple[_Result, str]] = tqdm(results, unit=" texts", file=sys.stderr)
    return counted
