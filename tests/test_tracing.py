"""From a PyTorch module to a graph over one row of all tokens."""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from bertrt_export.families import FAMILIES
from bertrt_export.tracing import OPSET, trace
from torch import nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertForTokenClassification,
    ModernBertConfig,
    ModernBertForSequenceClassification,
)

from tests.passes.graphs import run

_BERT = FAMILIES["bert"]


_SIZES: dict[str, Any] = {
    "vocab_size": 31,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 16,
    "id2label": {0: "a", 1: "b", 2: "c"},
}


def _model(**settings: Any) -> BertForSequenceClassification:
    """A very small BERT in which no two weights are equal."""
    config = BertConfig(**{**_SIZES, **settings})
    model: BertForSequenceClassification = _random(BertForSequenceClassification, config)
    return model


def _random(kind: Any, config: Any) -> Any:
    torch.manual_seed(0)
    model = kind(config)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    return model.eval()


def _modernbert() -> Any:
    """One that pools by mean, with a layer of local attention."""
    settings: dict[str, Any] = {
        **_SIZES,
        **{f"{name}_token_id": id_ for id_, name in enumerate("pad bos cls sep eos".split())},
        "classifier_pooling": "mean",
        "local_attention": 4,
        "reference_compile": False,
    }
    return _random(ModernBertForSequenceClassification, ModernBertConfig(**settings))


def _logits(model: nn.Module, ids: list[int]) -> np.ndarray:
    with torch.inference_mode():
        logits: np.ndarray = model(input_ids=torch.tensor([ids])).logits.numpy()
    return logits


def _row(ids: list[int]) -> dict[str, np.ndarray]:
    """One text as the traced graph takes it."""
    return {
        "input_ids": np.array([ids]),
        "token_type_ids": np.zeros((1, len(ids)), dtype=np.int64),
        "position_ids": np.arange(len(ids))[None],
        "first_token_index": np.array([0]),
    }


@pytest.fixture(scope="module")
def model() -> BertForSequenceClassification:
    return _model()


@pytest.fixture(scope="module")
def traced(model: BertForSequenceClassification) -> ir.Model:
    """The traced model. Read only."""
    return trace(model, _BERT, segments=True)


def test_inputs_and_output_are_a_row_of_tokens(traced: ir.Model) -> None:
    values = [*traced.graph.inputs, *traced.graph.outputs]
    assert {value.name: (value.dtype, str(value.shape)) for value in values} == {
        "input_ids": (ir.DataType.INT64, "[1,tokens]"),
        "token_type_ids": (ir.DataType.INT64, "[1,tokens]"),
        "position_ids": (ir.DataType.INT64, "[1,tokens]"),
        "first_token_index": (ir.DataType.INT64, "[texts]"),
        "logits": (ir.DataType.FLOAT, "[texts,3]"),
    }
    assert traced.graph.opset_imports[""] == OPSET


def test_weights_carry_the_names_of_pytorch_parameters(
    traced: ir.Model, model: BertForSequenceClassification
) -> None:
    """Each under its own name, with its own values; the exporter may have transposed a matrix."""
    parameters = dict(model.named_parameters())
    found = set()
    for name, value in traced.graph.initializers.items():
        assert value.const_value is not None
        array = value.const_value.numpy()
        if array.dtype != np.float32 or array.ndim == 0:
            continue  # shapes and indices, which are no weights
        assert name in parameters
        expected = parameters[name].detach().numpy()
        assert np.array_equal(array, expected) or np.array_equal(array, expected.T)
        found.add(name)
    assert found == parameters.keys()


def test_each_layer_is_one_attention_without_a_mask(traced: ir.Model) -> None:
    attentions = [node for node in traced.graph if node.op_type == "Attention"]
    assert len(attentions) == 2
    assert all(len(node.inputs) == 3 for node in attentions)
    assert not {"Where", "Softmax", "And"} & {node.op_type for node in traced.graph}


@pytest.mark.parametrize("tokens", [1, 2, 11, 16])
def test_traced_row_answers_as_pytorch(
    traced: ir.Model, model: BertForSequenceClassification, tokens: int
) -> None:
    ids = [(7 * position + 3) % 31 for position in range(tokens)]
    expected = _logits(model, ids)
    np.testing.assert_allclose(run(traced, _row(ids))[0], expected, rtol=0, atol=1e-4)


def test_model_without_segments_is_of_the_first_segment(
    model: BertForSequenceClassification,
) -> None:
    graph = trace(model, _BERT, segments=False)
    inputs = [value.name for value in graph.graph.inputs]
    assert inputs == ["input_ids", "position_ids", "first_token_index"]
    expected = _logits(model, [5, 3, 9])  # PyTorch's own choice without token_type_ids
    np.testing.assert_allclose(run(graph, _row([5, 3, 9]))[0], expected, rtol=0, atol=1e-4)


