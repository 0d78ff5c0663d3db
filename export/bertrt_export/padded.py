"""The padded graph: a rectangle of tokens and an attention mask, as other tools want it.

Its inputs, output and their names are those of the ONNX files on the hub, so that Optimum,
transformers.js, text-embeddings-inference and Triton take it.
"""

import contextlib
import importlib.metadata
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import onnx_ir as ir
import torch
from torch import nn

from bertrt_export.checkpoint import Checkpoint
from bertrt_export.checkpoint_files import one_line
from bertrt_export.errors import UnsupportedModelError
from bertrt_export.tracing import quiet_exporter

__all__ = ["graph_of_optimum", "graph_of_torch", "padded_graph"]

# What torch's exporter is written for, and what the tools above have long been able to read.
_OPSET = 18

_BATCH, _SEQUENCE = "batch_size", "sequence_length"
_WRAPPED = "model."


def padded_graph(checkpoint: Checkpoint) -> tuple[ir.Model, str]:
    """The checkpoint as a padded graph, and what exported it (`optimum-onnx 0.1.0`).

    Inputs: `input_ids`, `attention_mask` (1 for a token, 0 for padding), and `token_type_ids` where
    the model has segments, int64 [texts, longest]. Output: `logits` float32 [texts, labels], or
    [texts, longest, labels] of a token classifier.

    Optimum's exporter makes it where it is installed and knows the architecture, else torch's.
    Raises UnsupportedModelError where that cannot trace the model.
    """
    for exporter, package in ((graph_of_optimum, "optimum-onnx"), (graph_of_torch, "torch")):
        graph = exporter(checkpoint)
        if graph is not None:
            return _named(graph), f"{package} {importlib.metadata.version(package)}"
    raise AssertionError("torch's exporter gives a graph, or raises")


def graph_of_optimum(checkpoint: Checkpoint) -> ir.Model | None:
    """Optimum's export; None where Optimum is not installed, or does not know the architecture."""
    try:
        # By both ways: the registry of architectures is filled by importing the exporter.
        from optimum.exporters.onnx import onnx_export_from_model
        from optimum.exporters.tasks import TasksManager
    except ImportError:
        return None
    try:
        tasks = TasksManager.get_supported_tasks_for_model_type(
            checkpoint.config.model_type, exporter="onnx", library_name="transformers"
        )
    except KeyError:
        return None
    if checkpoint.task not in tasks:
        return None
    with _quiet(), tempfile.TemporaryDirectory() as folder:
        try:
            # Our own comparison with PyTorch follows, so Optimum's is left out.
            onnx_export_from_model(
                checkpoint.model, Path(folder), task=checkpoint.task, do_validation=False
            )
        except Exception as error:  # whatever the model's own code raises while it is traced
            raise _untraceable(checkpoint, "Optimum's exporter", error) from error
        graph = ir.load(Path(folder) / "model.onnx")
        # Weights in a file of their own would go with the folder.
        return ir.external_data.load_to_model(graph)


def graph_of_torch(checkpoint: Checkpoint) -> ir.Model:
    """The export of `torch.onnx`, with dynamic axes."""
    names = ["input_ids", "attention_mask", *(["token_type_ids"] if checkpoint.segments else [])]
    axes = {0: torch.export.Dim(_BATCH), 1: torch.export.Dim(_SEQUENCE)}
    inputs = [torch.zeros((2, 11), dtype=torch.int64) for _ in names]
    inputs[1][0], inputs[1][1, :7] = 1, 1  # one row has padding
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                _Padded(checkpoint.model, names),
                tuple(inputs),
                dynamo=True,
                verbose=False,
                opset_version=_OPSET,
                input_names=names,
                output_names=["logits"],
                # One entry for the one variadic argument of `forward`.
                dynamic_shapes=(tuple(axes for _ in names),),
            )
    except Exception as error:  # whatever the model's own code raises while it is traced
        raise _untraceable(checkpoint, "torch.onnx.export", error) from error
    assert program is not None  # None is for the exporter's old, file-writing form
    traced: ir.Model = program.model
    for value in list(traced.graph.initializers.values()):
        assert value.name is not None  # the exporter names every weight
        value.name = value.name.removeprefix(_WRAPPED)
    return traced


class _Padded(nn.Module):
    """The classifier with its inputs by position, and the logits alone."""

    def __init__(self, model: nn.Module, names: list[str]) -> None:
        super().__init__()
        self.model = model
        self._names = names

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(**dict(zip(self._names, inputs, strict=True))).logits
        return logits


def _named(graph: ir.Model) -> ir.Model:
    """Name the axes alike, whoever made the graph; exporters invent names for the output's."""
    for value in (*graph.graph.inputs, *graph.graph.outputs):
        assert value.shape is not None  # exporters state the shapes of what goes in and out
        names: list[str | int | ir.SymbolicDim] = [_BATCH, _SEQUENCE, *value.shape[2:]]
        if value in graph.graph.outputs and len(value.shape) == 2:
            names = [_BATCH, value.shape[1]]
        value.shape = ir.Shape(names)
    return graph


def _untraceable(checkpoint: Checkpoint, exporter: str, error: Exception) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"{checkpoint.name} cannot be exported: {exporter} fails on its architecture, "
        f"{type(checkpoint.model).__name__} ({one_line(error)})"
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporters' notes on their own internals away from the user.

    Optimum sets its level when it is imported, so this is for after that.
    """
    loggers = [logging.getLogger(name) for name in ("onnxscript", "optimum")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with quiet_exporter():
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
