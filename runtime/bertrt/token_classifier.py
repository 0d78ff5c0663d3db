"""text -> Window -> PackedBatch -> logits of tokens -> Entity."""

import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import overload

import numpy as np

from bertrt.aggregation import STRATEGIES, Entity, aggregate, merge_overlapping, pieces_of
from bertrt.artifact import Artifact
from bertrt.batches import run_batches
from bertrt.errors import EmptyInputError, InputError
from bertrt.inputs import as_strings, check_iterable
from bertrt.loading import load_model
from bertrt.postprocess import scores
from bertrt.tokenizer import Window

__all__ = ["TokenClassifier"]

_NO_ENTITY = ("O",)


@dataclass(frozen=True, slots=True)
class _Options:
    """The options of a call, checked."""

    strategy: str
    ignored: Collection[str]
    stride: int | None
    truncate: bool

    def __post_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            raise ValueError(
                f"aggregation_strategy is {self.strategy!r}: choose one of {', '.join(STRATEGIES)}"
            )
        if isinstance(self.ignored, str):
            raise ValueError(f"ignore_labels is {self.ignored!r}: give a list of label names")
        if self.stride is not None and self.strategy == "none":
            raise ValueError(
                "stride needs entities that can be merged where windows overlap, and "
                "aggregation_strategy='none' gives single tokens: choose one of "
                f"{', '.join(STRATEGIES[1:])}"
            )


