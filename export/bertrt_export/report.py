"""report.md and report.png: what a person reads about an artifact."""

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import onnxruntime
import torch
import transformers
from bertrt.cpus import available_cpus
from bertrt.version import __version__

from bertrt_export.artifact_writer import BERTRT
from bertrt_export.calibration import BUILT_IN_WARNING
from bertrt_export.candidates import Timing
from bertrt_export.checkpoint import Checkpoint
from bertrt_export.half import HalfResult
from bertrt_export.plots import plot_int8
from bertrt_export.quantization.fidelity import Fidelity, Limits
from bertrt_export.quantization.int8 import Independence, Int8Result
from bertrt_export.thresholds import DEFAULT_THRESHOLD, TunedThresholds
from bertrt_export.verify import Verification

__all__ = ["GraphOrigin", "Report"]


@dataclass(frozen=True, slots=True)
class GraphOrigin:
    """Which layout was exported, by what, and what a user should know of it.

    layout: `packed` or `padded`. exporter: a name and version.
    """

    layout: str
    exporter: str
    notices: tuple[str, ...] = ()

    def noting(self, notice: str) -> "GraphOrigin":
        """The same with one notice more."""
        return replace(self, notices=(*self.notices, notice))


@dataclass(frozen=True, slots=True)
class Report:
    """What an export has measured, for the manifest and for people.

    refused: why there is no int8 graph although one was sought, or None.
    timings: of the candidates of precision `auto`, by precision, or None.
    half: of the fp16 graph, or None. made: the graph's layout and exporter.
    tuning: the thresholds, where they were tuned.
    """

    checkpoint: Checkpoint
    verification: Verification
    int8: Int8Result | None
    half: HalfResult | None = None
    refused: str | None = None
    timings: Mapping[str, Timing] | None = None
    made: GraphOrigin = field(default_factory=lambda: GraphOrigin("packed", BERTRT))
    tuning: TunedThresholds | None = None

    def facts(self) -> dict[str, Any]:
        """The manifest's `verified`: by precision, figures as numbers."""
        v = self.verification
        facts: dict[str, Any] = {
            "fp32": {
                "against": "PyTorch float32, without padding",
                "texts": len(v.lengths),
                "lengths": list(v.lengths),
                "tolerance": v.tolerance,
                "max_abs_diff": v.max_abs_diff,
                "max_abs_diff_alone": v.alone,
                "max_abs_diff_batched": v.batched,
                "max_abs_diff_shuffled": v.shuffled,
            }
        }
        if self.int8 is not None:
            facts["int8"] = _int8_facts(self.int8)
        if self.half is not None:
            facts["fp16"] = _half_facts(self.half)
        for precision, timing in (self.timings or {}).items():
            facts[precision]["speed"] = {
                "alone_ms": list(timing.alone),
                "texts_per_second": list(timing.batched),
            }
        return facts

    def write(self, folder: Path, precisions: Sequence[str]) -> None:
        """Write report.md, and report.png where there is int8, into the folder."""
        parts = [self._summary(folder, precisions)]
        parts += [f"Note: {notice}.\n" for notice in self.made.notices]
        parts.append(_fidelity(self.verification, self.made.layout))
        if self.int8 is not None:
            plot_int8(self.int8, folder / "report.png")
            parts.append(_int8_section(self.int8))
        if self.half is not None:
            parts.append(_half_section(self.half))
        if self.refused is not None:
            parts.append(f"## int8\n\nNot written:\n\n```\n{self.refused}\n```\n")
        if self.timings is not None:
            parts.append(_timings_section(self.timings, precisions))
        if self.tuning is not None:
            parts.append(_thresholds_section(self.tuning))
        (folder / "report.md").write_text("\n".join(parts), encoding="utf-8")

    def _summary(self, folder: Path, precisions: Sequence[str]) -> str:
        checkpoint = self.checkpoint
        parameters = sum(parameter.numel() for parameter in checkpoint.model.parameters())
        revision = f" at revision {checkpoint.revision}" if checkpoint.revision else ""
        labels = ", ".join(f"`{label}`" for label in checkpoint.config.id2label.values())
        graphs = "\n".join(
            f"| `{file.name}` | {file.stat().st_size / 1e6:.1f} MB |"
            for file in sorted(folder.glob("model*.onnx*"))
        )
        return f"""\
# {checkpoint.name}

Exported{revision} by bertrt {__version__} (torch {torch.__version__}, transformers \
{transformers.__version__}, onnxruntime {onnxruntime.__version__}).

| | |
|---|---|
| architecture | {type(checkpoint.model).__name__}, {parameters / 1e6:.1f} M parameters |
| labels | {labels} |
| layout | {self.made.layout}, made by {self.made.exporter} |
| precision | {", ".join(precisions)} |
{graphs}
| source weights, SHA-256 | `{checkpoint.sha256}` |
"""


def _fidelity(verification: Verification, layout: str) -> str:
    lengths = verification.lengths
    return f"""\
## The {layout} graph in float32

{len(lengths)} texts of {lengths[0]} to {lengths[-1]} tokens: multilingual sentences, a pair, and
random tokens. PyTorch (float32) got no padding.

| the exported model ran | max \\|Δlogit\\| against PyTorch |
|---|---|
| each text alone | {verification.alone:.2e} |
| all texts in one {layout} batch | {verification.batched:.2e} |
| the same batch, shuffled | {verification.shuffled:.2e} |
| limit | {verification.tolerance:.0e} |
"""


