"""`bertrt classify --input`: files of texts."""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bertrt.columns import ADD
from bertrt.errors import InputError
from bertrt.jobs.formats import FORMATS, STANDARD_STREAM, Dialect

if TYPE_CHECKING:
    from bertrt.classifier import Classifier
    from bertrt.jobs.job import JobReport, Progress
    from bertrt.zero_shot import ZeroShotClassifier

__all__ = ["add_file_arguments", "check_no_file_options", "run_files"]

_FILE_DEFAULTS = {
    "output": STANDARD_STREAM,
    "errors": None,
    "resume": False,
    "overwrite": False,
    "text_column": None,
    "text_pair_column": None,
    "add": "label",
    "prefix": "",
    "input_format": None,
    "output_format": None,
    "delimiter": None,
    "no_quotes": False,
    "no_header": False,
}


def add_file_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `bertrt classify` that are for files."""
    group = parser.add_argument_group(
        "files",
        "CSV, TSV, JSON Lines, Parquet or plain text, .gz and .zst too. All columns are kept, and "
        "label and score added (predictions, where there may be several). Texts that are equal are "
        "computed once. The output appears when it is whole; until then what is done is in "
        "OUTPUT.partial.",
    )
    group.add_argument("--input", nargs="+", metavar="FILE", help="the texts; - is standard input")
    group.add_argument(
        "--output", metavar="FILE", help="where the rows go (default: -, standard output)"
    )
    group.add_argument("--text-column", metavar="NAME", help="default: text, or the only one")
    group.add_argument("--text-pair-column", metavar="NAME", help="the second text of a pair")
    group.add_argument(
        "--add", choices=ADD, help="the label alone (default), every label's score, or every logit"
    )
    group.add_argument(
        "--prefix", metavar="TEXT", help="begins the names of added columns, as predicted_"
    )
    group.add_argument(
        "--errors",
        metavar="FILE",
        help="put rows that cannot be classified there, with the reason, as JSON Lines (default: "
        "such a row ends the job)",
    )
    group.add_argument("--resume", action="store_true", help="go on with a job that was stopped")
    group.add_argument("--overwrite", action="store_true", help="replace an output that is there")
    group.add_argument("--input-format", choices=FORMATS, help="default: by the file's name")
    group.add_argument("--output-format", choices=FORMATS, help="default: by the file's name")
    group.add_argument("--delimiter", metavar="C", help="of CSV and TSV, such as ';'")
    group.add_argument(
        "--no-quotes", action="store_true", help="in CSV and TSV a quote is no more than that"
    )
    group.add_argument(
        "--no-header",
        action="store_true",
        help="the first line is a row; columns are called 1, 2, ..",
    )
    group.set_defaults(**_FILE_DEFAULTS)


def check_no_file_options(arguments: argparse.Namespace) -> None:
    """InputError for an option that only files have, where there are none."""
    for name, default in _FILE_DEFAULTS.items():
        if getattr(arguments, name) != default:
            raise InputError(f"--{name.replace('_', '-')} is for files: give --input FILE too")


def run_files(
    arguments: argparse.Namespace, classifier: "Classifier | ZeroShotClassifier", **options: Any
) -> None:
    """Classify files, with progress on a terminal and a summary on standard error.

    options: those of `classify_files` that are not for files alone.
    """
    # Here, for who classifies a few texts.
    from bertrt.jobs.api import classify_files
    from bertrt.jobs.workplace import partial_folder

    started = time.monotonic()
    try:
        with _progress() as on_progress:
            report = classify_files(
                classifier,
                arguments.input,
                arguments.output,
                text_column=arguments.text_column,
                text_pair_column=arguments.text_pair_column,
                add=arguments.add,
                prefix=arguments.prefix,
                errors=arguments.errors,
                resume=arguments.resume,
                overwrite=arguments.overwrite,
                input_format=arguments.input_format,
                output_format=arguments.output_format,
                dialect=Dialect(
                    arguments.delimiter, not arguments.no_quotes, not arguments.no_header
                ),
                on_progress=on_progress,
                **options,
            )
    except (KeyboardInterrupt, OSError):
        if partial_folder(Path(arguments.output)).exists():
            print("bertrt: stopped: go on with --resume", file=sys.stderr)
        raise
    seconds = time.monotonic() - started
    print(f"bertrt: {_summary(report, arguments.errors, seconds)}", file=sys.stderr)


@contextmanager
def _progress() -> Iterator["Callable[[Progress], None] | None"]:
    """Draws how far the job is, the rate and the time left, if standard error is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm  # comes with huggingface_hub; not needed where nobody looks

    known = "{percentage:3.0f}%|{bar}| {desc} [{elapsed}<{remaining}]"
    with tqdm(total=1.0, bar_format=known, file=sys.stderr) as bar:
        started = time.monotonic()
        rows_before: int | None = None

        def draw(progress: "Progress") -> None:
            nonlocal rows_before
            rows = progress.report.rows
            if rows_before is None:
                rows_before = rows  # of a job that goes on
            rate = (rows - rows_before) / max(time.monotonic() - started, 1e-3)
            bar.set_description_str(f"{rows:,} rows, {rate:,.0f} rows/s", refresh=False)
            if progress.consumed is not None:
                if bar.n == 0:  # what was done before says nothing of the time that is left
                    bar.initial = bar.n = progress.consumed * rows_before / rows
                bar.n = progress.consumed
            elif rows > rows_before:
                bar.bar_format = "{desc} [{elapsed}]"
            bar.refresh()

        yield draw


def _summary(report: "JobReport", errors: str | None, seconds: float) -> str:
    parts = [f"{report.written:,} of {report.rows:,} rows classified in {seconds:,.1f} s"]
    repeated = report.written - report.computed
    if repeated > 0:
        parts.append(f"repeated, so not computed again: {repeated:,}")
    if report.cut:
        parts.append(f"cut at the model's limit: {report.cut:,}")
    if report.faults:
        parts.append(f"left out: {report.faults:,}, see {errors}")
    return "; ".join(parts)