class TokenClassifier:
    """A token classifier (named entities, parts of speech) loaded from an artifact. Thread-safe.

    The arguments are those of `Classifier`, and so are the errors.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        device: str = "auto",
        *,
        threads: int | None = None,
        precision: str = "auto",
        max_batch_tokens: int | None = None,
        file_name: str | None = None,
        check_files: bool = True,
        check_answers: bool = True,
    ) -> None:
        self._model = load_model(
            model,
            device,
            task="token-classification",
            threads=threads,
            precision=precision,
            max_batch_tokens=max_batch_tokens,
            file_name=file_name,
            check_files=check_files,
            check_answers=check_answers,
        )

    @property
    def artifact(self) -> Artifact:
        """The files that the model was loaded from."""
        return self._model.artifact

    @property
    def labels(self) -> tuple[str, ...]:
        """Label names in logit order."""
        return self._model.artifact.labels

    @property
    def precision(self) -> str:
        """The precision that was loaded."""
        return self._model.precision

    @property
    def provider(self) -> str:
        """The onnxruntime execution provider that runs the model."""
        return self._model.provider

    # mypy: a str is an Iterable[str] too; the first overload that fits is the one that is meant.
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self,
        texts: str,
        *,
        aggregation_strategy: str = ...,
        ignore_labels: Collection[str] = ...,
        stride: int | None = ...,
        truncate: bool = ...,
    ) -> list[Entity]: ...
    @overload
    def __call__(
        self,
        texts: Iterable[str],
        *,
        aggregation_strategy: str = ...,
        ignore_labels: Collection[str] = ...,
        stride: int | None = ...,
        truncate: bool = ...,
    ) -> list[list[Entity]]: ...
    def __call__(
        self,
        texts: str | Iterable[str],
        *,
        aggregation_strategy: str = "none",
        ignore_labels: Collection[str] = _NO_ENTITY,
        stride: int | None = None,
        truncate: bool = True,
    ) -> list[Entity] | list[list[Entity]]:
        """The entities of a text, or of each of several, in the order of the text.

        aggregation_strategy: `none`, every token by itself; `simple`, neighbours of one tag
        together; `first`, `average`, `max`, the same of words, whose label is that of their first
        token, of the mean of their tokens' scores, or of their surest token.
        ignore_labels: labels that are left out, of tokens (`B-PER`) for `none`, else of groups
        (`PER`); an empty list leaves none out.
        stride: a text over the model's limit is read in windows that share so many tokens, and
        where their entities overlap the longest stays. None: such a text is cut, and nothing is
        found in what was cut off; with `truncate` false that is an error.
        Raises InputError for what is not a text, EmptyInputError for an empty list,
        TextTooLongError, or ValueError for an option out of range.
        """
        options = _Options(aggregation_strategy, ignore_labels, stride, truncate)
        listed = as_strings(texts)
        if not listed:
            raise EmptyInputError("there is no text to tag: the list is empty")
        found = self._entities(listed, options, 0)
        return found[0] if isinstance(texts, str) else found

    def stream(
        self,
        texts: Iterable[str],
        *,
        aggregation_strategy: str = "none",
        ignore_labels: Collection[str] = _NO_ENTITY,
        stride: int | None = None,
        truncate: bool = True,
        chunk_size: int = 1024,
    ) -> Iterator[list[Entity]]:
        """Tag any iterable lazily: one list a text, in order, as `__call__` gives them.

        Reads `chunk_size` texts ahead and keeps no more than those, so memory does not grow with
        the input.
        """
        options = _Options(aggregation_strategy, ignore_labels, stride, truncate)
        if chunk_size < 1:
            raise ValueError(f"chunk_size is {chunk_size}: give 1 or more")
        if isinstance(texts, str):
            raise InputError("stream takes an iterable of texts: put the one text into a list")
        check_iterable(texts)
        return self._stream(iter(texts), options, chunk_size)

    def _stream(
        self, texts: Iterator[str], options: _Options, chunk_size: int
    ) -> Iterator[list[Entity]]:
        first = 0
        while chunk := list(islice(texts, chunk_size)):
            yield from self._entities(chunk, options, first)
            first += len(chunk)

    def _entities(self, texts: list[str], options: _Options, first: int) -> list[list[Entity]]:
        """One list a text; errors count the texts from `first`."""
        for position, text in enumerate(texts, first):
            if not isinstance(text, str):
                raise InputError(
                    f"text {position} is of type {type(text).__name__}: a token classifier takes "
                    "strings"
                )
        tokenizer = self._model.tokenizer
        if options.stride is None:
            located = tokenizer.located(texts, truncate=options.truncate, first=first)
            windows = [[window] for window in located]
        else:
            windows = tokenizer.windows(texts, stride=options.stride, first=first)
        flat = [window for of_text in windows for window in of_text]
        logits = iter(self._logits(flat))
        results = []
        for text, of_text in zip(texts, windows, strict=True):
            entities = [
                entity
                for window in of_text
                for entity in self._window_entities(text, window, next(logits), options.strategy)
                if entity.label not in options.ignored
            ]
            results.append(merge_overlapping(entities) if len(of_text) > 1 else entities)
        return results

    def _logits(self, windows: list[Window]) -> list[np.ndarray]:
        """The logits of each window, float32 [tokens, labels], in order."""
        # Without special tokens an empty text has no tokens, and the graph takes no such text.
        filled = [position for position, window in enumerate(windows) if len(window)]
        encodings = [windows[position].encoding for position in filled]
        logits = [np.empty((0, len(self.labels)), dtype=np.float32)] * len(windows)
        batches = run_batches(self._model.session, encodings, self._model.max_batch_tokens)
        for positions, rows in batches:
            ends = np.cumsum([len(encodings[position]) for position in positions])
            for position, of_text in zip(positions, np.split(rows, ends[:-1]), strict=True):
                logits[filled[position]] = of_text
        return logits

    def _window_entities(
        self, text: str, window: Window, logits: np.ndarray, strategy: str
    ) -> list[Entity]:
        tokenizer = self._model.tokenizer
        pieces = pieces_of(
            text,
            window.tokens,
            window.offsets,
            window.sequence_ids < 0,
            window.encoding.input_ids == tokenizer.unknown_id,
            marks_subwords=tokenizer.marks_subwords,
        )
        probabilities = scores(logits[[piece.index for piece in pieces]], "softmax")
        return aggregate(pieces, probabilities, self.labels, strategy, tokenizer.join)
