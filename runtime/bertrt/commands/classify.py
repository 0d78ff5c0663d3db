"""`bertrt classify`."""

import argparse
import itertools
import json
from collections.abc import Iterable, Iterator
from typing import Any

from bertrt.classifier import Classifier
from bertrt.commands.arguments import (
    Commands,
    add_long_text_arguments,
    add_model_arguments,
    load_classifier,
    positive,
)
from bertrt.commands.files import add_file_arguments, check_no_file_options, run_files
from bertrt.commands.lines import chunk_size_of, stdin_lines, with_progress
from bertrt.errors import InputError
from bertrt.nli import HYPOTHESIS_TEMPLATE
from bertrt.postprocess import Prediction
from bertrt.selection import BEST, Threshold
from bertrt.tokenizer import TextInput
from bertrt.zero_shot import ZeroShotClassifier

__all__ = ["add_command"]


def add_command(commands: Commands) -> None:
    """Add `classify`."""
    classify = commands.add_parser(
        "classify",
        help="classify texts, JSON Lines out",
        description="Classify each TEXT, or each line of standard input, one JSON object a text; "
        "or the rows of files (--input).",
    )
    add_model_arguments(classify)
    classify.add_argument("texts", metavar="TEXT", nargs="*", help="a text (default: stdin)")
    classify.add_argument(
        "--top-k", type=_top_k, metavar="N|all", help="the N best labels, not the best one alone"
    )
    classify.add_argument(
        "--threshold",
        type=_threshold,
        action="append",
        metavar="N|LABEL=N",
        help="all labels whose score is at or over N (or, repeated, each over its own); a "
        "multi-label model with tuned thresholds takes those by default",
    )
    classify.add_argument("--pairs", action="store_true", help="a text is FIRST<TAB>SECOND")
    add_long_text_arguments(classify)
    classify.add_argument(
        "--candidate-labels",
        metavar="A,B,C",
        help="zero-shot: choose from these labels, with a model trained on NLI",
    )
    classify.add_argument(
        "--multi-label", action="store_true", help="zero-shot: score each label by itself"
    )
    classify.add_argument(
        "--hypothesis-template",
        default=HYPOTHESIS_TEMPLATE,
        metavar="TEXT",
        help=f"zero-shot: with {{}} for the label (default: {HYPOTHESIS_TEMPLATE!r})",
    )
    add_file_arguments(classify)
    classify.set_defaults(run=_classify)


def _classify(arguments: argparse.Namespace) -> None:
    _check_zero_shot(arguments)
    if arguments.input is None:
        check_no_file_options(arguments)
    elif arguments.texts:
        raise InputError("texts and --input are both given: leave one of them out")
    elif arguments.pairs:
        raise InputError("--pairs is for lines: name the second text's --text-pair-column instead")
    classifier = load_classifier(arguments)
    if arguments.input is not None:
        _classify_files(classifier, arguments)
        return
    lines, spoken = itertools.tee(arguments.texts or stdin_lines())
    results: Iterator[Prediction | list[Prediction]]
    if arguments.candidate_labels is not None:
        results = _zero_shot(classifier, lines, arguments, chunk_size_of(arguments, 128))
    else:
        results = classifier.stream(
            _pairs(lines) if arguments.pairs else lines,
            _top_k_of(arguments),
            threshold=_thresholds(arguments.threshold),
            chunk_size=chunk_size_of(arguments, 1024),
            truncate=not arguments.no_truncate,
            long_text=arguments.long_text,
            stride=arguments.stride,
            combine=arguments.combine,
        )
    # The results first: they draw the lines that `spoken` then repeats.
    for result, text in with_progress(zip(results, spoken, strict=False)):
        print(json.dumps({"text": text, **_record(result)}, ensure_ascii=False))


def _classify_files(classifier: Classifier, arguments: argparse.Namespace) -> None:
    options = {"top_k": _top_k_of(arguments), "threshold": _thresholds(arguments.threshold)}
    if arguments.candidate_labels is not None:
        zero_shot = _zero_shot_classifier(classifier, arguments)
        run_files(arguments, zero_shot, multi_label=arguments.multi_label, **options)
        return
    run_files(
        arguments,
        classifier,
        truncate=not arguments.no_truncate,
        long_text=arguments.long_text,
        stride=arguments.stride,
        combine=arguments.combine,
        **options,
    )


def _check_zero_shot(arguments: argparse.Namespace) -> None:
    """InputError for options that go with zero-shot alone, or not with it."""
    if arguments.candidate_labels is None:
        if arguments.multi_label or arguments.hypothesis_template != HYPOTHESIS_TEMPLATE:
            raise InputError("--multi-label and --hypothesis-template need --candidate-labels")
        return
    for option, unfit in (
        ("--pairs", arguments.pairs),
        ("--text-pair-column", arguments.text_pair_column is not None),
        ("--threshold", arguments.threshold is not None),
        ("--add logits", arguments.add == "logits"),
        ("--no-truncate", arguments.no_truncate),
        ("--long-text", arguments.long_text != "truncate"),
        ("--stride", arguments.stride is not None),
        ("--combine", arguments.combine != "mean"),
    ):
        if unfit:
            raise InputError(f"{option} does not go with --candidate-labels: leave one of them out")


def _zero_shot_classifier(
    classifier: Classifier, arguments: argparse.Namespace
) -> ZeroShotClassifier:
    return ZeroShotClassifier.from_classifier(
        classifier,
        arguments.candidate_labels,
        hypothesis_template=arguments.hypothesis_template,
    )


def _zero_shot(
    classifier: Classifier, lines: Iterable[str], arguments: argparse.Namespace, chunk_size: int
) -> Iterator[list[Prediction]]:
    zero_shot = _zero_shot_classifier(classifier, arguments)
    count = None if arguments.top_k == "all" else arguments.top_k
    stream = zero_shot.stream(lines, multi_label=arguments.multi_label, chunk_size=chunk_size)
    return (predictions[:count] for predictions in stream)


def _top_k_of(arguments: argparse.Namespace) -> Any:
    """What was asked for, as `Classifier` takes it: a number, None for all labels, or BEST."""
    return {None: BEST, "all": None}.get(arguments.top_k, arguments.top_k)


def _thresholds(given: list[tuple[str, float]] | None) -> Threshold | None:
    if given is None:
        return None
    if len(given) == 1 and not given[0][0]:
        return given[0][1]
    if not all(label for label, _ in given):
        raise InputError("--threshold is repeated: give one number, or LABEL=N for every label")
    return dict(given)


def _threshold(text: str) -> tuple[str, float]:
    """(label, number); the label is empty where there is a number alone."""
    label, _, number = text.rpartition("=")
    try:
        return label, float(number)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor LABEL=N") from error


def _top_k(text: str) -> int | str:
    return text if text == "all" else positive(text)


def _pairs(lines: Iterable[str]) -> Iterator[TextInput]:
    for number, line in enumerate(lines):
        first, tab, second = line.partition("\t")
        if not tab:
            raise InputError(f"text {number} has no tab: with --pairs a text is FIRST<TAB>SECOND")
        yield first, second


def _record(result: Prediction | list[Prediction]) -> dict[str, Any]:
    if isinstance(result, list):
        return {"predictions": [prediction.to_json() for prediction in result]}
    return result.to_json()
