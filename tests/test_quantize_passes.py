"""int8 products, embedding tables of few bytes, folded smoothing: that they compute what they say.

The quantized graphs run as the runtime runs them, so that its options are a part of what is tested.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from bertrt.backend import create_session
from bertrt_export.artifact_writer import save_graph
from bertrt_export.passes.fold_smoothing import FoldSmoothingPass, find_values
from bertrt_export.passes.quantize_embeddings import (
    QuantizeEmbeddingsPass,
    TableForm,
    find_tables,
    round_table,
)
from bertrt_export.passes.quantize_projections import QuantizeProjectionsPass
from bertrt_export.quantization.forms import simulate
from bertrt_export.quantization.plan import FLOAT, ProjectionPlan
from bertrt_export.quantization.projections import find_groups, find_projections

from tests.passes.graphs import assert_fires, assert_unchanged, graph, normal, op_types, run, tidy

Run = Callable[..., np.ndarray]

_INPUTS, _OUTPUTS = 24, 16
_W = normal(_INPUTS, _OUTPUTS)
_B = normal(_OUTPUTS, seed=1)
_X = 3 * normal(40, _INPUTS, seed=2)
_SMOOTHING = np.exp(0.3 * normal(_INPUTS, seed=3))


@pytest.fixture
def load(tmp_path: Path) -> Callable[[ir.Model], Run]:
    """Loads a graph with the runtime's options; its only output, for inputs by name."""

    def load(model: ir.Model) -> Run:
        file = save_graph(model, tmp_path, external_data=False)
        session = create_session(file, ["CPUExecutionProvider"], 1)

        def run_it(**feeds: np.ndarray) -> np.ndarray:
            (output,) = session.run(None, feeds)
            result: np.ndarray = output
            return result

        return run_it

    return load


Load = Callable[[ir.Model], Run]


def _identity(x: np.ndarray) -> np.ndarray:
    return x


def _gelu(x: np.ndarray) -> np.ndarray:
    erf = np.vectorize(math.erf)(x.astype(np.float64) / math.sqrt(2))
    result: np.ndarray = (x * (1 + erf) / 2).astype(np.float32)
    return result


def _relu(x: np.ndarray) -> np.ndarray:
    result: np.ndarray = np.maximum(x, 0)
    return result


_ACTIVATIONS = {"Identity": _identity, "Gelu": _gelu, "Relu": _relu}


@dataclass(frozen=True)
class _Form:
    """A plan for a projection behind an activation, and the operators that it takes with a bias."""

    plan: ProjectionPlan
    operators: str
    activation: str = "Identity"

    def activate(self, x: np.ndarray) -> np.ndarray:
        return _ACTIVATIONS[self.activation](x)

    def quantized(self, *, bias: np.ndarray | None = _B, weight: np.ndarray = _W) -> ir.Model:
        model = _projection(self.activation, bias=bias, weight=weight)
        _quantize(model, W=self.plan)
        return model


def _static(smoothing: np.ndarray | None = None) -> ProjectionPlan:
    x = _X if smoothing is None else _X / smoothing
    return ProjectionPlan("static", smoothing, float(x.min()), float(x.max()))


_PRODUCT = "QuantizeLinear MatMulIntegerToFloat"
_SYMMETRIC = f"Abs ReduceMax Shape Expand Mul {_PRODUCT} Unsqueeze Mul Add"
_BOUNDED = f"Sub ReduceMax Mul {_PRODUCT} Unsqueeze Mul Add"
_FORMS = {
    "static": _Form(_static(), _PRODUCT),
    "static, smoothed": _Form(_static(_SMOOTHING), f"Mul {_PRODUCT}"),
    "per-token": _Form(ProjectionPlan("per-token"), _SYMMETRIC),
    "per-token, smoothed": _Form(ProjectionPlan("per-token", _SMOOTHING), f"Mul {_SYMMETRIC}"),
    "per-token behind GELU": _Form(ProjectionPlan("per-token", low=-0.1701), _BOUNDED, "Gelu"),
    "per-token behind ReLU": _Form(ProjectionPlan("per-token", low=0.0), _BOUNDED, "Relu"),
}
_EVERY_FORM = pytest.mark.parametrize("form", _FORMS.values(), ids=_FORMS)
_PER_TOKEN = pytest.mark.parametrize(
    "form", [_FORMS["per-token"], _FORMS["per-token, smoothed"]], ids=["plain", "smoothed"]
)


