"""int8 products with scales that do not depend on the rest of the batch."""

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from bertrt_export.passes._graph import Rewriter
from bertrt_export.quantization.plan import ProjectionPlan, quantize_weight
from bertrt_export.quantization.projections import Projection, find_projections

__all__ = ["QuantizeProjectionsPass"]

_MICROSOFT = "com.microsoft"


class QuantizeProjectionsPass(ir.passes.InPlacePass):
    """Let projections run as uint8 activations times int8 weights.

    Fires for `Add(MatMul(x, W), b)` (or the product alone) whose plan is

    1. static: `MatMulIntegerToFloat(QuantizeLinear(x / s, scale, zero), W', b)`;
    2. per-token, symmetric::

           largest = ReduceMax(Abs(x / s), axis=-1)
           y = MatMulIntegerToFloat(QuantizeLinear(x / s, largest / 127, 128, axis=0), W')
           Add(Mul(y, largest), b)

    3. per-token, bounded below by c: the same with `x / s - c` instead of Abs, 255 steps instead of
       127, no zero point, and `c * sum(W')` in the bias;

    where s is the plan's smoothing (a Mul by 1 / s, left out if there is none) and W' = s * W as
    int8 with a scale a column.

    Must not fire for a projection without a plan, or whose plan is float.

    Only uint8 activations with int8 weights reach the VNNI instructions in onnxruntime's kernels.
    """

    def __init__(self, plans: Mapping[str, ProjectionPlan]) -> None:
        self._plans = plans

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for projection in find_projections(model.graph):
            plan = self._plans.get(projection.name)
            if plan is None or plan.mode == "float":
                continue
            _rewrite(projection, plan)
            modified = True
        if modified:
            model.opset_imports[_MICROSOFT] = 1
        return ir.passes.PassResult(model, modified=modified)


def _rewrite(projection: Projection, plan: ProjectionPlan) -> None:
    last = projection.add or projection.matmul
    builder = _Builder(projection, Rewriter(last))
    weight, x = projection.weight, projection.input
    if plan.smoothing is not None:
        weight = weight * plan.smoothing[:, None]
        inverse = builder.constant("smoothing", (1 / plan.smoothing).astype(np.float32))
        x = builder.op("Mul", [x, inverse])
    quantized, scales = quantize_weight(weight)
    if plan.mode == "static":
        result = _static(builder, x, quantized, scales, plan)
    else:
        result = _per_token(builder, x, quantized, scales, plan.low)
    builder.rewriter.replace(result)
    if projection.add is not None:
        Rewriter(projection.matmul).remove()


def _static(
    builder: "_Builder", x: ir.Value, weight: np.ndarray, scales: np.ndarray, plan: ProjectionPlan
) -> ir.Value:
    scale, zero = plan.static_parameters()
    at = builder.constant("input_scale", np.array(scale))
    zero_point = builder.constant("input_zero_point", np.array(zero))
    rounded = builder.op("QuantizeLinear", [x, at, zero_point])
    bias = builder.projection.bias
    vector = builder.constant("bias", bias) if bias is not None else None
    return builder.product(rounded, weight, at, scales, zero_point, vector)


def _per_token(
    builder: "_Builder", x: ir.Value, weight: np.ndarray, scales: np.ndarray, low: float | None
) -> ir.Value:
    rewriter, bias = builder.rewriter, builder.projection.bias
    steps = 127 if low is None else 255
    step = builder.constant(None, np.array(1 / steps, dtype=np.float32))
    last = rewriter.ints([-1])
    if low is None:
        positive = builder.op("Abs", [x])
        largest = builder.op("ReduceMax", [positive, last], {"keepdims": 0})
        zero_point = builder.constant(None, np.array(128, dtype=np.uint8))
        zeros = builder.op("Expand", [zero_point, builder.op("Shape", [largest])])
        row_scales = builder.op("Mul", [largest, step])
        rounded = builder.op("QuantizeLinear", [x, row_scales, zeros], {"axis": 0})
        product = builder.product(rounded, weight, step, scales, zero_point, None)
    else:
        positive = builder.op("Sub", [x, builder.constant(None, np.array(low, dtype=np.float32))])
        largest = builder.op("ReduceMax", [positive, last], {"keepdims": 0})
        row_scales = builder.op("Mul", [largest, step])
        rounded = builder.op("QuantizeLinear", [positive, row_scales], {"axis": 0})
        product = builder.product(rounded, weight, step, scales, None, None)
        shift = low * (weight.astype(np.float64).sum(axis=0) * scales)
        bias = (shift if bias is None else shift + bias).astype(np.float32)
    result = builder.op("Mul", [product, builder.op("Unsqueeze", [largest, last])])
    return result if bias is None else builder.op("Add", [result, builder.constant("bias", bias)])


class _Builder:
    """Adds nodes in front of a projection, and constants named after it."""

    def __init__(self, projection: Projection, rewriter: Rewriter) -> None:
        self.projection, self.rewriter = projection, rewriter

    def op(
        self,
        op_type: str,
        inputs: list[ir.Value | None],
        attributes: Mapping[str, int] | None = None,
    ) -> ir.Value:
        return self.rewriter.op(op_type, inputs, attributes)

    def constant(self, role: str | None, array: np.ndarray) -> ir.Value:
        """A constant of this projection; without a role, one that all projections share."""
        name = f"{self.projection.name}.{role}" if role else f"{array.dtype}_{array.item():g}"
        return self.rewriter.constant(name, array)

    def product(
        self,
        rounded: ir.Value,
        weight: np.ndarray,
        scale: ir.Value,
        scales: np.ndarray,
        zero_point: ir.Value | None,
        bias: ir.Value | None,
    ) -> ir.Value:
        """`(rounded - zero_point) * scale @ (weight * scales) + bias`, float32."""
        inputs: list[ir.Value | None] = [
            rounded,
            self.constant("weight_int8", weight),
            scale,
            self.constant("weight_scale", scales),
            zero_point,
            None,
            bias,
        ]
        while inputs[-1] is None:
            inputs.pop()
        value = self.rewriter.op("MatMulIntegerToFloat", inputs, domain=_MICROSOFT)
        value.type = ir.TensorType(ir.DataType.FLOAT)
        return value
