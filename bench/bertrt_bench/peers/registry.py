"""Which peers there are, the environment that each runs in, and why one cannot run here."""

from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from bertrt_bench.peers.environments import MAIN, environment_python

__all__ = ["CONTROL", "OURS", "PEERS", "QUICK", "REFERENCE", "Peer", "has_cuda", "skip_reason"]

# The peer that ratios are taken to, its double, which shows how far noise carries a ratio, and
# the one whose answers are right by definition.
OURS = "bertrt_int8"
CONTROL = "bertrt_int8_again"
REFERENCE = "pytorch_fp32"

_TORCH = ("torch", "transformers")
_ONNXRUNTIME = ("onnxruntime", "tokenizers")
_ONNXRUNTIME_GPU = ("onnxruntime-gpu", "tokenizers")


@dataclass(frozen=True, slots=True)
class Peer:
    """An engine.

    title: its name in tables. module: as Python imports it.
    precision: of its products. packages: what its user installs.
    kind: a floor multiplies and answers nothing; the control is bertrt once more.
    converts: whether it runs something that its `prepare` makes of the checkpoint.
    own_batches: whether it cuts a list of texts into batches by itself, so that a user may hand
    over the whole list; of the others, everyone makes batches.
    prepared_as: the peer whose converted model it runs, where that is not its own.
    random_weights: whether it is there for models of random weights alone.
    cuda: whether it needs an NVIDIA GPU.
    """

    title: str
    module: str
    precision: Literal["fp32", "bf16", "fp16", "int8"]
    packages: tuple[str, ...]
    environment: str = MAIN
    kind: Literal["bertrt", "peer", "floor", "control"] = "peer"
    converts: bool = True
    own_batches: bool = False
    prepared_as: str | None = None
    random_weights: bool = False
    cuda: bool = False


