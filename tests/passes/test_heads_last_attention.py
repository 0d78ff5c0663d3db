"""Attention in three dimensions instead of four: when, and when not."""

import numpy as np
import onnx_ir as ir
import pytest
from bertrt_export.passes import HeadsLastAttentionPass

from tests.passes.graphs import HIDDEN, assert_fires, assert_unchanged, graph, normal

_FEEDS = {
    "q": normal(1, 4, HIDDEN, seed=1),
    "k": normal(1, 4, HIDDEN, seed=2),
    "v": normal(1, 4, HIDDEN, seed=3),
}
_PARTS = {
    "more_inputs": "",
    "more_outputs": "",
    "nodes": "",
    "split": "2, 4",
    "rows": "0, 0",
    "split_perm": "0, 2, 1, 3",
    "attributes": "",
    "mask": "",
    "merge_perm": "0, 2, 1, 3",
    "out": "0, 0, 8",
    "present": "",
}


def _attention(**changes: str) -> ir.Model:
    """What PyTorch exports: heads split off and moved forward, attended, moved back, merged."""
    part = {**_PARTS, **changes}
    split = f"Transpose<perm = [{part['split_perm']}]>"
    return graph(
        f"""(float[1, queries, 8] q, float[1, tokens, 8] k, float[1, tokens, 8] v
             {part["more_inputs"]}) => (y {part["more_outputs"]}) {{
          split = Constant<value_ints = [{part["rows"]}, {part["split"]}]>()
          out = Constant<value_ints = [{part["out"]}]>()
          q4 = Reshape(q, split)
          k4 = Reshape(k, split)
          v4 = Reshape(v, split)
          qt = {split}(q4)
          kt = {split}(k4)
          vt = {split}(v4)
          a{part["present"]} = Attention{part["attributes"]}(qt, kt, vt {part["mask"]})
          at = Transpose<perm = [{part["merge_perm"]}]>(a)
          y = Reshape(at, out)
          {part["nodes"]}
        }}"""
    )


def _node(model: ir.Model, op_type: str) -> ir.Node:
    (found,) = (node for node in model.graph if node.op_type == op_type)
    return found


@pytest.mark.parametrize(
    "out", ["0, 0, 8", "1, -1, 8", "0, -1, 8"], ids=["kept", "a row", "inferred"]
)
def test_splitting_and_merging_heads_becomes_attributes(out: str) -> None:
    model = _attention(out=out)
    assert assert_fires(HeadsLastAttentionPass(), model, _FEEDS) == ["Attention"]
    attention = _node(model, "Attention")
    assert [value.name for value in attention.inputs if value is not None] == ["q", "k", "v"]
    assert attention.attributes["q_num_heads"].as_int() == 2
    assert attention.attributes["kv_num_heads"].as_int() == 2
    assert "scale" not in attention.attributes


def test_scale_is_kept() -> None:
    model = _attention(attributes="<scale = 0.125>")
    assert assert_fires(HeadsLastAttentionPass(), model, _FEEDS) == ["Attention"]
    assert _node(model, "Attention").attributes["scale"].as_float() == 0.125


def test_mask_stays_as_it_is() -> None:
    model = _attention(more_inputs=", bool[queries, tokens] mask", mask=", mask")
    assert assert_fires(HeadsLastAttentionPass(), model, {**_FEEDS, **_MASK}) == ["Attention"]
    (mask,) = _node(model, "Attention").inputs[3:]
    assert mask is not None and mask.name == "mask"


def test_fewer_queries_than_keys() -> None:
    feeds = {**_FEEDS, "q": normal(1, 2, HIDDEN)}
    assert assert_fires(HeadsLastAttentionPass(), _attention(), feeds) == ["Attention"]


def test_output_of_the_graph_keeps_its_name() -> None:
    model = _attention()
    HeadsLastAttentionPass()(model)
    assert [value.name for value in model.graph.outputs] == ["y"]


def test_one_source_of_query_key_and_value() -> None:
    model = graph(
        """(float[1, tokens, 8] k) => (y) {
          split = Constant<value_ints = [0, 0, 4, 2]>()
          out = Constant<value_ints = [0, 0, 8]>()
          k4 = Reshape(k, split)
          kt = Transpose<perm = [0, 2, 1, 3]>(k4)
          a = Attention(kt, kt, kt)
          at = Transpose<perm = [0, 2, 1, 3]>(a)
          y = Reshape(at, out)
        }"""
    )
    assert assert_fires(HeadsLastAttentionPass(), model, _FEEDS) == ["Attention"]
    assert _node(model, "Attention").attributes["q_num_heads"].as_int() == 4


_MASK = {"mask": np.array([[True, True, False, True]] * 4)}
_PAST = {"pk": normal(1, 2, 2, 4), "pv": normal(1, 2, 2, 4, seed=1)}


