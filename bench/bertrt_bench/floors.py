"""The machine's floor: a BERT's int8 matrix products alone, on the batches that bertrt makes.

They run beside one another as bertrt's do. As a peer it answers nothing; its time is what no int8
engine on onnxruntime's kernels gets below without computing less.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from bertrt.classifier import DEFAULT_MAX_BATCH_TOKENS
from bertrt.packing import plan_batches
from bertrt.parallel import run_parallel
from bertrt.session import create_session
from onnx_ir import tape

from bertrt_bench.peers.model import Model
from bertrt_bench.peers.padded import load_tokenizer

__all__ = ["load", "prepare", "products_graph"]

_GRAPH = "products.onnx"


def prepare(checkpoint: Path, folder: Path, calibration: Path) -> None:
    """Write the graph of the products."""
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    ir.save(products_graph(config), folder / _GRAPH)


def products_graph(config: dict[str, Any]) -> ir.Model:
    """All products of a BERT of this size, each with a matrix of its own, and nothing else.

    Inputs: uint8 rows to be multiplied: `hidden` and `inner` [tokens, ..], and `first_hidden` and
    `first_inner` [texts, ..], for the last layer needs only the first token of each text past its
    keys and values. The output, the products' shapes, keeps them from being optimized away.
    """
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    random = np.random.default_rng(0)
    builder = tape.Tape()
    inputs = {
        name: ir.Input(name, shape=ir.Shape([rows, width]), type=ir.TensorType(ir.DataType.UINT8))
        for name, rows, width in (
            ("hidden", "tokens", hidden),
            ("inner", "tokens", inner),
            ("first_hidden", "texts", hidden),
            ("first_inner", "texts", inner),
        )
    }
    initializers: list[ir.Value] = []
    zero = builder.initializer(ir.tensor(np.uint8(128), name="zero"))
    initializers.append(zero)
    shapes: list[ir.Value] = []

    def multiply(source: str, outputs: int) -> None:
        width = inner if source.endswith("inner") else hidden
        matrix = random.integers(-127, 128, (width, outputs), dtype=np.int8)
        weight = builder.initializer(ir.tensor(matrix, name=f"weight_{len(shapes)}"))
        initializers.append(weight)
        product = builder.op("MatMulInteger", [inputs[source], weight, zero])
        shapes.append(builder.op("Shape", [product]))

    for _ in range(config["num_hidden_layers"] - 1):
        for source, outputs in (
            ("hidden", 3 * hidden),
            ("hidden", hidden),
            ("hidden", inner),
            ("inner", hidden),
        ):
            multiply(source, outputs)
    multiply("hidden", 2 * hidden)  # the last layer's keys and values
    for source, outputs in (
        ("first_hidden", hidden),  # its queries
        ("first_hidden", hidden),
        ("first_hidden", inner),
        ("first_inner", hidden),
        ("first_hidden", hidden),  # the pooler
    ):
        multiply(source, outputs)
    result = builder.op("Concat", shapes, {"axis": 0})
    result.name = "logits"
    graph = ir.Graph(
        list(inputs.values()),
        [result],
        nodes=builder.nodes,
        initializers=initializers,
        opset_imports={"": 20},
        name="products",
    )
    return ir.Model(graph, ir_version=10)


def load(folder: Path, checkpoint: Path, threads: int) -> Model:
    """Load the products. Texts are tokenized once, at their first coming: it does not count."""
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    session = create_session(folder / _GRAPH, ["CPUExecutionProvider"], threads)
    tokenizer = load_tokenizer(checkpoint)
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    widths = {"hidden": hidden, "inner": inner, "first_hidden": hidden, "first_inner": inner}
    known: dict[tuple[str, ...], list[dict[str, np.ndarray]]] = {}

    def rows(tokens: int, texts: int) -> dict[str, np.ndarray]:
        return {
            name: np.full((texts if name.startswith("first") else tokens, width), 100, np.uint8)
            for name, width in widths.items()
        }

    def classify(texts: list[str], by_length: bool) -> np.ndarray:
        if tuple(texts) not in known:
            lengths = [len(encoding.ids) for encoding in tokenizer.encode_batch_fast(texts)]
            known[tuple(texts)] = [
                rows(sum(lengths[p] for p in positions), len(positions))
                for positions in plan_batches(lengths, DEFAULT_MAX_BATCH_TOKENS)
            ]
        run_parallel(session, known[tuple(texts)], threads)
        return np.zeros((len(texts), 1), np.float32)

    shapes: dict[tuple[int, ...], dict[str, np.ndarray]] = {}

    def run(input_ids: np.ndarray) -> np.ndarray:
        texts, tokens = input_ids.shape
        if input_ids.shape not in shapes:
            shapes[input_ids.shape] = rows(texts * tokens, texts)
        session.run(None, shapes[input_ids.shape])
        return np.zeros((texts, 1), np.float32)

    return Model(classify, run)
