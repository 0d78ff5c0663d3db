"""The models that a server holds, and their reloading."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from bertrt.artifact import fingerprint
from bertrt.classifier import Classifier
from bertrt.errors import ArtifactError, BackendError, BertrtError
from bertrt.long_text import checked_stride
from bertrt.postprocess import ranked, scores
from bertrt.server.errors import NotReadyError, UnknownModelError
from bertrt.server.metrics import Metrics, ModelMetrics
from bertrt.server.scheduler import Job, Scheduler
from bertrt.server.settings import Settings

__all__ = ["ModelRegistry", "ServedModel", "rank"]

_logger = logging.getLogger("bertrt.server")


def rank(jobs: list[Job], activation: str) -> None:
    """Fill in the scores of jobs that are done, all at once: numpy's calls cost more than its work.

    A job whose logits are no numbers fails.
    """
    answered = [job for job in jobs if job.error is None]
    if not answered:
        return
    for job in answered:
        if job.combine is not None:
            job.logits, job.combine = job.combine(job.logits), None
    logits = np.concatenate([job.logits for job in answered])
    if not np.isfinite(logits).all():
        for job in answered:
            if not np.isfinite(job.logits).all():
                job.error = BackendError("the model gave logits that are no numbers")
        rank(jobs, activation)
        return
    probabilities = scores(logits, activation)
    order = ranked(probabilities)
    at = 0
    for job in answered:
        end = at + len(job.logits)
        job.scores, job.order = probabilities[at:end], order[at:end]
        at = end


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A loaded model, with the queue before it.

    sha256: of its files (see `fingerprint`). created: seconds since 1970.
    """

    name: str
    classifier: Classifier
    scheduler: Scheduler
    metrics: ModelMetrics
    sha256: str
    created: int


class ModelRegistry:
    """The models by name; the first is the default. Thread-safe.

    sources: a folder or hub id for each name. done: gets the jobs that are done, on any thread.
    """

    def __init__(
        self,
        sources: Mapping[str, str],
        settings: Settings,
        metrics: Metrics,
        done: Callable[[list[Job]], None],
    ) -> None:
        self._sources, self._settings, self._metrics, self._done = sources, settings, metrics, done
        self._models: dict[str, ServedModel] = {}
        self.default_name = next(iter(sources))

    def load(self) -> None:
        """Load every model. Each has answered a few texts as its exporter did, or it is an error.

        Raises what `Classifier` raises.
        """
        for name in self._sources:
            self._models[name] = self._load(name)

    def reload(self) -> None:
        """Load every model anew, and put it in the place of the old one.

        A request that has begun is answered by the model it began with. A model that fails to load
        leaves the old one in place, and the log says so.
        """
        for name in self._sources:
            try:
                new = self._load(name)
            except BertrtError as error:
                # No path goes into the log: the model's name stands for its folder.
                why = str(error).replace(self._sources[name], name)
                _logger.error("model %s is not loaded again, the old one stays: %s", name, why)
                continue
            old, self._models[name] = self._models[name], new
            old.scheduler.close()
            _logger.info("model %s is loaded again", name)

    def get(self, name: str | None = None) -> ServedModel:
        """A model by its name, or the default one; UnknownModelError for another name."""
        try:
            return self._models[self.default_name if name is None else name]
        except KeyError:
            if not self._models:
                raise NotReadyError("the model is still loading") from None
            known = ", ".join(self._models)
            raise UnknownModelError(f"there is no model {name!r} here, only {known}") from None

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(list(self._models.values()))

    def close(self) -> None:
        """Answer what is queued and stop."""
        for model in self:
            model.scheduler.close()

    def _load(self, name: str) -> ServedModel:
        settings = self._settings
        classifier = Classifier(
            self._sources[name],
            settings.device,
            threads=settings.threads,
            precision=settings.precision,
            max_batch_tokens=settings.max_batch_tokens,
            file_name=settings.file_name,
        )
        if settings.long_text == "window":
            try:
                checked_stride(classifier.tokenizer, settings.stride)
            except ValueError as error:
                raise ArtifactError(f"model {name}: {error}") from error
        sha256 = fingerprint(classifier.artifact, classifier.precision)
        counters = ModelMetrics(self._metrics, name)
        activation = classifier.artifact.activation

        def done(jobs: list[Job]) -> None:
            rank(jobs, activation)
            self._done(jobs)

        scheduler = Scheduler(
            classifier.session,
            done,
            counters,
            max_batch_tokens=classifier.max_batch_tokens,
            max_batch_texts=settings.max_batch_requests,
            max_wait=settings.max_wait_ms / 1000,
        )
        self._metrics.loaded(
            name,
            classifier.precision,
            classifier.provider,
            sha256,
            lambda: (scheduler.queued_texts, scheduler.queued_tokens),
        )
        return ServedModel(name, classifier, scheduler, counters, sha256, int(time.time()))
