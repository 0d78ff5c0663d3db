"""The `export-model` command."""

import argparse
import shlex
import statistics
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bertrt.version import __version__
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from bertrt_export.errors import ExportError
from bertrt_export.thresholds import DEFAULT_THRESHOLD

if TYPE_CHECKING:
    from bertrt_export.exporter import ExportResult

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code: 0, 1 for an error, 2 for wrong usage, 130 for Ctrl-C."""
    arguments = _parser().parse_args(argv)
    console = Console(stderr=True)
    try:
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        ) as progress:
            task = progress.add_task("starting PyTorch", total=None)
            # Imported here, because torch takes seconds: --help should not, and this shows why.
            import transformers

            from bertrt_export import CalibrationFile, LabelledFile, Limits, export_model

            transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
            transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]

            def show(what: str, done: int, total: int) -> None:
                known = total if total > 1 else None  # one step: a bar that only moves
                progress.update(task, description=what, completed=done, total=known)

            calibrated = arguments.calibration is not None
            tuned = arguments.tune_thresholds is not None
            result = export_model(
                arguments.model,
                arguments.output,
                precision=arguments.precision,
                layout=arguments.layout,
                max_length=arguments.max_length,
                thresholds=LabelledFile(
                    arguments.tune_thresholds, arguments.text_column, arguments.text_pair_column
                )
                if tuned
                else None,
                calibration=CalibrationFile(
                    arguments.calibration,
                    # Without a calibration file they are the columns of the labelled texts alone.
                    arguments.text_column if calibrated or not tuned else None,
                    arguments.text_pair_column if calibrated or not tuned else None,
                    arguments.label_column,
                ),
                limits=Limits(arguments.min_agreement, arguments.max_accuracy_drop),
                revision=arguments.revision,
                allow_pickle=arguments.allow_pickle,
                external_data=arguments.external_data,
                overwrite=arguments.overwrite,
                on_progress=show,
            )
    except ExportError as error:
        print(f"export-model: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("export-model: interrupted; nothing was written", file=sys.stderr)
        return 130
    print(_summary(arguments.model, result))
    return 0


def _summary(model: str, result: "ExportResult") -> str:
    """What was written, how faithful it is, and the next command."""
    v = result.verification
    padded = ", padded layout" if result.layout == "padded" else ""
    lines = [
        f"Exported {model} to {result.path}",
        f"  size      {result.size / 1e6:.1f} MB, {', '.join(result.precisions)}{padded}",
        f"  fidelity  max |Δlogit| {v.max_abs_diff:.1e} against PyTorch on {len(v.lengths)} texts "
        f"of {v.lengths[0]} to {v.lengths[-1]} tokens, in fp32 (limit {v.tolerance:.0e})",
    ]
    if result.int8 is not None:
        f, forms = result.int8.fidelity, Counter(s.name for s in result.int8.choice.values())
        accuracy = (
            ""
            if f.accuracy is None
            else f", accuracy {f.accuracy:.2%} ({f.reference_accuracy:.2%})"
        )
        lines += [
            f"  int8      PyTorch's answer for {f.agreement:.2%} of {f.compared}{accuracy}",
            f"            mean |Δlogit| {f.mean_abs_diff:.4f}, max {f.max_abs_diff:.3f}",
            f"            {', '.join(f'{count} {name}' for name, count in forms.most_common())}",
        ]
    if result.half is not None:
        f = result.half.fidelity
        lines += [
            f"  fp16      PyTorch's answer for {f.agreement:.2%} of {f.compared}, for CUDA",
            f"            mean |Δlogit| {f.mean_abs_diff:.4f}, max {f.max_abs_diff:.3f}",
        ]
    if result.refused is not None:
        lines.append(f"  int8      none: {result.refused.splitlines()[0]}")
    for precision, timing in (result.timings or {}).items():
        lines.append(
            f"  {precision:<9} {statistics.median(timing.alone):.2f} ms for one text, "
            f"{statistics.median(timing.batched):.1f} texts/s in batches"
        )
    if result.thresholds is not None:
        t = result.thresholds
        lines.append(
            f"  F1        {t.mean(t.f1):.3f}, the mean of the labels with tuned thresholds, and "
            f"{t.mean(t.f1_at_default):.3f} at {DEFAULT_THRESHOLD} ({t.texts} texts, "
            f"{t.precision})"
        )
    lines += [
        f"  report    {result.path / 'report.md'}",
        f"Next: bertrt classify {shlex.quote(str(result.path))} 'a text of yours'",
    ]
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="export-model",
        description="Convert a PyTorch BERT text classifier to a verified, packed ONNX model.",
    )
    parser.add_argument("model", metavar="MODEL", help="a checkpoint directory, or a hub id")
    parser.add_argument("output", metavar="OUTPUT", help="the folder to write")
    parser.add_argument("--version", action="version", version=f"export-model {__version__}")
    parser.add_argument(
        "--precision",
        default="fp32",
        help="fp32 (the default), int8 (for CPUs), fp16 (for CUDA), or several: fp32,int8,fp16; "
        "auto: of fp32 and int8 the faster one on this machine that holds the limits",
    )
    parser.add_argument(
        "--layout",
        choices=("auto", "packed", "padded"),
        default="auto",
        help="packed: texts one after another, without padding; padded: the standard graph, for "
        "Optimum, Triton, TEI, transformers.js (fp32 only); auto (the default): packed where the "
        "architecture can be",
    )
    parser.add_argument(
        "--max-length",
        type=int,
        metavar="TOKENS",
        help="cut texts to this many tokens (default: what the model and tokenizer take)",
    )
    parser.add_argument("--revision", help="a hub model's branch, tag or commit")
    parser.add_argument(
        "--allow-pickle",
        action="store_true",
        help="read pytorch_model.bin, which can run code: only from sources that you trust",
    )
    parser.add_argument(
        "--external-data",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="put the weights into model.onnx.data, which is mapped into memory: less of it, and a "
        "quicker start (always done over 2 GB)",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace an artifact that is in OUTPUT"
    )
    texts = parser.add_argument_group("multi-label thresholds, and columns of any file of texts")
    texts.add_argument(
        "--tune-thresholds",
        type=Path,
        metavar="FILE",
        help="labelled texts, to find each label's threshold of maximum F1 with: .jsonl with a "
        'list of "labels", or .csv or .tsv with a column of 0 and 1 for each label',
    )
    texts.add_argument(
        "--text-column",
        metavar="COLUMN",
        help="a name, or a number from 1; of the labelled and of the calibration texts",
    )
    texts.add_argument("--text-pair-column", metavar="COLUMN", help="the second text of each pair")
    int8 = parser.add_argument_group("int8 and fp16")
    int8.add_argument(
        "--calibration",
        type=Path,
        metavar="FILE",
        help="texts like those that the model will meet: .txt, .jsonl, .csv or .tsv",
    )
    int8.add_argument("--label-column", metavar="COLUMN", help="the right answers, if known")
    int8.add_argument(
        "--min-agreement",
        type=_share,
        default=0.99,
        metavar="SHARE",
        help="texts that must get PyTorch's answer (default 0.99)",
    )
    int8.add_argument(
        "--max-accuracy-drop",
        type=_share,
        default=0.005,
        metavar="SHARE",
        help="accuracy that may be lost, where labels are given (default 0.005)",
    )
    return parser


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share between 0 and 1")
    return share
