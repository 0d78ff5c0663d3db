"""The `export-model` command."""

import argparse
import sys
from collections.abc import Sequence

from bertrt.version import __version__
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from bertrt_export.errors import ExportError

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

            from bertrt_export.exporter import export_model

            transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
            transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]

            def show(what: str, done: int, total: int) -> None:
                known = total if total > 1 else None  # one step: a bar that only moves
                progress.update(task, description=what, completed=done, total=known)

            result = export_model(
                arguments.model,
                arguments.output,
                precision=arguments.precision,
                max_length=arguments.max_length,
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
    verification = result.verification
    print(
        f"Exported {arguments.model} to {result.path}\n"
        f"  size      {result.size / 1e6:.1f} MB, {arguments.precision}\n"
        f"  fidelity  max |Δlogit| {verification.max_abs_diff:.1e} against PyTorch on "
        f"{len(verification.lengths)} texts of {verification.lengths[0]} to "
        f"{verification.lengths[-1]} tokens (limit {verification.tolerance:.0e})\n"
        f"  report    {result.path / 'report.md'}\n"
        f"Next: bertrt classify {result.path} 'a text of yours'"
    )
    return 0


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
        help="fp32 (int8 and fp16 are not in this version)",
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
        action="store_true",
        help="put the weights into model.onnx.data (always done over 2 GB)",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace an artifact that is in OUTPUT"
    )
    return parser
