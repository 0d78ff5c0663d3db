"""text -> Encoding -> PackedBatch -> logits -> Prediction."""

import functools
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, overload

import numpy as np

from bertrt.batches import run_batches
from bertrt.errors import ArtifactError, EmptyInputError, InputError
from bertrt.loading import DEFAULT_MAX_BATCH_TOKENS, load_model
from bertrt.long_text import (
    Combine,
    LongText,
    LongTextOptions,
    checked_stride,
    combine_windows,
    encode_groups,
)
from bertrt.postprocess import (
    Prediction,
    Ranked,
    WindowPrediction,
    predictions,
    rank_texts,
    scores,
)
from bertrt.prefetch import prefetch
from bertrt.selection import BEST, Selection, Threshold, checked_top_k, select
from bertrt.tokenizer import Encoding, TextInput

__all__ = ["DEFAULT_MAX_BATCH_TOKENS", "Classifier", "classify_text"]

# Texts that are tokenized at a time on a GPU, while it runs those before: enough of them to be
# batched by length, few enough to begin soon.
_CHUNK = 4096


class Classifier:
    """A text classifier, loaded and ready to answer. Thread-safe.

    model: a folder that export-model wrote, or another exporter's, with `model.onnx` or
        `onnx/model.onnx`, config.json and a tokenizer; or the id of a hub repository that holds
        either. How another exporter's answers compare with PyTorch's, nobody has verified; and
        where its activations are quantized with one scale for a whole batch, as Optimum's dynamic
        quantization does (`model_quantized.onnx`), the texts beside a text change its answer.
    device: `cpu`, `cuda`, `tensorrt` (of several GPUs `cuda:1`, ..), or `auto`: CUDA where it
        works, else the CPU (`provider` says which it took).
    threads: CPU threads of one call; by default the CPUs that this process may use.
    precision: `fp32`, `int8` (CPU), `fp16` (GPU) or `auto`: of those that the artifact holds, the
        best for the device (`precision` says which it took). Another exporter's folder has the one
        that its graph's name says.
    max_batch_tokens: the places of one batch, by default 512 on the CPU and 16,384 on a GPU; more
        tokens a batch need more memory.
    file_name: the graph to run, relative to the folder, where there are several:
        `onnx/model_quantized.onnx`.
    check_files: compare every file with the SHA-256 that the manifest states.
    check_answers: compare the logits of a few short texts with those that the exporter got; it
        takes tens of milliseconds. (There is nothing to compare in another exporter's folder.)

    Raises ArtifactError, DeviceError, or ValueError for an argument out of range.
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
        loaded = load_model(
            model,
            device,
            task="text-classification",
            threads=threads,
            precision=precision,
            max_batch_tokens=max_batch_tokens,
            file_name=file_name,
            check_files=check_files,
            check_answers=check_answers,
        )
        self.artifact = loaded.artifact
        self.threads = loaded.threads
        self.max_batch_tokens = loaded.max_batch_tokens
        self.precision = loaded.precision
        self.tokenizer = loaded.tokenizer
        self.session = loaded.session

    @property
    def labels(self) -> tuple[str, ...]:
        """Label names in logit order."""
        return self.artifact.labels

    @property
    def provider(self) -> str:
        """The onnxruntime execution provider that runs the model."""
        return self.session.provider

    # mypy: a str is an Iterable[str] too; the first overload that fits is the one that is meant.
    # `| Any`: which of the two it is, the artifact says; nobody should have to check at each call.
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self,
        texts: TextInput,
        *,
        truncate: bool = ...,
        long_text: LongText = ...,
        stride: int | None = ...,
        combine: Combine = ...,
    ) -> Prediction | Any: ...
    @overload
    def __call__(
        self,
        texts: Iterable[TextInput],
        *,
        truncate: bool = ...,
        long_text: LongText = ...,
        stride: int | None = ...,
        combine: Combine = ...,
    ) -> list[Prediction | Any]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self,
        texts: TextInput,
        top_k: int | None = ...,
        *,
        truncate: bool = ...,
        threshold: Threshold | None = ...,
        long_text: LongText = ...,
        stride: int | None = ...,
        combine: Combine = ...,
    ) -> list[Prediction]: ...
    @overload
    def __call__(
        self,
        texts: Iterable[TextInput],
        top_k: int | None = ...,
        *,
        truncate: bool = ...,
        threshold: Threshold | None = ...,
        long_text: LongText = ...,
        stride: int | None = ...,
        combine: Combine = ...,
    ) -> list[list[Prediction]]: ...
    def __call__(
        self,
        texts: TextInput | Iterable[TextInput],
        top_k: int | object | None = BEST,
        *,
        truncate: bool = True,
        threshold: Threshold | None = None,
        long_text: LongText = "truncate",
        stride: int | None = None,
        combine: Combine = "mean",
    ) -> Any:
        """Classify a text, a pair (a tuple of two strings), or a list of either, in order.

        The result of a text is its best Prediction; but a list of Predictions, best first, where
        top_k or threshold is given, or the model is multi-label and its artifact has thresholds.

        top_k: a number, that many labels; None, all of them.
        threshold: the labels whose score is at or over it: one number for all, or a mapping with
            one for each label's name. The list may be empty. With top_k, at most so many. Not given
            (and top_k neither), a multi-label model takes the thresholds of its artifact, if it has
            any. From 0 to 1; for a regression, any number.
        truncate: cut a text over the model's limit; where false, it is an error.
        long_text: `window` reads such a text whole instead, in overlapping windows of the limit's
            length, and combines their logits. Shorter texts give the same either way. Of a pair,
            the longer text is read so, with the other one in every window.
        stride: tokens that consecutive windows share; by default an eighth of the limit: 64 of 512.
        combine: `mean` or `max` of the windows' logits, label by label, before the activation.

        Raises InputError for what is not a text and for a pair that leaves windows no room,
        EmptyInputError for an empty list, TextTooLongError for a text over the limit where
        `truncate` is false, ValueError for an option out of range.
        """
        selection = self._selection(top_k, threshold)
        options = self._options(long_text, truncate, stride, combine)
        results = selection.of(self._logits(_as_list(texts), options))
        return results[0] if isinstance(texts, (str, tuple)) else results

    def logits(
        self,
        texts: TextInput | Iterable[TextInput],
        *,
        truncate: bool = True,
        long_text: LongText = "truncate",
        stride: int | None = None,
        combine: Combine = "mean",
    ) -> np.ndarray:
        """The model's raw answers, float32 [texts, labels], in input order."""
        options = self._options(long_text, truncate, stride, combine)
        return self._logits(_as_list(texts), options)

    @overload
    def stream(
        self,
        texts: Iterable[TextInput],
        *,
        chunk_size: int = ...,
        truncate: bool = ...,
        long_text: LongText = ...,
        stride: int | None = ...,
        combine: Combine = ...,
    ) -> Iterator[Prediction | Any]: ...
    @overload
    def stream(
        self,
        texts: Iterable[TextInput],
        top_k: int | None = ...,
        *,
        chunk_size: int = ...,
        truncate: bool = ...,
        threshold: Threshold | None = ...,
        long_text: LongText = ...,
        stride: int | None = ...,
        combine: Combine = ...,
    ) -> Iterator[list[Prediction]]: ...
    def stream(
        self,
        texts: Iterable[TextInput],
        top_k: int | object | None = BEST,
        *,
        chunk_size: int = 1024,
        truncate: bool = True,
        threshold: Threshold | None = None,
        long_text: LongText = "truncate",
        stride: int | None = None,
        combine: Combine = "mean",
    ) -> Iterator[Any]:
        """Classify any iterable lazily: one result a text, in order, as `__call__` gives them.

        Reads `chunk_size` texts ahead and keeps no more than those, so memory does not grow with
        the input. Larger chunks hold more texts of like length to batch together. On a GPU, a
        thread of its own reads and tokenizes three chunks more.
        """
        selection = self._selection(top_k, threshold)
        options = self._options(long_text, truncate, stride, combine)
        if chunk_size < 1:
            raise ValueError(f"chunk_size is {chunk_size}: give 1 or more")
        if isinstance(texts, (str, tuple)):
            raise InputError("stream takes an iterable of texts: put the one text into a list")
        _check_iterable(texts)
        return self._stream(texts, selection, options, chunk_size)

    def _stream(
        self,
        texts: Iterable[TextInput],
        selection: Selection,
        options: LongTextOptions,
        chunk_size: int,
    ) -> Iterator[Any]:
        remaining = iter(texts)
        chunks = iter(lambda: list(islice(remaining, chunk_size)), [])
        for logits, _ in self._answers(chunks, options, ahead=self.session.on_gpu):
            yield from selection.of(logits)

    @overload
    def windows(  # type: ignore[overload-overlap]
        self, texts: TextInput, top_k: int | None = ..., *, stride: int | None = ...
    ) -> list[WindowPrediction]: ...
    @overload
    def windows(
        self, texts: Iterable[TextInput], top_k: int | None = ..., *, stride: int | None = ...
    ) -> list[list[WindowPrediction]]: ...
    def windows(
        self,
        texts: TextInput | Iterable[TextInput],
        top_k: int | None = None,
        *,
        stride: int | None = None,
    ) -> list[WindowPrediction] | list[list[WindowPrediction]]:
        """Classify each window of a text, a pair, or a list of either; say where the windows are.

        They are those that `long_text="window"` combines, in the order of the text. A text that
        fits is one window. top_k: the labels of each window, None for all. Raises as `__call__`.
        """
        count = checked_top_k(top_k)
        listed = _not_empty(_as_list(texts))
        windows = self.tokenizer.windows(listed, stride=checked_stride(self.tokenizer, stride))
        logits = self.run([window.encoding for of_text in windows for window in of_text])
        of_windows = iter(predictions(logits, self.labels, self.artifact.activation, count))
        results = [
            [WindowPrediction(*window.span, tuple(next(of_windows))) for window in of_text]
            for of_text in windows
        ]
        return results[0] if isinstance(texts, (str, tuple)) else results

    def rerank(
        self,
        query: str,
        texts: Iterable[str],
        top_k: int | None = None,
        *,
        truncate: bool = True,
        long_text: LongText = "truncate",
        stride: int | None = None,
        combine: Combine = "mean",
    ) -> list[Ranked]:
        """Rank texts by how well they answer a query, best first; ties in input order.

        For models of one label (cross-encoders): the score of a text is that of the pair (query,
        text). top_k: the best so many; None for all. The other arguments are those of `__call__`;
        `long_text="window", combine="max"` scores a long text by its best passage.
        Raises ArtifactError for a model of several labels, InputError for what is not a text,
        EmptyInputError where there are no texts.
        """
        if len(self.labels) != 1:
            raise ArtifactError(
                f"{self.artifact.path} has {len(self.labels)} labels and rerank takes a model of "
                "one, a cross-encoder: classify the pairs (query, text) with it instead"
            )
        count = checked_top_k(top_k)
        options = self._options(long_text, truncate, stride, combine)
        pairs = _rerank_pairs(query, texts)
        relevance = scores(self._logits(pairs, options), self.artifact.activation)
        return rank_texts(relevance[:, 0].tolist(), count)

    def run(self, encodings: Sequence[Encoding]) -> np.ndarray:
        """The logits of texts that have been tokenized, float32 [texts, labels], in order."""
        logits = np.empty((len(encodings), len(self.labels)), dtype=np.float32)
        for positions, rows in run_batches(self.session, encodings, self.max_batch_tokens):
            logits[positions] = rows
        return logits

    def answers(
        self, texts: list[TextInput], options: LongTextOptions
    ) -> tuple[np.ndarray, np.ndarray]:
        """The logits of texts, float32 [texts, labels], and which of them were cut, bool [texts].

        Raises what `__call__` raises.
        """
        size = _CHUNK if self.session.on_gpu else len(_not_empty(texts))
        chunks = (texts[at : at + size] for at in range(0, len(texts), size))
        parts = list(self._answers(chunks, options, ahead=len(texts) > size))
        if len(parts) == 1:
            return parts[0]
        return np.concatenate([part[0] for part in parts]), np.concatenate(
            [part[1] for part in parts]
        )

    def _logits(self, texts: list[TextInput], options: LongTextOptions) -> np.ndarray:
        return self.answers(texts, options)[0]

    def _answers(
        self, chunks: Iterable[list[TextInput]], options: LongTextOptions, *, ahead: bool
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """What `answers` gives, of each chunk of texts; errors count all texts.

        ahead: tokenize chunks while those before them run, as a GPU, which waits else, wants it.
        """
        cuts = options.long_text == "truncate"
        encoded = self._encoded(chunks, options)
        for groups in prefetch(encoded) if ahead else encoded:
            logits = self.run([encoding for group in groups for encoding in group])
            cut = np.array([cuts and group[0].truncated for group in groups])
            yield combine_windows(logits, [len(group) for group in groups], options.combine), cut

    def _encoded(
        self, chunks: Iterable[list[TextInput]], options: LongTextOptions
    ) -> Iterator[Sequence[Sequence[Encoding]]]:
        first = 0
        for chunk in chunks:
            yield encode_groups(self.tokenizer, chunk, options, first)
            first += len(chunk)

    def _options(
        self, long_text: LongText, truncate: bool, stride: int | None, combine: Combine
    ) -> LongTextOptions:
        options = LongTextOptions(long_text, truncate, stride, combine)
        if long_text == "window":
            checked_stride(self.tokenizer, stride)  # before a stream reads its first text
        return options

    def _selection(self, top_k: object, threshold: Threshold | None) -> Selection:
        artifact = self.artifact
        return select(self.labels, artifact.activation, top_k, threshold, artifact.thresholds)


def classify_text(
    text: TextInput | Sequence[TextInput], *, model: str | os.PathLike[str]
) -> np.ndarray:
    """The logits of a text, float32 [labels], or of a list of texts, [texts, labels].

    The model is loaded at the first call and kept; hold a `Classifier` for anything more.
    """
    logits = _cached_classifier(str(model)).logits(text)
    return logits[0] if isinstance(text, (str, tuple)) else logits


@functools.lru_cache(maxsize=4)
def _cached_classifier(model: str) -> Classifier:
    return Classifier(model)


def _as_list(texts: TextInput | Iterable[TextInput]) -> list[TextInput]:
    if isinstance(texts, (str, tuple)):
        return [texts]  # a tuple is a pair; the tokenizer says so if it is none
    _check_iterable(texts)
    return list(texts)


def _not_empty(texts: list[TextInput]) -> list[TextInput]:
    if not texts:
        raise EmptyInputError("there is no text to classify: the list is empty")
    return texts


def _rerank_pairs(query: str, texts: Iterable[str]) -> list[TextInput]:
    if not isinstance(query, str):
        raise InputError(f"the query is of type {type(query).__name__}: give a string")
    if isinstance(texts, str):
        raise InputError("rerank takes a list of texts: put the one text into a list")
    _check_iterable(texts)
    pairs: list[TextInput] = []
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(
                f"text {position} is of type {type(text).__name__}: give strings, each of which "
                "rerank pairs with the query"
            )
        pairs.append((query, text))
    return pairs


def _check_iterable(texts: object) -> None:
    if isinstance(texts, (bytes, dict)) or not isinstance(texts, Iterable):
        raise InputError(
            f"texts is of type {type(texts).__name__}: give a string, a pair or a list of them"
        )