PEERS = {
    "bertrt_int8": Peer(
        "bertrt int8",
        "bertrt_bench.peers.bertrt_int8",
        "int8",
        _ONNXRUNTIME,
        kind="bertrt",
        own_batches=True,
    ),
    "bertrt_fp32": Peer(
        "bertrt fp32",
        "bertrt_bench.peers.bertrt_fp32",
        "fp32",
        _ONNXRUNTIME,
        kind="bertrt",
        own_batches=True,
    ),
    "bertrt_trained_forms": Peer(
        "bertrt int8, a trained model's forms",
        "bertrt_bench.peers.bertrt_trained_forms",
        "int8",
        _ONNXRUNTIME,
        kind="bertrt",
        own_batches=True,
        random_weights=True,
    ),
    "bertrt_cuda": Peer(
        "bertrt fp16 on CUDA",
        "bertrt_bench.peers.bertrt_cuda",
        "fp16",
        _ONNXRUNTIME_GPU,
        kind="bertrt",
        own_batches=True,
        cuda=True,
    ),
    "bertrt_cuda_fp32": Peer(
        "bertrt fp32 on CUDA",
        "bertrt_bench.peers.bertrt_cuda_fp32",
        "fp32",
        _ONNXRUNTIME_GPU,
        kind="bertrt",
        own_batches=True,
        cuda=True,
    ),
    "pytorch_fp32": Peer(
        "PyTorch fp32", "bertrt_bench.peers.pytorch_fp32", "fp32", _TORCH, converts=False
    ),
    "pytorch_bf16": Peer(
        "PyTorch bf16 autocast", "bertrt_bench.peers.pytorch_bf16", "bf16", _TORCH, converts=False
    ),
    "pytorch_compile": Peer(
        "PyTorch compile, bf16",
        "bertrt_bench.peers.pytorch_compile",
        "bf16",
        _TORCH,
        converts=False,
    ),
    "pytorch_int8": Peer(
        "PyTorch dynamic int8", "bertrt_bench.peers.pytorch_int8", "int8", _TORCH, converts=False
    ),
    "pytorch_cuda_fp16": Peer(
        "PyTorch fp16 on CUDA",
        "bertrt_bench.peers.pytorch_cuda_fp16",
        "fp16",
        _TORCH,
        converts=False,
        cuda=True,
    ),
    "pytorch_cuda_compile": Peer(
        "PyTorch compile, fp16 on CUDA",
        "bertrt_bench.peers.pytorch_cuda_compile",
        "fp16",
        _TORCH,
        converts=False,
        cuda=True,
    ),
    "pytorch_cuda_graph": Peer(
        "PyTorch CUDA graphs, fp16",
        "bertrt_bench.peers.pytorch_cuda_graph",
        "fp16",
        _TORCH,
        converts=False,
        cuda=True,
    ),
    "pipeline_fp32": Peer(
        "Transformers pipeline",
        "bertrt_bench.peers.pipeline_fp32",
        "fp32",
        _TORCH,
        converts=False,
        own_batches=True,
    ),
    "optimum_fp32": Peer(
        "Optimum ONNX fp32",
        "bertrt_bench.peers.optimum_fp32",
        "fp32",
        ("optimum-onnx", "onnxruntime"),
        "optimum",
    ),
    "optimum_int8": Peer(
        "Optimum dynamic int8",
        "bertrt_bench.peers.optimum_int8",
        "int8",
        ("optimum-onnx", "onnxruntime"),
        "optimum",
    ),
    "ort_dynamic_int8": Peer(
        "onnxruntime quantize_dynamic", "bertrt_bench.peers.ort_dynamic_int8", "int8", _ONNXRUNTIME
    ),
    "openvino_bf16": Peer(
        "OpenVINO bf16",
        "bertrt_bench.peers.openvino_bf16",
        "bf16",
        ("openvino", "tokenizers"),
        "openvino",
    ),
    "openvino_int8": Peer(
        "OpenVINO int8 (NNCF)",
        "bertrt_bench.peers.openvino_int8",
        "int8",
        ("openvino", "tokenizers"),
        "openvino",
    ),
    "ctranslate2_int8": Peer(
        "CTranslate2 int8",
        "bertrt_bench.peers.ctranslate2_int8",
        "int8",
        ("ctranslate2", "tokenizers"),
        "ctranslate2",
    ),
    "cross_encoder_int8": Peer(
        "CrossEncoder ONNX int8",
        "bertrt_bench.peers.cross_encoder_int8",
        "int8",
        ("sentence-transformers", "optimum-onnx", "onnxruntime"),
        "sentence-transformers",
        own_batches=True,
    ),
    CONTROL: Peer(
        "bertrt int8, once more",
        "bertrt_bench.peers.bertrt_int8",
        "int8",
        _ONNXRUNTIME,
        kind="control",
        own_batches=True,
        prepared_as=OURS,
    ),
    "floor_int8": Peer(
        "int8 products alone",
        "bertrt_bench.peers.floor_int8",
        "int8",
        (),
        kind="floor",
        own_batches=True,
    ),
    "floor_fp32": Peer(
        "fp32 products alone",
        "bertrt_bench.peers.floor_fp32",
        "fp32",
        (),
        kind="floor",
        own_batches=True,
    ),
    "floor_cuda_fp16": Peer(
        "fp16 products alone on CUDA",
        "bertrt_bench.peers.floor_cuda_fp16",
        "fp16",
        (),
        kind="floor",
        converts=False,
        own_batches=True,
        cuda=True,
    ),
    "floor_cuda_bf16": Peer(
        "bf16 products alone on CUDA",
        "bertrt_bench.peers.floor_cuda_bf16",
        "bf16",
        (),
        kind="floor",
        converts=False,
        own_batches=True,
        cuda=True,
    ),
}

# Those of a first look: quickly started, and in the benchmark's own environment.
QUICK = (
    *("bertrt_int8", "bertrt_fp32", "pytorch_fp32", "pytorch_bf16", "pytorch_int8"),
    *("ort_dynamic_int8", CONTROL, "floor_int8"),
)


def skip_reason(peer: Peer, root: Path) -> str | None:
    """Why a peer cannot run here, with its environment under `root`; None if it can."""
    if peer.cuda and not has_cuda():
        return "this machine has no NVIDIA GPU"
    if peer.environment == MAIN:
        missing = [name for name in peer.packages if not _is_installed(name)]
        return f"not installed: {', '.join(missing)}" if missing else None
    if environment_python(peer.environment, root).exists():
        return None
    return (
        f"there is no environment {peer.environment!r} in {root}: make it with "
        f"`bertrt bench --create-environments {peer.environment}`"
    )


def has_cuda() -> bool:
    """Whether this machine has an NVIDIA driver."""
    # Under some sandboxes there is the one and not the other.
    return any(Path(f).exists() for f in ("/proc/driver/nvidia/version", "/dev/nvidiactl"))


def _is_installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True
