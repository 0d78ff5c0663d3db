"""All passes together, on a traced BERT: the packed graph answers as PyTorch does."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from bertrt_export.families import FAMILIES
from bertrt_export.passes import packed_pipeline
from bertrt_export.tracing import trace
from transformers import BertConfig, BertForSequenceClassification

from tests.passes.graphs import run

_VOCABULARY = 2_000  # so many that it is not taken for a table to be folded
_LENGTHS = [[1], [9], [16], [1] * 5, [7, 7, 7], [3, 1, 16, 2], [16, 1], [1, 16], [5, 4, 3, 2, 1]]


def _model(layers: int = 2, **settings: Any) -> BertForSequenceClassification:
    """A very small BERT in which no two weights are equal, and none is 0 or 1."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=_VOCABULARY,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=layers,
        num_attention_heads=4,
        max_position_embeddings=16,
        id2label={0: "a", 1: "b", 2: "c"},
        **settings,
    )
    model = BertForSequenceClassification(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    model.eval()  # type: ignore[no-untyped-call]
    return model


def _packed(model: BertForSequenceClassification) -> ir.Model:
    graph = trace(model, FAMILIES["bert"], segments=True)
    assert packed_pipeline()(graph).modified
    return graph


@pytest.fixture(scope="module")
def model() -> BertForSequenceClassification:
    return _model()


@pytest.fixture(scope="module")
def packed(model: BertForSequenceClassification) -> ir.Model:
    """The packed graph. Read only."""
    return _packed(model)


def _batch(lengths: Sequence[int], segments: int = 2) -> dict[str, np.ndarray]:
    random = np.random.default_rng(sum(lengths))
    return {
        "input_ids": random.integers(0, _VOCABULARY, sum(lengths)),
        "token_type_ids": random.integers(0, segments, sum(lengths)),
        "lengths": np.array(lengths, dtype=np.int32),
    }


def _pytorch(model: BertForSequenceClassification, batch: dict[str, np.ndarray]) -> np.ndarray:
    """PyTorch's logits, each text alone."""
    ends = np.cumsum(batch["lengths"])
    logits = []
    with torch.inference_mode():
        for length, end in zip(batch["lengths"], ends, strict=True):
            text = {
                name: torch.from_numpy(batch[name][None, end - length : end])
                for name in ("input_ids", "token_type_ids")
            }
            logits.append(model(**text).logits[0].numpy())
    return np.stack(logits)


def _assert_equals_pytorch(
    graph: ir.Model, model: BertForSequenceClassification, batch: dict[str, np.ndarray]
) -> None:
    expected = _pytorch(model, batch)
    assert np.abs(expected).max() > 0.1
    (logits,) = run(graph, batch)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4)


def _dim(value: ir.Value | None, axis: int) -> int | str | None:
    assert value is not None and value.shape is not None
    dim = value.shape[axis]
    return dim if isinstance(dim, int) else dim.value


def _operators(graph: ir.Model) -> list[str]:
    return [node.op_type for node in graph.graph]


@pytest.mark.parametrize("lengths", _LENGTHS, ids=str)
def test_packed_logits_equal_pytorch_text_by_text(
    packed: ir.Model, model: BertForSequenceClassification, lengths: list[int]
) -> None:
    _assert_equals_pytorch(packed, model, _batch(lengths))


def test_packed_logits_do_not_depend_on_the_rest_of_the_batch(packed: ir.Model) -> None:
    first, second = _batch([4, 9]), _batch([9, 4])
    for name in ("input_ids", "token_type_ids"):
        second[name] = np.concatenate([second[name][:9], first[name][:4]])
    (a,), (b,) = run(packed, first), run(packed, second)
    np.testing.assert_allclose(a[0], b[1], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("activation", "segments"),
    [("relu", 1), ("gelu_new", 3), ("silu", 2), ("quick_gelu", 2), ("leaky_relu", 2)],
)
def test_other_activations_and_segments_are_packed_as_well(activation: str, segments: int) -> None:
    model = _model(layers=1, hidden_act=activation, type_vocab_size=segments)
    packed = _packed(model)
    _assert_equals_pytorch(packed, model, _batch([5, 1, 16], segments))
    assert not {"Transpose", "ScatterND"} & set(_operators(packed))
    assert _rows_by_weight(packed)["intermediate.dense.weight"] == ["texts"]


