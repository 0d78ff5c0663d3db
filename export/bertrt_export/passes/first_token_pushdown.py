"""Compute only what the first token of each text needs."""

import onnx_ir as ir

from bertrt_export.passes._graph import ELEMENTWISE, Rewriter, attribute, constant

__all__ = ["FirstTokenPushdownPass"]


class FirstTokenPushdownPass(ir.passes.InPlacePass):
    """Move `Gather(.., axis=1)` over the tokens up towards the inputs of the graph.

    A classifier reads the first token of each text only, so the last layer's query, attention
    output, feed-forward network and norms are needed for one row a text instead of one a token.
    What works on each token alone commutes with choosing tokens, so this is exact.

    Fires for a value [1, tokens, ..] that is used by nothing but such Gathers of one index, made by

    1. a token-wise operator: `f(x, c)[index] -> f(x[index], c)`, c the same for every token;
    2. `LayerNormalization` over the last axis, with one scale and bias for all tokens;
    3. `MatMul` with a constant right-hand matrix;
    4. `Attention` on [1, tokens, hidden]: `Attention(q[index], k, v)`, with a mask or bias m
       [1, .., tokens, tokens] `Attention(q[index], k, v, m[:, :, index])`;
    5. `RotaryEmbedding` on [1, tokens, hidden]: `f(x[index], .., position_ids[:, index])`.

    Must not fire:

    1. where the value has any other use, or is an output of the graph: it is needed whole;
    2. where an operator mixes tokens (a softmax or norm over them, a causal attention, a
       computed right-hand matrix);
    3. for a Gather along another axis, or with an index that is not a vector of rows;
    4. through `Attention` where `through_attention` is false: an attention operator that takes as
       many queries as keys needs them all.
    """

    def __init__(self, *, through_attention: bool = True) -> None:
        super().__init__()
        self._through_attention = through_attention

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        # Bottom up: what one step puts further up is visited next.
        pending = list(reversed(list(model.graph)))
        while pending:
            node = pending.pop(0)
            if node.graph is not None and _is_token_gather(node):
                new = _push(node, through_attention=self._through_attention)
                modified |= bool(new)
                pending[:0] = new
        return ir.passes.PassResult(model, modified=modified)


def _is_token_gather(node: ir.Node) -> bool:
    """Whether the node is Gather([1, tokens, hidden], [rows], axis=1)."""
    if node.op_type != "Gather" or node.domain != "" or attribute(node, "axis", 0) != 1:
        return False
    data, output = node.inputs[0], node.outputs[0]
    if data is None or data.shape is None or output.shape is None:
        return False
    return len(data.shape) == 3 == len(output.shape) and data.shape[0] == 1


def _push(gather: ir.Node, *, through_attention: bool) -> list[ir.Node]:
    """Push one Gather, and its equals, above the node that feeds it; the new Gathers."""
    data, index = gather.inputs
    node = data.producer() if data is not None else None
    if data is None or index is None or node is None or len(node.outputs) != 1:
        return []
    equals = [user for user in data.consumers() if _is_token_gather(user)]
    alone = len(equals) == len(data.consumers()) and not data.is_graph_output()
    if not alone or any(user.inputs[1] is not index for user in equals):
        return []
    token_axes = _token_axes(node, data)
    if token_axes is None or (node.op_type == "Attention" and not through_attention):
        return []
    rewriter = Rewriter(node)
    rows = gather.outputs[0].shape[1]  # type: ignore[index]  # ranked: see _is_token_gather
    gathered: dict[ir.Value | None, ir.Value] = {}
    for position, axis in token_axes.items():
        value = node.inputs[position]
        if value is not None and value.shape is not None and value not in gathered:
            shape = [rows if i == axis else dim for i, dim in enumerate(value.shape)]
            gathered[value] = rewriter.op(
                "Gather", [value, index], {"axis": axis}, shape=shape, dtype=value.dtype
            )
    inputs = [gathered[v] if i in token_axes else v for i, v in enumerate(node.inputs)]
    result = rewriter.copy(node, inputs)
    result.shape = gather.outputs[0].shape
    for user in equals:
        Rewriter(user).replace(result)
    assert node.graph is not None  # it was visited in its graph
    node.graph.remove(node, safe=True)
    return [made for value in gathered.values() if (made := value.producer()) is not None]


def _token_axes(node: ir.Node, output: ir.Value) -> dict[int, int] | None:
    """The inputs that have the output's tokens, one for one, and on which axis.

    None if the node mixes tokens.
    """
    inputs = {i: v for i, v in enumerate(node.inputs) if v is not None}
    has_tokens = {i: 1 for i, v in inputs.items() if _has_tokens(v, output)}
    if node.domain != "" or not has_tokens:
        return None
    row_by_row = {0: 1} if 0 in has_tokens else None
    if node.op_type == "Attention":
        return _attention_axes(node, output) if row_by_row else None
    if node.op_type == "RotaryEmbedding":
        # Positions [1, tokens], which choose the rows of the tables of angles.
        return {0: 1, 3: 1} if row_by_row and len(node.inputs) == 4 else None
    if node.op_type == "MatMul":
        return row_by_row if constant(node.inputs[1]) is not None else None
    others = [v for i, v in inputs.items() if i not in has_tokens]
    if not all(_same_for_every_token(value) for value in others):
        return None
    if node.op_type == "LayerNormalization":
        last_axis = attribute(node, "axis", -1) in (-1, 2)
        return row_by_row if last_axis and has_tokens == row_by_row else None
    return has_tokens if node.op_type in ELEMENTWISE else None


def _attention_axes(node: ir.Node, output: ir.Value) -> dict[int, int] | None:
    """The query's axis of tokens, and the mask's, of an attention that is not causal."""
    if attribute(node, "is_causal", 0) or any(value is not None for value in node.inputs[4:]):
        return None
    mask = node.inputs[3] if len(node.inputs) > 3 else None
    if mask is None:
        return {0: 1}
    if mask.shape is None or output.shape is None or len(mask.shape) != 4:
        return None
    return {0: 1, 3: 2} if mask.shape[2] == output.shape[1] else None


def _has_tokens(value: ir.Value, output: ir.Value) -> bool:
    """Whether the value is [1, tokens, ..] with the output's own token axis."""
    if value.shape is None or output.shape is None or len(value.shape) != 3:
        return False
    return value.shape[0] == 1 and value.shape[1] == output.shape[1]


def _same_for_every_token(value: ir.Value) -> bool:
    if value.shape is None:
        return False
    return len(value.shape) <= 1 or all(dim == 1 for dim in value.shape[:-1])
