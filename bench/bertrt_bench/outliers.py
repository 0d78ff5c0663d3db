"""A model made hard to quantize: the same answers in float, and activations with outliers."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["with_outliers"]


def with_outliers(model: nn.Module, *, channels: int = 4, factor: float = 40.0) -> nn.Module:
    """A copy of a BERT classifier in which a few channels are `factor` times as large.

    Everywhere a product reads the residual stream (queries, keys and values; the feed-forward's
    first), its input is multiplied in these channels, and the matrix divided in the same ones; of
    what the attention output reads, the values' columns are multiplied and its rows divided. So
    the float function is the same up to rounding. (LayerNorm's own weights cannot be changed for
    that: BERT adds its result to the residual as well.) The channels are those that are the
    largest already: they have the largest |gamma|.
    """
    hard: Any = copy.deepcopy(model)
    before = hard.bert.embeddings
    for layer in hard.bert.encoder.layer:
        attention, feed_forward = layer.attention, layer.intermediate
        values, output = attention.self.value, attention.output.dense
        reads = (attention.self.query, attention.self.key, values)
        _scale_input(attention.self, reads, _largest(before.LayerNorm, channels), factor)
        _scale_input(
            feed_forward,
            (feed_forward.dense,),
            _largest(attention.output.LayerNorm, channels),
            factor,
        )
        head = values.out_features // hard.config.num_attention_heads
        mixed = torch.arange(channels) * head  # the first channel of some heads
        with torch.no_grad():
            values.weight[mixed] *= factor
            values.bias[mixed] *= factor
            output.weight[:, mixed] /= factor
        before = layer.output
    result: nn.Module = hard
    return result


def _largest(norm: nn.LayerNorm, count: int) -> Tensor:
    """The channels with the largest |gamma|, int64 [count]."""
    return norm.weight.detach().abs().topk(count).indices


def _scale_input(
    module: nn.Module, reads: tuple[nn.Linear, ...], channels: Tensor, factor: float
) -> None:
    """Multiply channels of what a module gets, and divide the matrices that read them."""
    scale = torch.ones(reads[0].in_features)
    scale[channels] = factor

    def multiply(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (inputs[0] * scale, *inputs[1:])

    module.register_forward_pre_hook(multiply)
    with torch.no_grad():
        for linear in reads:
            linear.weight /= scale
