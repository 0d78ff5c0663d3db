"""Which form each unit takes: roundings, the best form of one projection, and the search."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
from bertrt.tokenizer import Encoding
from bertrt_export.passes.quantize_embeddings import TableForm
from bertrt_export.quantization import forms, search
from bertrt_export.quantization.activations import Activations, observe
from bertrt_export.quantization.fidelity import Fidelity, Limits
from bertrt_export.quantization.forms import best_forms, relative_error, simulate
from bertrt_export.quantization.graph_session import GraphSession
from bertrt_export.quantization.plan import FLOAT, Mode, ProjectionPlan, quantize_weight
from bertrt_export.quantization.projections import (
    Projection,
    ProjectionGroup,
    find_groups,
    find_projections,
)
from bertrt_export.quantization.search import Choice, Ladder, Step, ladders, quantized
from hypothesis import given
from hypothesis import strategies as st

from tests.passes.graphs import graph, normal

# Roundings


def test_weights_are_off_by_half_a_step_of_their_column() -> None:
    weight = normal(50, 8) * np.exp(normal(1, 8, seed=1))
    weight[:, 3] = 0
    rounded, scales = quantize_weight(weight)
    assert rounded.dtype == np.int8 and scales.dtype == np.float32
    assert rounded.shape == weight.shape and scales.shape == (8,)
    assert (np.abs(rounded * scales - weight) <= 0.5001 * scales).all()
    assert np.abs(rounded.astype(int)).max(axis=0).tolist() == [
        127,
        127,
        127,
        0,
        127,
        127,
        127,
        127,
    ]
    assert scales[3] == 1


_ENDS = st.floats(-1e6, 1e6, width=32)


@given(_ENDS, _ENDS)
def test_static_range_holds_zero_and_both_ends(one: float, other: float) -> None:
    low, high = sorted((one, other))
    scale, zero = ProjectionPlan("static", None, low, high).static_parameters()
    assert isinstance(scale, np.float32) and isinstance(zero, np.uint8) and scale > 0
    least, greatest = (float(scale) * (end - int(zero)) for end in (0, 255))
    assert least <= 0 <= greatest
    half = 0.5001 * float(scale)  # the zero point is a whole number, which moves the ends
    assert least - half <= min(low, 0.0) and max(high, 0.0) <= greatest + half


@pytest.mark.parametrize(
    ("low", "high", "zero"),
    [(1.0, 2.0, 0), (-2.0, -1.0, 255), (0.0, 0.0, 0), (-2.0, 3.0, 102), (0.0, 5.0, 0)],
)
def test_zero_is_met_exactly(low: float, high: float, zero: int) -> None:
    plan = ProjectionPlan("static", None, low, high)
    assert plan.static_parameters()[1] == zero
    weight = normal(4, 3)
    assert not simulate(plan, np.zeros((2, 4), dtype=np.float32), weight).any()


# Projections


def _projections(nodes: str, **weights: np.ndarray) -> list[Projection]:
    return find_projections(graph(f"(float[rows, 8] x) => (y) {{ {nodes} }}", **weights).graph)


def test_projections_are_named_after_their_weights() -> None:
    model = graph(
        "(float[rows, 8] x) => (y) { a = MatMul(x, V) b = MatMul(a, W) c = MatMul(b, V)"
        " d = MatMul(c, V) y = MatMul(d, U) }",
        **{name: normal(8, 8, seed=number) for number, name in enumerate("UVW")},
    )
    for name, full in {"V": "layer.0.dense.weight", "U": "layer.0.dense.2.weight"}.items():
        model.graph.initializers[name].name = full
    names = [projection.name for projection in find_projections(model.graph)]
    assert names[:4] == ["layer.0.dense", "W", "layer.0.dense", "layer.0.dense"], "V is shared"
    assert names[4] == "layer.0.dense.2"


def test_name_that_another_weight_has_is_not_given_again() -> None:
    model = graph(
        "(float[rows, 8] x) => (y) { a = MatMul(x, V) y = MatMul(a, W) }",
        V=normal(8, 8),
        W=normal(8, 8, seed=1),
    )
    model.graph.initializers["V"].name = "W.weight"
    names = [projection.name for projection in find_projections(model.graph)]
    assert names == ["W", "W.2"]


def test_projections_of_one_input_are_a_group() -> None:
    model = graph(
        "(float[rows, 8] x) => (y) { v = MatMul(x, V) w = MatMul(x, W) a = Add(v, w)"
        " y = MatMul(a, U) }",
        **{name: normal(8, 8, seed=number) for number, name in enumerate("UVW")},
    )
    for name in "VW":
        model.graph.initializers[name].name = f"layer.0.{name.lower()}.weight"
    both, alone = find_groups(model.graph)
    assert (both.name, alone.name) == ("layer.0.v+w", "U")
    assert [p.name for p in both.projections] == ["layer.0.v", "layer.0.w"]
    assert both.input is model.graph.inputs[0] and both.least is None
    sides = [projection.weight for projection in both.projections]
    np.testing.assert_array_equal(both.weight, np.concatenate(sides, axis=1))


@pytest.mark.parametrize(
    ("nodes", "found"),
    [
        pytest.param("p = MatMul(x, W) y = Add(p, b)", True, id="bias"),
        pytest.param("p = MatMul(x, W) y = Add(b, p)", True, id="bias first"),
        pytest.param("p = MatMul(x, W) y = Sub(p, b)", False, id="no sum"),
        pytest.param("p = MatMul(x, W) n = Neg(b) y = Add(p, n)", False, id="computed bias"),
        pytest.param(
            "p = MatMul(x, W) s = Add(p, b) y = Add(s, p)", False, id="product used twice"
        ),
        pytest.param("p = MatMul(x, W) y = Add(p, p)", False, id="product doubled"),
    ],
)
def test_bias_is_a_constant_vector_added_to_the_product(nodes: str, found: bool) -> None:
    weights = {"W": normal(8, 8), **({"b": normal(8)} if "b" in nodes.split("W")[1] else {})}
    (projection,) = _projections(nodes, **weights)
    assert (projection.add is not None) == (projection.bias is not None) == found
    if projection.bias is not None:
        np.testing.assert_array_equal(projection.bias, weights["b"])
    np.testing.assert_array_equal(projection.weight, weights["W"])


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_least_of_a_gelu_is_below_all_that_it_gives(approximate: str) -> None:
    import torch

    (projection,) = _projections(
        f'g = Gelu<approximate = "{approximate}">(x) y = MatMul(g, W)', W=normal(8, 8)
    )
    values = torch.nn.functional.gelu(
        torch.linspace(-6, 6, 100_001, dtype=torch.float64), approximate=approximate
    )
    least = projection.least
    assert least is not None and float(values.min()) - 2e-4 < least < float(values.min())


@pytest.mark.parametrize(
    ("operator", "least"), [("Relu", 0.0), ("Tanh", None), ("Neg", None), ("Abs", None)]
)
def test_least_of_other_operators(operator: str, least: float | None) -> None:
    (projection,) = _projections(f"g = {operator}(x) y = MatMul(g, W)", W=normal(8, 8))
    assert projection.least == least


# The best form of one projection

_ROWS = normal(200, 8, seed=7)


def _activations(sample: np.ndarray) -> Activations:
    return Activations(sample.min(axis=0), sample.max(axis=0), sample)


def _outliers(times: float) -> np.ndarray:
    rows = _ROWS.copy()
    rows[:, 2] *= times
    return rows


def _plain(activation: str = "Identity") -> ProjectionGroup:
    nodes = f"g = {activation}(x) y = MatMul(g, W)"
    (group,) = find_groups(graph(f"(float[rows, 8] x) => (y) {{ {nodes} }}", W=normal(8, 8)).graph)
    return group


def _unsmoothed(plan: ProjectionPlan, sample: np.ndarray) -> ProjectionPlan:
    low, high = (
        (float(sample.min()), float(sample.max())) if plan.mode == "static" else (None, None)
    )
    return ProjectionPlan(plan.mode, None, low, high)


def test_channel_of_outliers_is_smoothed() -> None:
    group, sample = _plain(), _outliers(60)
    for form in best_forms(group, _activations(sample)):
        assert form.plan.smoothing is not None
        assert form.plan.smoothing.argmax() == 2 and form.plan.smoothing.dtype == np.float32
        expected = sample @ group.weight
        plain = simulate(_unsmoothed(form.plan, sample), sample, group.weight)
        assert form.error < 0.9 * relative_error(plain, expected)


def test_without_outliers_nothing_is_smoothed() -> None:
    static, per_token = best_forms(_plain(), _activations(_ROWS))
    assert (static.plan.mode, per_token.plan.mode) == ("static", "per-token")
    assert static.plan.smoothing is None and per_token.plan.smoothing is None
    assert static.plan.low == _ROWS.min() and static.plan.high == _ROWS.max()
    assert per_token.plan.low is None


def test_smoothing_that_costs_an_operator_must_earn_a_quarter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Folded into the attention's values it costs nothing, and any gain will do."""
    gains: dict[float, tuple[float, bool, bool]] = {}
    for times in np.linspace(1, 3, 41):
        activations = _activations(_outliers(float(times)))
        monkeypatch.setattr(forms, "find_values", lambda _: None)
        costly, _ = best_forms(_plain(), activations)
        monkeypatch.setattr(forms, "find_values", lambda _: "some")
        free, _ = best_forms(_plain(), activations)
        plain = _unsmoothed(free.plan, activations.sample)
        expected = activations.sample @ _plain().weight
        error = relative_error(simulate(plain, activations.sample, _plain().weight), expected)
        smoothed = (costly.plan.smoothing is not None, free.plan.smoothing is not None)
        gains[float(times)] = (free.error / error, *smoothed)
    for share, costly_smoothed, free_smoothed in gains.values():
        assert costly_smoothed == (share < 0.75) and free_smoothed == (share < 1)
    shares = [share for share, *_ in gains.values()]
    assert any(share < 0.75 for share in shares) and any(0.75 < share < 1 for share in shares)


