"""Spark: a column of labels and scores for a column of texts. Needs the extra `spark`."""

import functools
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bertrt.artifact import load_artifact
from bertrt.classifier import Classifier
from bertrt.columns import Column, ResultColumns, result_columns
from bertrt.devices import Device
from bertrt.errors import InputError, MissingDependencyError
from bertrt.integrations.rows import row_logits
from bertrt.integrations.threads import limit_tokenizer_threads
from bertrt.jobs.scoring import TextScorer
from bertrt.loading import check_batch_tokens, check_task
from bertrt.long_text import Combine, LongText, LongTextOptions, checked_stride
from bertrt.precision import choose_precision
from bertrt.selection import BEST, Threshold
from bertrt.tokenizer import TextInput, TextTokenizer

try:
    import pandas as pd
    import pyarrow  # noqa: F401 -- pyspark needs it for pandas_udf, and would say so later
    from pyspark import TaskContext
    from pyspark.sql.pandas.functions import pandas_udf
    from pyspark.sql.types import (
        ArrayType,
        FloatType,
        StringType,
        StructField,
        StructType,
    )
except ImportError as error:
    raise MissingDependencyError(
        "bertrt.integrations.spark needs PySpark, pandas and pyarrow: install them with "
        "`pip install 'bertrt[cpu,spark]'`"
    ) from error

__all__ = ["classifier_udf"]

_PREDICTION = StructType([StructField("label", StringType()), StructField("score", FloatType())])

# Models that a worker keeps, should a query use several.
_KEPT = 4


@dataclass(frozen=True, slots=True)
class _Model:
    """A model as a worker loads it. threads: None for the CPUs of the task."""

    path: str
    device: str
    threads: int | None
    precision: str
    max_batch_tokens: int | None
    file_name: str | None
    options: LongTextOptions


def classifier_udf(
    model: str | os.PathLike[str],
    *,
    add: str = "label",
    prefix: str = "",
    top_k: int | object | None = BEST,
    threshold: Threshold | None = None,
    truncate: bool = True,
    long_text: LongText = "truncate",
    stride: int | None = None,
    combine: Combine = "mean",
    device: str = "cpu",
    threads: int | None = None,
    precision: str = "auto",
    max_batch_tokens: int | None = None,
    file_name: str | None = None,
) -> Callable[..., Any]:
    """A pandas UDF of a column of texts, or of two columns, of pairs: a struct of the result.

        classify = classifier_udf("/models/sentiment")
        reviews.select("*", classify("text").alias("result")).select("*", "result.*").drop("result")

    Where a text, or a text of a pair, is null, so are all fields of its struct. Each Python worker
    loads the model once and keeps it for the tasks that follow.

    model: a folder, which must be at that path on the driver and on every executor, or a hub id.
    add, prefix: which fields there are, and how their names begin (`bertrt.columns`): those of
        `bertrt classify --input`. Labels are strings, numbers floats, predictions arrays.
    top_k, threshold, truncate, long_text, stride, combine: as `Classifier.__call__` takes them.
    device, precision, max_batch_tokens, file_name: as `Classifier` takes them.
    threads: by default as many as the task has CPUs (spark.task.cpus, by default 1).

    Raises ArtifactError for a model that the driver cannot read or that is for another task,
    ValueError for an option out of range, DeviceError for a precision that the device does not run.
    The query fails with InputError for a value that is no string, and for a text that cannot
    be classified.
    """
    if threads is not None and threads < 1:
        raise ValueError(f"threads is {threads}: give 1 or more, or None for the CPUs of the task")
    check_batch_tokens(max_batch_tokens)
    parsed = Device.parse(device)
    artifact = load_artifact(model, file_name=file_name, check_files=False)
    check_task(artifact, "text-classification")
    if parsed.kind != "auto":  # which the workers' machines decide
        choose_precision(artifact, precision, parsed)
    result = result_columns(artifact, add=add, top_k=top_k, threshold=threshold, prefix=prefix)
    options = LongTextOptions(long_text, truncate, stride, combine)
    if long_text == "window":
        checked_stride(TextTokenizer(artifact.tokenizer_path, artifact.max_length), stride)
    path = os.fspath(model)
    used = _Model(path, device, threads, precision, max_batch_tokens, file_name, options)

    # Of two columns Spark hands out tuples of two series, whatever the hint says.
    def classify(batches: Iterator[pd.Series]) -> Iterator[pd.DataFrame]:
        return _answer(batches, used, result)

    # PySpark's stubs know of no hints, from which pandas_udf takes the kind of function it is.
    made: Callable[..., Any] = pandas_udf(classify, _type_of(result))  # type: ignore[call-overload]
    return made


