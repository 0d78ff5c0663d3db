"""Batches to logits, through onnxruntime."""

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bertrt.artifact import Artifact
from bertrt.backend import create_gpu_session, create_session
from bertrt.cuda import CudaSession
from bertrt.cuda_graphs import LENGTHS
from bertrt.devices import CPU, Device
from bertrt.errors import ArtifactError, BackendError
from bertrt.packing import PackedBatch
from bertrt.padding import INPUTS, pad, unpad
from bertrt.parallel import BatchSource, Feeds, run_parallel, run_source

__all__ = ["Session", "feeds", "load_session"]

# onnxruntime's names of the types that ids and masks may have.
_TYPES = {
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
    "tensor(float)": np.float32,
}

_logger = logging.getLogger("bertrt")


class Session:
    """A loaded graph of either layout. Thread-safe: several threads may run it at once.

    device: a name that `Device.parse` takes, but for `auto`.
    task: text-classification gives a row of logits a text, token-classification a row a token.
    pad_token_id, first_position: what rows of a padded graph are filled up with, and the position
        of a text's first token.
    max_length: tokens of a text at most; cuda_graphs: whether short batches are captured on CUDA.
        The graph must be one for CUDA (fp16) then.

    provider: the execution provider that really runs it. layout: `packed` or `padded`, by the
    graph's inputs. labels: how many there are.
    """

    def __init__(
        self,
        graph: Path,
        *,
        device: str,
        threads: int,
        task: str = "text-classification",
        pad_token_id: int = 0,
        first_position: int = 0,
        max_length: int = 512,
        cuda_graphs: bool = False,
    ) -> None:
        self._session = _open(
            graph, Device.parse(device), threads, max_length=max_length, cuda_graphs=cuda_graphs
        )
        self.provider: str = self._session.get_providers()[0]
        self._threads = threads if self.provider == CPU else 1
        self._pad_token_id, self._first_position = pad_token_id, first_position
        self.layout = _graph_layout(self._session, graph)
        # Only padded logits of tokens have an axis more than those of a text.
        self._rank = 3 if (task, self.layout) == ("token-classification", "padded") else 2
        self._outputs = [_output_name(self._session, graph, task)]
        self.labels = self._label_count(graph, task)
        if isinstance(self._session, CudaSession):
            self._session.warm_up(self._outputs)

    @property
    def on_gpu(self) -> bool:
        """Whether a GPU runs it."""
        return self.provider != CPU

    def run(self, batch: PackedBatch) -> np.ndarray:
        """The logits of a batch, float32 [texts, labels], or [tokens, labels] of tokens."""
        try:
            (logits,) = self._session.run(self._outputs, self.feeds(batch))
            return self._rows(logits, batch.lengths)
        except Exception as error:
            raise BackendError(
                f"onnxruntime failed on {len(batch.lengths)} texts: {error}"
            ) from error

    def feeds(self, batch: PackedBatch) -> Feeds:
        """The batch by the names of the graph's inputs."""
        return feeds(
            self._session,
            batch,
            pad_token_id=self._pad_token_id,
            first_position=self._first_position,
        )

    def run_source(self, source: BatchSource[Any]) -> None:
        """Run a source's batches until it has no more, as many at a time as `run_all` does.

        The source gets the logits and the errors as onnxruntime gives them: of a half-precision
        graph float16, of a padded graph for tokens [texts, longest, labels].
        """
        run_source(self._session, source, self._threads, self._outputs)

    def run_all(self, batches: Iterable[PackedBatch]) -> list[np.ndarray]:
        """The logits of each batch, as `run` gives them, in order.

        On the CPU as many batches run at a time as there are threads, each on one of them.
        """
        lengths: list[np.ndarray] = []

        def inputs() -> Iterator[Feeds]:
            for batch in batches:
                lengths.append(batch.lengths)
                yield self.feeds(batch)

        try:
            logits = run_parallel(self._session, inputs(), self._threads, self._outputs)
        except Exception as error:
            raise BackendError(f"onnxruntime failed on a batch: {error}") from error
        return [self._rows(rows, of) for rows, of in zip(logits, lengths, strict=True)]

    def _rows(self, logits: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Logits as a graph gives them, without padding and as float32."""
        rows = unpad(logits, lengths) if self._rank == 3 else logits
        return np.asarray(rows, dtype=np.float32)

    def _label_count(self, graph: Path, task: str) -> int:
        """The labels that the graph states, or those of an answer where it leaves them open."""
        outputs = {value.name: value.shape for value in self._session.get_outputs()}
        shape = outputs[self._outputs[0]]
        # Without a shape in the file, onnxruntime gives an empty one.
        if not shape or (len(shape) == self._rank and not isinstance(shape[-1], int)):
            shape = self._answer_shape(graph)
        if len(shape) != self._rank:
            wanted = ["texts", "longest", "labels"] if self._rank == 3 else ["texts", "labels"]
            raise ArtifactError(
                f"{graph} has no output logits [{', '.join(wanted)}] (it is {shape}), so it is no "
                f"model for {task}"
            )
        return int(shape[-1])

    def _answer_shape(self, graph: Path) -> list[int]:
        """The shape of the logits of a text of two tokens."""
        ids = np.full(2, self._pad_token_id, dtype=np.int64)
        batch = PackedBatch(ids, np.zeros_like(ids), np.array([2], dtype=np.int32))
        try:
            (logits,) = self._session.run(self._outputs, self.feeds(batch))
        except Exception as error:
            raise ArtifactError(
                f"{graph} does not say how many labels it has, and fails on a text of two tokens: "
                f"{error}"
            ) from error
        return list(logits.shape)


def _open(graph: Path, device: Device, threads: int, *, max_length: int, cuda_graphs: bool) -> Any:
    """An onnxruntime.InferenceSession, or what is run as one."""
    if device.kind == "auto":
        raise ValueError("a session is on one device: load_model tries those of 'auto'")
    if not device.on_gpu:
        return create_session(graph, [CPU], threads)
    captured = cuda_graphs and device.kind == "cuda"
    try:
        session = create_gpu_session(graph, device, cuda_graphs=captured)
    except ArtifactError as error:
        if not captured:
            raise
        # An operator that the GPU lacks, or another reason.
        _logger.warning("short batches will not be captured as CUDA graphs: %s", error)
        captured = False
        session = create_gpu_session(graph, device)
    return CudaSession(session, graphs=captured, max_length=max_length, device_index=device.index)


def load_session(artifact: Artifact, precision: str, *, device: str, threads: int) -> Session:
    """The session of an artifact's graph, whose labels are as many as config.json names.

    Raises ArtifactError, DeviceError, or ValueError for a device that does not exist.
    """
    graph, own = artifact.graphs[precision], artifact.manifest is not None
    session = Session(
        graph,
        device=device,
        threads=threads,
        task=artifact.task,
        pad_token_id=artifact.pad_token_id,
        first_position=artifact.first_position,
        max_length=artifact.max_length,
        cuda_graphs=precision == "fp16" and own,
    )
    if session.layout != artifact.layout:
        raise ArtifactError(
            f"{graph} is a {session.layout} graph and {artifact.path} "
            + ("says another layout" if own else "has no bertrt.json")
            + ": copy the whole folder, or export the model again"
        )
    if session.labels != len(artifact.labels):
        raise ArtifactError(
            f"{artifact.path}: the graph has {session.labels} labels and config.json names "
            f"{len(artifact.labels)}: "
            + ("export the model again" if own else "correct id2label there")
        )
    return session


def feeds(
    session: Any,
    batch: PackedBatch,
    *,
    pad_token_id: int = 0,
    first_position: int = 0,
) -> dict[str, np.ndarray]:
    """The batch by the names of the graph's inputs, in their types; what it lacks is left out."""
    inputs = session.get_inputs()
    if any(value.name == LENGTHS for value in inputs):
        values = {
            "input_ids": batch.input_ids,
            "token_type_ids": batch.token_type_ids,
            LENGTHS: batch.lengths,
        }
        return {value.name: values[value.name] for value in inputs}
    values = pad(batch, pad_token_id, first_position)
    return {
        value.name: values[value.name].astype(_TYPES[value.type], copy=False) for value in inputs
    }


def _graph_layout(session: Any, graph: Path) -> str:
    """`packed` or `padded`, by the graph's inputs; ArtifactError for one that cannot be fed."""
    inputs = session.get_inputs()
    packed = any(value.name == LENGTHS for value in inputs)
    known = ("input_ids", "token_type_ids", LENGTHS) if packed else INPUTS
    for value in inputs:
        if value.name not in known or value.type not in _TYPES:
            raise ArtifactError(
                f"{graph} has an input {value.name} of type {value.type}, which bertrt cannot "
                f"feed: it feeds {', '.join(known)}"
            )
        if not packed and (len(value.shape) != 2 or any(isinstance(n, int) for n in value.shape)):
            raise ArtifactError(
                f"{graph} has an input {value.name} of shape {value.shape}, and bertrt feeds any "
                "number of texts of any length: export the model with dynamic axes for both"
            )
    if not packed and "input_ids" not in {value.name for value in inputs}:
        raise ArtifactError(f"{graph} has no input input_ids, so it takes no text")
    return "packed" if packed else "padded"


def _output_name(session: Any, graph: Path, task: str) -> str:
    """`logits`, or the only output whatever it is called."""
    names = [value.name for value in session.get_outputs()]
    if "logits" in names:
        return "logits"
    if len(names) == 1:
        return str(names[0])
    raise ArtifactError(
        f"{graph} has the outputs {', '.join(names)} and none is called logits, so it is no model "
        f"for {task}"
    )