def _thresholds_section(tuning: TunedThresholds) -> str:
    columns = (tuning.thresholds, tuning.f1, tuning.f1_at_default, tuning.positives)
    rows = "\n".join(
        f"| {label} | {threshold:.4f} | {_share(f1)} | {_share(f1_at_default)} | {positives} |"
        for label, threshold, f1, f1_at_default, positives in zip(
            tuning.labels, *columns, strict=True
        )
    )
    return f"""\
## Thresholds

The score from which on a label is given: of maximum F1 on the {tuning.texts} texts of \
{tuning.source} (SHA-256 `{tuning.sha256}`), by the scores of the {tuning.precision} graph. F1 on \
texts that set no threshold will be somewhat lower.

| label | threshold | F1 | F1 at {DEFAULT_THRESHOLD} | positives |
|---|---|---|---|---|
{rows}
"""


def _share(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"


def _timings_section(timings: Mapping[str, Timing], kept: Sequence[str]) -> str:
    rows = "\n".join(
        f"| {precision} | {_spread(timing.alone, 2)} | {_spread(timing.batched, 1)} | "
        f"{'yes' if precision in kept else 'no'} |"
        for precision, timing in timings.items()
    )
    return f"""\
## The faster precision

Timed by turns on the machine of the export, {available_cpus()} threads, medians (lowest to
highest); the verification texts, tokenized beforehand.

| precision | one text, ms | in batches, texts/s | kept |
|---|---|---|---|
{rows}
"""


def _spread(values: Sequence[float], digits: int) -> str:
    median, low, high = statistics.median(values), min(values), max(values)
    return f"{median:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _half_facts(half: HalfResult) -> dict[str, Any]:
    return {
        "against": "PyTorch float32, without padding",
        "by": "the packed graph in float32 on the CPU, rounded to float16 at every step",
        **asdict(half.fidelity),
        "limits": asdict(half.limits),
        "batch_independence": asdict(half.independence),
        "source": half.source,
    }


def _half_section(half: HalfResult) -> str:
    return f"""\
## fp16

For CUDA. Against PyTorch (float32), on {half.fidelity.compared} of {half.source}, as the CPU
computes it: the packed graph in float32, rounded to float16 at every step.

{_comparison(half.fidelity, half.limits, half.independence)}
"""


def _comparison(f: Fidelity, limits: Limits, apart: Independence) -> str:
    """What int8 and fp16 keep of PyTorch's answers."""
    accuracy = (
        "no labels were given"
        if f.accuracy is None or f.reference_accuracy is None
        else f"{f.accuracy:.2%} (PyTorch {f.reference_accuracy:.2%}, "
        f"drop at most {limits.max_accuracy_drop:.2%})"
    )
    return f"""\
| | |
|---|---|
| same answer | {f.agreement:.2%} (limit {limits.min_agreement:.2%}) |
| accuracy | {accuracy} |
| mean \\|Δlogit\\| | {f.mean_abs_diff:.4f} |
| max \\|Δlogit\\| | {f.max_abs_diff:.4f} |
| alone against batched, {apart.texts} texts, mean \\|Δlogit\\| | {apart.mean_abs_diff:.1e} |
| alone against batched, max \\|Δlogit\\| | {apart.max_abs_diff:.1e} |"""


def _int8_facts(int8: Int8Result) -> dict[str, Any]:
    choice = int8.choice
    return {
        "against": "PyTorch float32, without padding",
        **asdict(int8.fidelity),
        "limits": asdict(int8.limits),
        "batch_independence": asdict(int8.independence),
        "calibration": {
            "source": int8.texts.source,
            "sha256": int8.texts.sha256,
            "calibration_texts": len(int8.texts.calibration),
            "verification_texts": len(int8.texts.verification),
        },
        "units": {
            name: {
                "form": step.name,
                "error_alone": step.error,
                "started_as": int8.search.start[name].name,
                "sensitivity": int8.search.sensitivity[name],
            }
            for name, step in choice.items()
        },
    }


def _int8_section(int8: Int8Result) -> str:
    f, limits, texts = int8.fidelity, int8.limits, int8.texts
    counts = Counter(step.name for step in int8.choice.values())
    advice = "" if texts.sha256 else f"\nNote: {BUILT_IN_WARNING}.\n"
    source = f"{texts.source}" + (f", SHA-256 `{texts.sha256}`" if texts.sha256 else "")
    rows = "\n".join(
        f"| `{name}` | {step.name} | {_why(name, int8)} | {int8.search.sensitivity[name]:.4f} "
        f"| {step.error:.4f} |"
        for name, step in int8.choice.items()
    )
    return f"""\
## int8

Against PyTorch (float32), on {f.compared}, which set no scale:

{_comparison(f, limits, int8.independence)}
| forms | {", ".join(f"{count} {name}" for name, count in counts.most_common())} |
| texts | {source}: {len(texts.calibration)} to calibrate, {len(texts.verification)} to verify |
{advice}
![Sensitivity of each unit, and the error of the logits](report.png)

static: one scale, set on the calibration texts. per-token: a scale for each token. Both are
independent of what else is in the batch. Weights are int8 with a scale for each output.

| unit | form | why | mean \\|Δlogit\\| alone, as it started | its own relative error |
|---|---|---|---|---|
{rows}
"""


def _why(name: str, int8: Int8Result) -> str:
    step, start = int8.choice[name], int8.search.start[name]
    if step.name != start.name:
        return f"promoted from {start.name} to hold the limits"
    if step.name == "per-token":
        return "one fixed scale has over 1.5 times the error"
    return "the fastest form holds"
