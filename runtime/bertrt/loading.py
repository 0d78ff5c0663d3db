"""An artifact to a model that is ready to run, whatever its task."""

import os
from dataclasses import dataclass

from bertrt.artifact import Artifact, load_artifact
from bertrt.cpus import available_cpus
from bertrt.errors import ArtifactError
from bertrt.golden import check_golden
from bertrt.precision import choose_precision
from bertrt.session import Session
from bertrt.tokenizer import TextTokenizer

__all__ = ["DEFAULT_MAX_BATCH_TOKENS", "LoadedModel", "load_model"]

# Batches run beside one another: with 2 of them, 256 and 512 are within 2% of each other, and 1024
# is 6% slower (caches) and takes more memory.
DEFAULT_MAX_BATCH_TOKENS = 512

# Which class, and which command, answers with a model of a task.
_USES = {
    "text-classification": "Classifier, or `bertrt classify`",
    "token-classification": "TokenClassifier, or `bertrt tag`",
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
    artifact = load_artifact(model, check_files=check_files)
    if task is not None and artifact.task != task:
        use = _USES.get(artifact.task)
        raise ArtifactError(
            f"{artifact.path} is a model for {artifact.task}, not {task}: "
            + (f"use {use}" if use else "this version of bertrt cannot run it")
        )
    chosen = choose_precision(artifact, precision, device)
    tokenizer = TextTokenizer(artifact.path, artifact.max_length)
    count = threads or available_cpus()
    session = Session(
        artifact.graph(chosen),
        device="cpu" if device == "auto" and chosen == "int8" else device,
        threads=count,
    )
    if session.labels != len(artifact.labels):
        raise ArtifactError(
            f"{artifact.path}: the graph has {session.labels} labels and "
            f"config.json names {len(artifact.labels)}: export the model again"
        )
    if check_answers:
        check_golden(artifact.manifest["golden"], chosen, tokenizer, session)
    return LoadedModel(artifact, chosen, tokenizer, session, count, max_batch_tokens)