def _projection(
    activation: str = "Identity", *, bias: np.ndarray | None = _B, weight: np.ndarray = _W
) -> ir.Model:
    """`y = activation(x) @ W + b`."""
    last = "y = MatMul(v, W)" if bias is None else "p = MatMul(v, W) y = Add(p, b)"
    text = f"(float[rows, {len(weight)}] x) => (y) {{ v = {activation}(x) {last} }}"
    return graph(text, W=weight, **({} if bias is None else {"b": bias}))


def _quantize(model: ir.Model, **plans: ProjectionPlan) -> None:
    assert QuantizeProjectionsPass(plans)(model).modified
    tidy(model)


# Projections


@_EVERY_FORM
@pytest.mark.parametrize("bias", [_B, None], ids=["bias", "no bias"])
def test_projection_computes_what_the_simulation_says(
    load: Load, form: _Form, bias: np.ndarray | None
) -> None:
    actual = load(form.quantized(bias=bias))(x=_X)
    product = simulate(form.plan, form.activate(_X), _W)
    expected = product if bias is None else product + bias
    assert actual.shape == expected.shape and actual.dtype == np.float32
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4)


@_EVERY_FORM
def test_projection_is_as_close_to_float_as_eight_bits_are(load: Load, form: _Form) -> None:
    actual = load(form.quantized())(x=_X)
    expected = form.activate(_X) @ _W + _B
    assert 1e-3 < np.abs(actual - expected).mean() / np.abs(expected).mean() < 0.03


@_EVERY_FORM
def test_projection_takes_the_operators_of_its_form(form: _Form) -> None:
    assert op_types(form.quantized()) == sorted([form.activation, *form.operators.split()])


@_EVERY_FORM
def test_product_is_of_uint8_with_int8(form: _Form) -> None:
    """The only pair that reaches VNNI."""
    model = form.quantized()
    (product,) = (node for node in model.graph if node.op_type == "MatMulIntegerToFloat")
    names = [value.name for value in (product.inputs[0], product.inputs[1]) if value is not None]
    proto = onnx.shape_inference.infer_shapes(ir.to_proto(model)).graph
    types = {v.name: v.type.tensor_type.elem_type for v in proto.value_info}
    types |= {v.name: v.data_type for v in proto.initializer}
    expected = [onnx.TensorProto.UINT8, onnx.TensorProto.INT8]
    assert [types[str(name)] for name in names] == expected


@_EVERY_FORM
def test_row_alone_is_bitwise_the_row_in_its_batch(load: Load, form: _Form) -> None:
    quantized = load(form.quantized())
    together = quantized(x=_X)
    alone = np.concatenate([quantized(x=row[None]) for row in _X])
    np.testing.assert_array_equal(alone, together)
    np.testing.assert_array_equal(quantized(x=_X[::-1].copy()), together[::-1])


@_EVERY_FORM
def test_rows_of_zeros_give_the_bias(load: Load, form: _Form) -> None:
    x = np.concatenate([np.zeros((2, _INPUTS), dtype=np.float32), _X])
    actual = load(form.quantized())(x=x)
    np.testing.assert_allclose(actual[:2], [_B, _B], rtol=0, atol=1e-5)
    np.testing.assert_array_equal(actual[2:], load(form.quantized())(x=_X))


