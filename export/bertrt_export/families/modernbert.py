"""ModernBERT: rotary positions, and attention that is local in most layers."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

__all__ = ["stand_ins"]


def stand_ins(base: nn.Module, position_ids: Callable[[], torch.Tensor]) -> Mapping[str, nn.Module]:
    """Stand-ins for the attention and the feed-forward network of a ModernBertModel.

    Both compute several projections in one and split them afterwards; here each is its own, which
    is what the passes and int8 work on.
    """
    layers: Any = base.get_submodule("layers")
    caches: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    replacements: dict[str, nn.Module] = {}
    for number, layer in enumerate(layers):
        window = _window(layer.attn)
        kind = "full_attention" if window is None else "sliding_attention"
        if kind not in caches:
            caches[kind] = _rotations(base, layer.attn, kind)
        attention = _Attention(layer.attn, window, *caches[kind], position_ids)
        replacements[f"layers.{number}.attn"] = attention
        replacements[f"layers.{number}.mlp"] = _FeedForward(layer.mlp)
    return replacements


def _window(attention: Any) -> int | None:
    """How far a token sees to either side; None where it sees the whole text."""
    if hasattr(attention, "local_attention"):  # transformers 4
        window = int(attention.local_attention[0])
        return None if window < 0 else window
    return None if attention.sliding_window is None else int(attention.sliding_window) - 1


def _rotations(base: Any, attention: Any, kind: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines, float32 [positions, head size / 2], by the model's own module."""
    positions = torch.arange(base.config.max_position_embeddings)[None]
    values = torch.zeros(1)
    with torch.no_grad():
        if hasattr(base, "rotary_emb"):  # transformers 5 has one for all layers
            both = base.rotary_emb(values, positions, kind)
        else:
            both = attention.rotary_emb(values, positions)
    # Each half of a head's channels is rotated by the same angles.
    cosines, sines = (angles[0, :, : angles.shape[-1] // 2].contiguous() for angles in both)
    return cosines, sines


def _split(linear: nn.Linear, parts: int) -> list[nn.Linear]:
    """Linear layers that give the parts of one layer's output."""
    result = []
    width = linear.out_features // parts
    for number in range(parts):
        part = nn.Linear(linear.in_features, width, bias=linear.bias is not None)
        rows = slice(number * width, (number + 1) * width)
        part.weight = nn.Parameter(linear.weight[rows].detach(), requires_grad=False)
        if linear.bias is not None:
            part.bias = nn.Parameter(linear.bias[rows].detach(), requires_grad=False)
        result.append(part)
    return result


class _Attention(nn.Module):
    """What ModernBertAttention does.

    window: how far a token sees to either side, or None.
    """

    def __init__(
        self,
        original: Any,
        window: int | None,
        cosines: torch.Tensor,
        sines: torch.Tensor,
        position_ids: Callable[[], torch.Tensor],
    ) -> None:
        super().__init__()
        self.query, self.key, self.value = _split(original.Wqkv, 3)
        self.Wo = original.Wo
        self._head_size, self._window = original.head_dim, window
        self.cosines: torch.Tensor
        self.sines: torch.Tensor
        self.register_buffer("cosines", cosines)
        self.register_buffer("sines", sines)
        self._position_ids = position_ids

    def forward(
        self, hidden_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        positions = self._position_ids()
        count = hidden_states.shape[-1] // self._head_size

        def heads(values: torch.Tensor) -> torch.Tensor:
            return values.view(*values.shape[:-1], count, self._head_size).transpose(1, 2)

        def rotated(values: torch.Tensor) -> torch.Tensor:
            return torch.onnx.ops.rotary_embedding(
                values, self.cosines, self.sines, positions, num_heads=count
            )

        near = None
        if self._window is not None:
            distance = positions[:, None, :] - positions[:, :, None]
            near = (distance.abs() <= self._window)[:, None]
        attended = scaled_dot_product_attention(
            heads(rotated(self.query(hidden_states))),
            heads(rotated(self.key(hidden_states))),
            heads(self.value(hidden_states)),
            attn_mask=near,
        )
        return self.Wo(attended.transpose(1, 2).reshape(hidden_states.shape)), None


class _FeedForward(nn.Module):
    """What ModernBertMLP does."""

    def __init__(self, original: Any) -> None:
        super().__init__()
        self.input, self.gate = _split(original.Wi, 2)
        self.act, self.Wo = original.act, original.Wo

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.Wo(
            self.act(self.input(hidden_states)) * self.gate(hidden_states)
        )
        return result
