"""Each model family, tiny and with random weights: its packed graph answers as PyTorch does.

The configurations have what tells the families apart (positions, segments, pooling, local
attention, written-out attention), one or two layers, and weights of which no two are equal. These
tests are for transformers 4.57 and 5 alike.
"""

import functools
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from bertrt.packing import pack
from bertrt.tokenizer import Encoding, TextTokenizer
from bertrt_export.artifact_writer import save_graph, write_tokenizer
from bertrt_export.checkpoint import Checkpoint, load_checkpoint
from bertrt_export.checkpoint_files import one_line
from bertrt_export.errors import UnsupportedModelError, VerificationError
from bertrt_export.families import FAMILIES
from bertrt_export.half import half_graph
from bertrt_export.packed import packed_graph
from bertrt_export.quantization.graph_session import GraphSession
from bertrt_export.quantization.search import ladders, quantized
from bertrt_export.verify import verify
from torch.onnx._internal.exporter._registration import ONNXRegistry
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from tests.cuda_operators import on_cpu
from tests.helpers import edit_json
from tests.tiny_taggers import save_tokenizer

# More rows than tables that are folded may have, as every real vocabulary has.
_VOCABULARY = 17_000

# Of a text; tables of RoBERTa's kind have two rows more.
_LONGEST = 64

_LENGTHS = [
    [1],
    [2],
    [_LONGEST],
    [1, 1, 1, 1],
    [7, 7, 7],
    [5, 1, 40, _LONGEST, 17, 2],
    [_LONGEST, 1],
    [1, _LONGEST],
    [30, 4, 13, 2, 50],
]

_SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "max_position_embeddings": _LONGEST,
}
_FROM_2 = {**_SIZES, "max_position_embeddings": _LONGEST + 2, "type_vocab_size": 1}
# Each layer takes a second to trace: where a family differs from another by name only, one will do.
_ONE = {"num_hidden_layers": 1}
_MODERNBERT = {
    **_SIZES,
    "pad_token_id": 0,
    "cls_token_id": 2,
    "sep_token_id": 3,
    "bos_token_id": 2,
    "eos_token_id": 3,
    "local_attention": 8,  # 4 tokens to either side
    "attention_bias": True,
    "mlp_bias": True,
    "norm_bias": True,
    "classifier_bias": True,
    "reference_compile": False,
}


@dataclass(frozen=True)
class _Kind:
    """A family's configuration, and what is to be found in its graph.

    projections: of each layer; before: those between the tables and the first layer.
    """

    settings: dict[str, Any]
    model_type: str = ""
    segments: bool = False
    pooling: str = "first"
    layers: int = 2
    projections: int = 6
    before: int = 0


_KNOWN = {
    "albert": _Kind({**_SIZES, "embedding_size": 8}, segments=True, before=1),
    "bert": _Kind(_SIZES, segments=True),
    "camembert": _Kind({**_FROM_2, **_ONE}, layers=1),
    "distilbert": _Kind(
        {
            "dim": 16,
            "n_layers": 1,
            "n_heads": 4,
            "hidden_dim": 24,
            "max_position_embeddings": _LONGEST,
        },
        layers=1,
    ),
    "electra": _Kind({**_SIZES, **_ONE, "embedding_size": 8}, segments=True, layers=1, before=1),
    "modernbert": _Kind({**_MODERNBERT, "global_attn_every_n_layers": 3}, projections=7),
    "modernbert-mean": _Kind(
        {
            **_MODERNBERT,
            "classifier_pooling": "mean",
            "num_hidden_layers": 3,
            "global_attn_every_n_layers": 2,
        },
        model_type="modernbert",
        pooling="mean",
        layers=3,
        projections=7,
    ),
    "mpnet": _Kind({**_SIZES, "max_position_embeddings": _LONGEST + 2}),
    "roberta": _Kind(_FROM_2),
    "xlm-roberta": _Kind({**_FROM_2, **_ONE}, layers=1),
}

# Others that are packed by what can be seen of them.
_GUESSED = {
    "big_bird": _Kind(
        {**_SIZES, **_ONE, "attention_type": "original_full"}, segments=True, layers=1
    ),
    "data2vec-text": _Kind({**_FROM_2, **_ONE}, layers=1),
    "ernie": _Kind({**_SIZES, **_ONE}, segments=True, layers=1),
    "megatron-bert": _Kind(_SIZES, segments=True),
    "rembert": _Kind(
        {**_SIZES, **_ONE, "input_embedding_size": 8}, segments=True, layers=1, before=1
    ),
    "roberta-prelayernorm": _Kind({**_FROM_2, **_ONE}, layers=1),
    "roc_bert": _Kind(
        {**_SIZES, **_ONE, "enable_pronunciation": False, "enable_shape": False},
        segments=True,
        layers=1,
        before=1,
    ),
    "xlm-roberta-xl": _Kind({**_FROM_2, **_ONE}, layers=1),
}