@_EVERY_FORM
def test_columns_of_zeros_give_the_bias(load: Load, form: _Form) -> None:
    weight = _W.copy()
    weight[:, [0, 5]] = 0
    actual = load(form.quantized(weight=weight))(x=_X)
    np.testing.assert_array_equal(actual[:, [0, 5]], np.tile(_B[[0, 5]], (len(_X), 1)))
    others = np.delete(np.arange(_OUTPUTS), [0, 5])
    whole = load(form.quantized())(x=_X)
    np.testing.assert_array_equal(actual[:, others], whole[:, others])


@_EVERY_FORM
def test_no_rows_give_no_rows(load: Load, form: _Form) -> None:
    assert load(form.quantized())(x=_X[:0]).shape == (0, _OUTPUTS)


@_PER_TOKEN
@pytest.mark.parametrize("scale", [2.0**-60, 2.0**-10, 2.0**60])
def test_rows_of_any_magnitude_are_rounded_alike(load: Load, form: _Form, scale: float) -> None:
    quantized = load(form.quantized(bias=None))
    expected = scale * quantized(x=_X)
    actual = quantized(x=(_X * scale).astype(np.float32))
    np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=0)


def test_static_range_is_where_values_beyond_it_end(load: Load) -> None:
    plan = ProjectionPlan("static", None, -1.0, 3.0)
    model = _projection(bias=None)
    _quantize(model, W=plan)
    quantized = load(model)
    at_the_ends = np.clip(_X, -1, 3)
    np.testing.assert_array_equal(quantized(x=_X), quantized(x=at_the_ends))
    expected = at_the_ends @ _W
    assert np.abs(quantized(x=_X) - expected).mean() / np.abs(expected).mean() < 0.02


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        pytest.param("p = MatMul(x, W) y = Add(b, p)", _PRODUCT, id="bias first"),
        pytest.param(
            "p = MatMul(x, W) s = Add(p, b) n = Neg(p) y = Mul(s, n)",
            f"{_PRODUCT} Add Neg Mul",
            id="product used again",
        ),
        pytest.param(
            "n = Neg(x) p = MatMul(x, W) o = MatMul(n, V) y = Add(p, o)",
            f"{_PRODUCT} MatMul Neg Add",
            id="sum of two products",
        ),
        pytest.param(
            "p = MatMul(x, W) y = Add(p, c)", f"{_PRODUCT} Add", id="bias of several rows"
        ),
        pytest.param(
            "p = MatMul(x, W) s = Add(p, b) y = Tanh(s)", f"{_PRODUCT} Tanh", id="result used"
        ),
    ],
)
def test_what_is_around_a_projection_stays(load: Load, nodes: str, expected: str) -> None:
    weights = {"W": _W, "V": normal(_INPUTS, _OUTPUTS, seed=4), "b": _B, "c": normal(40, _OUTPUTS)}
    used = {name: array for name, array in weights.items() if f" {name})" in f"{nodes}"}
    used |= {"b": _B} if "(b," in nodes else {}
    model = graph(f"(float[40, {_INPUTS}] x) => (y) {{ {nodes} }}", **used)
    (before,) = run(model, {"x": _X})
    _quantize(model, W=_static())
    assert op_types(model) == sorted(expected.split())
    assert np.abs(load(model)(x=_X) - before).mean() / np.abs(before).mean() < 0.03


@pytest.mark.parametrize("plan", [_static(), ProjectionPlan("per-token")], ids=lambda p: p.mode)
def test_layers_that_share_a_matrix_share_its_form(
    load: Load, tmp_path: Path, plan: ProjectionPlan
) -> None:
    weight, bias = normal(_INPUTS, _INPUTS), normal(_INPUTS)
    model = graph(
        f"""(float[rows, {_INPUTS}] x) => (y) {{
          p = MatMul(x, W) a = Add(p, b)
          q = MatMul(a, W) c = Add(q, b)
          r = MatMul(c, W) y = Add(r, b)
        }}""",
        W=weight,
        b=bias,
    )
    assert [p.name for p in find_projections(model.graph)] == ["W"] * 3
    _quantize(model, W=plan)
    expected = _X
    for _ in range(3):
        expected = simulate(plan, expected, weight) + bias
    weights = [v for v in model.graph.initializers.values() if v.dtype == ir.DataType.INT8]
    assert len(weights) == 3, "onnxruntime needs one for each node"
    assert len({id(value.const_value) for value in weights}) == 1
    save_graph(model, tmp_path, external_data=True)
    data = tmp_path / "model.onnx.data"
    assert data.stat().st_size < 1.5 * weight.size
    np.testing.assert_allclose(load(model)(x=_X), expected, rtol=1e-4, atol=1e-3)


