"""Choose the form of every unit of a graph: as fast as the limits on fidelity allow.

A unit is a group of projections with one input, or an embedding table. Each has a ladder of forms,
from the fastest to float.
"""

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir
from bertrt.tokenizer import Encoding
from onnx_ir.passes import common

from bertrt_export.passes._graph import constant
from bertrt_export.passes.fold_smoothing import FoldSmoothingPass, find_values
from bertrt_export.passes.quantize_embeddings import (
    QuantizeEmbeddingsPass,
    TableForm,
    find_tables,
    round_table,
)
from bertrt_export.passes.quantize_projections import QuantizeProjectionsPass
from bertrt_export.quantization.activations import observe
from bertrt_export.quantization.fidelity import Fidelity, Limits
from bertrt_export.quantization.forms import best_forms, relative_error
from bertrt_export.quantization.graph_session import GraphSession
from bertrt_export.quantization.plan import FLOAT, ProjectionPlan
from bertrt_export.quantization.projections import find_groups

__all__ = ["Choice", "Ladder", "Search", "Step", "ladders", "quantized", "search"]

# Called with what is being done, how many steps of it are done, and how many there are.
Progress = Callable[[str, int, int], None]

# Projections start with a scale for each token where one fixed scale has this times its error.
_STATIC_WITHIN = 1.5

# An embedding table starts as int8 where its relative error is at most this, else as fp16.
_INT8_TABLE_WITHIN = 0.01

# Texts that the sensitivity of each unit is measured on.
_SENSITIVITY_TEXTS = 96

# The share of the weights that may stay float: beyond it, the result is no int8 model.
_MAX_FLOAT_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Step:
    """A form that a unit may take, and its relative error by itself."""

    form: ProjectionPlan | TableForm
    error: float

    @property
    def name(self) -> str:
        """`static`, `per-token`, `int8`, `fp16` or `float`."""
        return self.form.mode if isinstance(self.form, ProjectionPlan) else self.form


@dataclass(frozen=True, slots=True)
class Ladder:
    """The forms of one unit, the fastest first, and the number of its weights."""

    steps: tuple[Step, ...]
    weights: int


# The step that each unit is on, by its name.
Choice = Mapping[str, Step]


@dataclass(frozen=True, slots=True)
class Search:
    """What was chosen, and what was measured on the way.

    choice: None where nothing within reach holds the limits. start: what each unit starts with.
    sensitivity: mean |Δlogit| with only this unit quantized, as it starts.
    tried: (promotions, fidelity) of each graph that was measured, in that order; with the limits
    held, the last fidelity with the fewest promotions is the choice's.
    """

    choice: Choice | None
    start: Choice
    sensitivity: Mapping[str, float]
    tried: Sequence[tuple[int, Fidelity]]
    fidelity: Fidelity
    logits: np.ndarray


def ladders(
    graph: ir.Model, calibration: Sequence[Encoding], on_progress: Progress
) -> dict[str, Ladder]:
    """The ladder of every unit of the packed float graph, set up on the calibration texts."""
    observed = observe(
        graph, calibration, lambda done, total: on_progress("observing activations", done, total)
    )
    result: dict[str, Ladder] = {}
    for name, gather in find_tables(graph.graph).items():
        table = constant(gather.inputs[0])
        assert table is not None  # find_tables asks for a constant
        forms: tuple[TableForm, ...] = ("int8", "fp16", "float")
        steps = tuple(Step(form, _table_error(table, form)) for form in forms)
        if steps[0].error > _INT8_TABLE_WITHIN:
            steps = steps[1:]
        result[name] = Ladder(steps, table.size)
    # Groups that share their weights are one unit.
    groups = {group.name: group for group in find_groups(graph.graph)}
    for number, group in enumerate(groups.values()):
        on_progress("setting scales", number, len(groups))
        static, per_token = best_forms(group, observed[group.name])
        steps = (Step(per_token.plan, per_token.error), Step(FLOAT, 0.0))
        if static.error <= _STATIC_WITHIN * per_token.error:
            steps = (Step(static.plan, static.error), *steps)
        result[group.name] = Ladder(steps, group.weight.size)
    return result


def _table_error(table: np.ndarray, form: TableForm) -> float:
    rounded, scales = round_table(table, form)
    rows = rounded.astype(np.float32) if scales is None else rounded * scales[:, None]
    return relative_error(rows, table)


