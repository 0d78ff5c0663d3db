"""Attention between the tokens of one text only, in a packed batch."""

from typing import Literal

import onnx_ir as ir

from bertrt_export.passes._graph import CONTRIB, Rewriter, attribute, constant, producer
from bertrt_export.passes.packed_inputs import PackedLayout

__all__ = ["VarlenAttentionPass", "contrib_attributes", "is_plain_attention"]


class VarlenAttentionPass(ir.passes.InPlacePass):
    """Let each text of a packed batch attend to itself alone.

    Attention is the one operator that sees a rectangle. Fires for
    `Attention(q, k, v, q_num_heads=.., kv_num_heads=..)` with q, k and v [1, .., hidden], in
    a graph that PackedInputsPass has rewritten:

    1. query rows = tokens: q, k, v -> gathered to [texts, longest, hidden], attended with the
       lengths as `nonpad_kv_seqlen` (keys past a text's end do not count), gathered back;
    2. query rows = texts (FirstTokenPushdownPass came first): the same with q [texts, 1, hidden]
       and nothing to gather back.

    A mask or bias [1, .., tokens, tokens] that depends on the tokens' positions alone (how far they
    are apart) is computed for the places of the rectangle instead, [1, .., longest, longest], the
    same for all texts.

    rectangle: the operator that attends where there is no mask or bias. "MultiHeadAttention" of
    com.microsoft, with the lengths as its key mask, has the faster kernels on a GPU.

    Must not fire:

    1. in a graph that is not packed;
    2. for an Attention on four dimensions, causal, or with past keys;
    3. for one with a mask or bias that depends on anything but positions and constants;
    4. where the keys' rows are not the tokens, or the query's neither the tokens nor one a text.

    Source: ONNX operator Attention, opset 24 (`nonpad_kv_seqlen`); onnxruntime's contrib operator
    MultiHeadAttention (`key_padding_mask` [batch]: the length of each row).
    """

    def __init__(self, rectangle: Literal["Attention", "MultiHeadAttention"] = "Attention") -> None:
        super().__init__()
        self._operator = rectangle

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        layout = PackedLayout.find(model.graph)
        modified = False
        if layout is not None:
            for node in list(model.graph):
                if is_plain_attention(node):
                    modified |= _rewrite(node, layout, self._operator)
        if modified and self._operator != "Attention":
            model.opset_imports[CONTRIB] = 1
        return ir.passes.PassResult(model, modified=modified)


def is_plain_attention(node: ir.Node) -> bool:
    """Whether a node is `Attention(q, k, v, mask or none)` on three dimensions, not causal."""
    if node.op_type != "Attention" or node.domain != "" or len(node.outputs) != 1:
        return False
    known = {"q_num_heads", "kv_num_heads", "scale"} >= node.attributes.keys()
    heads = "q_num_heads" in node.attributes
    return known and heads and all(value is None for value in node.inputs[4:])


