"""An artifact to a model that is ready to run, whatever its task."""

import logging
import os
from dataclasses import dataclass

from bertrt.artifact import Artifact, load_artifact
from bertrt.cpus import available_cpus
from bertrt.devices import CPU, Device
from bertrt.errors import ArtifactError, DeviceError
from bertrt.golden import check_golden
from bertrt.precision import choose_precision, devices_to_try
from bertrt.prepacked import packed_elsewhere
from bertrt.session import Session, load_session
from bertrt.tokenizer import TextTokenizer

__all__ = [
    "DEFAULT_MAX_BATCH_TOKENS",
    "GPU_MAX_BATCH_TOKENS",
    "LoadedModel",
    "check_batch_tokens",
    "check_task",
    "load_model",
]

# Batches run beside one another: with 2 of them, 256 and 512 are within 2% of each other, and 1024
# is 6% slower (caches) and takes more memory.
DEFAULT_MAX_BATCH_TOKENS = 512

# A GPU runs one batch at a time, and a small one leaves most of it idle. Not measured yet:
# `bench/gpu.sh` has the ladder.
GPU_MAX_BATCH_TOKENS = 16_384

# What a model of each task does, and what to use it with.
_USES = {
    "text-classification": "labels whole texts: use Classifier, or `bertrt classify`",
    "token-classification": "labels the words of a text: use TokenClassifier, or `bertrt tag` "
    "(Classifier, `bertrt classify` and `bertrt serve` are for models that label whole texts)",
}

_logger = logging.getLogger("bertrt")


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """An artifact whose graph is loaded in one precision.

    threads: CPU threads of one call. max_batch_tokens: the places of one batch.
    """

    artifact: Artifact
    precision: str
    tokenizer: TextTokenizer
    session: Session
    threads: int
    max_batch_tokens: int

    @property
    def provider(self) -> str:
        """The onnxruntime execution provider that runs the model."""
        return self.session.provider


def load_model(
    model: str | os.PathLike[str],
    device: str = "auto",
    *,
    task: str | None = None,
    threads: int | None = None,
    precision: str = "auto",
    max_batch_tokens: int | None = None,
    file_name: str | None = None,
    check_files: bool = True,
    check_answers: bool = True,
) -> LoadedModel:
    """Load an artifact and check it; the arguments are those of `Classifier`.

    task: what the artifact must be for; None for any.
    Raises ArtifactError, DeviceError, or ValueError for an argument out of range.
    """
    if threads is not None and threads < 1:
        raise ValueError(f"threads is {threads}: give 1 or more, or None for all CPUs")
    check_batch_tokens(max_batch_tokens)
    artifact = load_artifact(model, file_name=file_name, check_files=check_files)
    if task is not None:
        check_task(artifact, task)
    tokenizer = TextTokenizer(artifact.tokenizer_path, artifact.max_length)
    count = threads or available_cpus()
    chosen, session = _start(artifact, precision, Device.parse(device), count)
    if check_answers and artifact.manifest is not None:
        check_golden(artifact.manifest["golden"], chosen, tokenizer, session)
    if artifact.manifest is not None and (reason := packed_elsewhere(artifact.manifest)):
        _logger.warning("%s: %s", artifact.path, reason)
    default = DEFAULT_MAX_BATCH_TOKENS if session.provider == CPU else GPU_MAX_BATCH_TOKENS
    size = max_batch_tokens or default
    return LoadedModel(artifact, chosen, tokenizer, session, count, size)


def check_batch_tokens(max_batch_tokens: int | None) -> None:
    """Raise ValueError for a limit that leaves a batch no token."""
    if max_batch_tokens is not None and max_batch_tokens < 1:
        raise ValueError(f"max_batch_tokens is {max_batch_tokens}: give 1 or more")


def check_task(artifact: Artifact, task: str) -> None:
    """Raise an ArtifactError that says what to use for a model of another task."""
    if artifact.task != task:
        raise ArtifactError(
            f"{artifact.path} is a model for {artifact.task}, which {_USES[artifact.task]}"
        )


def _start(artifact: Artifact, precision: str, device: Device, threads: int) -> tuple[str, Session]:
    """The best precision on the best device that starts."""
    *better, last = devices_to_try(artifact, precision, device)
    for candidate in better:
        try:
            chosen = choose_precision(artifact, precision, candidate)
            return chosen, load_session(artifact, chosen, device=str(candidate), threads=threads)
        except DeviceError as error:
            _logger.warning("device='auto' takes the CPU: %s", error)
    chosen = choose_precision(artifact, precision, last)
    session = load_session(artifact, chosen, device=str(last), threads=threads)
    if device.kind == "auto":
        _logger.info("device='auto' took %s", session.provider)
    return chosen, session
