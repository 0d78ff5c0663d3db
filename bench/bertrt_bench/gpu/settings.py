"""What is measured on the GPU, and how often."""

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bertrt.cpus import available_cpus

from bertrt_bench.peers.device import DEVICE_VARIABLE, MAX_BATCH_TOKENS, TOKENS_VARIABLE

__all__ = ["Settings"]


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a run; those of the real one are the defaults.

    work: where models and exports are kept. device: `cuda`, or `cpu` to try the code.
    model: a size of `bertrt_bench.models`, with random weights. parity_models: trained ones, of
    which those that are there are compared with PyTorch.
    texts: of SST-2, for ragged batches and for parity. equal_texts, equal_tokens: texts of one
    length. lengths: of single texts; compiled_lengths: those that are compiled for as well.
    shapes: texts and tokens of the batches that attention is compared on. ladder: places a batch.
    in_memory: engines whose memory is measured; none: all that answer.
    turn_seconds: of a turn of an engine. runs: of one batch, in a turn.
    """

    work: Path
    device: str = "cuda"
    model: str = "bert-base"
    parity_models: tuple[str, ...] = ("example", "minilm-sst2")
    rounds: int = 7
    threads: int = dataclasses.field(default_factory=available_cpus)
    max_batch_tokens: int = MAX_BATCH_TOKENS
    texts: int = 2_000
    equal_texts: int = 4_096
    equal_tokens: int = 128
    lengths: tuple[int, ...] = (8, 16, 32, 64, 128, 256, 512)
    compiled_lengths: tuple[int, ...] = (128,)
    shapes: tuple[tuple[int, int], ...] = ((1, 128), (32, 128), (64, 512))
    ladder: tuple[int, ...] = (2_048, 4_096, 8_192, 16_384, 32_768, 65_536)
    in_memory: tuple[str, ...] = ()
    turn_seconds: float = 0.5
    runs: int = 30

    @classmethod
    def quick(cls, work: Path, **changes: Any) -> "Settings":
        """A first look: every measurement, few times."""
        few = {"rounds": 3, "lengths": (16, 128, 512), "turn_seconds": 0.2, "runs": 10}
        return cls(work, **{**few, **changes})

    @classmethod
    def trial(cls, work: Path, **changes: Any) -> "Settings":
        """All of the code on the CPU, with as little work as there can be."""
        little: dict[str, Any] = {
            "device": "cpu",
            "model": "tiny",
            "parity_models": ("example",),
            "rounds": 2,
            "max_batch_tokens": 256,
            "texts": 40,
            "equal_texts": 33,
            "equal_tokens": 16,
            "lengths": (8, 128),
            "compiled_lengths": (128,),
            "shapes": ((1, 16), (3, 8)),
            "ladder": (64, 256),
            "in_memory": ("bertrt_cuda", "pytorch_cuda_graph"),
            "turn_seconds": 0.0,
            "runs": 2,
        }
        return cls(work, **{**little, **changes})

    def environment(self) -> dict[str, str]:
        """This process's environment, with what the peers read from it."""
        own = {DEVICE_VARIABLE: self.device, TOKENS_VARIABLE: str(self.max_batch_tokens)}
        return {**os.environ, **own}

    def folder(self, model: str) -> Path:
        """Where the artifact of a model is; the model itself, where it was made."""
        return self.work / "gpu" / model

    def to_json(self) -> dict[str, Any]:
        """As JSON has it: lists, and no paths."""
        content: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self), default=str))
        return content

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Settings":
        """Read what `to_json` wrote."""
        lists = {name: _tuple(value) for name, value in content.items()}
        return cls(**{**lists, "work": Path(content["work"])})


def _tuple(value: Any) -> Any:
    return tuple(map(_tuple, value)) if isinstance(value, list | tuple) else value
