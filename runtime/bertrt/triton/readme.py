"""The page that comes with a model repository."""

from importlib.resources import files

from bertrt.triton.configs import Deployment
from bertrt.triton.host import MINIMUM_TRITON
from bertrt.version import __version__

__all__ = ["readme"]

_CPU_ADVICE = """\
  In bertrt itself as many as there are CPUs, each with one thread (`--instances 4 --threads 1`), do
  more for many requests at a time, and one with all threads is quicker for one text at a time.
  Instances share a session, and so the weights.
"""

_GPU_ADVICE = "  Each holds the weights anew.\n"

_CPU_LIMITS = """\
- **What cannot be set**: of onnxruntime's options that bertrt sets, Triton's backend lacks
  `session.x64quantprecision`, without which int8 answers wrongly on an x86 CPU without VNNI
  (`{tokenizer}` refuses to load there), and `disabled_optimizers`, by which bertrt leaves
  SkipLayerNormFusion out (in the example model's graphs it finds nothing to fuse, in onnxruntime
  1.27, 1.30 and 1.32).
"""


def readme(deployment: Deployment) -> str:
    """README.md of a repository."""
    tokenizer, packed, labels = deployment.steps
    artifact, on_gpu = deployment.artifact, deployment.device == "gpu"
    assert artifact.manifest is not None, "a packed artifact has one"
    threads = deployment.threads or "as many as there are cores"
    page = (files("bertrt.triton") / "readme.md").read_text(encoding="utf-8")
    text = page.format(
        name=deployment.name,
        version=__version__,
        model=artifact.manifest["source"]["model"],
        precision=deployment.precision,
        tokenizer=tokenizer,
        packed=packed,
        labels=labels,
        minimum=MINIMUM_TRITON,
        gpus="--gpus all " if on_gpu else "",
        count=len(artifact.labels),
        max_length=artifact.max_length,
        cut="cut" if deployment.truncate else "refused",
        max_batch_size=deployment.max_batch_size,
        instances=f"{deployment.instances}" + ("" if on_gpu else f"; threads of each: {threads}"),
        advice=_GPU_ADVICE if on_gpu else _CPU_ADVICE,
        limits="" if on_gpu else _CPU_LIMITS.format(tokenizer=tokenizer),
    )
    return text.rstrip() + "\n"
