"""The steps of a run, in their order: what matters most first, for time may run out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bertrt_bench.gpu import comparison, fidelity, inside, memory, nodes, prepare
from bertrt_bench.gpu.pool import Pool
from bertrt_bench.gpu.settings import Settings

__all__ = ["STEPS", "Step"]


@dataclass(frozen=True, slots=True)
class Step:
    """A part of the run that may fail by itself; its result is what JSON can hold.

    isolated: called in a process of its own. pooled: called here, with engines that have processes
    of their own. One of the two is given. timeout: seconds of an isolated step.
    least_seconds: a step is not begun when less than that is left of a run's time.
    """

    name: str
    title: str
    isolated: Callable[[Settings], dict[str, Any]] | None = None
    pooled: Callable[[Settings, Pool], dict[str, Any]] | None = None
    timeout: float = 240.0
    least_seconds: float = 40.0


STEPS = (
    Step("facts", "the machine", isolated=prepare.facts, timeout=90, least_seconds=10),
    Step("prepare", "models and exports", isolated=prepare.prepare, timeout=420),
    Step("parity", "answers against PyTorch", pooled=fidelity.parity),
    Step("independence", "texts alone and in batches", isolated=fidelity.independence),
    Step("single", "single texts", pooled=comparison.single, least_seconds=100),
    Step("ragged", "ragged texts", pooled=comparison.ragged, least_seconds=230),
    Step("equal", "texts of one length", pooled=comparison.equal, least_seconds=90),
    Step("attention", "forms of attention", isolated=inside.attention, timeout=360),
    Step("cuda_graphs", "CUDA graphs", isolated=inside.cuda_graphs),
    Step("ladder", "sizes of batches", isolated=inside.ladder),
    Step("nodes", "where nodes run", isolated=nodes.nodes),
    Step("attention_kernels", "kernels of attention", isolated=nodes.attention_kernels),
    Step("gpu_kernels", "kernels of a run", isolated=nodes.gpu_kernels),
    Step("memory", "memory of the GPU", pooled=memory.memory, least_seconds=60),
)