_TWO = {"W": _W, "V": normal(_INPUTS, _OUTPUTS, seed=4), "b": _B}


def _two(other: str = "x") -> ir.Model:
    """Two projections side by side, of one input unless another is named."""
    return graph(
        f"""(float[rows, {_INPUTS}] x) => (y) {{
          n = Neg(x) p = MatMul(x, W) s = Add(p, b) o = MatMul({other}, V)
          y = Concat<axis = 1>(s, o)
        }}""",
        **_TWO,
    )


@pytest.mark.parametrize(
    "plan", [form.plan for form in list(_FORMS.values())[:4]], ids=list(_FORMS)[:4]
)
def test_projections_of_one_input_round_it_once(load: Load, plan: ProjectionPlan) -> None:
    model = _two()
    _quantize(model, **{"W+V": plan})
    kinds = op_types(model)
    assert kinds.count("QuantizeLinear") == 1 and kinds.count("MatMulIntegerToFloat") == 2
    assert kinds.count("ReduceMax") == (plan.mode == "per-token")
    expected = [simulate(plan, _X, _W) + _B, simulate(plan, _X, _TWO["V"])]
    actual = load(model)(x=_X)
    np.testing.assert_allclose(actual, np.concatenate(expected, axis=1), rtol=1e-4, atol=1e-3)


def test_projections_share_their_common_constants() -> None:
    model = _two("n")
    _quantize(model, W=ProjectionPlan("per-token"), V=ProjectionPlan("per-token"))
    names = sorted(model.graph.initializers)
    own = [f"{name}.weight_{part}" for name in "VW" for part in ("int8", "scale")]
    shared = ["W.bias", "float32_0.00787402", "ints_minus1", "uint8_128"]
    assert names == sorted([*own, *shared])


@pytest.mark.parametrize("plans", [{}, {"W": FLOAT}, {"V": _static()}], ids=str)
def test_projection_without_a_plan_stays_float(plans: dict[str, ProjectionPlan]) -> None:
    assert_unchanged(QuantizeProjectionsPass(plans), _projection(), {"x": _X})


@pytest.mark.parametrize(
    "nodes",
    [
        pytest.param("W = Identity(U) y = MatMul(x, W)", id="computed matrix"),
        pytest.param("y = Gemm(x, W)", id="Gemm"),
        pytest.param("t = Transpose(x) s = Identity(W) y = MatMul(t, x)", id="no constant"),
    ],
)
def test_other_products_stay_as_they_are(nodes: str) -> None:
    name = "U" if "U" in nodes else "W"
    model = graph(f"(float[rows, {_INPUTS}] x) => (y) {{ {nodes} }}", **{name: _W})
    plans = {name: _static() for name in ("W", "U", "projection")}
    assert_unchanged(QuantizeProjectionsPass(plans), model, {"x": _X})


# Embedding tables

_ROWS, _WIDTH = 200, 12
_TABLE = normal(_ROWS, _WIDTH) * np.exp(normal(_ROWS, 1, seed=1))
_TABLE[7] = 0  # a padding row
_IDS = np.array([0, 7, 199, 3, 3])
_STORED = {"int8": np.int8, "fp16": np.float16}