_KINDS = {**_KNOWN, **_GUESSED}

# Those that are as another family in all that is told apart here may be left out.
_COPIES = {"big_bird", "data2vec-text", "ernie", "roc_bert"}
_NAMES = [
    pytest.param(name, marks=[pytest.mark.slow] if name in _COPIES else []) for name in _KINDS
]


@dataclass(frozen=True)
class _Packed:
    """A checkpoint and its packed graph. Read only."""

    kind: _Kind
    checkpoint: Checkpoint
    graph: ir.Model
    session: GraphSession

    def logits(self, texts: Sequence[Encoding]) -> np.ndarray:
        """What the packed graph answers to one batch."""
        (logits,) = self.session.run(pack(texts))
        return logits

    def pytorch(self, text: Encoding) -> np.ndarray:
        """What PyTorch answers to one text by itself: [1, labels], or [tokens, labels]."""
        inputs = {"input_ids": torch.from_numpy(text.input_ids[None])}
        if self.kind.segments:
            inputs["token_type_ids"] = torch.from_numpy(text.token_type_ids[None])
        with torch.inference_mode():
            logits: np.ndarray = self.checkpoint.model(**inputs).logits.numpy()
        return logits[0] if self.checkpoint.per_token else logits


_Load = Callable[..., Checkpoint]


@pytest.fixture(scope="module", autouse=True)
def _one_registry() -> Iterator[None]:
    """Let PyTorch make its table of operators once, not for each export: a third of the time."""
    make = ONNXRegistry.from_torchlib
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(functools.cache(make)))
        yield


@pytest.fixture(scope="module")
def load(sst2_dev: list[tuple[str, int]], tmp_path_factory: pytest.TempPathFactory) -> _Load:
    """Makes and loads the checkpoint of a configuration, with weights far from their beginnings."""
    tokenizer = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer("wordpiece", [text for text, _ in sst2_dev[:200]], tokenizer)
    # For whatever family, and without a limit on the length.
    edit_json(
        tokenizer / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
        },
        ["model_max_length"],
    )

    def made(
        model_type: str, settings: dict[str, Any], loader: Any = AutoModelForSequenceClassification
    ) -> Checkpoint:
        folder = tmp_path_factory.mktemp(model_type)
        config = AutoConfig.for_model(model_type, vocab_size=_VOCABULARY, num_labels=3, **settings)
        torch.manual_seed(0)
        model = loader.from_config(config)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        model.save_pretrained(folder)
        for file in tokenizer.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        return load_checkpoint(str(folder))

    return made


@pytest.fixture(scope="module")
def packed(load: _Load) -> Callable[[str], _Packed]:
    """Makes the packed graph of a text classifier of `_KINDS`, once."""

    @functools.cache
    def made(name: str) -> _Packed:
        kind = _KINDS[name]
        checkpoint = load(kind.model_type or name, kind.settings)
        graph = packed_graph(checkpoint)
        return _Packed(kind, checkpoint, graph, GraphSession(graph))

    return made


def _texts(lengths: Sequence[int], *, pad: int | None = None) -> list[Encoding]:
    """Random tokens and segments; with `pad`, this token at some places in each text."""
    random = np.random.default_rng(sum(lengths))
    texts = []
    for length in lengths:
        ids = random.integers(5, _VOCABULARY, length)
        if pad is not None:
            ids[random.random(length) < 0.4] = pad
            ids[random.integers(length)] = pad
        texts.append(Encoding(ids, np.sort(random.integers(0, 2, length)), truncated=False))
    return texts


def _assert_equals_pytorch(packed: _Packed, texts: Sequence[Encoding]) -> None:
    expected = np.concatenate([packed.pytorch(text) for text in texts])
    assert np.abs(expected).max() > 0.1
    logits = packed.logits(texts)
    assert logits.dtype == np.float32 and logits.shape == expected.shape
    lengths = [len(text) for text in texts]
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4, err_msg=str(lengths))


def _rows(value: ir.Value | None) -> int | str | None:
    assert value is not None and value.shape is not None
    dim = value.shape[0]
    return dim if isinstance(dim, int) else dim.value


def _attentions(graph: ir.Model) -> list[ir.Node]:
    return [node for node in graph.graph if node.op_type == "Attention"]


# Text classifiers