def test_packed_graph_is_valid_and_sorted(packed: ir.Model) -> None:
    onnx.checker.check_model(ir.to_proto(packed), full_check=True)


def test_inputs_and_output_are_the_documented_ones(packed: ir.Model) -> None:
    values = [*packed.graph.inputs, *packed.graph.outputs]
    found = {value.name: (value.dtype, str(value.shape)) for value in values}
    assert found == {
        "input_ids": (ir.DataType.INT64, "[tokens]"),
        "token_type_ids": (ir.DataType.INT64, "[tokens]"),
        "lengths": (ir.DataType.INT32, "[texts]"),
        "logits": (ir.DataType.FLOAT, "[texts,3]"),
    }


def test_nothing_is_transposed_or_scattered_in_place(packed: ir.Model) -> None:
    assert not {"Transpose", "ScatterND"} & set(_operators(packed))


def test_word_embedding_and_one_fused_embedding_are_looked_up(packed: ir.Model) -> None:
    tables = [
        table.name
        for node in packed.graph
        if node.op_type == "Gather" and (table := node.inputs[0]) and table.is_initializer()
    ]
    assert sorted(map(str, tables)) == [
        "bert.embeddings.position_embeddings+token_type_embeddings.weight",
        "bert.embeddings.word_embeddings.weight",
    ]


def _rows_by_weight(graph: ir.Model) -> dict[str, list[int | str | None]]:
    """How many rows the products with each kind of weight have, layer by layer."""
    rows: dict[str, list[int | str | None]] = {}
    for node in graph.graph:
        if node.op_type == "MatMul":
            assert node.inputs[1] is not None and node.inputs[1].name is not None
            name = node.inputs[1].name.partition("layer.")[2].partition(".")[2]
            rows.setdefault(name, []).append(_dim(node.outputs[0], 0))
    return rows


def test_last_layer_is_computed_for_first_tokens_only(packed: ir.Model) -> None:
    assert _rows_by_weight(packed) == {
        "attention.self.query.weight": ["tokens", "texts"],
        "attention.self.key.weight": ["tokens", "tokens"],
        "attention.self.value.weight": ["tokens", "tokens"],
        "attention.output.dense.weight": ["tokens", "texts"],
        "intermediate.dense.weight": ["tokens", "texts"],
        "output.dense.weight": ["tokens", "texts"],
    }
    norms = [_dim(n.outputs[0], 0) for n in packed.graph if n.op_type == "LayerNormalization"]
    assert norms == ["tokens", "tokens", "tokens", "texts", "texts"]


def test_attention_sees_the_rectangle_and_the_lengths(packed: ir.Model) -> None:
    attentions = [node for node in packed.graph if node.op_type == "Attention"]
    assert [_dim(node.inputs[0], 1) for node in attentions] == ["longest", 1]
    for node in attentions:
        assert [value is not None for value in node.inputs] == [True] * 3 + [False] * 3 + [True]


def test_layout_is_derived_once_for_all_layers(packed: ir.Model) -> None:
    counts = Counter(_operators(packed))
    assert counts["Attention"] == 2
    assert (counts["ReduceMax"], counts["ScatterElements"], counts["Min"]) == (1, 1, 1)


def test_second_run_changes_nothing(packed: ir.Model, model: BertForSequenceClassification) -> None:
    again = packed.clone()
    packed_pipeline()(again)
    assert _operators(again) == _operators(packed)
    _assert_equals_pytorch(again, model, _batch([3, 1, 16]))
