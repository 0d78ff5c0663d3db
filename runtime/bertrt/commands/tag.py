"""`bertrt tag`."""

import argparse
import itertools
import json
from dataclasses import asdict
from typing import Any

from bertrt.aggregation import STRATEGIES, Entity
from bertrt.commands.arguments import Commands, add_batch_arguments, add_model_arguments, whole
from bertrt.commands.lines import chunk_size_of, stdin_lines, with_progress
from bertrt.postprocess import DECIMALS
from bertrt.token_classifier import TokenClassifier

__all__ = ["add_command"]


def add_command(commands: Commands) -> None:
    """Add `tag`."""
    tag = commands.add_parser(
        "tag",
        help="find named entities in texts, JSON Lines out",
        description="Find the entities of each TEXT, or of each line of standard input, with a "
        "token classifier; one JSON object a text.",
    )
    add_model_arguments(tag)
    tag.add_argument("texts", metavar="TEXT", nargs="*", help="a text (default: stdin)")
    tag.add_argument(
        "--aggregation",
        choices=STRATEGIES,
        default="simple",
        help="how tokens become entities; none: every token (default: simple)",
    )
    tag.add_argument(
        "--stride",
        type=whole,
        metavar="N",
        help="read a text over the model's limit in windows that share N tokens, and do not cut it",
    )
    add_batch_arguments(tag)
    tag.set_defaults(run=_tag)


def _tag(arguments: argparse.Namespace) -> None:
    classifier = TokenClassifier(
        arguments.model,
        arguments.device,
        threads=arguments.threads,
        precision=arguments.precision,
        file_name=arguments.file_name,
        max_batch_tokens=arguments.max_batch_tokens,
    )
    lines, spoken = itertools.tee(arguments.texts or stdin_lines())
    found = classifier.stream(
        lines,
        aggregation_strategy=arguments.aggregation,
        stride=arguments.stride,
        chunk_size=chunk_size_of(arguments, 1024),
        truncate=not arguments.no_truncate,
    )
    for entities, text in with_progress(zip(found, spoken, strict=False)):
        record = {"text": text, "entities": [_entity(entity) for entity in entities]}
        print(json.dumps(record, ensure_ascii=False))


def _entity(entity: Entity) -> dict[str, Any]:
    facts = {**asdict(entity), "score": round(entity.score, DECIMALS)}
    return {name: value for name, value in facts.items() if value is not None}