def test_every_family_of_the_table_is_here() -> None:
    assert {kind.model_type or name for name, kind in _KNOWN.items()} == FAMILIES.keys()
    assert not _GUESSED.keys() & FAMILIES.keys()


@pytest.mark.parametrize("name", _NAMES)
def test_logits_equal_pytorch_text_by_text(packed: Callable[[str], _Packed], name: str) -> None:
    for lengths in _LENGTHS:
        _assert_equals_pytorch(packed(name), _texts(lengths))


@pytest.mark.parametrize("name", _KNOWN)
def test_the_graph_for_cuda_answers_alike(packed: Callable[[str], _Packed], name: str) -> None:
    """In float16, with its attention written out for the CPU; masks and biases are portable."""
    model = packed(name)
    graph = half_graph(model.checkpoint, max_length=_LONGEST)
    assert not _attentions(graph) or _masked(graph)
    half = GraphSession(on_cpu(graph))
    for lengths in ([7, 7, 7], [5, 1, 40, _LONGEST, 17, 2], [1, _LONGEST]):
        texts = _texts(lengths)
        (logits,) = half.run(pack(texts))
        expected = model.logits(texts)
        np.testing.assert_allclose(logits, expected, rtol=0, atol=0.03 * np.abs(expected).max())


def _masked(graph: ir.Model) -> bool:
    return all(node.inputs[3] is not None for node in _attentions(graph))


@pytest.mark.parametrize("name", _NAMES)
def test_padding_token_within_a_text_is_a_token(
    packed: Callable[[str], _Packed], name: str
) -> None:
    """RoBERTa gives it the position of padding, and does not count it."""
    pad = packed(name).checkpoint.config.pad_token_id
    texts = _texts([9, 1, _LONGEST, 20], pad=pad)
    _assert_equals_pytorch(packed(name), texts)
    if _positions(packed(name)) == "after padding":
        text = texts[0]
        moved = Encoding(np.sort(text.input_ids), text.token_type_ids, truncated=False)
        assert moved.input_ids[0] == pad and not np.array_equal(moved.input_ids, text.input_ids)
        _assert_equals_pytorch(packed(name), [moved, texts[3]])


def _positions(packed: _Packed) -> str:
    family = packed.checkpoint.family
    assert family is not None
    return family.positions


@pytest.mark.parametrize("name", _NAMES)
def test_logits_do_not_depend_on_the_rest_of_the_batch(
    packed: Callable[[str], _Packed], name: str
) -> None:
    texts = _texts([12, 1, _LONGEST, 30])
    together = packed(name).logits(texts)
    order = [2, 0, 3, 1]
    shuffled = packed(name).logits([texts[number] for number in order])
    alone = np.concatenate([packed(name).logits([text]) for text in texts])
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-5)
    np.testing.assert_allclose(shuffled, alone[order], rtol=0, atol=1e-5)
    assert np.abs(alone - alone[0])[1:].min(axis=1).max() > 1e-3, "all texts have one answer"


@pytest.mark.parametrize("name", _NAMES)
def test_inputs_and_output_are_the_documented_ones(
    packed: Callable[[str], _Packed], name: str
) -> None:
    graph = packed(name).graph.graph
    segments = {"token_type_ids": (ir.DataType.INT64, "[tokens]")}
    assert {value.name: (value.dtype, str(value.shape)) for value in graph.inputs} == {
        "input_ids": (ir.DataType.INT64, "[tokens]"),
        "lengths": (ir.DataType.INT32, "[texts]"),
        **(segments if packed(name).kind.segments else {}),
    }
    (logits,) = graph.outputs
    assert (logits.name, str(logits.shape)) == ("logits", "[texts,3]")
    onnx.checker.check_model(ir.to_proto(packed(name).graph), full_check=True)


@pytest.mark.parametrize("name", _NAMES)
def test_attention_sees_the_rectangle_and_the_lengths(
    packed: Callable[[str], _Packed], name: str
) -> None:
    kind, attentions = packed(name).kind, _attentions(packed(name).graph)
    queries = [str(node.inputs[0].shape) for node in attentions if node.inputs[0]]
    last = "[texts,1,16]" if kind.pooling == "first" else "[texts,longest,16]"
    assert queries == ["[texts,longest,16]"] * (kind.layers - 1) + [last]
    for node in attentions:
        assert node.inputs[6] is not None and node.inputs[6].name == "packed.lengths"
    masked = [node.inputs[3] is not None for node in attentions]
    local = {"modernbert": [False, True], "modernbert-mean": [False, True, False]}
    assert masked == local.get(name, [name == "mpnet"] * kind.layers)


