"""Trace a Hugging Face classifier into an ONNX graph over one row of all tokens.

The module is traced as if the whole batch were one unpadded text: every input is `[1, tokens]`.
What joins the tokens of one text, and keeps texts apart, is put in afterwards by the passes.
"""

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import onnx_ir as ir
import torch
from torch import nn
from transformers import activations

from bertrt_export.families import (
    Family,
    base_model,
    pools_by_mean,
    position_table,
    segment_table,
)

__all__ = ["OPSET", "quiet_exporter", "trace"]

# Attention takes `nonpad_kv_seqlen`, the number of real keys of each text, from opset 24 on.
OPSET = 24

_WRAPPED = "model."

# From hidden states [1, tokens, hidden], positions and the first tokens' indices to one row a text.
_Pool = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


class _OneRow(nn.Module):
    """The classifier over one row of all tokens.

    Inputs: `input_ids`, [`token_type_ids`,] `position_ids` int64 [1, tokens], positions counted
    from the beginning of each text; `first_token_index` int64 [texts].
    Output: `logits` float32 [texts, labels]; of a token classifier, [tokens, labels].
    """

    def __init__(self, model: nn.Module, family: Family, *, per_token: bool) -> None:
        super().__init__()
        self.model = model
        self._family = family
        mean = pools_by_mean(base_model(model).config)
        self._pool: _Pool | None = None if per_token else _mean_of_each if mean else _first_of_each
        # The positions of the call that is being traced, for the family's stand-ins.
        self._positions: list[torch.Tensor] = []

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        input_ids, *segments, position_ids, first_token_index = inputs
        named = {"token_type_ids": segments[0]} if segments else {}
        base, pool = base_model(self.model), self._pool

        def only_segment(_: Any) -> Any:
            assert table is not None
            return table.weight[0]

        def pooled(output: Any) -> Any:
            """One row a text, [texts, 1, hidden]: the head reads token 0 of each row."""
            assert pool is not None
            kept = pool(output.last_hidden_state, position_ids, first_token_index)
            output.last_hidden_state = kept.transpose(0, 1)
            return output

        with contextlib.ExitStack() as hooks:
            hooks.enter_context(self._with_positions(base, input_ids, position_ids))
            table = segment_table(base)
            if table is not None and not segments:
                hooks.enter_context(_hooked(table, only_segment))
            if pool is not None:
                hooks.enter_context(_hooked(base.get_submodule(self._family.encoder), pooled))
            output = self.model(input_ids=input_ids, **named)
        logits: torch.Tensor = output.logits
        return logits if pool is not None else logits.squeeze(0)

    @contextlib.contextmanager
    def _with_positions(
        self, base: nn.Module, input_ids: torch.Tensor, position_ids: torch.Tensor
    ) -> Iterator[None]:
        """Ask the position table for these positions, whatever arguments a model takes."""
        table = position_table(base)
        rows = position_ids
        if self._family.positions == "after padding" and table is not None:
            assert table.padding_idx is not None  # what the family is told by
            rows = _after_padding(input_ids, position_ids, table.padding_idx)
        self._positions.append(position_ids)
        with contextlib.ExitStack() as hooks:
            hooks.callback(self._positions.pop)
            if table is not None:
                hook = table.register_forward_pre_hook(lambda module, args: (rows,))
                hooks.callback(hook.remove)
            yield

    def position_ids(self) -> torch.Tensor:
        """Each token's place in its text, int64 [1, tokens], of the call that is being traced."""
        return self._positions[-1]


@contextlib.contextmanager
def _hooked(module: nn.Module, change: Callable[[Any], Any]) -> Iterator[None]:
    """Pass a module's output through `change`."""
    hook = module.register_forward_hook(lambda module, args, output: change(output))
    try:
        yield
    finally:
        hook.remove()


def _after_padding(
    input_ids: torch.Tensor, position_ids: torch.Tensor, padding: int
) -> torch.Tensor:
    """RoBERTa's positions, int64 [1, tokens]: they begin after the padding token's id.

    A padding token within a text (somebody wrote it there) is not counted, and has its own row.
    """
    row, positions = input_ids.squeeze(0), position_ids.squeeze(0)
    real = (row != padding).to(torch.int64)
    counted = torch.cumsum(real, 0)
    starts = torch.arange(row.shape[0]) - positions
    before = (counted - real).index_select(0, starts)
    return ((counted - before) * real + padding).unsqueeze(0)


