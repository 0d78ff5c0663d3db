"""The machine's floor: a BERT's matrix products alone, on the batches that bertrt makes.

They run beside one another as bertrt's do. As peers they answer nothing; their time is what no
engine on onnxruntime's kernels gets below without computing less.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx_ir as ir
from bertrt.backend import create_session
from bertrt.classifier import DEFAULT_MAX_BATCH_TOKENS
from bertrt.packing import plan_batches
from bertrt.parallel import run_parallel
from onnx_ir import tape
from tokenizers import Tokenizer

from bertrt_bench.peers.padded import load_tokenizer

__all__ = [
    "Precision",
    "Products",
    "load",
    "prepare",
    "product_shapes",
    "products_graph",
    "run",
]

Precision = Literal["fp32", "int8"]

_GRAPH = "products.onnx"
_ROWS = {"fp32": np.float32, "int8": np.uint8}


@dataclass(frozen=True, slots=True)
class Products:
    """The loaded products. `known` holds the batches of texts that came before."""

    session: Any
    tokenizer: Tokenizer
    widths: dict[str, int]
    rows: type
    threads: int
    known: dict[tuple[str, ...], list[dict[str, np.ndarray]]] = field(default_factory=dict)


def prepare(checkpoint: Path, folder: Path, precision: Precision) -> None:
    """Write the graph of the products."""
    ir.save(products_graph(_config(checkpoint), precision), folder / _GRAPH)


def load(folder: Path, checkpoint: Path, threads: int, precision: Precision) -> Products:
    """Load the products."""
    config = _config(checkpoint)
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    return Products(
        create_session(folder / _GRAPH, ["CPUExecutionProvider"], threads),
        load_tokenizer(checkpoint),
        {"hidden": hidden, "inner": inner, "first_hidden": hidden, "first_inner": inner},
        _ROWS[precision],
        threads,
    )


def run(model: Products, texts: list[str]) -> np.ndarray:
    """The products of these texts; float32 zeros [texts, 1].

    Texts are cut into batches once, at their first coming: so it does not count where they were
    seen before.
    """
    batches = model.known.get(tuple(texts))
    if batches is None:
        lengths = [len(encoding.ids) for encoding in model.tokenizer.encode_batch_fast(texts)]
        batches = [
            _inputs(model, sum(lengths[p] for p in positions), len(positions))
            for positions in plan_batches(lengths, DEFAULT_MAX_BATCH_TOKENS)
        ]
        model.known[tuple(texts)] = batches
    run_parallel(model.session, batches, model.threads)
    return np.zeros((len(texts), 1), np.float32)


def _inputs(model: Products, tokens: int, texts: int) -> dict[str, np.ndarray]:
    return {
        name: np.full((texts if name.startswith("first") else tokens, width), 100, model.rows)
        for name, width in model.widths.items()
    }


def _config(checkpoint: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    return config


def product_shapes(config: dict[str, Any]) -> list[tuple[str, int]]:
    """All products of a BERT of this size: the rows that each multiplies, and its outputs.

    `hidden` and `inner` have a row a token, `first_hidden` and `first_inner` one a text: the last
    layer needs only the first token of each text past its keys and values.
    """
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    layer = [("hidden", 3 * hidden), ("hidden", hidden), ("hidden", inner), ("inner", hidden)]
    last = [
        ("hidden", 2 * hidden),  # keys and values
        ("first_hidden", hidden),  # queries
        ("first_hidden", hidden),
        ("first_hidden", inner),
        ("first_inner", hidden),
        ("first_hidden", hidden),  # the pooler
    ]
    return [*layer * (config["num_hidden_layers"] - 1), *last]


def products_graph(config: dict[str, Any], precision: Precision) -> ir.Model:
    """All products of a BERT of this size, each with a matrix of its own, and nothing else.

    Inputs: the rows to be multiplied, uint8 or float32: `hidden` and `inner` [tokens, ..], and
    `first_hidden` and `first_inner` [texts, ..]. The output, the products' shapes, keeps them from
    being optimized away.
    """
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    kind = ir.DataType.UINT8 if precision == "int8" else ir.DataType.FLOAT
    random = np.random.default_rng(0)
    builder = tape.Tape()
    inputs = {
        name: ir.val(name, dtype=kind, shape=[rows, width])
        for name, rows, width in (
            ("hidden", "tokens", hidden),
            ("inner", "tokens", inner),
            ("first_hidden", "texts", hidden),
            ("first_inner", "texts", inner),
        )
    }
    initializers: list[ir.Value] = []
    shapes: list[ir.Value] = []

    def constant(value: np.generic | np.ndarray) -> ir.Value:
        number = len(initializers)
        initializers.append(builder.initializer(ir.tensor(value, name=f"constant_{number}")))
        return initializers[-1]

    zero = constant(np.uint8(128)) if precision == "int8" else None

    def multiply(source: str, outputs: int) -> None:
        width = inner if source.endswith("inner") else hidden
        matrix = random.integers(-127, 128, (width, outputs), dtype=np.int8)
        if zero is None:
            product = builder.op("MatMul", [inputs[source], constant(matrix.astype(np.float32))])
        else:
            product = builder.op("MatMulInteger", [inputs[source], constant(matrix), zero])
        shapes.append(builder.op("Shape", [product]))

    for source, outputs in product_shapes(config):
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
