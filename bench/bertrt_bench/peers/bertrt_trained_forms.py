"""bertrt with a scale for each token at the feed-forward's second product.

Trained models need that, and random weights do not: this shows what a trained one's speed is.
"""

from pathlib import Path

import numpy as np

from bertrt_bench.peers.bertrt_int8 import load
from bertrt_bench.workloads import read_labelled

__all__ = ["load", "prepare"]

_CALIBRATION_TEXTS = 128


def prepare(checkpoint: Path, folder: Path, calibration: Path) -> None:
    """Export in float, and put an int8 graph of these forms in the place of the graph."""
    from bertrt.artifact import MANIFEST
    from bertrt.packing import pack
    from bertrt.tokenizer import TextTokenizer
    from bertrt_export import export_model
    from bertrt_export.artifact_writer import remove_graph, save_graph, write_manifest
    from bertrt_export.checkpoint import load_checkpoint
    from bertrt_export.exporter import packed_graph
    from bertrt_export.golden import GOLDEN_TEXTS
    from bertrt_export.quantization.graph_session import GraphSession
    from bertrt_export.quantization.projections import find_projections
    from bertrt_export.quantization.search import ladders, quantized

    artifact = folder / "artifact"
    export_model(str(checkpoint), artifact)
    source = load_checkpoint(str(checkpoint))
    graph = packed_graph(source)
    tokenizer = TextTokenizer(artifact, source.max_length)
    texts, _ = read_labelled(calibration)
    units = ladders(graph, tokenizer.encode(texts[:_CALIBRATION_TEXTS]), lambda *progress: None)
    behind_gelu = {p.name for p in find_projections(graph.graph) if p.least is not None}
    choice = {
        name: next(
            step for step in ladder.steps if name not in behind_gelu or step.name == "per-token"
        )
        for name, ladder in units.items()
    }
    int8 = quantized(graph, choice)
    remove_graph(artifact, "fp32")
    (artifact / MANIFEST).unlink()
    save_graph(int8, artifact, precision="int8", external_data=False)
    session = GraphSession(int8)
    golden = [session.run(pack([text]))[0] for text in tokenizer.encode(GOLDEN_TEXTS)]
    write_manifest(
        source,
        artifact,
        max_length=source.max_length,
        verified={},
        golden={"int8": np.concatenate(golden)},
    )
