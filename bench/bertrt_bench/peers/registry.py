"""Which peers there are, and the environment that each runs in."""

from dataclasses import dataclass

__all__ = ["MAIN", "PEERS", "Peer"]

# The environment of the benchmark itself.
MAIN = "main"


@dataclass(frozen=True, slots=True)
class Peer:
    """An engine: its name in tables, its module, its environment.

    answers: whether its logits are the model's (a floor's are not).
    also_by_length: whether it is timed on length-sorted batches as well.
    """

    title: str
    module: str
    environment: str = MAIN
    answers: bool = True
    also_by_length: bool = False


PEERS = {
    "bertrt": Peer("bertrt int8", "bertrt_bench.peers.bertrt_int8"),
    "bertrt_trained_forms": Peer(
        "bertrt int8, a trained model's forms", "bertrt_bench.peers.bertrt_trained_forms"
    ),
    "pytorch_fp32": Peer("PyTorch fp32", "bertrt_bench.peers.pytorch_fp32"),
    "ort_dynamic_int8": Peer("onnxruntime quantize_dynamic", "bertrt_bench.peers.ort_dynamic_int8"),
    "optimum_int8": Peer("Optimum int8", "bertrt_bench.peers.optimum_int8", "optimum"),
    "openvino_int8": Peer(
        "OpenVINO int8", "bertrt_bench.peers.openvino_int8", "openvino", also_by_length=True
    ),
    "ctranslate2_int8": Peer(
        "CTranslate2 int8", "bertrt_bench.peers.ctranslate2_int8", "ctranslate2"
    ),
    "floor": Peer("int8 products alone", "bertrt_bench.floors", answers=False),
}
