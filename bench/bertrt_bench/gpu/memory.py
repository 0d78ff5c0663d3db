"""What each engine takes of the GPU's memory."""

from typing import Any

from bertrt_bench.gpu.models import equal_texts, unseen_texts
from bertrt_bench.gpu.pool import BATCH, COMPILED, ENGINES, Pool
from bertrt_bench.gpu.settings import Settings
from bertrt_bench.machine import command_output
from bertrt_bench.peers.remote import RemotePeer

__all__ = ["memory", "used_mib"]

# An engine's process ends and gives its memory back; the next one's comes on top of what is left.
_NAMES = [name for name in ENGINES if name != "pytorch_fp32" and ENGINES[name].kind != "floor"]


def memory(settings: Settings, pool: Pool) -> dict[str, Any]:
    """The memory of the GPU, in MiB, that each engine's process holds, by itself on it.

    Loaded, after ragged sentences, after 64 of the longest texts. All of them keep what they have
    once allocated, so this is their peak. rss_mb: of the process on the CPU, in MB.
    """
    pool.close()
    found: dict[str, Any] = {}
    ragged = unseen_texts(settings.texts)[0]
    texts, tokens = settings.shapes[-1]
    long = equal_texts(tokens, texts, pool.checkpoint)
    for name in settings.in_memory or _NAMES:
        before = used_mib()
        size = len(ragged) if ENGINES[name].own_batches else BATCH
        stages: dict[str, float | None] = {}

        def measure(
            worker: RemotePeer,
            name: str = name,
            size: int = size,
            stages: dict[str, float | None] = stages,
            before: float | None = before,
        ) -> float:
            stages["loaded"] = _more(before)
            worker.classify(ragged, size)
            stages["ragged"] = _more(before)
            if name != COMPILED:  # another shape takes it half a minute
                worker.classify(long, size)
                stages["long"] = _more(before)
            return worker.memory()["peak_mb"]

        rss = pool.ask(name, measure)
        if rss is not None:
            found[name] = {**stages, "rss_mb": rss}
        pool.drop(name)
    return {"engines": found, "failures": dict(pool.failures)}


def _more(before: float | None) -> float | None:
    now = used_mib()
    return None if before is None or now is None else now - before


def used_mib() -> float | None:
    """The memory of the first GPU that is taken, by all processes; None where there is none."""
    asked = ("--id=0", "--query-gpu=memory.used", "--format=csv,noheader,nounits")
    used = command_output("nvidia-smi", *asked)
    return None if used is None else float(used.split()[0])
