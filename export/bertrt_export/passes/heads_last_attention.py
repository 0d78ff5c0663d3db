"""Attention on [batch, tokens, hidden], without the reshapes and transposes around it."""

from typing import Any

import onnx_ir as ir

from bertrt_export.passes._graph import (
    Rewriter,
    attribute,
    constant_ints,
    has_one_use,
    producer,
)

__all__ = ["HeadsLastAttentionPass"]

_SWAP = (0, 2, 1, 3)


class HeadsLastAttentionPass(ir.passes.InPlacePass):
    """Give `Attention` its three-dimensional form.

    PyTorch splits the heads off and moves them forward; the ONNX operator can do so by itself
    (`q_num_heads`), and onnxruntime then needs no transposition at all.

    Fires for::

        split(x) = Transpose(Reshape(x, [1, -1, heads, size]), perm=[0, 2, 1, 3])
        Reshape(Transpose(Attention(split(q), split(k), split(v)), perm=[0, 2, 1, 3]), [1, -1, H])
        -> Attention(q, k, v, q_num_heads=heads, kv_num_heads=heads)

    (or 0, "as it is", for either of the two leading dimensions). A mask or bias stays as it is.

    Must not fire:

    1. for a causal or soft-capped attention, or one with past keys;
    2. where a transposed value has other uses, or the heads are not split as above;
    3. where the result is reshaped to anything but [1, -1, heads * size];
    4. where a reshape moves tokens to another row.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for node in list(model.graph):
            if node.op_type == "Attention" and node.domain == "":
                modified |= _rewrite(node)
        return ir.passes.PassResult(model, modified=modified)


def _rewrite(attention: ir.Node) -> bool:
    plain = not attribute(attention, "is_causal", 0) and not attribute(attention, "softcap", 0.0)
    inputs = attention.inputs
    if not plain or len(attention.outputs) != 1 or any(v is not None for v in inputs[4:]):
        return False
    sources = [_split_heads(value) for value in inputs[:3]]
    merged = _only_user(attention.outputs[0], "Transpose")
    if merged is None or tuple(attribute(merged, "perm", ())) != _SWAP:
        return False
    flat = _only_user(merged.outputs[0], "Reshape")
    query, key, value = sources
    if flat is None or query is None or key is None or value is None:
        return False
    target = constant_ints(flat.inputs[1])
    if not query[1:] == key[1:] == value[1:] or target is None or len(target) != 3:
        return False
    if target[-1] != query[1] * query[2] or not _keeps_rows(target):
        return False
    rewriter = Rewriter(flat)
    attributes: dict[str, Any] = {"q_num_heads": query[1], "kv_num_heads": key[1]}
    if "scale" in attention.attributes:
        attributes["scale"] = attention.attributes["scale"].as_float()
    rewriter.replace(
        rewriter.op("Attention", [query[0], key[0], value[0], *inputs[3:4]], attributes)
    )
    return True


def _split_heads(value: ir.Value | None) -> tuple[ir.Value, int, int] | None:
    """(x, heads, head size) where `value` is x with its heads split off and moved forward."""
    transpose = producer(value, "Transpose")
    if transpose is None or tuple(attribute(transpose, "perm", ())) != _SWAP:
        return None
    reshape = producer(transpose.inputs[0], "Reshape")
    if reshape is None:
        return None
    target = constant_ints(reshape.inputs[1])
    source = reshape.inputs[0]
    if target is None or len(target) != 4 or source is None:
        return None
    if source.shape is None or len(source.shape) != 3 or source.shape[2] != target[2] * target[3]:
        return None
    if source.shape[0] != 1 or not _keeps_rows(target):
        return None
    return source, target[2], target[3]


def _keeps_rows(target: list[int]) -> bool:
    """Whether a Reshape of [1, tokens, ..] to `target` gives [1, tokens, ..] again."""
    return target[0] in (0, 1) and target[1] in (0, -1)


def _only_user(value: ir.Value, op_type: str) -> ir.Node | None:
    user = value.consumers()[0] if has_one_use(value) else None
    return user if user is not None and user.op_type == op_type else None
