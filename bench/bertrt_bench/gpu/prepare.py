"""What there must be before anything is measured: models, artifacts, and facts of the machine."""

import json
import shutil
import time
from typing import Any

from bertrt_bench.gpu import api
from bertrt_bench.gpu.fidelity import trained_models
from bertrt_bench.gpu.models import checkpoint_of
from bertrt_bench.gpu.settings import Settings
from bertrt_bench.machine import command_output
from bertrt_bench.models import tokenizer_folder

__all__ = ["facts", "prepare"]

_QUERY = "name,driver_version,memory.total,clocks.max.sm,power.limit,pstate"


def facts(settings: Settings) -> dict[str, Any]:
    """The GPU, its driver, and what PyTorch and onnxruntime have for it."""
    import onnxruntime
    import torch

    cudnn: Any = torch.backends.cudnn
    found: dict[str, Any] = {
        "nvidia_smi": command_output("nvidia-smi", f"--query-gpu={_QUERY}", "--format=csv"),
        "torch": torch.__version__,
        "torch_cuda": torch.version.cuda,
        "cudnn": cudnn.version(),
        "onnxruntime": onnxruntime.__version__,
        "onnxruntime_build": onnxruntime.get_build_info(),
        "providers": onnxruntime.get_available_providers(),
    }
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        found |= {
            "gpu": properties.name,
            "capability": f"{properties.major}.{properties.minor}",
            "multiprocessors": properties.multi_processor_count,
            "memory_gb": round(properties.total_memory / 1e9, 1),
        }
    return found


def prepare(settings: Settings) -> dict[str, Any]:
    """Make the models that are missing and export them; the seconds that each export took."""
    seconds: dict[str, float] = {}
    failures: dict[str, str] = {}
    models = [settings.model, *trained_models(settings)]
    for model in models:
        artifact = settings.folder(model) / "artifact"
        if (artifact / "bertrt.json").exists():
            continue
        shutil.rmtree(artifact, ignore_errors=True)
        artifact.parent.mkdir(parents=True, exist_ok=True)
        begin = time.perf_counter()
        try:
            api.export(checkpoint_of(model, settings), artifact)
        except Exception as error:  # the other models are measured all the same
            failures[model] = f"{type(error).__name__}: {error}"
        seconds[model] = time.perf_counter() - begin
    verified = {
        model: json.loads(file.read_text(encoding="utf-8")).get("verified", {})
        for model in models
        if (file := settings.folder(model) / "artifact" / "bertrt.json").exists()
    }
    return {
        "models": models,
        "tokenizer": tokenizer_folder().parent.name,
        "seconds": seconds,
        "verified": verified,
        "failures": failures,
    }
