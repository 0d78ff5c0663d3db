"""A written graph, loaded as the runtime loads it."""

from pathlib import Path

from bertrt.config import pad_token
from bertrt.cpus import available_cpus
from bertrt.session import Session

from bertrt_export.checkpoint import Checkpoint

__all__ = ["open_graph"]


def open_graph(checkpoint: Checkpoint, file: Path) -> Session:
    """The session of a checkpoint's graph, of either layout, on the CPU with all its threads."""
    return Session(
        file,
        device="cpu",
        threads=available_cpus(),
        task=checkpoint.task,
        pad_token_id=pad_token(checkpoint.config.to_dict()),
    )
