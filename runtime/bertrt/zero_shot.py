"""(text, label) -> pair (text, hypothesis) -> logits of an NLI model -> Prediction."""

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Self, overload

import numpy as np

from bertrt.classifier import Classifier
from bertrt.errors import EmptyInputError, InputError, TextTooLongError
from bertrt.inputs import as_strings, check_iterable
from bertrt.nli import (
    HYPOTHESIS_TEMPLATE,
    candidate_labels,
    entailment_labels,
    entailment_scores,
    hypotheses,
)
from bertrt.postprocess import Prediction, label_ranked, ranked
from bertrt.tokenizer import Encoding, TextTokenizer

__all__ = ["ZeroShotClassifier", "check_room", "encode_pairs"]


class ZeroShotClassifier:
    """Classifies into labels that are named at run time, with a model trained on NLI. Thread-safe.

    labels: the labels to choose from where a call names none: a list, or a string with commas
        between them.
    hypothesis_template: the sentence whose entailment is asked for; `{}` stands for the label.
    The other arguments are those of `Classifier`, and so are the errors; a model without a label
    `entailment` is an ArtifactError too.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        labels: str | Iterable[str] | None = None,
        *,
        hypothesis_template: str = HYPOTHESIS_TEMPLATE,
        device: str = "auto",
        threads: int | None = None,
        precision: str = "auto",
        max_batch_tokens: int | None = None,
        file_name: str | None = None,
        check_files: bool = True,
        check_answers: bool = True,
    ) -> None:
        classifier = Classifier(
            model,
            device,
            threads=threads,
            precision=precision,
            max_batch_tokens=max_batch_tokens,
            file_name=file_name,
            check_files=check_files,
            check_answers=check_answers,
        )
        self._set(classifier, labels, hypothesis_template)

    @classmethod
    def from_classifier(
        cls,
        classifier: Classifier,
        labels: str | Iterable[str] | None = None,
        *,
        hypothesis_template: str = HYPOTHESIS_TEMPLATE,
    ) -> Self:
        """One that uses a classifier which is loaded already, and its session."""
        made = cls.__new__(cls)
        made._set(classifier, labels, hypothesis_template)
        return made

    def _set(
        self, classifier: Classifier, labels: str | Iterable[str] | None, template: str
    ) -> None:
        self.classifier = classifier
        self.labels = None if labels is None else candidate_labels(labels)
        self.hypothesis_template = template
        hypotheses([], template)  # a template that is none is refused here
        source = classifier.artifact.path
        self._entailment, self._contradiction = entailment_labels(classifier.labels, source)

    # mypy: a str is an Iterable[str] too; the first overload that fits is the one that is meant.
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self,
        texts: str,
        labels: str | Iterable[str] | None = ...,
        *,
        multi_label: bool = ...,
        hypothesis_template: str | None = ...,
    ) -> list[Prediction]: ...
    @overload
    def __call__(
        self,
        texts: Iterable[str],
        labels: str | Iterable[str] | None = ...,
        *,
        multi_label: bool = ...,
        hypothesis_template: str | None = ...,
    ) -> list[list[Prediction]]: ...
    def __call__(
        self,
        texts: str | Iterable[str],
        labels: str | Iterable[str] | None = None,
        *,
        multi_label: bool = False,
        hypothesis_template: str | None = None,
    ) -> list[Prediction] | list[list[Prediction]]:
        """All labels of a text, or of each of several, best first; ties in the order of the labels.

        labels, hypothesis_template: by default those that the object was made with.
        multi_label: score each label by itself; otherwise they compete, and a text's scores sum to
        1. (A label without others is scored by itself.)
        A text over the model's limit is cut, its hypothesis never. The hypotheses of all texts
        share batches.

        Raises InputError for what is not a text, EmptyInputError for an empty list, ValueError for
        labels or a template that are none, or a hypothesis that leaves the text no room.
        """
        chosen, sentences = self._asked(labels, hypothesis_template)
        found = self._classify(as_strings(texts), chosen, sentences, multi_label)
        return found[0] if isinstance(texts, str) else found

    def stream(
        self,
        texts: Iterable[str],
        labels: str | Iterable[str] | None = None,
        *,
        multi_label: bool = False,
        hypothesis_template: str | None = None,
        chunk_size: int = 128,
    ) -> Iterator[list[Prediction]]:
        """Classify any iterable lazily: one list a text, in order, as `__call__` gives them.

        Reads `chunk_size` texts ahead and keeps no more than those and their hypotheses.
        """
        chosen, sentences = self._asked(labels, hypothesis_template)
        if chunk_size < 1:
            raise ValueError(f"chunk_size is {chunk_size}: give 1 or more")
        if isinstance(texts, str):
            raise InputError("stream takes an iterable of texts: put the one text into a list")
        check_iterable(texts)
        return self._stream(iter(texts), chosen, sentences, multi_label, chunk_size)

    def _stream(
        self,
        texts: Iterator[str],
        labels: tuple[str, ...],
        sentences: list[str],
        multi_label: bool,
        chunk_size: int,
    ) -> Iterator[list[Prediction]]:
        first = 0
        while chunk := list(islice(texts, chunk_size)):
            yield from self._classify(chunk, labels, sentences, multi_label, first)
            first += len(chunk)

    def _asked(
        self, labels: str | Iterable[str] | None, template: str | None
    ) -> tuple[tuple[str, ...], list[str]]:
        """The labels to choose from, and their hypotheses."""
        chosen = self.labels if labels is None else candidate_labels(labels)
        if chosen is None:
            raise ValueError("there is no label to choose from: give labels, here or at loading")
        sentences = hypotheses(chosen, self.hypothesis_template if template is None else template)
        check_room(self.classifier.tokenizer, chosen, sentences)
        return chosen, sentences

    def scores(
        self,
        texts: Sequence[str],
        labels: str | Iterable[str] | None = None,
        *,
        multi_label: bool = False,
        hypothesis_template: str | None = None,
    ) -> np.ndarray:
        """The score of each label for each text, float32 [texts, labels], in the labels' order.

        The arguments and errors are those of `__call__`.
        """
        chosen, sentences = self._asked(labels, hypothesis_template)
        return self._scores(texts, chosen, sentences, multi_label, 0)

    def _classify(
        self,
        texts: list[str],
        labels: tuple[str, ...],
        sentences: list[str],
        multi_label: bool,
        first: int = 0,
    ) -> list[list[Prediction]]:
        """One list a text; errors count the texts from `first`."""
        probabilities = self._scores(texts, labels, sentences, multi_label, first)
        return label_ranked(probabilities, ranked(probabilities), labels)

    def _scores(
        self,
        texts: Sequence[str],
        labels: tuple[str, ...],
        sentences: list[str],
        multi_label: bool,
        first: int,
    ) -> np.ndarray:
        if not texts:
            raise EmptyInputError("there is no text to classify: the list is empty")
        for position, text in enumerate(texts, first):
            if not isinstance(text, str):
                raise InputError(
                    f"text {position} is of type {type(text).__name__}: zero-shot classification "
                    "takes strings, and makes the pairs itself"
                )
        pairs = encode_pairs(self.classifier.tokenizer, texts, sentences, first=first)
        logits = self.classifier.run(pairs)
        return entailment_scores(
            logits.reshape(len(texts), len(labels), -1),
            self._entailment,
            self._contradiction,
            multi_label=multi_label,
        )


def check_room(tokenizer: TextTokenizer, labels: Sequence[str], sentences: Sequence[str]) -> None:
    """ValueError for a label whose hypothesis leaves no room for a text beside it."""
    pairs = [("", sentence) for sentence in sentences]
    alone = tokenizer.encode(pairs, strategy="longest_first")
    for label, encoding in zip(labels, alone, strict=True):
        # A text that is cut keeps one token at least.
        if encoding.truncated or len(encoding) >= tokenizer.max_length:
            raise ValueError(
                f"the hypothesis of label {label[:40]!r} has no room beside a text in the "
                f"model's {tokenizer.max_length} tokens: shorten the label or the template"
            )


def encode_pairs(
    tokenizer: TextTokenizer,
    texts: Sequence[str],
    sentences: Sequence[str],
    *,
    truncate: bool = True,
    first: int = 0,
) -> list[Encoding]:
    """The encodings of the pairs (text, hypothesis): those of a text stand together.

    truncate: cut a text that is over the limit with a hypothesis (never that); where false, it is
        an error. first: the number that errors give to the first text.
    Raises InputError for what is not a text, TextTooLongError.
    """
    # Whatever cannot be encoded is refused here, by its own number and not by that of a pair.
    tokenizer.encode(texts, first=first, strategy="longest_first")
    pairs = [(text, sentence) for text in texts for sentence in sentences]
    try:
        return tokenizer.encode(pairs, truncate=truncate, strategy="only_first")
    except TextTooLongError as error:
        text = first + error.position // len(sentences)
        raise TextTooLongError(text, error.length, error.limit) from error