def quantized(graph: ir.Model, choice: Choice) -> ir.Model:
    """A copy of the packed float graph in which every unit has its chosen form."""
    plans: dict[str, ProjectionPlan] = {}
    tables: dict[str, TableForm] = {}
    for name, step in choice.items():
        if isinstance(step.form, ProjectionPlan):
            plans[name] = step.form
        else:
            tables[name] = step.form
    copy = graph.clone()
    smoothing: dict[str, np.ndarray] = {}
    for group in find_groups(copy.graph):
        plan = plans.get(group.name, FLOAT)
        if plan.smoothing is not None and find_values(group) is not None:
            smoothing[group.name] = plan.smoothing
            plans[group.name] = replace(plan, smoothing=None)
    FoldSmoothingPass(smoothing)(copy)
    QuantizeProjectionsPass(plans)(copy)
    QuantizeEmbeddingsPass(tables)(copy)
    common.CommonSubexpressionEliminationPass()(copy)
    common.RemoveUnusedNodesPass()(copy)
    return copy


def search(
    graph: ir.Model,
    units: Mapping[str, Ladder],
    verification: Sequence[Encoding],
    reference: np.ndarray,
    measure: Callable[[np.ndarray], Fidelity],
    limits: Limits,
    on_progress: Progress,
) -> Search:
    """Promote the most sensitive units until the limits hold on the verification texts.

    reference: PyTorch's logits, a row a text (of a token classifier, a row a token).
    measure: the fidelity of a graph's logits on them.
    """
    start = {name: ladder.steps[0] for name, ladder in units.items()}
    few = verification[:_SENSITIVITY_TEXTS]
    sensitivity: dict[str, float] = {}
    for number, (name, step) in enumerate(start.items()):
        on_progress("measuring sensitivity", number, len(start))
        logits = GraphSession(quantized(graph, {name: step})).logits(few)
        sensitivity[name] = float(np.abs(logits - reference[: len(logits)]).mean())
    choices = _promotions(units, sensitivity)
    measured: dict[int, tuple[Fidelity, np.ndarray]] = {}
    tried: list[tuple[int, Fidelity]] = []

    def holds(number: int) -> bool:
        on_progress("verifying int8", len(measured), len(measured) + 1)
        logits = GraphSession(quantized(graph, choices[number])).logits(verification)
        measured[number] = measure(logits), logits
        tried.append((number, measured[number][0]))
        return measured[number][0].within(limits)

    fewest = _fewest(len(choices), holds)
    best = fewest if fewest is not None else len(choices) - 1
    fidelity, logits = measured[best]
    chosen = choices[best] if fewest is not None else None
    return Search(chosen, start, sensitivity, tried, fidelity, logits)


def _promotions(units: Mapping[str, Ladder], sensitivity: Mapping[str, float]) -> list[Choice]:
    """The start, and what it becomes by one promotion after another, the worst unit first.

    A unit's influence after a promotion is taken to shrink as its own error does. The list ends
    where so many weights would be float that the model were no int8 model any more.
    """
    allowed = _MAX_FLOAT_SHARE * sum(ladder.weights for ladder in units.values())
    current = {name: ladder.steps[0] for name, ladder in units.items()}
    choices: list[Choice] = [dict(current)]
    worst = [(-sensitivity[name], name, 0) for name in units]
    heapq.heapify(worst)
    while worst:
        _, name, at = heapq.heappop(worst)
        steps = units[name].steps
        step = steps[at + 1]
        if step.name == "float":
            allowed -= units[name].weights
            if allowed < 0:
                break
        current[name] = step
        choices.append(dict(current))
        if at + 2 < len(steps):
            shrunk = sensitivity[name] * step.error / max(steps[0].error, 1e-12)
            heapq.heappush(worst, (-shrunk, name, at + 1))
    return choices


def _fewest(count: int, holds: Callable[[int], bool]) -> int | None:
    """The least number below `count` that holds, if those that hold are the greatest ones.

    Tries 0, 1, 2, 4, .. and then halves the gap.
    """
    failed, number = -1, 0
    while not holds(number):
        if number == count - 1:
            return None
        failed, number = number, min(max(2 * number, 1), count - 1)
    while number - failed > 1:
        middle = (failed + number) // 2
        if holds(middle):
            number = middle
        else:
            failed = middle
    return number
