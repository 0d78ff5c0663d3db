"""text -> Encoding -> PackedBatch -> logits -> Prediction."""

import functools
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from operator import index
from typing import SupportsIndex, overload

import numpy as np

from bertrt.artifact import Artifact, load_artifact
from bertrt.cpus import available_cpus
from bertrt.errors import ArtifactError, EmptyInputError, InputError
from bertrt.golden import check_golden
from bertrt.packing import pack, plan_batches
from bertrt.postprocess import Prediction, predictions
from bertrt.precision import choose_device, choose_precision
from bertrt.session import load_session
from bertrt.tokenizer import TextInput, TextTokenizer

__all__ = ["DEFAULT_MAX_BATCH_TOKENS", "Classifier", "classify_text"]

# Batches run beside one another: with 2 of them, 256 and 512 are within 2% of each other, and 1024
# is 6% slower (caches) and takes more memory.
DEFAULT_MAX_BATCH_TOKENS = 512

_BEST = object()  # stands for "top_k was not given": a Prediction instead of a list of them


class Classifier:
    """A text classifier, loaded and ready to answer. Thread-safe.

    model: a folder that export-model wrote, or another exporter's, with `model.onnx` or
        `onnx/model.onnx`, config.json and a tokenizer; or the id of a hub repository that holds
        either. How another exporter's answers compare with PyTorch's, nobody has verified; and
        where its activations are quantized with one scale for a whole batch, as Optimum's dynamic
        quantization does (`model_quantized.onnx`), the texts beside a text change its answer.
    device: `cpu`, `cuda` or `auto` (CUDA where it works; `provider` says which it took).
    threads: CPU threads of one call; by default the CPUs that this process may use.
    precision: `fp32`, `int8` or `auto`: of those that the artifact holds, the best for the provider
        and this CPU (`precision` says which it took). Another exporter's folder has the one that
        its graph's name says.
    max_batch_tokens: the places of one batch; more tokens a batch need more memory.
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
        max_batch_tokens: int = DEFAULT_MAX_BATCH_TOKENS,
        file_name: str | None = None,
        check_files: bool = True,
        check_answers: bool = True,
    ) -> None:
        if threads is not None and threads < 1:
            raise ValueError(f"threads is {threads}: give 1 or more, or None for all CPUs")
        if max_batch_tokens < 1:
            raise ValueError(f"max_batch_tokens is {max_batch_tokens}: give 1 or more")
        self.artifact: Artifact = load_artifact(model, file_name=file_name, check_files=check_files)
        if self.artifact.task != "text-classification":
            raise ArtifactError(
                f"{self.artifact.path} is a model for {self.artifact.task}, which labels the words "
                "of a text: use TokenClassifier"
            )
        self.threads = threads or available_cpus()
        self.max_batch_tokens = max_batch_tokens
        self.precision = choose_precision(self.artifact, precision, device)
        self.tokenizer = TextTokenizer(self.artifact.tokenizer_path, self.artifact.max_length)
        self.session = load_session(
            self.artifact,
            self.precision,
            device=choose_device(self.precision, device),
            threads=self.threads,
        )
        if check_answers and self.artifact.manifest is not None:
            golden = self.artifact.manifest["golden"]
            check_golden(golden, self.precision, self.tokenizer, self.session)

    @property
    def labels(self) -> tuple[str, ...]:
        """Label names in logit order."""
        return self.artifact.labels

    @property
    def provider(self) -> str:
        """The onnxruntime execution provider that runs the model."""
        return self.session.provider

    # mypy: a str is an Iterable[str] too; the first overload that fits is the one that is meant.
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, texts: TextInput, *, truncate: bool = ...
    ) -> Prediction: ...
    @overload
    def __call__(self, texts: Iterable[TextInput], *, truncate: bool = ...) -> list[Prediction]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, texts: TextInput, top_k: int | None, *, truncate: bool = ...
    ) -> list[Prediction]: ...
    @overload
    def __call__(
        self, texts: Iterable[TextInput], top_k: int | None, *, truncate: bool = ...
    ) -> list[list[Prediction]]: ...
    def __call__(
        self,
        texts: TextInput | Iterable[TextInput],
        top_k: int | object | None = _BEST,
        *,
        truncate: bool = True,
    ) -> Prediction | list[Prediction] | list[list[Prediction]]:
        """Classify a text, a pair (a tuple of two strings), or a list of either, in order.

        top_k: not given, the best Prediction of each text; a number, a list of that many, best
        first; None, a list of all labels.
        Raises InputError for what is not a text, EmptyInputError for an empty list,
        TextTooLongError for a text over the limit where `truncate` is false.
        """
        single = isinstance(texts, (str, tuple))
        results = self._classify(_as_list(texts), top_k, truncate)
        return results[0] if single else results

    def logits(
        self, texts: TextInput | Iterable[TextInput], *, truncate: bool = True
    ) -> np.ndarray:
        """The model's raw answers, float32 [texts, labels], in input order."""
        return self._logits(_as_list(texts), truncate)

    @overload
    def stream(
        self, texts: Iterable[TextInput], *, chunk_size: int = ..., truncate: bool = ...
    ) -> Iterator[Prediction]: ...
    @overload
    def stream(
        self,
        texts: Iterable[TextInput],
        top_k: int | None,
        *,
        chunk_size: int = ...,
        truncate: bool = ...,
    ) -> Iterator[list[Prediction]]: ...
    def stream(
        self,
        texts: Iterable[TextInput],
        top_k: int | object | None = _BEST,
        *,
        chunk_size: int = 1024,
        truncate: bool = True,
    ) -> Iterator[Prediction] | Iterator[list[Prediction]]:
        """Classify any iterable lazily: one result a text, in order, as `__call__` gives them.

        Reads `chunk_size` texts ahead and keeps no more than those, so memory does not grow with
        the input. Larger chunks hold more texts of like length to batch together.
        """
        _checked_top_k(top_k)
        if chunk_size < 1:
            raise ValueError(f"chunk_size is {chunk_size}: give 1 or more")
        if isinstance(texts, (str, tuple)):
            raise InputError("stream takes an iterable of texts: put the one text into a list")
        _check_iterable(texts)
        return self._stream(texts, top_k, chunk_size, truncate)  # type: ignore[return-value]

    def _stream(
        self, texts: Iterable[TextInput], top_k: object, chunk_size: int, truncate: bool
    ) -> Iterator[Prediction | list[Prediction]]:
        remaining = iter(texts)
        first = 0
        while chunk := list(islice(remaining, chunk_size)):
            yield from self._classify(chunk, top_k, truncate, first)
            first += len(chunk)

    def _classify(
        self, texts: list[TextInput], top_k: object, truncate: bool, first: int = 0
    ) -> list[Prediction] | list[list[Prediction]]:
        """One result a text; errors count the texts from `first`."""
        count = _checked_top_k(top_k)
        logits = self._logits(texts, truncate, first)
        ranked = predictions(logits, self.labels, self.artifact.activation, count)
        return [best[0] for best in ranked] if top_k is _BEST else ranked

    def _logits(self, texts: list[TextInput], truncate: bool, first: int = 0) -> np.ndarray:
        if not texts:
            raise EmptyInputError("there is no text to classify: the list is empty")
        encodings = self.tokenizer.encode(texts, truncate=truncate, first=first)
        lengths = [len(encoding) for encoding in encodings]
        logits = np.empty((len(texts), len(self.labels)), dtype=np.float32)
        plan = plan_batches(lengths, self.max_batch_tokens)
        batches = (pack([encodings[p] for p in positions]) for positions in plan)
        for positions, rows in zip(plan, self.session.run_all(batches), strict=True):
            logits[positions] = rows
        return logits


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


def _check_iterable(texts: object) -> None:
    if isinstance(texts, (bytes, dict)) or not isinstance(texts, Iterable):
        raise InputError(
            f"texts is of type {type(texts).__name__}: give a string, a pair or a list of them"
        )


def _checked_top_k(top_k: object) -> int | None:
    """How many labels to rank, None for all."""
    if top_k is _BEST:
        return 1
    if top_k is None:
        return None
    if isinstance(top_k, SupportsIndex) and not isinstance(top_k, bool) and index(top_k) >= 1:
        return index(top_k)
    raise ValueError(f"top_k is {top_k!r}: give 1 or more, or None for all labels")
