"""What bertrt's own choices are worth: forms of attention, CUDA graphs, the size of batches.

Each runs in a process of its own, with the sessions that it compares.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from bertrt.artifact import load_artifact
from bertrt.packing import PackedBatch, pack, plan_batches
from bertrt.tokenizer import Encoding, TextTokenizer

from bertrt_bench.gpu import api
from bertrt_bench.gpu.models import checkpoint_of, equal_texts, unseen_texts
from bertrt_bench.gpu.settings import Settings
from bertrt_bench.gpu.turns import by_turns
from bertrt_bench.operators import random_batch

__all__ = ["attention", "cuda_graphs", "form_graphs", "ladder"]

_RAGGED = "ragged"


def form_graphs(settings: Settings) -> dict[str, Path]:
    """The graphs that `attention` has exported, by form: those that there are."""
    folder = settings.folder(settings.model) / "forms"
    files = {form: folder / form / "model.onnx" for form in api.FORMS}
    return {form: file for form, file in files.items() if file.exists()}


def attention(settings: Settings) -> dict[str, Any]:
    """The forms of attention on batches of equal texts and on ragged ones."""
    failures = _export_forms(settings)
    sessions = {}
    for form, graph in form_graphs(settings).items():
        try:
            sessions[form] = api.session(graph)
        except Exception as error:  # one form that does not load is a result too
            failures[form] = f"{type(error).__name__}: {error}"
    workloads = {f"{n} x {t}": [random_batch(n, t)] for n, t in settings.shapes}
    workloads[_RAGGED] = _batches(_ragged(settings), settings.max_batch_tokens)
    found: dict[str, Any] = {}
    for title, batches in workloads.items():
        actions = {
            form: lambda session=session, batches=batches: session.run_all(batches)
            for form, session in sessions.items()
        }
        runs = 1 + settings.runs // (10 * len(batches)) if title == _RAGGED else settings.runs
        seconds, failed = by_turns(actions, settings.rounds, runs)
        failures |= {f"{form}, {title}": error for form, error in failed.items()}
        logits = {form: np.concatenate(actions[form]()) for form in seconds}
        found[title] = {
            "tokens": int(sum(len(batch.input_ids) for batch in batches)),
            "seconds": seconds,
            "differences": _apart(logits),
        }
    return {"workloads": found, "failures": failures}


def cuda_graphs(settings: Settings) -> dict[str, Any]:
    """Single texts that have been tokenized, with CUDA graphs and without."""
    graph = api.artifact_graph(settings.folder(settings.model) / "artifact")
    sessions = {
        name: api.session(graph, cuda_graphs=on) for name, on in (("on", True), ("off", False))
    }
    found: dict[str, Any] = {}
    failures: dict[str, str] = {}
    for length in settings.lengths:
        batch = random_batch(1, length)
        actions = {
            name: lambda session=session, batch=batch: session.run(batch)
            for name, session in sessions.items()
        }
        seconds, failed = by_turns(actions, settings.rounds, settings.runs)
        failures |= {f"{name}, {length} tokens": error for name, error in failed.items()}
        logits = {name: actions[name]() for name in seconds}
        found[str(length)] = {"seconds": seconds, "differences": _apart(logits)}
    return {"lengths": found, "failures": failures}


def ladder(settings: Settings) -> dict[str, Any]:
    """Texts that have been tokenized, in batches of up to so many places."""
    classifier = api.classifier(settings.folder(settings.model) / "artifact")
    equal = equal_texts(
        settings.equal_tokens, settings.equal_texts, checkpoint_of(settings.model, settings)
    )
    sets = {_RAGGED: _ragged(settings), "equal": classifier.tokenizer.encode(equal)}
    found: dict[str, Any] = {}
    failures: dict[str, str] = {}

    def run(places: int, encodings: Sequence[Encoding]) -> np.ndarray:
        classifier.max_batch_tokens = places
        return classifier.run(encodings)

    for title, encodings in sets.items():
        actions = {
            str(places): lambda places=places, encodings=encodings: run(places, encodings)
            for places in settings.ladder
        }
        seconds, failed = by_turns(actions, settings.rounds, 1)
        failures |= {f"{title}, {places}": error for places, error in failed.items()}
        found[title] = {
            "texts": len(encodings),
            "tokens": sum(len(encoding) for encoding in encodings),
            "seconds": seconds,
        }
    return {"sets": found, "failures": failures}


def _export_forms(settings: Settings) -> dict[str, str]:
    """Export the forms that are missing; why some could not be."""
    there = form_graphs(settings)
    missing = [form for form in api.FORMS if form not in there]
    if not missing:
        return {}
    checkpoint = api.load_checkpoint(checkpoint_of(settings.model, settings))
    failures: dict[str, str] = {}
    for form in missing:
        folder = settings.folder(settings.model) / "forms" / form
        try:
            api.attention_graph(checkpoint, form, folder)
        except Exception as error:  # one form that cannot be exported is a result too
            failures[form] = f"{type(error).__name__}: {error}"
    return failures


def _ragged(settings: Settings) -> list[Encoding]:
    """The sentences, tokenized as the artifact does."""
    artifact = load_artifact(settings.folder(settings.model) / "artifact")
    tokenizer = TextTokenizer(artifact.path, artifact.max_length)
    return tokenizer.encode(unseen_texts(settings.texts)[0])


def _batches(encodings: Sequence[Encoding], places: int) -> list[PackedBatch]:
    plan = plan_batches([len(encoding) for encoding in encodings], places)
    return [pack([encodings[position] for position in positions]) for positions in plan]


def _apart(logits: dict[str, np.ndarray]) -> dict[str, float]:
    """The largest |Δlogit| of each against the last of them."""
    if not logits:
        return {}
    right = list(logits.values())[-1]
    return {name: float(np.abs(rows - right).max()) for name, rows in logits.items()}