@pytest.mark.parametrize(
    ("changes", "more"),
    [
        pytest.param({"attributes": "<is_causal = 1>"}, {}, id="causal"),
        pytest.param({"attributes": "<softcap = 30.0>"}, {}, id="soft-capped"),
        pytest.param(
            {
                "more_inputs": ", float[1, 2, past, 4] pk, float[1, 2, past, 4] pv",
                "mask": ', "", pk, pv',
                "present": ", present_keys, present_values",
            },
            _PAST,
            id="past keys",
        ),
        pytest.param(
            {"more_inputs": ", int64[1] count", "mask": ', "", "", "", count'},
            {"count": np.array([3])},
            id="lengths of the keys",
        ),
        pytest.param(
            {"more_outputs": ", float[1, 2, queries, 4] a"}, {}, id="attention is an output"
        ),
        pytest.param(
            {"more_outputs": ", z", "nodes": "z = Neg(a)"}, {}, id="attention is used otherwise"
        ),
        pytest.param(
            {"more_outputs": ", float[1, queries, 2, 4] at"}, {}, id="transposed is an output"
        ),
        pytest.param(
            {"more_outputs": ", z", "nodes": "z = Neg(at)"}, {}, id="transposed is used otherwise"
        ),
        pytest.param({"merge_perm": "0, 2, 3, 1"}, {}, id="merged in another order"),
        pytest.param(
            {"split_perm": "0, 2, 3, 1", "out": "0, -1, 8"}, {}, id="split in another order"
        ),
        pytest.param({"split": "-1, 4"}, {}, id="number of heads left open"),
        pytest.param({"out": "-1, 8"}, {}, id="merged to two dimensions"),
        pytest.param({"out": "0, -1, 4"}, {}, id="merged to half the width"),
        pytest.param({"out": "0, -1, 2, 4"}, {}, id="merged to four dimensions"),
        pytest.param({"out": "-1, 1, 8"}, {}, id="merged with tokens as the batch"),
        pytest.param({"out": "0, 0, -1"}, {}, id="width left open"),
    ],
)
def test_other_attention_stays_as_it_is(
    changes: dict[str, str], more: dict[str, np.ndarray]
) -> None:
    assert_unchanged(HeadsLastAttentionPass(), _attention(**changes), {**_FEEDS, **more})


def test_tokens_split_off_as_a_batch_stay_as_they_are() -> None:
    """Each token attends to itself alone there: [tokens, 1, heads, size]."""
    model = _attention(rows="-1, 1", out="1, -1, 8")
    assert_unchanged(HeadsLastAttentionPass(), model, _FEEDS)


def test_halves_split_off_as_a_batch_stay_as_they_are() -> None:
    """Each half of the row attends to itself alone there: [2, tokens / 2, heads, size]."""
    model = _attention(rows="2, -1", out="1, -1, 8")
    row = normal(1, 6, HIDDEN)
    assert_unchanged(HeadsLastAttentionPass(), model, {"q": row, "k": row, "v": row})


def test_computed_split_stays_as_it_is() -> None:
    model = graph(
        """(float[1, tokens, 8] k, int64[4] split) => (float[1, tokens, 8] y) {
          out = Constant<value_ints = [0, 0, 8]>()
          k4 = Reshape(k, split)
          kt = Transpose<perm = [0, 2, 1, 3]>(k4)
          a = Attention(kt, kt, kt)
          at = Transpose<perm = [0, 2, 1, 3]>(a)
          y = Reshape(at, out)
        }"""
    )
    feeds = {"k": _FEEDS["k"], "split": np.array([0, 0, 2, 4])}
    assert_unchanged(HeadsLastAttentionPass(), model, feeds)


def test_fewer_key_heads_stay_as_they_are() -> None:
    model = graph(
        """(float[1, tokens, 8] q, float[1, tokens, 4] k) => (y) {
          split = Constant<value_ints = [0, 0, 4, 2]>()
          split_key = Constant<value_ints = [0, 0, 2, 2]>()
          out = Constant<value_ints = [0, 0, 8]>()
          q4 = Reshape(q, split)
          k4 = Reshape(k, split_key)
          qt = Transpose<perm = [0, 2, 1, 3]>(q4)
          kt = Transpose<perm = [0, 2, 1, 3]>(k4)
          a = Attention(qt, kt, kt)
          at = Transpose<perm = [0, 2, 1, 3]>(a)
          y = Reshape(at, out)
        }"""
    )
    feeds = {"q": _FEEDS["q"], "k": normal(1, 4, 4)}
    assert_unchanged(HeadsLastAttentionPass(), model, feeds)


def test_attention_on_three_dimensions_stays_as_it_is() -> None:
    model = graph(
        """(float[1, queries, 8] q, float[1, tokens, 8] k, float[1, tokens, 8] v) => (y) {
          y = Attention<q_num_heads = 2, kv_num_heads = 2>(q, k, v)
        }"""
    )
    assert_unchanged(HeadsLastAttentionPass(), model, _FEEDS)


def test_graph_without_attention_stays_as_it_is() -> None:
    model = graph(
        """(float[1, tokens, 8] k) => (y) {
          split = Constant<value_ints = [0, 0, 2, 4]>()
          k4 = Reshape(k, split)
          y = Transpose<perm = [0, 2, 1, 3]>(k4)
        }"""
    )
    assert_unchanged(HeadsLastAttentionPass(), model, _FEEDS)