def _lookup(table: np.ndarray = _TABLE, nodes: str = "y = Gather(T, ids)") -> ir.Model:
    return graph(f"(int64[tokens] ids) => (y) {{ {nodes} }}", T=table)


@pytest.mark.parametrize(
    ("form", "operators"),
    [("int8", "DequantizeLinear Gather Gather"), ("fp16", "Cast Gather")],
)
def test_table_in_fewer_bytes(load: Load, form: TableForm, operators: str) -> None:
    model = _lookup()
    assert QuantizeEmbeddingsPass({"T": form})(model).modified
    tidy(model)
    assert op_types(model) == sorted(operators.split())
    rows = load(model)(ids=_IDS)
    assert rows.dtype == np.float32
    stored, scales = round_table(_TABLE, form)
    assert stored.dtype == _STORED[form]
    expected = stored.astype(np.float32) * (1 if scales is None else scales[:, None])
    np.testing.assert_array_equal(rows, expected[_IDS])
    assert [t.dtype for t in _tensors(model) if t.shape == (_ROWS, _WIDTH)] == [_STORED[form]]


def _tensors(model: ir.Model) -> list[np.ndarray]:
    tensors = (value.const_value for value in model.graph.initializers.values())
    return [tensor.numpy() for tensor in tensors if tensor is not None]


def test_int8_rows_are_off_by_half_a_step_of_their_own() -> None:
    stored, scales = round_table(_TABLE, "int8")
    assert scales is not None and scales.dtype == np.float32
    steps = np.abs(_TABLE).max(axis=1) / 127
    assert (np.abs(stored * scales[:, None] - _TABLE) <= 0.5001 * steps[:, None]).all()
    assert not stored[7].any() and scales[7] == 1
    largest = np.abs(np.delete(stored, 7, axis=0).astype(int)).max(axis=1)
    assert (largest == 127).all()


def test_fp16_elements_are_off_by_their_eleventh_bit() -> None:
    stored, scales = round_table(_TABLE, "fp16")
    assert scales is None
    np.testing.assert_allclose(stored.astype(np.float32), _TABLE, rtol=2.0**-11, atol=2.0**-24)


def test_float_table_is_the_table() -> None:
    stored, scales = round_table(_TABLE, "float")
    assert stored is _TABLE and scales is None


@pytest.mark.parametrize("form", ["int8", "fp16"])
def test_lookup_of_any_shape_of_ids(load: Load, form: TableForm) -> None:
    model = graph("(int64[texts, longest] ids) => (y) { y = Gather(T, ids) }", T=_TABLE)
    QuantizeEmbeddingsPass({"T": form})(model)
    ids = np.stack([_IDS, _IDS[::-1]])
    stored, scales = round_table(_TABLE, form)
    expected = stored.astype(np.float32) * (1 if scales is None else scales[:, None])
    np.testing.assert_array_equal(load(model)(ids=ids), expected[ids])


def test_tables_are_named_after_their_weights() -> None:
    model = _lookup()
    model.graph.initializers["T"].name = "bert.embeddings.word_embeddings.weight"
    (name,) = find_tables(model.graph)
    assert name == "bert.embeddings.word_embeddings"
    assert QuantizeEmbeddingsPass({name: "int8"})(model).modified


@pytest.mark.parametrize("forms", [{}, {"T": "float"}, {"U": "int8"}], ids=str)
def test_table_without_a_form_stays_float(forms: dict[str, TableForm]) -> None:
    assert_unchanged(QuantizeEmbeddingsPass(forms), _lookup(), {"ids": _IDS})