def test_token_classifier_has_a_row_for_each_token() -> None:
    model = _random(BertForTokenClassification, BertConfig(**_SIZES))
    graph = trace(model, _BERT, segments=False, per_token=True)
    (logits,) = graph.graph.outputs
    assert (logits.name, str(logits.shape)) == ("logits", "[tokens,3]")
    expected = _logits(model, [5, 3, 9])[0]
    np.testing.assert_allclose(run(graph, _row([5, 3, 9]))[0], expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("activation", ["gelu_new", "gelu_fast"])
def test_written_out_gelu_becomes_one_operator(activation: str) -> None:
    model = _model(hidden_act=activation, num_hidden_layers=1)
    graph = trace(model, _BERT, segments=False)
    (gelu,) = (node for node in graph.graph if node.op_type == "Gelu")
    assert gelu.attributes["approximate"].as_string() == "tanh"
    assert {node.op_type for node in graph.graph} & {"Pow", "Tanh"} == {"Tanh"}, "the pooler's"
    expected = _logits(model, [5, 3, 9])
    np.testing.assert_allclose(run(graph, _row([5, 3, 9]))[0], expected, rtol=0, atol=1e-4)


def test_tracing_leaves_the_model_and_pytorch_as_they_were() -> None:
    attention = nn.functional.scaled_dot_product_attention
    model = _model()
    before = _logits(model, [1, 2, 3, 4])
    trace(model, _BERT, segments=True)
    np.testing.assert_array_equal(_logits(model, [1, 2, 3, 4]), before)
    assert nn.functional.scaled_dot_product_attention is attention
    assert not model.training
    assert _hooks(model) == []


def _hooks(model: nn.Module) -> list[str]:
    """Submodules with a hook."""
    return [
        name
        for name, module in model.named_modules()
        if module._forward_hooks or module._forward_pre_hooks
    ]


def _state(model: Any) -> dict[str, object]:
    """What tracing changes for its time: modules, the head's pooling, and what makes masks."""
    modeling = sys.modules[type(model.base_model).__module__]
    return {
        **dict(model.named_modules()),
        "config": model.config.to_dict(),
        "attention": nn.functional.scaled_dot_product_attention,
        "mask": getattr(modeling, "create_bidirectional_mask", None),
        "its own": sorted(vars(model.base_model)),
    }


@pytest.mark.parametrize("make", [_model, _modernbert], ids=["BERT", "ModernBERT"])
def test_tracing_leaves_nothing_behind(make: Callable[[], Any]) -> None:
    model = make()
    before, logits = _state(model), _logits(model, [1, 2, 3, 4])
    trace(model, FAMILIES[model.config.model_type], segments=False)
    assert _state(model) == before
    assert _hooks(model) == []
    np.testing.assert_array_equal(_logits(model, [1, 2, 3, 4]), logits)


def test_stand_ins_are_taken_out_after_an_error() -> None:
    model = _modernbert()
    model.add_module("head", _Failing())
    before = _state(model)
    with pytest.raises(Exception, match=r"(?s)torch\.export|does not work"):
        trace(model, FAMILIES["modernbert"], segments=False)
    assert _state(model) == before
    assert _hooks(model) == []


def test_masks_are_left_out_while_tracing_only(model: BertForSequenceClassification) -> None:
    """Padding counts again afterwards."""
    ids, mask = torch.tensor([[1, 2, 3, 4]]), torch.tensor([[1, 1, 0, 0]])
    trace(model, _BERT, segments=False)
    with torch.inference_mode():
        padded = model(input_ids=ids, attention_mask=mask).logits.numpy()
    np.testing.assert_allclose(padded, _logits(model, [1, 2]), rtol=0, atol=1e-4)
    assert np.abs(padded - _logits(model, [1, 2, 3, 4])).max() > 1e-3


class _Failing(nn.Module):
    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("this layer does not work")


def _classifier(model: BertForSequenceClassification) -> None:
    model.add_module("classifier", _Failing())


def _first_layer(model: BertForSequenceClassification) -> None:
    model.bert.encoder.layer[0].add_module("intermediate", _Failing())


@pytest.mark.parametrize("damage", [_classifier, _first_layer], ids=["head", "encoder"])
def test_hooks_and_attention_are_restored_after_an_error(
    damage: Callable[[BertForSequenceClassification], None],
) -> None:
    original = nn.functional.scaled_dot_product_attention
    model = _model()
    damage(model)
    with pytest.raises(Exception, match=r"(?s)torch\.export|does not work"):
        trace(model, _BERT, segments=True)
    assert nn.functional.scaled_dot_product_attention is original
    assert _hooks(model) == []
    # Whoever catches the error goes on with a model that attends with its mask.
    query = torch.randn(1, 1, 3, 4)
    causal = nn.functional.scaled_dot_product_attention(query, query, query, is_causal=True)
    assert not torch.allclose(
        causal, nn.functional.scaled_dot_product_attention(query, query, query)
    )