@pytest.mark.parametrize(("activation", "least"), [("Gelu", -0.1701), ("Relu", 0.0)])
def test_behind_an_activation_the_range_of_a_token_begins_at_its_least(
    activation: str, least: float
) -> None:
    _, per_token = best_forms(_plain(activation), _activations(np.maximum(_outliers(60), least)))
    assert per_token.plan == ProjectionPlan("per-token", None, low=least)


def test_input_of_zeros() -> None:
    for form in best_forms(_plain(), _activations(np.zeros_like(_ROWS))):
        assert form.plan.smoothing is None and form.error == 0


def test_float_form_is_exact() -> None:
    np.testing.assert_array_equal(simulate(FLOAT, _ROWS, normal(8, 8)), _ROWS @ normal(8, 8))


# The search: how few promotions will do


@given(st.integers(1, 300), st.integers(0, 300))
def test_the_least_number_that_holds(count: int, least: int) -> None:
    asked: list[int] = []

    def holds(number: int) -> bool:
        assert 0 <= number < count
        asked.append(number)
        return number >= least

    assert search._fewest(count, holds) == (least if least < count else None)
    assert asked[0] == 0 and len(set(asked)) == len(asked)
    assert len(asked) <= 2 * count.bit_length() + 2
    if least >= count:
        assert asked[-1] == count - 1, "the last of all has been tried"


