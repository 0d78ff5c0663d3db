"""The floor of a GPU: a BERT's matrix products alone, in PyTorch, on the batches that bertrt makes.

All products of a list of texts are one CUDA graph, so that what is timed is the products and not
their launches. As peers they answer nothing.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bertrt.packing import plan_batches
from tokenizers import Tokenizer

from bertrt_bench.peers.device import DEVICE, MAX_BATCH_TOKENS, ON_GPU
from bertrt_bench.peers.padded import load_tokenizer
from bertrt_bench.peers.products import product_shapes
from bertrt_bench.peers.pytorch_cuda_graph import captured, memory_pool

__all__ = ["TorchProducts", "load", "run"]


@dataclass(frozen=True, slots=True)
class TorchProducts:
    """The matrices, [inputs, outputs] each, with the name of the rows that they multiply.

    widths: of those rows. known: what replays the products of texts that came before.
    """

    matrices: list[tuple[str, torch.Tensor]]
    widths: dict[str, int]
    dtype: torch.dtype
    tokenizer: Tokenizer
    pool: Any
    known: dict[tuple[str, ...], Callable[[], object]] = field(default_factory=dict)


def load(checkpoint: Path, dtype: torch.dtype) -> TorchProducts:
    """Make the matrices of random numbers: zeros are multiplied faster."""
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    widths = {"hidden": config["hidden_size"], "inner": config["intermediate_size"]}
    widths |= {f"first_{name}": width for name, width in widths.items()}
    torch.manual_seed(0)
    matrices = [
        (source, torch.randn(widths[source], outputs, device=DEVICE).mul_(0.02).to(dtype))
        for source, outputs in product_shapes(config)
    ]
    return TorchProducts(matrices, widths, dtype, load_tokenizer(checkpoint), memory_pool())


@torch.inference_mode()
def run(model: TorchProducts, texts: list[str]) -> np.ndarray:
    """The products of these texts; float32 zeros [texts, 1].

    Texts are cut into batches, and the products captured, at their first coming: so it does not
    count where they were seen before.
    """
    replay = model.known.get(tuple(texts))
    if replay is None:
        replay = model.known[tuple(texts)] = _captured(model, texts)
    replay()
    if ON_GPU:
        torch.cuda.synchronize()
    return np.zeros((len(texts), 1), np.float32)


def _captured(model: TorchProducts, texts: list[str]) -> Callable[[], object]:
    lengths = [len(encoding.ids) for encoding in model.tokenizer.encode_batch_fast(texts)]
    batches = [
        (sum(lengths[position] for position in positions), len(positions))
        for positions in plan_batches(lengths, MAX_BATCH_TOKENS)
    ]
    most_tokens, most_texts = (max(counts) for counts in zip(*batches, strict=True))
    rows = {
        name: torch.randn(
            most_texts if name.startswith("first") else most_tokens, width, device=DEVICE
        ).to(model.dtype)
        for name, width in model.widths.items()
    }

    def multiply() -> torch.Tensor:
        for tokens, count in batches:
            for source, matrix in model.matrices:
                height = count if source.startswith("first") else tokens
                product = torch.matmul(rows[source][:height], matrix)
        return product

    replay, result = captured(multiply, model.pool)
    # The graph reads and writes memory that must stay taken for as long as it is replayed.
    held = (rows, result)

    def replay_held() -> object:
        assert held
        return replay()

    return replay_held
