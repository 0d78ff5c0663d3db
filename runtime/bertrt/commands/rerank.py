"""`bertrt rerank`."""

import argparse
import json

from bertrt.commands.arguments import (
    Commands,
    add_long_text_arguments,
    add_model_arguments,
    load_classifier,
    positive,
)
from bertrt.commands.lines import stdin_lines
from bertrt.postprocess import DECIMALS

__all__ = ["add_command"]


def add_command(commands: Commands) -> None:
    """Add `rerank`."""
    rerank = commands.add_parser(
        "rerank",
        help="rank texts for a query, JSON Lines out",
        description="Rank each TEXT, or each line of standard input, by how well it answers QUERY, "
        "with a model of one label (a cross-encoder); one JSON object a text, best first.",
    )
    add_model_arguments(rerank)
    rerank.add_argument("query", metavar="QUERY")
    rerank.add_argument("texts", metavar="TEXT", nargs="*", help="a text (default: stdin)")
    rerank.add_argument("--top-k", type=positive, metavar="N", help="the N best texts alone")
    add_long_text_arguments(rerank)
    rerank.set_defaults(run=_rerank)


def _rerank(arguments: argparse.Namespace) -> None:
    classifier = load_classifier(arguments)
    texts = arguments.texts or list(stdin_lines())
    best = classifier.rerank(
        arguments.query,
        texts,
        arguments.top_k,
        truncate=not arguments.no_truncate,
        long_text=arguments.long_text,
        stride=arguments.stride,
        combine=arguments.combine,
    )
    for ranked in best:
        record = {
            "index": ranked.index,
            "text": texts[ranked.index],
            "score": round(ranked.score, DECIMALS),
        }
        print(json.dumps(record, ensure_ascii=False))