def _step(mode: Mode | TableForm, error: float = 0.0) -> Step:
    if mode in ("int8", "fp16"):
        return Step(mode, error)
    return Step(ProjectionPlan(mode), error)  # type: ignore[arg-type]


def _ladder(*steps: tuple[Mode | TableForm, float], weights: int = 100) -> Ladder:
    return Ladder(tuple(_step(mode, error) for mode, error in steps), weights)


_STATIC: tuple[tuple[Mode, float], ...] = (("static", 0.04), ("per-token", 0.01), ("float", 0.0))
_TABLE: tuple[tuple[Mode | TableForm, float], ...] = (("int8", 0.01), ("fp16", 1e-4), ("float", 0))


def _names(choices: Sequence[Choice]) -> list[str]:
    """What each choice has promoted: `unit: form`."""
    return [
        next(f"{name}: {after[name].name}" for name in after if after[name] != before[name])
        for before, after in itertools.pairwise(choices)
    ]


def test_the_worst_unit_is_promoted_first_and_less_as_its_error_shrinks() -> None:
    units = {
        "a": _ladder(*_STATIC, weights=10),
        "b": _ladder(*_STATIC, weights=10),
        "table": _ladder(*_TABLE, weights=10),
        "large": _ladder(*_STATIC, weights=100),
    }
    sensitivity = {"a": 1.0, "b": 0.2, "table": 0.5, "large": 0.01}
    choices = search._promotions(units, sensitivity)
    assert {name: step.name for name, step in choices[0].items()} == {
        "a": "static",
        "b": "static",
        "table": "int8",
        "large": "static",
    }
    assert _names(choices) == [
        "a: per-token",  # 1.0, and then 1.0 * 0.01 / 0.04
        "table: fp16",  # 0.5, and then 0.005
        "a: float",  # 0.25
        "b: per-token",  # 0.2, and then 0.05
        "b: float",
        "large: per-token",  # 0.01, and then 0.0025
        "table: float",  # 0.005
    ]  # and no more: large is over half of all weights