@pytest.mark.parametrize(
    ("table", "nodes"),
    [
        pytest.param(_TABLE[:127], "y = Gather(T, ids)", id="small"),
        pytest.param(_TABLE.astype(np.float16), "y = Gather(T, ids)", id="float16 already"),
        pytest.param(_TABLE[0:128, 0], "y = Gather(T, ids)", id="a vector"),
        pytest.param(_TABLE.T.copy(), "y = Gather<axis = 1>(T, ids)", id="columns"),
        pytest.param(_TABLE, "t = Gather(T, ids) u = Neg(T) s = ReduceSum(u) y = Add(t, s)"),
        pytest.param(_TABLE, "T2 = Neg(T) y = Gather(T2, ids)", id="computed"),
    ],
)
def test_other_tables_stay_as_they_are(table: np.ndarray, nodes: str) -> None:
    ids = np.minimum(_IDS, len(table) - 1)
    model = _lookup(table, nodes)
    assert find_tables(model.graph) == {}
    assert_unchanged(QuantizeEmbeddingsPass({"T": "int8"}), model, {"ids": ids})


def test_smallest_table_worth_it() -> None:
    assert list(find_tables(_lookup(_TABLE[:128]).graph)) == ["T"]


# Smoothing, folded into the attention's values

_HIDDEN = 8
_HEADS = "q_num_heads = 2, kv_num_heads = 2"
_ROWS_OUT = "f = Reshape(o, minus1_8) n = Gather(f, t)"
_TEXTS = {
    "x": normal(5, _HIDDEN, seed=5),
    "r": np.array([[0, 1, 2], [3, 4, 4]]),
    "t": np.array([0, 1, 2, 3, 4]),
    "lengths": np.array([3, 2]),
}
_SMOOTH = np.exp(normal(_HIDDEN, seed=6))


def _attention(
    heads: str = _HEADS,
    between: str = _ROWS_OUT,
    *,
    bias: str = "a = Add(p, b)",
    rows: str = "v = Gather(a, r) q = Gather(x, r)",
    more: str = "",
    outputs: str = "y",
    **others: np.ndarray,
) -> ir.Model:
    """A packed attention, with queries and keys as they come, and the projection of its output."""
    weights = {
        "W": normal(_HIDDEN, _HIDDEN),
        "b": normal(_HIDDEN),
        "O": normal(_HIDDEN, _HIDDEN, seed=1),
        "c": normal(_HIDDEN, seed=1),
        "minus1_8": np.array([-1, _HIDDEN]),
        **others,
    }
    return graph(
        f"""(float[tokens, 8] x, int64[texts, longest] r, int64[tokens] t, int64[texts] lengths)
             => ({outputs}) {{
          p = MatMul(x, W) {bias}
          {rows} k = Identity(q)
          o = Attention<{heads}>(q, k, v, , , , lengths)
          {between}
          m = MatMul(n, O) y = Add(m, c)
          {more}
        }}""",
        **weights,
    )


def _smooth(model: ir.Model, name: str = "O") -> bool:
    return FoldSmoothingPass({name: _SMOOTH})(model).modified


