"""Graphs in float16, and rounded to it."""

import numpy as np
import onnx_ir as ir
import pytest
from bertrt_export.errors import ExportError
from bertrt_export.passes import RoundToHalfPass, ToHalfPass

from tests.passes.graphs import graph, normal, op_types, run, tidy

_LAYER = """(int64[n, 8] i) => (float[n, 8] y) {
    whole = Cast<to = 1>(i) x = Mul(whole, hundredth) a = MatMul(x, W) b = Add(a, bias)
    c = LayerNormalization<axis = -1>(b, scale) y = Tanh(c) }"""
# A table's row is looked up by an index that is computed in float32.
_BUCKET = """(int64[n] i) => (float[n, 8] y) {
    far = Cast<to = 1>(i) log = Log(far) scaled = Mul(log, factor) index = Cast<to = 7>(scaled)
    row = Gather(table, index) y = Tanh(row) }"""


def _layer() -> ir.Model:
    weights = {"W": normal(8, 8), "bias": normal(8), "scale": np.abs(normal(8, seed=1))}
    return graph(_LAYER, hundredth=np.array([0.01], dtype=np.float32), **weights)


def _numbers(rows: int) -> np.ndarray:
    return np.random.default_rng(rows).integers(-300, 300, (rows, 8))


def _bucket() -> ir.Model:
    return graph(_BUCKET, table=normal(64, 8), factor=np.array([9.0], dtype=np.float32))


def _half(model: ir.Model) -> ir.Model:
    ToHalfPass()(model)
    tidy(model)
    return model


def test_weights_and_values_are_float16_and_outputs_are_not() -> None:
    model = _half(_layer())
    assert {value.dtype for value in model.graph.initializers.values()} == {ir.DataType.FLOAT16}
    (output,) = model.graph.outputs
    assert (output.name, output.dtype) == ("y", ir.DataType.FLOAT)
    assert output.producer().op_type == "Cast"  # type: ignore[union-attr]
    others = {v.dtype for node in model.graph for v in node.outputs if v is not output}
    assert others == {ir.DataType.FLOAT16}


def test_answers_are_near_those_of_float32() -> None:
    model, feeds = _half(_layer()), {"i": _numbers(50)}
    np.testing.assert_allclose(run(model, feeds)[0], run(_layer(), feeds)[0], atol=5e-3)


def test_what_becomes_an_index_stays_float32() -> None:
    """In float16, 9 log(7) and its like would be cut to another integer now and then."""
    feeds = {"i": np.arange(1, 1000)}
    exact = run(_bucket(), feeds)[0]
    model = _half(_bucket())
    floats = {v.name for node in model.graph for v in node.outputs if v.dtype == ir.DataType.FLOAT}
    assert floats == {"far", "log", "scaled", "y"}
    np.testing.assert_allclose(run(model, feeds)[0], exact, atol=2e-3)
    rounded = _bucket()
    RoundToHalfPass()(rounded)
    np.testing.assert_allclose(run(rounded, feeds)[0], exact, atol=2e-3)


def test_a_shape_is_no_index_that_is_computed() -> None:
    text = """(int64[n] i) => (float[n] y, int64[1] s) {
        x = Cast<to = 1>(i) h = Tanh(x) s = Shape(h) y = Tanh(h) }"""
    model = _half(graph(text))
    floats = {v.name for node in model.graph for v in node.outputs if v.dtype == ir.DataType.FLOAT}
    assert floats == {"y"}


def test_a_constant_of_both_kinds_is_there_twice() -> None:
    text = """(int64[n] i) => (float[n] y) {
        f = Cast<to = 1>(i) g = Mul(f, c) index = Cast<to = 7>(g) h = Cast<to = 1>(index)
        y = Mul(h, c) }"""
    model = _half(graph(text, c=np.array([1.5], dtype=np.float32)))
    dtypes = sorted(str(value.dtype) for value in model.graph.initializers.values())
    assert dtypes == ["FLOAT", "FLOAT16"]
    np.testing.assert_array_equal(run(model, {"i": np.array([1, 3])})[0], [1.5, 6.0])


def test_the_lowest_float32_becomes_the_lowest_float16() -> None:
    text = "(int64[n] i) => (float[n] y) { x = Cast<to = 1>(i) y = Add(x, low) }"
    model = _half(graph(text, low=np.array([np.finfo(np.float32).min], dtype=np.float32)))
    (low,) = model.graph.initializers.values()
    assert low.const_value is not None
    assert low.const_value.numpy().item() == np.finfo(np.float16).min


@pytest.mark.parametrize("rewrite", [ToHalfPass(), RoundToHalfPass()])
def test_a_weight_past_the_range_is_named(rewrite: ir.passes.InPlacePass) -> None:
    text = "(int64[n] i) => (float[n] y) { x = Cast<to = 1>(i) y = Add(x, large) }"
    model = graph(text, large=np.array([1.0, 70_000.0], dtype=np.float32))
    with pytest.raises(ExportError, match=r"^large holds 7e\+04, and float16 ends at 65504"):
        rewrite(model)


def _as_half(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float16).astype(np.float32)


def test_rounding_is_that_of_a_gpu_at_every_step() -> None:
    model, numbers = _layer(), _numbers(5)
    weights = {v.name: _as_half(v.const_value.numpy()) for v in model.graph.initializers.values()}  # type: ignore[union-attr]
    RoundToHalfPass()(model)
    x = _as_half(numbers.astype(np.float32) * weights["hundredth"])
    product = _as_half(_as_half(x @ weights["W"]) + weights["bias"])
    normed = product - product.mean(axis=1, keepdims=True)
    normed = normed / np.sqrt((normed**2).mean(axis=1, keepdims=True) + 1e-5) * weights["scale"]
    expected = np.tanh(_as_half(normed))
    # A sum that is about half-way between two float16 numbers may be rounded to either.
    actual = run(model, {"i": numbers})[0]
    assert np.mean(np.isclose(actual, expected, rtol=1e-6, atol=1e-7)) > 0.7
    np.testing.assert_allclose(actual, expected, atol=5e-3)
    assert not np.allclose(actual, run(_layer(), {"i": numbers})[0], rtol=1e-6, atol=1e-7)
    assert op_types(model).count("Cast") == 11, "every value but the output is rounded"


def test_rounding_shows_an_overflow() -> None:
    """onnxruntime's own casts around float16 operators on the CPU would hide it."""
    text = "(float[n] x) => (float[n] y) { a = Mul(x, c) b = Add(a, a) y = Mul(b, d) }"
    model = graph(
        text, c=np.array([300.0], dtype=np.float32), d=np.array([0.001], dtype=np.float32)
    )
    RoundToHalfPass()(model)
    assert run(model, {"x": np.array([100.0, 200.0], dtype=np.float32)})[0].tolist() == [
        pytest.approx(60.0, rel=1e-2),
        float("inf"),
    ]