def test_the_choices_end_before_more_than_half_the_weights_are_float() -> None:
    units = {name: _ladder(("per-token", 0.1), ("float", 0)) for name in "abcde"}
    sensitivity = {name: ord(name) / 100 for name in units}
    choices = search._promotions(units, sensitivity)
    assert _names(choices) == ["e: float", "d: float"]


_LADDERS = st.sampled_from([_STATIC, _STATIC[1:], _TABLE, _TABLE[1:]])
_UNITS = st.lists(st.tuples(_LADDERS, st.integers(1, 50), st.floats(0, 1)), min_size=1, max_size=9)


@given(_UNITS)
def test_each_choice_promotes_one_unit_by_one_step(
    described: list[tuple[tuple[tuple[Mode | TableForm, float], ...], int, float]],
) -> None:
    units = {str(n): _ladder(*steps, weights=w) for n, (steps, w, _) in enumerate(described)}
    sensitivity = {str(n): value for n, (*_, value) in enumerate(described)}
    choices = search._promotions(units, sensitivity)
    assert choices[0] == {name: ladder.steps[0] for name, ladder in units.items()}
    for before, after in itertools.pairwise(choices):
        (name,) = (name for name in units if before[name] != after[name])
        steps = units[name].steps
        assert steps.index(after[name]) == steps.index(before[name]) + 1
    total = sum(ladder.weights for ladder in units.values())
    stays = sum(units[n].weights for n, step in choices[-1].items() if step.name == "float")
    assert stays <= 0.5 * total


# The search: what it measures, on graphs that stand for themselves


class _FakeSession:
    """The "graph" is a choice; each of its units adds its error to every logit."""

    def __init__(self, choice: Choice) -> None:
        self._error = sum(step.error for step in choice.values())

    def logits(self, encodings: Sequence[Encoding]) -> np.ndarray:
        return np.full((len(encodings), 2), self._error, dtype=np.float32)


_FEW = [Encoding(np.arange(3), np.zeros(3, dtype=np.int64), False)] * 100


def _fidelity(agreement: float) -> Fidelity:
    return Fidelity(100, None, agreement, 0.0, 0.0, None, None)


