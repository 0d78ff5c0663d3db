"""From a PyTorch module to a graph over one row of all tokens."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
import torch
from bertrt_export.families import FAMILIES
from bertrt_export.tracing import OPSET, trace
from torch import nn
from transformers import BertConfig, BertForSequenceClassification

from tests.passes.graphs import run

_BERT = FAMILIES["bert"]


def _model() -> BertForSequenceClassification:
    """A very small BERT in which no two weights are equal."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=31,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=16,
        id2label={0: "a", 1: "b", 2: "c"},
    )
    model = BertForSequenceClassification(config)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    model.eval()  # type: ignore[no-untyped-call]
    return model


def _logits(model: nn.Module, ids: list[int]) -> np.ndarray:
    with torch.inference_mode():
        logits: np.ndarray = model(input_ids=torch.tensor([ids])).logits.numpy()
    return logits


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
    row = {
        "input_ids": np.array([ids]),
        "token_type_ids": np.zeros((1, tokens), dtype=np.int64),
        "position_ids": np.arange(tokens)[None],
        "first_token_index": np.array([0]),
    }
    expected = _logits(model, ids)
    np.testing.assert_allclose(run(traced, row)[0], expected, rtol=0, atol=1e-4)


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
    """Submodules with a forward hook."""
    return [name for name, module in model.named_modules() if module._forward_hooks]


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