@pytest.mark.parametrize("name", _NAMES)
def test_nothing_is_left_of_attention_that_is_written_out_or_transposed(
    packed: Callable[[str], _Packed], name: str
) -> None:
    operators = [node.op_type for node in packed(name).graph.graph]
    assert not {"Softmax", "ScatterND", "Erf"} & set(operators)
    # MPNet's bias has the heads last in its table.
    assert operators.count("Transpose") == (1 if name == "mpnet" else 0)


_KEYS_AND_VALUES = re.compile(r"\b(key|value|k|v|k_lin|v_lin)\.weight$")


@pytest.mark.parametrize("name", _NAMES)
def test_last_layer_is_computed_for_first_tokens_only(
    packed: Callable[[str], _Packed], name: str
) -> None:
    """But for its keys and values; where the head reads the mean, every token is needed."""
    kind = packed(name).kind
    layers: defaultdict[str, list[int | str | None]] = defaultdict(list)
    others: list[int | str | None] = []
    for node in packed(name).graph.graph:
        weight = node.inputs[1] if node.op_type == "MatMul" else None
        if weight is None or weight.name is None or not weight.is_initializer():
            continue
        stem = re.fullmatch(r".*?\blayers?\.\d+\.(.*)|.*\balbert_layers\.\d+\.(.*)", weight.name)
        where = next(filter(None, stem.groups())) if stem else ""
        (layers[where] if where else others).append(_rows(node.outputs[0]))
    assert len(layers) == kind.projections
    last = "texts" if kind.pooling == "first" else "tokens"
    for where, rows in layers.items():
        expected = "tokens" if _KEYS_AND_VALUES.search(where) else last
        assert rows == ["tokens"] * (kind.layers - 1) + [expected], where
    assert sum(1 for where in layers if _KEYS_AND_VALUES.search(where)) == 2
    assert others == ["tokens"] * kind.before


@pytest.mark.parametrize("name", _NAMES)
def test_int8_has_no_float_projection_left(packed: Callable[[str], _Packed], name: str) -> None:
    """At its start, before any unit is promoted; the answers are near the float ones."""
    kind, graph = packed(name).kind, packed(name).graph
    random = np.random.default_rng(0)
    texts = _texts(random.integers(1, _LONGEST + 1, 40).tolist())
    units = ladders(graph, texts, lambda *_: None)
    model = quantized(graph, {unit: ladder.steps[0] for unit, ladder in units.items()})
    operators = [node.op_type for node in model.graph]
    products = kind.layers * kind.projections + kind.before
    assert operators.count("MatMulIntegerToFloat") == products
    assert operators.count("MatMul") == (1 if kind.pooling == "mean" else 0)  # no weight's
    assert "DequantizeLinear" in operators, "the word embedding"
    expected = packed(name).session.logits(texts)
    error = np.abs(GraphSession(model).logits(texts) - expected).mean()
    assert 0 < error < 0.1 * np.abs(expected).mean()


# Token classifiers

_TAGGERS = {
    "bert": _Kind({**_SIZES, **_ONE}, segments=True, layers=1),
    "distilbert": _KNOWN["distilbert"],
    "modernbert": _KNOWN["modernbert"],
    "mpnet": _Kind({**_KNOWN["mpnet"].settings, **_ONE}, layers=1),
    "roberta": _Kind({**_FROM_2, **_ONE}, layers=1),
}


@pytest.fixture(scope="module")
def tagger(load: _Load) -> Callable[[str], _Packed]:
    """Makes the packed graph of a token classifier of `_TAGGERS`, once."""

    @functools.cache
    def made(name: str) -> _Packed:
        kind = _TAGGERS[name]
        checkpoint = load(name, kind.settings, AutoModelForTokenClassification)
        graph = packed_graph(checkpoint)
        return _Packed(kind, checkpoint, graph, GraphSession(graph))

    return made


@pytest.mark.parametrize("name", _TAGGERS)
def test_token_classifier_answers_for_each_token(
    tagger: Callable[[str], _Packed], name: str
) -> None:
    assert tagger(name).checkpoint.task == "token-classification"
    for lengths in _LENGTHS:
        _assert_equals_pytorch(tagger(name), _texts(lengths))
    pad = tagger(name).checkpoint.config.pad_token_id
    _assert_equals_pytorch(tagger(name), _texts([9, 1, _LONGEST, 20], pad=pad))