def test_smoothing_folds_without_a_change_of_the_function() -> None:
    model, before = _attention(), _attention()
    assert _smooth(model)
    tidy(model)
    assert op_types(model) == op_types(before)
    for actual, expected in zip(run(model, _TEXTS), run(before, _TEXTS), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def test_smoothing_divides_what_goes_into_the_projection() -> None:
    model = _attention()
    assert _smooth(model)
    before = _attention()
    np.testing.assert_allclose(
        _initializer(model, "b.smoothed"), _initializer(before, "b") / _SMOOTH, rtol=1e-5
    )
    for name, expected in {
        "W": 1 / _SMOOTH,
        "O": _SMOOTH[:, None],
        "c": np.ones(_HIDDEN),
    }.items():
        held, first = _initializer(model, name), _initializer(before, name)
        np.testing.assert_allclose(held, first * expected, rtol=1e-5)
        assert held.dtype == np.float32


def test_smoothing_folds_into_values_without_a_bias() -> None:
    model, before = (
        _attention(bias="", rows="v = Gather(p, r) q = Gather(x, r)") for _ in range(2)
    )
    assert _smooth(model)
    for actual, expected in zip(run(model, _TEXTS), run(before, _TEXTS), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)
    smoothed = _initializer(before, "W") / _SMOOTH
    np.testing.assert_allclose(_initializer(model, "W"), smoothed, rtol=1e-5)


def test_bias_that_others_use_stays_for_them() -> None:
    model = _attention(more="z = Neg(b)", outputs="y, z")
    assert_fires(FoldSmoothingPass({"O": _SMOOTH}), model, _TEXTS)


def _initializer(model: ir.Model, name: str) -> np.ndarray:
    tensor = model.graph.initializers[name].const_value
    assert tensor is not None
    return tensor.numpy()


def test_smoothing_folds_into_a_real_model(tiny_graph: ir.Model) -> None:
    """Both layers': the last one attends from first tokens only."""
    model = tiny_graph.clone()
    folds = {g.name: g for g in find_groups(model.graph) if find_values(g) is not None}
    assert [name.partition("layer.")[2] for name in folds] == [
        "0.attention.output.dense",
        "1.attention.output.dense",
    ]
    smoothing = {
        name: np.exp(normal(len(group.weight), seed=number))
        for number, (name, group) in enumerate(folds.items())
    }
    assert FoldSmoothingPass(smoothing)(model).modified
    assert op_types(model) == op_types(tiny_graph)
    feeds = {
        "input_ids": np.random.default_rng(0).integers(0, 30_000, 20),
        "token_type_ids": np.repeat([0, 1], 10),
        "lengths": np.array([12, 1, 7], dtype=np.int32),
    }
    (after,), (before,) = run(model, feeds), run(tiny_graph, feeds)
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-4)
    weights = [_initializer(model, f"{name}.weight") for name in folds]
    assert not any(
        np.array_equal(g.weight, w) for g, w in zip(folds.values(), weights, strict=True)
    )


def test_smoothing_of_other_projections_does_not_fold() -> None:
    model = _attention()
    assert_unchanged(FoldSmoothingPass({"W": _SMOOTH, "elsewhere": _SMOOTH}), model, _TEXTS)


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(
            lambda: _attention(more="z = Neg(v)", outputs="y, z"), id="values used otherwise"
        ),
        pytest.param(
            lambda: _attention(more="z = Neg(n)", outputs="y, z"), id="input used otherwise"
        ),
        pytest.param(
            lambda: _attention(more="z = Neg(o)", outputs="y, z"), id="attention used otherwise"
        ),
        pytest.param(
            lambda: _attention(more="z = Neg(a)", outputs="y, z"), id="rows of values used"
        ),
        pytest.param(
            lambda: _attention(between=f"h = Tanh(o) {_ROWS_OUT.replace('(o', '(h')}"),
            id="work in between",
        ),
        pytest.param(
            lambda: _attention(rows="v = Gather(a, r) q = Neg(v)"),
            id="queries are values",
        ),
        pytest.param(
            lambda: _attention(rows="e = Gather(a, r) v = Tanh(e) q = Gather(x, r)"),
            id="values computed",
        ),
        pytest.param(
            lambda: _attention(more="z = MatMul(n, P)", outputs="y, z", P=normal(_HIDDEN, 3)),
            id="input projected twice",
        ),
        pytest.param(lambda: _attention(bias="d = Neg(b) a = Add(p, d)"), id="bias computed"),
        pytest.param(lambda: _attention(bias="a = Identity(p)"), id="no bias"),
        pytest.param(
            lambda: _attention(more="z = MatMul(x, O)", outputs="y, z"), id="weight shared"
        ),
        pytest.param(
            lambda: _attention(more="z = MatMul(x, W)", outputs="y, z"), id="values' weight shared"
        ),
    ],
)
def test_smoothing_that_is_not_exact_does_not_fold(model: Callable[[], ir.Model]) -> None:
    built = model()
    assert all(find_values(group) is None for group in find_groups(built.graph))
    assert_unchanged(FoldSmoothingPass({"O": _SMOOTH}), built, _TEXTS)
