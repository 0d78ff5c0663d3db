"""`bertrt prepack`."""

import argparse
import sys
from pathlib import Path

from bertrt.commands.arguments import Commands
from bertrt.prepack import prepack

__all__ = ["add_command"]


def add_command(commands: Commands) -> None:
    """Add `prepack`."""
    parser = commands.add_parser(
        "prepack",
        help="store a model's weights as this CPU's kernels want them, for processes to share",
        description="Copy a model that export-model wrote to the folder OUTPUT, with its weights "
        "stored a second time as this machine's kernels want them. Processes that load OUTPUT "
        "share them; those that load MODEL have a copy each. It answers as before, and is made "
        "on the machine that serves it: elsewhere it works, and shares less.",
    )
    parser.add_argument("model", metavar="MODEL", help="a folder of export-model's, or a hub id")
    parser.add_argument("output", metavar="OUTPUT", type=Path, help="the folder to write")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace OUTPUT if it is a bertrt artifact"
    )
    parser.set_defaults(run=_prepack)


def _prepack(arguments: argparse.Namespace) -> None:
    written = prepack(
        arguments.model, arguments.output, overwrite=arguments.overwrite, on_graph=_progress
    )
    for precision, count in written.added_bytes.items():
        print(f"{precision}: {count / 1e6:.1f} MB of packed weights, answers unchanged")
    print(f"{written.path}: processes of this machine that load it share its weights")


def _progress(precision: str) -> None:
    if sys.stderr.isatty():
        print(f"packing the weights of {precision}", file=sys.stderr)
