"""`bertrt triton-repository` and `bertrt triton-check`."""

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from bertrt.commands.arguments import Commands, positive
from bertrt.triton.host import DEFAULT_MAX_BATCH_SIZE, MINIMUM_TRITON

if TYPE_CHECKING:
    from bertrt.triton.repository import Written

__all__ = ["add_command"]


def add_command(commands: Commands) -> None:
    """Add both commands."""
    _add_repository(commands)
    check = commands.add_parser(
        "triton-check",
        help="whether a Triton that serves such a repository answers as the exporter did",
        description="Send the texts whose logits the exporter stored to a Triton server that "
        "serves REPOSITORY, many at a time, and compare the answers.",
    )
    check.add_argument("repository", metavar="REPOSITORY", type=Path)
    check.add_argument(
        "--url",
        default="localhost:8000",
        metavar="HOST:PORT",
        help="Triton's HTTP endpoint (default: localhost:8000)",
    )
    check.set_defaults(run=_check)


def _add_repository(commands: Commands) -> None:
    parser = commands.add_parser(
        "triton-repository",
        help="write a model repository for Triton Inference Server",
        description="Write a model repository for Triton Inference Server to the folder OUTPUT: an "
        "ensemble of the tokenizer, the packed graph with ragged batching, and the labels.",
    )
    parser.add_argument("model", metavar="MODEL", help="a packed model of export-model's")
    parser.add_argument("output", metavar="OUTPUT", type=Path, help="the folder to write")
    parser.add_argument("--name", help="the ensemble's name in Triton (default: MODEL's own)")
    parser.add_argument(
        "--device", choices=("cpu", "gpu"), default="cpu", help="what runs the graph (default: cpu)"
    )
    parser.add_argument(
        "--precision",
        choices=("fp32", "int8", "fp16"),
        help="default: int8 for a CPU and fp16 for a GPU where MODEL holds it, else fp32",
    )
    sizes = ", ".join(
        f"{size} on a {name.upper()}" for name, size in DEFAULT_MAX_BATCH_SIZE.items()
    )
    parser.add_argument(
        "--max-batch-size",
        type=positive,
        metavar="TEXTS",
        help=f"texts of one batch at most; Triton cannot bound its tokens (default: {sizes})",
    )
    parser.add_argument(
        "--instances",
        type=positive,
        default=1,
        metavar="N",
        help="batches that run at a time (default: 1)",
    )
    parser.add_argument(
        "--threads",
        type=positive,
        metavar="N",
        help="CPU threads of a batch (default: as many as the machine has cores, whatever a "
        "container may use)",
    )
    parser.add_argument(
        "--no-truncate",
        action="store_true",
        help="refuse a text over the model's limit, unless its request says `truncate`",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace OUTPUT if it is such a repository"
    )
    parser.set_defaults(run=_repository)


def _repository(arguments: argparse.Namespace) -> None:
    from bertrt.triton.repository import write_repository  # here, for those who serve otherwise

    written = write_repository(
        arguments.model,
        arguments.output,
        name=arguments.name,
        device=arguments.device,
        precision=arguments.precision,
        max_batch_size=arguments.max_batch_size,
        instances=arguments.instances,
        threads=arguments.threads,
        truncate=not arguments.no_truncate,
        overwrite=arguments.overwrite,
    )
    print(_summary(written))


def _summary(written: "Written") -> str:
    deployment, folder = written.deployment, shlex.quote(str(written.path))
    return "\n".join(
        [
            f"{written.path}",
            f"  {deployment.name}: an ensemble of {', '.join(deployment.steps)}",
            f"  {deployment.precision} on the {deployment.device.upper()}, batches of up to "
            f"{deployment.max_batch_size} texts, one text a request",
            f"  for Triton {MINIMUM_TRITON} or later, with bertrt in its Python: "
            "see README.md there",
            f"Next: tritonserver --model-repository {folder}",
            f"      bertrt triton-check {folder}",
        ]
    )


def _check(arguments: argparse.Namespace) -> None:
    from bertrt.triton.check import check_server

    checked = check_server(arguments.repository, arguments.url)
    print(
        f"{checked.name} answers as the exporter did: max |Δlogit| {checked.difference:.1e} "
        f"(limit {checked.limit:.0e}) in {checked.requests} requests"
    )
