"""bertrt with the forms that a trained model's projections get, on random weights.

Those need none: a MiniLM fine-tuned on SST-2 gets smoothing wherever it is not folded, and a scale
for each token at the feed-forward's second product. This shows what a trained model's speed is.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bertrt_bench.peers.bertrt_fp32 import load, run

if TYPE_CHECKING:
    from bertrt_export.quantization.search import Step

__all__ = ["load", "prepare", "run"]

_CALIBRATION_TEXTS = 128


def prepare(checkpoint: Path, folder: Path, calibration: Sequence[str]) -> None:
    """Export in float, and put an int8 graph of these forms in the place of the graph."""
    from bertrt.artifact import MANIFEST
    from bertrt.packing import pack
    from bertrt.tokenizer import TextTokenizer
    from bertrt_export import export_model
    from bertrt_export.artifact_writer import remove_graph, save_graph, write_manifest
    from bertrt_export.checkpoint import load_checkpoint
    from bertrt_export.golden import GOLDEN_TEXTS
    from bertrt_export.packed import packed_graph
    from bertrt_export.passes.fold_smoothing import find_values
    from bertrt_export.quantization.graph_session import GraphSession
    from bertrt_export.quantization.projections import find_groups
    from bertrt_export.quantization.search import ladders, quantized

    artifact = folder / "artifact"
    export_model(str(checkpoint), artifact)
    source = load_checkpoint(str(checkpoint))
    graph = packed_graph(source)
    tokenizer = TextTokenizer(artifact, source.max_length)
    encodings = tokenizer.encode(calibration[:_CALIBRATION_TEXTS])
    units = ladders(graph, encodings, lambda *progress: None)
    choice = {name: ladder.steps[0] for name, ladder in units.items()}
    for group in find_groups(graph.graph):
        if group.least is not None:  # behind a GELU
            (choice[group.name],) = (s for s in units[group.name].steps if s.name == "per-token")
        elif find_values(group) is None:
            choice[group.name] = _smoothed(choice[group.name], len(group.weight))
    int8 = quantized(graph, choice)
    remove_graph(artifact, "fp32")
    (artifact / MANIFEST).unlink()
    save_graph(int8, artifact, precision="int8", external_data=True)
    session = GraphSession(int8)
    golden = [session.run(pack([text]))[0] for text in tokenizer.encode(GOLDEN_TEXTS)]
    write_manifest(
        source,
        artifact,
        max_length=source.max_length,
        verified={},
        golden={"int8": np.concatenate(golden)},
    )


def _smoothed(step: "Step", inputs: int) -> "Step":
    """The static step, smoothed by factors that keep within its range."""
    form = step.form
    assert not isinstance(form, str)  # a table's
    return replace(step, form=replace(form, smoothing=np.geomspace(1, 2, inputs, dtype=np.float32)))