def _search(
    monkeypatch: pytest.MonkeyPatch,
    units: Mapping[str, Ladder],
    allowed: float,
    on_progress: search.Progress = lambda what, done, total: None,
) -> search.Search:
    """Search until the sum of the errors is at most `allowed`."""
    monkeypatch.setattr(search, "quantized", lambda _, choice: choice)
    monkeypatch.setattr(search, "GraphSession", _FakeSession)
    return search.search(
        ir.Model(ir.Graph([], [], nodes=[]), ir_version=11),
        units,
        _FEW,
        np.zeros((len(_FEW), 2), dtype=np.float32),
        lambda logits: _fidelity(float(logits.max() <= allowed)),
        Limits(),
        on_progress,
    )


_TWO = {
    "a": _ladder(("static", 0.4), ("per-token", 0.1), ("float", 0.0)),
    "b": _ladder(("static", 0.2), ("per-token", 0.1), ("float", 0.0)),
    "c": _ladder(("static", 0.05), ("per-token", 0.04), ("float", 0.0), weights=200),
}


@pytest.mark.parametrize(
    ("allowed", "promotions", "forms"),
    [
        (0.7, 0, ["static", "static", "static"]),
        (0.4, 1, ["per-token", "static", "static"]),
        (0.3, 2, ["per-token", "per-token", "static"]),
        (0.16, 3, ["float", "per-token", "static"]),
        (0.06, 4, ["float", "float", "static"]),
        (0.045, 5, ["float", "float", "per-token"]),
    ],
)
def test_limits_promote_as_few_units_as_will_do(
    monkeypatch: pytest.MonkeyPatch, allowed: float, promotions: int, forms: list[str]
) -> None:
    found = _search(monkeypatch, _TWO, allowed)
    assert found.choice is not None
    assert [step.name for step in found.choice.values()] == forms
    assert [step.name for step in found.start.values()] == ["static"] * 3
    assert found.sensitivity == pytest.approx({"a": 0.4, "b": 0.2, "c": 0.05})
    assert dict(found.tried)[promotions] == found.fidelity == _fidelity(1.0)
    assert all(f.agreement == float(number >= promotions) for number, f in found.tried)
    expected = sum(step.error for step in found.choice.values())
    np.testing.assert_allclose(found.logits, np.full((100, 2), expected), rtol=1e-6)


def test_limits_that_nothing_holds_give_no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    found = _search(monkeypatch, _TWO, 0.01)
    assert found.choice is None
    assert [number for number, _ in found.tried] == [0, 1, 2, 4, 5]
    assert found.fidelity == _fidelity(0.0)


def test_search_tells_what_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, int, int]] = []
    _search(monkeypatch, _TWO, 0.4, lambda *step: told.append(step))
    assert told == [
        *(("measuring sensitivity", number, 3) for number in range(3)),
        *(("verifying int8", number, number + 1) for number in range(2)),
    ]


# On a real graph


@pytest.fixture(scope="module")
def encodings() -> list[Encoding]:
    random = np.random.default_rng(0)
    ids = [random.integers(0, 30_000, length) for length in random.integers(3, 30, 24)]
    return [Encoding(row, np.zeros_like(row), False) for row in ids]


@pytest.fixture(scope="module")
def units(tiny_graph: ir.Model, encodings: list[Encoding]) -> dict[str, Ladder]:
    return ladders(tiny_graph, encodings, lambda *_: None)


