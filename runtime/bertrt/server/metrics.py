"""What the server counts, for Prometheus. The one place that counts."""

from collections.abc import Callable, Mapping, Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

__all__ = ["Metrics", "ModelMetrics"]

_SECONDS = (
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0,
)  # fmt: skip
_COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_TOKENS = (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)

STAGES = ("tokenize", "queue", "inference", "total")


class ModelMetrics:
    """The counters of one model, looked up once."""

    def __init__(self, metrics: "Metrics", name: str) -> None:
        self._stages = {stage: metrics.stages.labels(name, stage) for stage in STAGES}
        self._texts = metrics.texts.labels(name)
        self._tokens = metrics.tokens.labels(name)
        self._truncated = metrics.truncated.labels(name)
        self._batch_texts = metrics.batch_texts.labels(name)
        self._batch_tokens = metrics.batch_tokens.labels(name)

    def batch(self, texts: int, tokens: int) -> None:
        """A batch begins."""
        self._batch_texts.observe(texts)
        self._batch_tokens.observe(tokens)

    def classified(
        self, tokens: Sequence[int], truncated: int, seconds: Mapping[str, float]
    ) -> None:
        """A request has been classified: the tokens of its texts, how many were cut, the stages."""
        self._texts.inc(len(tokens))
        self._tokens.inc(sum(tokens))
        if truncated:
            self._truncated.inc(truncated)
        for stage, value in seconds.items():
            self._stages[stage].observe(value)
        self._stages["total"].observe(sum(seconds.values()))


class Metrics:
    """The counters of one server, in a registry of their own."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "bertrt_requests", "Answered requests.", ["route", "status"], registry=registry
        )
        self.in_flight = Gauge(
            "bertrt_requests_in_flight", "Requests on their way.", registry=registry
        )
        self._rejected = Counter(
            "bertrt_rejected_requests", "Requests refused, by error.", ["reason"], registry=registry
        )
        self.stages = Histogram(
            "bertrt_stage_seconds",
            "Seconds of a request by stage: tokenize, queue, inference, total.",
            ["model", "stage"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.texts = Counter("bertrt_texts", "Classified texts.", ["model"], registry=registry)
        self.tokens = Counter("bertrt_tokens", "Classified tokens.", ["model"], registry=registry)
        self.truncated = Counter(
            "bertrt_truncated_texts", "Texts cut to the limit.", ["model"], registry=registry
        )
        self.batch_texts = Histogram(
            "bertrt_batch_texts", "Texts of a batch.", ["model"], buckets=_COUNTS, registry=registry
        )
        self.batch_tokens = Histogram(
            "bertrt_batch_tokens",
            "Tokens of a batch.",
            ["model"],
            buckets=_TOKENS,
            registry=registry,
        )
        self._queue_texts = Gauge(
            "bertrt_queue_texts", "Texts that wait.", ["model"], registry=registry
        )
        self._queue_tokens = Gauge(
            "bertrt_queue_tokens", "Tokens that wait.", ["model"], registry=registry
        )
        self._model = Gauge(
            "bertrt_model_info",
            "1 for each model that is loaded.",
            ["model", "precision", "provider", "sha256"],
            registry=registry,
        )
        self._answered: dict[tuple[str, int], Counter] = {}

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self._registry)

    def value(self, name: str, labels: dict[str, str]) -> float:
        """One value by its name and labels, 0 if it has not been counted yet."""
        return self._registry.get_sample_value(name, labels) or 0.0

    def answered(self, route: str, status: int) -> None:
        """A request has its answer."""
        # Kept, because looking one up by its labels costs more than counting.
        key = route, status
        if key not in self._answered:
            self._answered[key] = self._requests.labels(route, str(status))
        self._answered[key].inc()

    def rejected(self, reason: str) -> None:
        """A request was refused: `reason` is the error's class."""
        self._rejected.labels(reason).inc()

    def loaded(
        self,
        name: str,
        precision: str,
        provider: str,
        sha256: str,
        queued: Callable[[], tuple[int, int]],
    ) -> None:
        """A model is loaded; `queued` tells how many texts and tokens wait for it."""
        for labels in list(self._model._metrics):
            if labels[0] == name:
                self._model.remove(*labels)  # what was loaded under the name before
        self._model.labels(name, precision, provider, sha256).set(1)
        self._queue_texts.labels(name).set_function(lambda: queued()[0])
        self._queue_tokens.labels(name).set_function(lambda: queued()[1])
