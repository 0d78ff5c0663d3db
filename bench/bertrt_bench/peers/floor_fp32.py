"""The floor of float32: a BERT's matrix products alone."""

from collections.abc import Sequence
from pathlib import Path

from bertrt_bench.peers import products
from bertrt_bench.peers.products import Products, run

__all__ = ["load", "prepare", "run"]


def prepare(checkpoint: Path, folder: Path, calibration: Sequence[str]) -> None:
    """Write the graph of the products."""
    products.prepare(checkpoint, folder, "fp32")


def load(folder: Path, checkpoint: Path, threads: int) -> Products:
    """Load the products."""
    return products.load(folder, checkpoint, threads, "fp32")
