"""An artifact to a model that is ready to run, whatever its task."""

import os
from dataclasses import dataclass

from bertrt.artifact import Artifact, load_artifact
from bertrt.cpus import available_cpus
from bertrt.errors import ArtifactError
from bertrt.golden import check_golden
from bertrt.precision import choose_device, choose_precision
from bertrt.session import Session, load_session
from bertrt.tokenizer import TextTokenizer

__all__ = ["DEFAULT_MAX_BATCH_TOKENS", "LoadedModel", "load_model"]

# Batches run beside one another: with 2 of them, 256 and 512 are within 2% of each other, and 1024
# is 6% slower (caches) and takes more memory.
DEFAULT_MAX_BATCH_TOKENS = 512

# What a model of each task does, and what to use it with.
_USES = {
    "text-classification": "labels whole texts: use Classifier, or `bertrt classify`",
    "token-classification": "labels the words of a text: use TokenClassifier, or `bertrt tag` "
    "(Classifier, `bertrt classify` and `bertrt serve` are for models that label whole texts)",
}


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
    max_batch_tokens: int = DEFAULT_MAX_BATCH_TOKENS,
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
    if max_batch_tokens < 1:
        raise ValueError(f"max_batch_tokens is {max_batch_tokens}: give 1 or more")
    artifact = load_artifact(model, file_name=file_name, check_files=check_files)
    if task is not None and artifact.task != task:
        raise ArtifactError(
            f"{artifact.path} is a model for {artifact.task}, which {_USES[artifact.task]}"
        )
    chosen = choose_precision(artifact, precision, device)
    tokenizer = TextTokenizer(artifact.tokenizer_path, artifact.max_length)
    count = threads or available_cpus()
    session = load_session(artifact, chosen, device=choose_device(chosen, device), threads=count)
    if check_answers and artifact.manifest is not None:
        check_golden(artifact.manifest["golden"], chosen, tokenizer, session)
    return LoadedModel(artifact, chosen, tokenizer, session, count, max_batch_tokens)
