"""Trace a Hugging Face classifier into an ONNX graph over one row of all tokens.

The module is traced as if the whole batch were one unpadded text: every input is `[1, tokens]`.
What joins the tokens of one text, and keeps texts apart, is put in afterwards by the passes.
"""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import onnx_ir as ir
import torch
from torch import nn

from bertrt_export.families import Family

__all__ = ["OPSET", "quiet_exporter", "trace"]

# Attention takes `nonpad_kv_seqlen`, the number of real keys of each text, from opset 24 on.
OPSET = 24

_WRAPPED = "model."


class _OneRow(nn.Module):
    """The classifier over one row of all tokens, reading the first token of each text.

    Inputs: `input_ids`, [`token_type_ids`,] `position_ids` int64 [1, tokens];
    `first_token_index` int64 [texts]. Output: `logits` float32 [texts, labels].
    """

    def __init__(self, model: nn.Module, family: Family) -> None:
        super().__init__()
        self.model = model
        self._family = family

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        input_ids, *segments, position_ids, first_token_index = inputs

        def keep_first_tokens(module: nn.Module, args: Any, output: Any) -> Any:
            """Give the head one row a text, [texts, 1, hidden]: it reads token 0 of each row."""
            first = output.last_hidden_state.index_select(1, first_token_index)
            output.last_hidden_state = first.transpose(0, 1)
            return output

        named = {"token_type_ids": segments[0]} if self._family.segments else {}
        encoder = self.model.get_submodule(self._family.encoder)
        hook = encoder.register_forward_hook(keep_first_tokens)
        try:
            output = self.model(input_ids=input_ids, position_ids=position_ids, **named)
        finally:
            hook.remove()
        logits: torch.Tensor = output.logits
        return logits


@contextlib.contextmanager
def _attention_without_mask() -> Iterator[None]:
    """Trace attention as `softmax(QK)V` over the whole row.

    Transformers builds an attention mask even where nothing is padded, differently from version
    to version, and of tokens x tokens values. In a single unpadded row of a bidirectional encoder
    it is true everywhere, so it is left out. That the family is such an encoder is stated by its
    place in FAMILIES and verified against PyTorch before anything is written.
    """
    original = nn.functional.scaled_dot_product_attention

    def unmasked(
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        *_: Any,
        scale: float | None = None,
        **__: Any,
    ) -> torch.Tensor:
        return original(query, key, value, scale=scale)

    nn.functional.scaled_dot_product_attention = unmasked
    try:
        yield
    finally:
        nn.functional.scaled_dot_product_attention = original


@contextlib.contextmanager
def quiet_exporter() -> Iterator[None]:
    """Keep torch.onnx's notes on its own internals away from the user."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def trace(model: nn.Module, family: Family) -> ir.Model:
    """Trace `model` (float32, in eval mode) to an ONNX graph over one row of all tokens.

    Inputs and output are those of `_OneRow`; the dynamic axes are `tokens` and `texts`. Weights
    carry the names of the PyTorch parameters that they come from.
    """
    tokens, texts = torch.export.Dim("tokens"), torch.export.Dim("texts")
    # A tensor of its own for each input: the exporter takes one tensor for one input.
    rows = {"input_ids": torch.zeros((1, 11), dtype=torch.int64)}
    if family.segments:
        rows["token_type_ids"] = torch.zeros((1, 11), dtype=torch.int64)
    rows["position_ids"] = torch.arange(11)[None]
    with quiet_exporter(), _attention_without_mask(), torch.no_grad():
        program = torch.onnx.export(
            _OneRow(model, family),
            (*rows.values(), torch.tensor([0, 4, 7])),
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=[*rows, "first_token_index"],
            output_names=["logits"],
            # One entry for the one variadic argument of `forward`.
            dynamic_shapes=((*({1: tokens} for _ in rows), {0: texts}),),
        )
    assert program is not None  # None is for the exporter's old, file-writing form
    traced: ir.Model = program.model
    _name_weights(traced)
    return traced


def _name_weights(model: ir.Model) -> None:
    """Name each weight after its PyTorch parameter: the exporter renames what it transposes."""
    initializers = model.graph.initializers
    for node in model.graph:
        scopes = node.metadata_props.get("pkg.torch.onnx.name_scopes", "")
        modules = [s for s in scopes.strip("[]").replace("'", "").split(", ") if _WRAPPED in s]
        if node.op_type != "MatMul" or not modules:
            continue
        weight = node.inputs[1]
        name = f"{modules[-1]}.weight"
        if weight is not None and weight.is_initializer() and name not in initializers:
            weight.name = name
    for value in list(initializers.values()):
        assert value.name is not None  # the exporter names every weight
        if value.name.startswith(_WRAPPED):
            value.name = value.name.removeprefix(_WRAPPED)
