"""report.md: what a person reads about an artifact."""

from pathlib import Path

import onnxruntime
import torch
import transformers
from bertrt.version import __version__

from bertrt_export.checkpoint import Checkpoint
from bertrt_export.verify import Verification

__all__ = ["write_report"]


def write_report(
    checkpoint: Checkpoint, folder: Path, *, precision: str, verification: Verification
) -> None:
    """Write report.md into the folder."""
    config = checkpoint.config
    parameters = sum(parameter.numel() for parameter in checkpoint.model.parameters())
    revision = f" at revision {checkpoint.revision}" if checkpoint.revision else ""
    weights = sum(path.stat().st_size for path in folder.glob("model.onnx*"))
    lengths = verification.lengths
    labels = ", ".join(f"`{label}`" for label in config.id2label.values())
    (folder / "report.md").write_text(
        f"""\
# {checkpoint.name}

Exported{revision} by bertrt {__version__} (torch {torch.__version__}, transformers \
{transformers.__version__}, onnxruntime {onnxruntime.__version__}).

| | |
|---|---|
| architecture | {type(checkpoint.model).__name__}, {parameters / 1e6:.1f} M parameters |
| labels | {labels} |
| precision | {precision} in every layer |
| graph and weights | {weights / 1e6:.1f} MB |
| source weights, SHA-256 | `{checkpoint.sha256}` |

## Fidelity

{len(lengths)} texts of {lengths[0]} to {lengths[-1]} tokens: multilingual sentences, a pair, and
random tokens. PyTorch (float32) got each text alone and unpadded.

| the exported model ran | max \\|Δlogit\\| against PyTorch |
|---|---|
| each text alone | {verification.alone:.2e} |
| all texts in one packed batch | {verification.batched:.2e} |
| the same batch, shuffled | {verification.shuffled:.2e} |
| limit | {verification.tolerance:.0e} |
""",
        encoding="utf-8",
    )
