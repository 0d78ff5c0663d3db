"""What `bertrt serve` can be told: each setting is a flag and an environment variable."""

from dataclasses import dataclass, field, fields
from typing import Any, cast

from bertrt.devices import Device
from bertrt.loading import DEFAULT_MAX_BATCH_TOKENS, GPU_MAX_BATCH_TOKENS
from bertrt.long_text import COMBINE, LONG_TEXT, Combine, LongText, LongTextOptions
from bertrt.precision import PRECISIONS

__all__ = ["Settings", "environment_name", "flag_name"]

DIALECTS = ("vllm", "infinity")
LOG_FORMATS = ("text", "json")
LOG_LEVELS = ("debug", "info", "warning", "error")


def _setting(default: Any, help: str, **limits: Any) -> Any:
    """A field with its line of help and the values it may have (`least`, `choices`)."""
    return field(default=default, metadata={"help": help, **limits})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to serve. Raises ValueError, which names the value and what it may be.

    Sizes are in what the name says (tokens, texts, bytes, characters), times in seconds, `max_wait`
    in milliseconds.
    """

    host: str = _setting("127.0.0.1", "the address to listen at; 0.0.0.0 for all")
    port: int = _setting(8000, "the port to listen at; 0 for any that is free", least=0)
    device: str = _setting(
        "auto", "where to run the model: cpu, cuda, cuda:1, tensorrt, or CUDA where it works (auto)"
    )
    precision: str = _setting("auto", "which of a model's graphs to run", choices=PRECISIONS)
    file_name: str | None = _setting(
        None, "the graph to run, of each model, relative to its folder: onnx/model_quantized.onnx"
    )
    threads: int | None = _setting(
        None, "threads of the model; by default the CPUs this process may use", least=1
    )
    max_batch_tokens: int | None = _setting(
        None,
        "the places of one batch, its texts x its longest text; by default "
        f"{DEFAULT_MAX_BATCH_TOKENS}, and {GPU_MAX_BATCH_TOKENS} on a GPU",
        least=1,
    )
    max_batch_requests: int | None = _setting(None, "the texts of one batch at most", least=1)
    max_wait_ms: float = _setting(
        0.0, "how long a batch that is not full waits for more texts", least=0
    )
    max_concurrent_requests: int = _setting(
        512, "requests on their way at a time; others get 429", least=1
    )
    max_client_batch_size: int = _setting(256, "the texts of one request at most", least=1)
    max_text_chars: int = _setting(100_000, "the characters of one text at most", least=1)
    max_body_bytes: int = _setting(
        2_000_000, "the bytes of one request's body at most, after decompression", least=1
    )
    queue_timeout: float = _setting(
        10.0, "seconds that a request waits for the model at most, before it gets 503", least=0.001
    )
    read_timeout: float = _setting(
        10.0, "seconds that a client has to send its headers, and then its body", least=0.001
    )
    drain_delay: float = _setting(
        0.5, "seconds between a SIGTERM, when /health turns 503, and closing the port", least=0
    )
    drain_timeout: float = _setting(
        30.0, "seconds that requests on their way have after the port is closed", least=0
    )
    auto_truncate: bool = _setting(
        True, "cut texts over the model's limit where a request does not say; else they get 422"
    )
    long_text: str = _setting(
        "truncate",
        "read texts over the limit in overlapping windows, where a request does not say",
        choices=LONG_TEXT,
    )
    stride: int | None = _setting(
        None, "tokens that windows share; by default an eighth of the model's limit", least=0
    )
    combine: str = _setting(
        "mean", "how the logits of a text come of those of its windows", choices=COMBINE
    )
    classify_dialect: str = _setting(
        "vllm", "whose /classify to speak (/v1/classify is always vLLM's)", choices=DIALECTS
    )
    api_key: str | None = _setting(
        None, "require `Authorization: Bearer KEY`; better given by its environment variable"
    )
    cors_origin: tuple[str, ...] = _setting(
        (), "an origin whose pages may call the server; may be repeated; `*` for any"
    )
    access_log: bool = _setting(False, "log each request, not only those that fail")
    log_format: str = _setting("text", "how to log", choices=LOG_FORMATS)
    log_level: str = _setting("info", "what to log", choices=LOG_LEVELS)
    log_texts: bool = _setting(
        False,
        "log the bodies of the requests that are logged, and stack traces, which may hold texts",
    )

    def __post_init__(self) -> None:
        for option in fields(self):
            value, limits = getattr(self, option.name), option.metadata
            if "choices" in limits and value not in limits["choices"]:
                allowed = ", ".join(limits["choices"])
                raise ValueError(f"{option.name} is {value!r}: choose one of {allowed}")
            if "least" in limits and value is not None and not value >= limits["least"]:
                raise ValueError(f"{option.name} is {value}: give {limits['least']} or more")
        _ = Device.parse(self.device)  # refuses one that there is not
        _ = self.windows  # refuses options that do not go together
        if self.port > 65535:
            raise ValueError(f"port is {self.port}: give 65535 at most")
        key = self.api_key
        if key is not None and not (key.strip() and key.isascii() and key.isprintable()):
            raise ValueError("api_key is empty or not printable ASCII, which a header cannot hold")

    @property
    def windows(self) -> LongTextOptions:
        """What happens to texts over the limit where a request does not say."""
        return LongTextOptions(
            cast(LongText, self.long_text),
            self.auto_truncate,
            self.stride,
            cast(Combine, self.combine),
        )


def flag_name(name: str) -> str:
    """`max_body_bytes` -> `--max-body-bytes`."""
    return "--" + name.replace("_", "-")


def environment_name(name: str) -> str:
    """`max_body_bytes` -> `BERTRT_MAX_BODY_BYTES`."""
    return "BERTRT_" + name.upper()
