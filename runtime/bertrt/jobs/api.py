"""Files of texts to files with results, in one call."""

import os
from collections.abc import Callable, Iterable

from bertrt.classifier import Classifier
from bertrt.columns import result_columns
from bertrt.errors import InputError
from bertrt.jobs.files import JobFiles
from bertrt.jobs.formats import STANDARD_STREAM, Dialect, FileFormat, file_format
from bertrt.jobs.job import JobReport, Progress, run_job
from bertrt.jobs.scoring import Scorer, TextScorer, ZeroShotScorer
from bertrt.long_text import Combine, LongText, LongTextOptions
from bertrt.selection import BEST, Threshold
from bertrt.zero_shot import ZeroShotClassifier

__all__ = ["classify_files"]

File = str | os.PathLike[str]


def classify_files(
    classifier: Classifier | ZeroShotClassifier,
    inputs: File | Iterable[File],
    output: File = STANDARD_STREAM,
    *,
    text_column: str | None = None,
    text_pair_column: str | None = None,
    top_k: int | object | None = BEST,
    threshold: Threshold | None = None,
    add: str = "label",
    prefix: str = "",
    truncate: bool = True,
    long_text: LongText = "truncate",
    stride: int | None = None,
    combine: Combine = "mean",
    multi_label: bool = False,
    errors: File | None = None,
    resume: bool = False,
    overwrite: bool = False,
    input_format: str | None = None,
    output_format: str | None = None,
    dialect: Dialect | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> JobReport:
    """Classify the rows of files, and write them, with all their columns and their results.

    The memory does not grow with the files. Rows are in their order; texts that are equal are
    computed once. What is done is in OUTPUT.partial until all is, so that a job that was killed, at
    any moment, goes on where it was, and gives the same file.

    classifier: a zero-shot one must have been made with labels.
    inputs: a file, or several of one format, one after another; `-` is standard input.
    output: a file, which appears when it is whole; `-` is standard output.
    text_column, text_pair_column: where the texts are; by default `text`, or the only column.
    top_k, threshold, truncate, long_text, stride, combine: as `Classifier` takes them; multi_label:
        as `ZeroShotClassifier` does.
    add: `label`, which gives `label` and `score`, or `predictions` where there may be several;
        `scores` or `logits`: a column `score_LABEL` or `logit_LABEL` for each label too. (Those of
        a zero-shot classifier are scores.)
    prefix: begins the names of the added columns.
    errors: the file for rows that cannot be classified, JSON Lines with their number and the
        reason; None: the first of them ends the job.
    resume: go on with a job that was stopped; where there is none, begin. overwrite: replace an
        output that is there.
    input_format, output_format: csv, tsv, jsonl, parquet or text; by default the file's name says.
    dialect: of CSV and TSV files.
    on_progress: called at the start, and after every chunk of rows.

    Raises InputError for files that cannot be read or written, for a row that cannot be classified
    where `errors` is None, and for a job that is resumed with other files, options or another
    model; ValueError for an option out of range.
    """
    files = [os.fspath(file) for file in _listed(inputs)]
    if not files:
        raise InputError("there is no file to classify: the list is empty")
    given = _common_format(files, input_format)
    target = os.fspath(output)
    job = JobFiles(
        files,
        given,
        target,
        _output_format(target, output_format, given),
        None if errors is None else os.fspath(errors),
        text_column,
        text_pair_column,
        dialect or Dialect(),
    )
    options = LongTextOptions(long_text, truncate, stride, combine)
    scorer: Scorer
    if isinstance(classifier, ZeroShotClassifier):
        if options != LongTextOptions() or text_pair_column is not None:
            raise InputError(
                "zero-shot classification makes the pairs itself, and cuts texts as they need it: "
                "leave pairs, windows and truncation out"
            )
        scorer = ZeroShotScorer(classifier, multi_label=multi_label)
    elif multi_label:
        raise ValueError("multi_label is for zero-shot: give a ZeroShotClassifier")
    else:
        scorer = TextScorer(classifier, options)
    result = result_columns(
        scorer.classifier.artifact,
        add=add,
        top_k=top_k,
        threshold=threshold,
        prefix=prefix,
        labels=scorer.labels if isinstance(scorer, ZeroShotScorer) else None,
    )
    return run_job(scorer, result, job, resume=resume, overwrite=overwrite, on_progress=on_progress)


def _listed(files: File | Iterable[File]) -> Iterable[File]:
    return [files] if isinstance(files, str | os.PathLike) else files


def _common_format(files: list[str], given: str | None) -> FileFormat:
    first = file_format(files[0], given, "--input-format")
    for file in files[1:]:
        other = file_format(file, given, "--input-format")
        if other.name != first.name:
            raise InputError(
                f"{files[0]} is {first.name} and {file} is {other.name}: classify each by itself"
            )
    return first


def _output_format(file: str, given: str | None, input_format: FileFormat) -> FileFormat:
    if file == STANDARD_STREAM and given is None:
        # Lines, whatever is read; Parquet has none, and plain text no columns.
        given = "jsonl" if input_format.name in ("parquet", "text") else input_format.name
    return file_format(file, given, "--output-format")