def _rewrite(attention: ir.Node, layout: PackedLayout, operator: str) -> bool:
    shapes = [value.shape if value is not None else None for value in attention.inputs[:3]]
    query, key, _ = shapes
    if query is None or key is None or any(s is None or len(s) != 3 or s[0] != 1 for s in shapes):
        return False
    # PackedInputsPass gives both their shapes.
    texts, tokens = layout.lengths.shape[0], layout.token_index.shape[0]  # type: ignore[index]
    by_token, by_text = query[1] == tokens, query[1] == texts
    if key[1] != tokens or not (by_token or by_text):
        return False
    rewriter = Rewriter(attention)
    mask = attention.inputs[3] if len(attention.inputs) > 3 else None
    if mask is not None:
        mask = _rectangle_mask(rewriter, mask, layout, by_text=by_text)
    if not isinstance(query[2], int) or (mask is None) != (len(attention.inputs) == 3):
        return False
    hidden, dtype = query[2], attention.outputs[0].dtype

    def rows(value: ir.Value | None) -> ir.Value:
        assert value is not None and value.shape is not None  # checked above
        squeeze = [value, rewriter.ints([0])]
        return rewriter.op("Squeeze", squeeze, shape=value.shape[1:], dtype=dtype)

    def rectangle(value: ir.Value | None) -> ir.Value:
        gather, shape = [rows(value), layout.rectangle_index], [texts, "longest", hidden]
        return rewriter.op("Gather", gather, {"axis": 0}, shape=shape, dtype=dtype)

    q, k, v = attention.inputs[:3]
    one = rewriter.ints([1])
    if by_token:
        queries = rectangle(q)
    else:
        queries = rewriter.op("Unsqueeze", [rows(q), one], shape=[texts, 1, hidden], dtype=dtype)
    operands = [queries, rectangle(k), rectangle(v)]
    if operator == "Attention" or mask is not None:
        attended = rewriter.copy(attention, [*operands, mask, None, None, layout.lengths])
    else:
        lengths = layout.lengths.producer().inputs[0]  # type: ignore[union-attr]  # int32
        attributes = contrib_attributes(attention)
        inputs = [*operands, None, lengths]
        attended = rewriter.op(operator, inputs, attributes, dtype=dtype, domain=CONTRIB)
    attended.shape = queries.shape
    if by_token:
        flat = rewriter.op(
            "Reshape",
            [attended, rewriter.ints([-1, hidden])],
            shape=["places", hidden],
            dtype=dtype,
        )
        gather = [flat, layout.token_index]
        result = rewriter.op("Gather", gather, {"axis": 0}, shape=query[1:], dtype=dtype)
    else:
        result = rewriter.op("Squeeze", [attended, one], shape=query[1:], dtype=dtype)
    rewriter.replace(rewriter.op("Unsqueeze", [result, rewriter.ints([0])]))
    return True


def contrib_attributes(attention: ir.Node) -> dict[str, int | float]:
    """The attributes of `Attention` as onnxruntime's own attention operators call them."""
    heads = attribute(attention, "q_num_heads", 0)
    scale = attribute(attention, "scale", None)
    return {"num_heads": heads, **({} if scale is None else {"scale": scale})}


def _rectangle_mask(
    rewriter: Rewriter, mask: ir.Value, layout: PackedLayout, *, by_text: bool
) -> ir.Value | None:
    """The mask or bias for the rectangle's places; None if it depends on more than positions.

    by_text: the mask's rows are the first tokens of the texts, [1, .., texts, tokens].
    """
    if by_text:
        gather = producer(mask, "Gather")
        if gather is None or attribute(gather, "axis", 0) != 2 or gather.inputs[0] is None:
            return None
        mask = gather.inputs[0]
    nodes = _made_from(mask, layout.position_ids)
    if nodes is None:
        return None
    copies = {layout.position_ids: layout.column_index}
    tokens = layout.token_index.shape[0]  # type: ignore[index]  # PackedInputsPass gives it
    for node in nodes:
        old = node.outputs[0]
        copy = rewriter.copy(node, [copies.get(v, v) if v is not None else v for v in node.inputs])
        if old.shape is not None:
            copy.shape = ir.Shape(["longest" if dim == tokens else dim for dim in old.shape])
        copies[old] = copy
    if not by_text:
        return copies[mask]
    # A text's first token is in the first place of its row.
    return rewriter.op("Gather", [copies[mask], rewriter.ints([0])], {"axis": 2})


def _made_from(value: ir.Value, source: ir.Value) -> list[ir.Node] | None:
    """The nodes that make `value` from `source` and constants alone, in their order."""
    nodes: dict[ir.Node, None] = {}
    met = False

    def visit(value: ir.Value | None) -> bool:
        nonlocal met
        if value is None or constant(value) is not None:
            return True
        if value is source:
            met = True
            return True
        node = value.producer()
        if node is None or len(node.outputs) != 1:
            return False
        if node not in nodes:
            if not all(visit(each) for each in node.inputs):
                return False
            nodes[node] = None
        return True

    return list(nodes) if visit(value) and met else None