def _type_of(result: ResultColumns) -> StructType:
    """The struct that has the columns of a result as its fields."""
    fields = [StructField(name, FloatType()) for name in result.names]
    first = StringType() if result.selection.alone else ArrayType(_PREDICTION)
    return StructType([StructField(result.names[0], first), *fields[1:]])


def _answer(batches: Iterator[Any], model: _Model, result: ResultColumns) -> Iterator[pd.DataFrame]:
    """The results of a task's batches of rows."""
    task = TaskContext.get()
    assert task is not None  # Spark calls this, in a worker
    scorer = _scorer(model, model.threads or task.cpus())
    first = 0
    for batch in batches:
        columns = batch if isinstance(batch, tuple) else (batch,)
        if len(columns) not in (1, 2):
            raise InputError(
                f"the UDF is called with {len(columns)} columns: give one, of texts, or two, of "
                "pairs"
            )
        # Spark hands out a struct as a frame, of which the names would be taken for the texts.
        if any(isinstance(column, pd.DataFrame) for column in columns):
            raise InputError(
                "the UDF is called with a struct: give one column, of texts, or two, of pairs"
            )

        def describe(row: int, first: int = first) -> str:
            return f"row {first + row} of partition {task.partitionId()}"

        yield _frame(scorer, columns, result, describe)
        first += len(columns[0])


def _frame(
    scorer: TextScorer,
    columns: tuple[pd.Series, ...],
    result: ResultColumns,
    describe: Callable[[int], str],
) -> pd.DataFrame:
    """The results of a batch's rows; empty where a text is null."""
    rows: list[int] = []
    texts: list[TextInput] = []
    for row, values in enumerate(zip(*columns, strict=True)):
        if any(pd.isna(value) is True for value in values):  # of a list it is an array
            continue
        for value in values:
            if not isinstance(value, str):
                raise InputError(
                    f"{describe(row)} has no text: it is of type {type(value).__name__}. Give the "
                    "UDF columns of strings"
                )
        rows.append(row)
        texts.append(values[0] if len(values) == 1 else values)
    logits = row_logits(scorer, texts, lambda position: describe(rows[position]))
    frame: dict[str, list[Any]] = {}
    for name, column in result.of(logits).items():
        filled: list[Any] = [None] * len(columns[0])
        for row, value in zip(rows, _values(column), strict=True):
            filled[row] = value
        frame[name] = filled
    return pd.DataFrame(frame, dtype=object)


def _values(column: Column) -> list[Any]:
    """A column as Spark takes it."""
    if isinstance(column, np.ndarray):
        return list(column.tolist())
    return [
        value if isinstance(value, str) else [asdict(prediction) for prediction in value]
        for value in column
    ]


@functools.lru_cache(maxsize=_KEPT)
def _scorer(model: _Model, threads: int) -> TextScorer:
    """The model, loaded once in this process."""
    limit_tokenizer_threads(threads)
    classifier = Classifier(
        model.path,
        model.device,
        threads=threads,
        precision=model.precision,
        max_batch_tokens=model.max_batch_tokens,
        file_name=model.file_name,
    )
    return TextScorer(classifier, model.options)