def _first_of_each(
    hidden: torch.Tensor, position_ids: torch.Tensor, first_token_index: torch.Tensor
) -> torch.Tensor:
    """The first token of each text, [1, texts, hidden], of [1, tokens, hidden]."""
    return hidden.index_select(1, first_token_index)


def _mean_of_each(
    hidden: torch.Tensor, position_ids: torch.Tensor, first_token_index: torch.Tensor
) -> torch.Tensor:
    """The mean of each text's tokens, [1, texts, hidden], of [1, tokens, hidden]."""
    starts = torch.arange(hidden.shape[1]) - position_ids.squeeze(0)
    member = (first_token_index[:, None] == starts[None]).to(hidden.dtype)
    return (member @ hidden.squeeze(0) / member.sum(1, keepdim=True)).unsqueeze(0)


@contextlib.contextmanager
def _stood_in(model: nn.Module, replacements: Mapping[str, nn.Module]) -> Iterator[None]:
    """Put modules in the place of some of the model's own, by their paths."""
    originals = {path: model.get_submodule(path) for path in replacements}
    try:
        for path, module in replacements.items():
            model.set_submodule(path, module.eval())
        yield
    finally:
        for path, module in originals.items():
            model.set_submodule(path, module)


def _gelus(model: nn.Module) -> dict[str, nn.Module]:
    """PyTorch's own GELU for those that Transformers writes out, which are many operators."""
    return {
        path: nn.GELU(approximate="tanh")
        for path, module in model.named_modules()
        if isinstance(module, (activations.NewGELUActivation, activations.FastGELUActivation))
    }


@contextlib.contextmanager
def _pooling_done(config: Any) -> Iterator[None]:
    """Let the head of a model that pools by mean take the one row that it is given."""
    if not pools_by_mean(config):
        yield
        return
    config.classifier_pooling = "cls"
    try:
        yield
    finally:
        config.classifier_pooling = "mean"


@contextlib.contextmanager
def _attention_without_mask(base: Any) -> Iterator[None]:
    """Trace attention as `softmax(QK)V` over the whole row.

    Transformers builds an attention mask even where nothing is padded, differently from version
    to version, and of tokens x tokens values. In a single unpadded row of a bidirectional encoder
    it is true everywhere, so it is left out. That a model is such an encoder is verified against
    PyTorch before anything is written. What a family's stand-ins ask for, they get.
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
    # Models that write attention out ask themselves for a mask to add.
    base.get_extended_attention_mask = lambda *_, **__: None
    try:
        yield
    finally:
        nn.functional.scaled_dot_product_attention = original
        del base.get_extended_attention_mask


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


def trace(model: nn.Module, family: Family, *, segments: bool, per_token: bool = False) -> ir.Model:
    """Trace `model` (float32, in eval mode) to an ONNX graph over one row of all tokens.

    segments: whether the model is fed `token_type_ids`; else each token is of the first segment.
    per_token: whether it is a token classifier.
    Inputs and output are those of `_OneRow`; the dynamic axes are `tokens` and `texts`. Weights
    carry the names of the PyTorch parameters that they come from.
    """
    tokens, texts = torch.export.Dim("tokens"), torch.export.Dim("texts")
    # A tensor of its own for each input: the exporter takes one tensor for one input.
    rows = {"input_ids": torch.zeros((1, 11), dtype=torch.int64)}
    if segments:
        rows["token_type_ids"] = torch.zeros((1, 11), dtype=torch.int64)
    rows["position_ids"] = torch.arange(11)[None]
    one_row = _OneRow(model, family, per_token=per_token)
    base = base_model(model)
    own = family.stand_ins(base, one_row.position_ids) if family.stand_ins else {}
    with contextlib.ExitStack() as stack:
        stack.enter_context(quiet_exporter())
        stack.enter_context(_attention_without_mask(base))
        stack.enter_context(torch.no_grad())
        stack.enter_context(_stood_in(base, own))
        stack.enter_context(_stood_in(model, _gelus(model)))
        if not per_token:
            stack.enter_context(_pooling_done(base.config))
        program = torch.onnx.export(
            one_row,
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
