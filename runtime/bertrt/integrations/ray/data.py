"""Ray Data: labels and scores for the rows of a dataset."""

import os
from typing import Any

from bertrt.arrow_columns import arrow_columns
from bertrt.classifier import Classifier
from bertrt.columns import result_columns
from bertrt.errors import InputError
from bertrt.integrations.ray.resources import assigned
from bertrt.integrations.rows import row_logits
from bertrt.integrations.threads import limit_tokenizer_threads
from bertrt.jobs.chunks import no_text
from bertrt.jobs.scoring import TextScorer
from bertrt.long_text import Combine, LongText, LongTextOptions, checked_stride
from bertrt.selection import BEST, Threshold
from bertrt.tokenizer import TextInput

__all__ = ["BatchClassifier"]

# Of a row, in an error.
_SHOWN = 200


class BatchClassifier:
    """A class for `Dataset.map_batches`: each actor loads the model once, and adds columns.

        dataset.map_batches(
            BatchClassifier,
            fn_constructor_kwargs={"model": "/models/sentiment", "text_column": "sentence"},
            batch_format="pyarrow",
            batch_size=1024,
            num_cpus=1,
            compute=ray.data.ActorPoolStrategy(size=2),
        )

    An actor takes as many threads as it has CPUs (`num_cpus`), and CUDA if it has a GPU
    (`num_gpus`), never otherwise. Batches are pyarrow tables, because those keep every column as it
    is: numpy and pandas would change integers with nulls, timestamps and nested values.

    model: a folder, which must be at that path on every machine that runs an actor, or a hub id.
    text_column, text_pair_column: where the texts are; text_pair_column only for pairs.
    add, prefix: which columns are added, and how their names begin (`bertrt.columns`): those that
        `bertrt classify --input` adds.
    top_k, threshold, truncate, long_text, stride, combine: as `Classifier.__call__` takes them.
    precision, max_batch_tokens, file_name: as `Classifier` takes them.

    Raises what `Classifier` raises, and ValueError for an option out of range.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        text_column: str = "text",
        text_pair_column: str | None = None,
        add: str = "label",
        prefix: str = "",
        top_k: int | object | None = BEST,
        threshold: Threshold | None = None,
        truncate: bool = True,
        long_text: LongText = "truncate",
        stride: int | None = None,
        combine: Combine = "mean",
        precision: str = "auto",
        max_batch_tokens: int | None = None,
        file_name: str | None = None,
    ) -> None:
        options = LongTextOptions(long_text, truncate, stride, combine)
        own = assigned()
        limit_tokenizer_threads(own.threads)
        self.classifier = classifier = Classifier(
            model,
            own.device,
            threads=own.threads,
            precision=precision,
            max_batch_tokens=max_batch_tokens,
            file_name=file_name,
        )
        if long_text == "window":
            checked_stride(classifier.tokenizer, stride)
        self._columns = [name for name in (text_column, text_pair_column) if name is not None]
        self._scorer = TextScorer(classifier, options)
        self._result = result_columns(
            classifier.artifact, add=add, top_k=top_k, threshold=threshold, prefix=prefix
        )

    def __call__(self, batch: Any) -> Any:
        """The pyarrow table with its rows' results in columns of their own; all others are kept.

        Raises InputError, which shows the row, for one without a text, and for a text that cannot
        be classified; and where a column is missing, or is there already.
        """
        if not hasattr(batch, "column_names"):
            raise InputError(
                f"the batch is of type {type(batch).__name__}: give map_batches "
                'batch_format="pyarrow", in which all columns stay as they are'
            )
        self._result.check_free(batch.column_names, "the dataset")

        def describe(row: int) -> str:
            return self._describe(batch, row)

        logits = row_logits(self._scorer, self._texts(batch), describe)
        for name, values in arrow_columns(self._result, logits).items():
            batch = batch.append_column(name, values)
        return batch

    def _texts(self, batch: Any) -> list[TextInput]:
        """The text or pair of each row."""
        columns = []
        for name in self._columns:
            if name not in batch.column_names:
                raise InputError(
                    f"the dataset has no column {name!r}: it has {', '.join(batch.column_names)}"
                )
            values = batch[name].to_pylist()
            for row, value in enumerate(values):
                if not isinstance(value, str):
                    raise InputError(
                        f"{self._describe(batch, row)} {no_text(name, value)}. Take such rows out "
                        "before, with dataset.filter"
                    )
            columns.append(values)
        return columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))

    def _describe(self, batch: Any, row: int) -> str:
        """A row as errors call it: Ray numbers no rows, so what else is in it has to tell."""
        others = [name for name in batch.column_names if name not in self._columns]
        if not others:
            return f"row {row} of a batch of {batch.num_rows}"
        shown = str(batch.select(others).slice(row, 1).to_pylist()[0])
        return f"the row with {shown if len(shown) <= _SHOWN else shown[:_SHOWN] + '…'}"