def test_every_unit_has_a_ladder_that_ends_in_float(
    tiny_graph: ir.Model, units: dict[str, Ladder]
) -> None:
    layer = "bert.encoder.layer"
    assert list(units) == [
        "bert.embeddings.word_embeddings",
        "bert.embeddings.position_embeddings+token_type_embeddings",
        f"{layer}.0.attention.self.query+key+value",
        f"{layer}.0.attention.output.dense",
        f"{layer}.0.intermediate.dense",
        f"{layer}.0.output.dense",
        f"{layer}.1.attention.self.query",
        f"{layer}.1.attention.self.key+value",
        f"{layer}.1.attention.output.dense",
        f"{layer}.1.intermediate.dense",
        f"{layer}.1.output.dense",
    ]
    for ladder in units.values():
        names = [step.name for step in ladder.steps]
        known = (["static", "per-token", "float"], ["int8", "fp16", "float"])
        assert len(names) >= 2 and names in [order[-len(names) :] for order in known]
        errors = [step.error for step in ladder.steps]
        assert errors[-1] == 0 and all(0 < error < 0.05 for error in errors[:-1])
    assert units["bert.embeddings.word_embeddings"].weights == 30_522 * 64
    assert units[f"{layer}.0.intermediate.dense"].weights == 64 * 128


def test_ladder_leaves_static_out_where_it_is_much_worse(
    tiny_graph: ir.Model, encodings: list[Encoding], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unlike(group: ProjectionGroup, _: Activations) -> tuple[forms.Form, forms.Form]:
        worse = 1.51 if group.name.endswith("intermediate.dense") else 1.49
        static, per_token = ProjectionPlan("static", None, -1, 1), ProjectionPlan("per-token")
        return forms.Form(static, worse * 0.02), forms.Form(per_token, 0.02)

    monkeypatch.setattr(search, "best_forms", unlike)
    found = ladders(tiny_graph, encodings, lambda *_: None)
    starts = {name: ladder.steps[0].name for name, ladder in found.items()}
    assert {starts.pop(name) for name in list(starts) if "embeddings" in name} == {"int8"}
    for name, start in starts.items():
        assert start == ("per-token" if name.endswith("intermediate.dense") else "static")


def test_table_of_outliers_starts_as_fp16(encodings: list[Encoding]) -> None:
    table = normal(200, 64)
    table[:, 0] *= 60  # one step for a row is set by its largest element
    model = graph("(int64[tokens] input_ids) => (y) { y = Gather(T, input_ids) }", T=table)
    found = ladders(model, [], lambda *_: None)
    assert [step.name for step in found["T"].steps] == ["fp16", "float"]


def test_observed_extremes_and_sample_are_of_the_input(
    tiny_graph: ir.Model, encodings: list[Encoding]
) -> None:
    told: list[tuple[int, int]] = []
    observed = observe(tiny_graph, encodings, lambda *step: told.append(step))
    assert told[-1] == (24, 24)
    groups = find_groups(tiny_graph.graph)
    assert list(observed) == [group.name for group in groups]
    for group in groups:
        found = observed[group.name]
        rows, inputs = found.sample.shape
        assert inputs == len(group.weight) == len(found.low) == len(found.high)
        assert 0 < rows <= 256
        assert (found.low <= found.sample.min(axis=0)).all()
        assert (found.high >= found.sample.max(axis=0)).all()
    assert [v.name for v in tiny_graph.graph.outputs] == ["logits"], "the graph is as it was"


def test_quantized_graph_has_each_unit_in_its_form(
    tiny_graph: ir.Model, units: dict[str, Ladder], encodings: list[Encoding]
) -> None:
    before = ir.to_proto(tiny_graph).SerializeToString(deterministic=True)
    for at, operators in {
        0: {"MatMul": 0, "MatMulIntegerToFloat": 12, "QuantizeLinear": 9, "DequantizeLinear": 2},
        -1: {"MatMul": 12, "MatMulIntegerToFloat": 0, "QuantizeLinear": 0, "DequantizeLinear": 0},
    }.items():
        model = quantized(tiny_graph, {name: ladder.steps[at] for name, ladder in units.items()})
        found = [node.op_type for node in model.graph]
        assert {name: found.count(name) for name in operators} == operators
        logits = GraphSession(model).logits(encodings)
        reference = GraphSession(tiny_graph).logits(encodings)
        error = np.abs(logits - reference).mean() / np.abs(reference).mean()
        assert error < 1e-6 if at else 1e-4 < error < 0.1
    assert ir.to_proto(tiny_graph).SerializeToString(deterministic=True) == before


def test_smoothing_of_attention_outputs_adds_no_operator(
    tiny_graph: ir.Model, units: dict[str, Ladder], encodings: list[Encoding]
) -> None:
    name = "bert.encoder.layer.0.attention.output.dense"
    plan = ProjectionPlan("static", None, -3.0, 3.0)
    smoothed = replace(plan, smoothing=np.exp(0.1 * normal(64)))
    reference = GraphSession(tiny_graph).logits(encodings)
    found = {}
    for key, form in {"plain": plan, "smoothed": smoothed}.items():
        model = quantized(tiny_graph, {name: Step(form, 0.0)})
        found[key] = [node.op_type for node in model.graph]
        difference = GraphSession(model).logits(encodings) - reference
        assert 0 < np.abs(difference).mean() < 0.3 * np.abs(reference).mean()
    assert found["plain"] == found["smoothed"]


def test_logits_are_in_input_order(tiny_graph: ir.Model, encodings: list[Encoding]) -> None:
    session = GraphSession(tiny_graph)
    together = session.logits(encodings)
    alone = np.concatenate([session.logits([encoding]) for encoding in encodings])
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-4)


