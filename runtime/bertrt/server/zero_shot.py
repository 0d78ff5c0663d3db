"""Zero-shot classification on the server: texts and labels to pairs, their logits to scores."""

from collections.abc import Sequence
from dataclasses import dataclass

from bertrt.errors import ArtifactError
from bertrt.nli import (
    HYPOTHESIS_TEMPLATE,
    candidate_labels,
    entailment_labels,
    entailment_scores,
    hypotheses,
)
from bertrt.postprocess import Prediction, label_ranked, ranked
from bertrt.server.classification import Classification
from bertrt.server.encoded import Encoded
from bertrt.server.errors import (
    BatchTooLargeError,
    MalformedError,
    TextTooLargeError,
    UnsupportedError,
)
from bertrt.server.limits import check_count
from bertrt.server.models import ServedModel
from bertrt.server.settings import Settings
from bertrt.zero_shot import check_room, encode_pairs

__all__ = ["Question", "question"]


@dataclass(frozen=True, slots=True)
class Question:
    """Which of the labels texts have. Made by `question`, which checks it.

    sentences: the hypothesis of each label. characters: of all pairs (text, hypothesis).
    """

    texts: Sequence[str]
    labels: tuple[str, ...]
    sentences: Sequence[str]
    multi_label: bool
    characters: int

    def encode(self, model: ServedModel, *, truncate: bool) -> Encoded:
        """All pairs; those of a text count as one text.

        truncate: cut a text that is over the limit with a hypothesis; else TextTooLongError.
        Raises UnsupportedError for a model that knows no entailment, MalformedError for a
        hypothesis that leaves the text no room.
        """
        tokenizer = model.classifier.tokenizer
        try:
            entailment_labels(model.classifier.labels, model.name)
            check_room(tokenizer, self.labels, self.sentences)
        except ArtifactError as error:
            raise UnsupportedError(str(error)) from error
        except ValueError as error:
            raise MalformedError(str(error)) from error
        pairs = encode_pairs(tokenizer, self.texts, self.sentences, truncate=truncate)
        return Encoded(pairs, [len(self.labels)] * len(self.texts))

    def predictions(self, result: Classification) -> list[list[Prediction]]:
        """All labels of each text, best first; ties in the order of the labels.

        result: of the pairs, as `encode` gives them.
        """
        model = result.model
        entailment, contradiction = entailment_labels(model.classifier.labels, model.name)
        logits = result.logits.reshape(len(self.texts), len(self.labels), -1)
        probabilities = entailment_scores(
            logits, entailment, contradiction, multi_label=self.multi_label
        )
        return label_ranked(probabilities, ranked(probabilities), self.labels)


def question(
    texts: Sequence[str],
    labels: str | Sequence[str],
    *,
    hypothesis_template: str | None,
    multi_label: bool,
    settings: Settings,
) -> Question:
    """The question, if it is within the limits that the pairs would have if they had been sent.

    labels: names, or one string with commas between them.
    Raises EmptyInputError, MalformedError for labels or a template that are none,
    BatchTooLargeError for too many pairs or characters in all, TextTooLargeError.
    """
    check_count(len(texts), settings)
    template = HYPOTHESIS_TEMPLATE if hypothesis_template is None else hypothesis_template
    try:
        names = candidate_labels(labels)
        characters = _checked_size(texts, names, template, settings)
        sentences = hypotheses(names, template)
    except ValueError as error:
        if isinstance(error, (BatchTooLargeError, TextTooLargeError)):
            raise
        raise MalformedError(str(error)) from error
    return Question(texts, names, sentences, multi_label, characters)


def _checked_size(
    texts: Sequence[str], labels: Sequence[str], template: str, settings: Settings
) -> int:
    """The characters of all pairs.

    Each label reads every text anew, and a template may name its label many times: what a small
    body asks for is measured before any of it is made.
    """
    count = len(texts) * len(labels)
    if count > settings.max_client_batch_size:
        raise BatchTooLargeError(
            f"{len(texts)} texts with {len(labels)} labels each are {count} pairs in one request "
            f"and max_client_batch_size is {settings.max_client_batch_size}: send fewer"
        )
    places = template.count("{}") + template.count("{0}")
    sizes = [len(template) + places * len(label) for label in labels]
    for position, text in enumerate(texts):
        size = len(text) + max(sizes)
        if size > settings.max_text_chars:
            raise TextTooLargeError(
                f"text {position} with its longest hypothesis has {size} characters and "
                f"max_text_chars is {settings.max_text_chars}"
            )
    total = len(labels) * sum(map(len, texts)) + len(texts) * sum(sizes)
    if total > settings.max_body_bytes:
        raise BatchTooLargeError(
            f"the texts with the hypothesis of each label have {total} characters in all and "
            f"max_body_bytes is {settings.max_body_bytes}: send fewer labels, or fewer texts"
        )
    return total