@pytest.mark.parametrize("name", _TAGGERS)
def test_graph_of_a_token_classifier(tagger: Callable[[str], _Packed], name: str) -> None:
    kind, graph = tagger(name).kind, tagger(name).graph
    (logits,) = graph.graph.outputs
    assert (logits.name, str(logits.shape)) == ("logits", "[tokens,3]")
    inputs = ["input_ids", *(["token_type_ids"] if kind.segments else []), "lengths"]
    assert [value.name for value in graph.graph.inputs] == inputs
    queries = [str(node.inputs[0].shape) for node in _attentions(graph) if node.inputs[0]]
    assert queries == ["[texts,longest,16]"] * kind.layers
    products = [n for n in graph.graph if n.op_type == "MatMul" and n.inputs[1].is_initializer()]  # type: ignore[union-attr]
    assert {_rows(node.outputs[0]) for node in products} == {"tokens"}


# What cannot be packed

_NO_TABLE = (
    "it has no table of position embeddings, and is none of albert, bert, camembert, distilbert, "
    "electra, modernbert, mpnet, roberta, xlm-roberta"
)


@pytest.mark.parametrize(
    ("model_type", "settings", "reason"),
    [
        pytest.param(
            "deberta-v2",
            {**_SIZES, **_ONE, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
            "none of its operators is an attention that the passes know",
            id="attention to relative positions",
        ),
        pytest.param(
            "convbert",
            {**_SIZES, **_ONE, "embedding_size": 8, "head_ratio": 2},
            "1 of its 1 attentions have a form that the passes do not know",
            id="attention beside a convolution",
        ),
        pytest.param(
            "xlnet",
            {"d_model": 16, "n_layer": 1, "n_head": 4, "d_inner": 24},
            _NO_TABLE,
            id="xlnet",
        ),
        pytest.param(
            "funnel",
            {"d_model": 16, "n_head": 4, "d_head": 4, "d_inner": 24, "block_sizes": [1, 1]},
            _NO_TABLE,
            id="funnel",
        ),
        pytest.param(
            "gpt2",
            {"n_embd": 16, "n_layer": 1, "n_head": 4, "n_positions": 64},
            _NO_TABLE,
            id="gpt2",
        ),
        pytest.param(
            "big_bird",
            {**_SIZES, **_ONE},
            "its attention is block-sparse on long texts and whole on short ones; if it is to be "
            "whole on all, set attention_type to original_full in its config.json",
            id="block-sparse attention",
        ),
    ],
)
def test_model_that_cannot_be_packed_says_why(
    load: _Load, model_type: str, settings: dict[str, Any], reason: str
) -> None:
    checkpoint = load(model_type, settings)
    with pytest.raises(UnsupportedModelError) as raised:
        packed_graph(checkpoint)
    assert str(raised.value) == f"{checkpoint.name} ({model_type}) cannot be packed: {reason}"


def test_model_that_cannot_be_traced_says_why(load: _Load) -> None:
    """Longformer pads the row to whole windows, and its mask with it."""
    checkpoint = load("longformer", {**_FROM_2, **_ONE, "attention_window": 8})
    with pytest.raises(UnsupportedModelError) as raised:
        packed_graph(checkpoint)
    message = str(raised.value)
    beginning = f"{checkpoint.name} (longformer) cannot be packed: "
    assert message.startswith(f"{beginning}tracing it as one row of all tokens failed: ")
    # What was met differs between the versions; it is not the exporter's own advice.
    met = raised.value.__cause__.__cause__ if raised.value.__cause__ else None
    assert met is not None and message.endswith(one_line(met))  # type: ignore[arg-type]
    assert "\n" not in message and "\x1b" not in message and "exportdb" not in message


def test_error_in_a_known_family_is_our_own(load: _Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no property of the model that the user could do anything about."""
    checkpoint = load("bert", {**_SIZES, **_ONE})

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("bertrt_export.packed.trace", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        packed_graph(checkpoint)


def test_neighbours_that_are_read_across_texts_are_noticed(load: _Load, tmp_path: Path) -> None:
    """MobileBERT's embedding of a token is made of three: the packed graph takes another text's.

    Nothing of its form tells. The comparison with PyTorch does.
    """
    settings = {
        **_SIZES,
        **_ONE,
        "embedding_size": 16,
        "intra_bottleneck_size": 16,
        "true_hidden_size": 16,
    }
    checkpoint = load("mobilebert", settings)
    file = save_graph(packed_graph(checkpoint), tmp_path, external_data=False)
    write_tokenizer(checkpoint, tmp_path, _LONGEST)
    tokenizer = TextTokenizer(tmp_path, _LONGEST)
    with pytest.raises(VerificationError, match=r"does not answer as PyTorch does") as raised:
        verify(checkpoint, tokenizer, file, lambda *_: None)
    alone, batched = re.findall(r"is (\S+) alone, (\S+) in a batch", str(raised.value))[0]
    assert float(alone) < 1e-4 < float(batched)
