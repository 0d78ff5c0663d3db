"""MPNet: attention with a bias that depends on how far two tokens are apart."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

__all__ = ["stand_ins"]


def stand_ins(base: nn.Module, position_ids: Callable[[], torch.Tensor]) -> Mapping[str, nn.Module]:
    """Stand-ins for the attention of an MPNetModel, which computes its softmax by itself."""
    encoder: Any = base.get_submodule("encoder")

    def bias() -> torch.Tensor:
        return _position_bias(encoder, position_ids())

    return {
        f"encoder.layer.{number}.attention.attn": _Attention(layer.attention.attn, bias)
        for number, layer in enumerate(encoder.layer)
    }


class _Attention(nn.Module):
    """What MPNetSelfAttention does, as one operator with its bias as a mask."""

    def __init__(self, original: Any, bias: Callable[[], torch.Tensor]) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = original.q, original.k, original.v, original.o
        self._head_size = original.attention_head_size
        self._bias = bias

    def forward(self, hidden_states: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor]:
        def heads(values: torch.Tensor) -> torch.Tensor:
            return values.view(*values.shape[:-1], -1, self._head_size).transpose(1, 2)

        attended = scaled_dot_product_attention(
            heads(self.q(hidden_states)),
            heads(self.k(hidden_states)),
            heads(self.v(hidden_states)),
            attn_mask=self._bias(),
        )
        return (self.o(attended.transpose(1, 2).reshape(hidden_states.shape)),)


def _position_bias(encoder: Any, position_ids: torch.Tensor) -> torch.Tensor:
    """The bias, float32 [1, heads, tokens, tokens], from positions int64 [1, tokens]."""
    distance = position_ids[:, None, :] - position_ids[:, :, None]
    buckets = encoder.relative_position_bucket(distance)
    bias: torch.Tensor = encoder.relative_attention_bias(buckets).permute(0, 3, 1, 2)
    return bias