# Fidelity


_REFERENCE = np.array([[2.0, 1.0], [0.0, 1.0], [3.0, -1.0], [-1.0, -2.0]], dtype=np.float32)


def _measure(
    logits: np.ndarray, labels: Sequence[int] | None = None, *, single_label: bool = True
) -> Fidelity:
    return Fidelity.measure(logits, _REFERENCE, labels, single_label=single_label)


def test_single_labels_agree_where_the_best_is_the_same() -> None:
    logits = _REFERENCE + np.array([[0, 0.5], [0, 0], [-1, 0], [0, 2]], dtype=np.float32)
    found = _measure(logits, [0, 0, 0, 1])
    assert found.texts == 4 and found.agreement == 0.75
    assert found.mean_abs_diff == pytest.approx(3.5 / 8) and found.max_abs_diff == 2
    assert found.accuracy == 0.75 and found.reference_accuracy == 0.5


def test_multi_labels_agree_where_every_label_is_on_its_side() -> None:
    logits = _REFERENCE + np.array([[0, 5], [0.1, 0], [0, 0], [0, 2.1]], dtype=np.float32)
    found = _measure(logits, [0, 0, 0, 0], single_label=False)
    assert found.agreement == 0.5
    assert found.accuracy is None and found.reference_accuracy is None


def test_without_labels_there_is_no_accuracy() -> None:
    found = _measure(_REFERENCE)
    assert (found.accuracy, found.reference_accuracy) == (None, None)
    assert found.agreement == 1 and found.max_abs_diff == 0
    assert found.within(Limits(1.0, 0.0))


@pytest.mark.parametrize(
    ("changes", "limits", "expected"),
    [
        ({"agreement": 0.99}, Limits(), True),
        ({"agreement": 0.989}, Limits(), False),
        ({"accuracy": 0.75, "reference_accuracy": 0.875}, Limits(0, 0.125), True),
        ({"accuracy": 0.75, "reference_accuracy": 0.875}, Limits(0, 0.124), False),
        ({"accuracy": 0.875, "reference_accuracy": 0.75}, Limits(0, 0.0), True),
        ({"max_abs_diff": float("nan")}, Limits(0, 1), False),
        ({"max_abs_diff": float("inf")}, Limits(0, 1), False),
        ({"max_abs_diff": 1e6}, Limits(0, 1), True),
    ],
)
def test_limits(changes: dict[str, float], limits: Limits, expected: bool) -> None:
    assert replace(_fidelity(1.0), **changes).within(limits) == expected  # type: ignore[arg-type]
