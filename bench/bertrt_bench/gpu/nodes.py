"""Where a graph's nodes ran, and which of the GPU's kernels ran for them."""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bertrt.session import feeds

from bertrt_bench.gpu import api
from bertrt_bench.gpu.inside import form_graphs
from bertrt_bench.gpu.settings import Settings
from bertrt_bench.operators import random_batch

__all__ = ["attention_kernels", "gpu_kernels", "nodes", "placed"]

_DEBUG = "ORT_ENABLE_ATTENTION_KERNEL_DEBUG_INFO"
_MARK = "bertrt-bench:"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_NODE = re.compile(r" Node=\S*")
_TIMEOUT = 120
_PROFILED_RUNS = 10
_SHOWN_KERNELS = 25


def nodes(settings: Settings) -> dict[str, Any]:
    """Nodes by execution provider, operators on the CPU, and copies between CPU and GPU."""

    def count(graph: Path) -> dict[str, Any]:
        texts, tokens = settings.shapes[0]
        with tempfile.TemporaryDirectory() as folder:
            session = api.profiled_session(graph, Path(folder) / "profile")
            session.run(None, feeds(session, random_batch(texts, tokens)))
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        return placed(events)

    return _each_graph(settings, count)


def placed(events: list[dict[str, Any]]) -> dict[str, Any]:
    """What onnxruntime's profile says of where nodes ran."""
    found: dict[str, tuple[str, str]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            arguments = event["args"]
            found[event["name"]] = (arguments.get("provider", "unknown"), arguments["op_name"])
    on_cpu = Counter(operator for provider, operator in found.values() if "CPU" in provider)
    copies = [operator for _, operator in found.values() if operator.startswith("Memcpy")]
    return {
        "providers": dict(Counter(provider for provider, _ in found.values())),
        "on_cpu": dict(on_cpu.most_common()),
        "memcpy": len(copies),
        "operators": dict(Counter(operator for _, operator in found.values()).most_common()),
    }


def attention_kernels(settings: Settings) -> dict[str, Any]:
    """The kernels of attention, by graph and shape, as onnxruntime itself tells them."""

    def ask(graph: Path) -> dict[str, Any]:
        command = [sys.executable, "-m", __name__, str(graph), json.dumps(settings.shapes)]
        ran = subprocess.run(
            command,
            env={**os.environ, _DEBUG: "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=_TIMEOUT,
            check=False,
        )
        if ran.returncode:
            raise RuntimeError(f"exit status {ran.returncode}: {ran.stdout[-2000:]}")
        return said(ran.stdout)

    return _each_graph(settings, ask)


def said(output: str) -> dict[str, dict[str, int]]:
    """By shape, the lines that onnxruntime wrote, without nodes' names, and how often."""
    found: dict[str, Counter[str]] = {}
    shape = "loading"
    for line in _COLOUR.sub("", output).splitlines():
        if line.startswith(_MARK):
            shape = line.removeprefix(_MARK)
            found[shape] = Counter()
        elif line.strip() and shape in found:
            found[shape][_NODE.sub("", line).strip()] += 1
    return {shape: dict(lines.most_common(8)) for shape, lines in found.items()}


def gpu_kernels(settings: Settings) -> dict[str, Any]:
    """The GPU's kernels in a run, the longest first: microseconds and calls, by shape.

    PyTorch's profiler reads them from the driver, whoever starts them.
    """
    import torch
    from torch.profiler import ProfilerActivity, profile

    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.zeros(1, device="cuda")  # so that the profiler finds a context
    kind = ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU

    def measure(graph: Path) -> dict[str, Any]:
        session = api.session(graph)
        found = {}
        for texts, tokens in settings.shapes:
            batch = random_batch(texts, tokens)
            for _ in range(3):
                session.run(batch)
            with profile(activities=[kind]) as profiler:
                for _ in range(_PROFILED_RUNS):
                    session.run(batch)
            found[f"{texts} x {tokens}"] = [
                {
                    "kernel": event.key[:160],
                    "us": event.self_device_time_total / _PROFILED_RUNS,
                    "calls": event.count / _PROFILED_RUNS,
                }
                for event in sorted(
                    profiler.key_averages(), key=lambda event: -event.self_device_time_total
                )[:_SHOWN_KERNELS]
            ]
        return found

    return _each_graph(settings, measure)


def _each_graph(settings: Settings, action: Callable[[Path], Any]) -> dict[str, Any]:
    """An action on the artifact's graph and on that of each form, whatever becomes of one."""
    artifact = api.artifact_graph(settings.folder(settings.model) / "artifact")
    found: dict[str, Any] = {}
    failures: dict[str, str] = {}
    for name, graph in {"artifact": artifact, **form_graphs(settings)}.items():
        try:
            found[name] = action(graph)
        except Exception as error:  # whatever the backend raises is a finding about this graph
            failures[name] = f"{type(error).__name__}: {error}"
    return {"graphs": found, "failures": failures}


def _main() -> int:
    """Run a graph once on each shape, and say before each which one it is."""
    session = api.session(Path(sys.argv[1]))
    for texts, tokens in json.loads(sys.argv[2]):
        print(f"\n{_MARK}{texts} x {tokens}", flush=True)
        session.run(random_batch(texts, tokens))
    return 0


if __name__ == "__main__":
    sys.exit(_main())
