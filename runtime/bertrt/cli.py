"""The `bertrt` command."""

import argparse
import importlib
import io
import itertools
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

from bertrt.aggregation import STRATEGIES, Entity
from bertrt.artifact import MANIFEST
from bertrt.classifier import Classifier
from bertrt.errors import ArtifactError, BertrtError, InputError, MissingDependencyError
from bertrt.instructions import describe_int8
from bertrt.loading import DEFAULT_MAX_BATCH_TOKENS, LoadedModel, load_model
from bertrt.long_text import COMBINE, LONG_TEXT
from bertrt.model_files import external_data
from bertrt.nli import HYPOTHESIS_TEMPLATE
from bertrt.postprocess import Prediction
from bertrt.precision import PRECISIONS
from bertrt.selection import BEST, Threshold
from bertrt.server.cli import add_options, parse_models, settings_from
from bertrt.session import DEVICES
from bertrt.token_classifier import TokenClassifier
from bertrt.tokenizer import TextInput
from bertrt.version import __version__
from bertrt.zero_shot import ZeroShotClassifier

__all__ = ["main"]

_Result = TypeVar("_Result")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code: 0, 1 for an error, 2 for wrong usage, 130 for Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8")  # JSON is, whatever the locale
    if sys.stdout is None:
        print("bertrt: error: standard output is closed", file=sys.stderr)
        return 1
    words = sys.argv[1:] if argv is None else list(argv)
    if words[:1] == ["bench"]:
        return _bench(words[1:])
    arguments = _parse(words)
    try:
        arguments.run(arguments)
        sys.stdout.flush()
    except (BertrtError, ValueError) as error:
        print(f"bertrt: error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        # Where the reader has gone (`| head`), there is nobody to tell.
        if not isinstance(error, BrokenPipeError):
            print(f"bertrt: error: {error}", file=sys.stderr)
        # Python flushes stdout again on exit: give it a sink.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parse(argv: list[str]) -> argparse.Namespace:
    """Parse with the command's own parser, so that options may stand among the texts."""
    parser, commands = _parsers()
    if argv and argv[0] in commands:
        return commands[argv[0]].parse_intermixed_args(argv[1:])
    return parser.parse_args(argv)


def _parsers() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """The parser of the whole command line, and those of the commands by name."""
    parser = argparse.ArgumentParser(
        prog="bertrt", description="Classify text with a BERT model, without PyTorch."
    )
    parser.add_argument("--version", action="version", version=f"bertrt {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    classify = commands.add_parser(
        "classify",
        help="classify texts, JSON Lines out",
        description="Classify each TEXT, or each line of standard input; one JSON object a text.",
    )
    _add_model_arguments(classify)
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
    _add_long_text_arguments(classify)
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
    classify.set_defaults(run=_classify)

    rerank = commands.add_parser(
        "rerank",
        help="rank texts for a query, JSON Lines out",
        description="Rank each TEXT, or each line of standard input, by how well it answers QUERY, "
        "with a model of one label (a cross-encoder); one JSON object a text, best first.",
    )
    _add_model_arguments(rerank)
    rerank.add_argument("query", metavar="QUERY")
    rerank.add_argument("texts", metavar="TEXT", nargs="*", help="a text (default: stdin)")
    rerank.add_argument("--top-k", type=_positive, metavar="N", help="the N best texts alone")
    _add_long_text_arguments(rerank)
    rerank.set_defaults(run=_rerank)

    tag = commands.add_parser(
        "tag",
        help="find named entities in texts, JSON Lines out",
        description="Find the entities of each TEXT, or of each line of standard input, with a "
        "token classifier; one JSON object a text.",
    )
    _add_model_arguments(tag)
    tag.add_argument("texts", metavar="TEXT", nargs="*", help="a text (default: stdin)")
    tag.add_argument(
        "--aggregation",
        choices=STRATEGIES,
        default="simple",
        help="how tokens become entities; none: every token (default: simple)",
    )
    tag.add_argument(
        "--stride",
        type=_whole,
        metavar="N",
        help="read a text over the model's limit in windows that share N tokens, and do not cut it",
    )
    _add_batch_arguments(tag)
    tag.set_defaults(run=_tag)

    info = commands.add_parser(
        "info", help="what a model is and how it would run here", description="Describe a model."
    )
    _add_model_arguments(info)
    info.add_argument("--json", action="store_true", help="print one JSON object")
    info.set_defaults(run=_info)

    serve = commands.add_parser(
        "serve",
        help="answer over HTTP",
        description="Serve models over HTTP, in the protocols of text-embeddings-inference, "
        "Hugging Face's Inference API, KServe v2 (Triton), vLLM and Infinity. In brackets: the "
        "environment variable of an option. SIGTERM drains, SIGHUP loads the models anew.",
    )
    add_options(serve)
    serve.set_defaults(run=_serve)

    # Listed here; `main` hands it to the benchmark, which has a parser of its own.
    commands.add_parser("bench", help="measure bertrt beside PyTorch and other engines")
    return parser, dict(commands.choices)


def _serve(arguments: argparse.Namespace) -> None:
    settings, models = settings_from(arguments), parse_models(arguments.models)
    try:  # here, because a program that only classifies needs none of these packages
        from bertrt.server.run import serve
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"serving needs {error.name}: install it with `pip install 'bertrt[cpu,serve]'`"
        ) from error
    serve(models, settings)


def _bench(words: list[str]) -> int:
    """Run `bertrt bench`, whose packages a server has no use for."""
    try:  # by name: the runtime imports nothing of the benchmark's for anything else
        bench = importlib.import_module("bertrt_bench.cli").main
    except ModuleNotFoundError as error:
        print(
            f"bertrt: error: the benchmark needs {error.name}: install bertrt from a checkout with "
            "`pip install --editable '.[cpu,export,bench]'`",
            file=sys.stderr,
        )
        return 1
    code: int = bench(words)
    return code


def _add_model_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="a folder of export-model's, one with another exporter's model.onnx, or a hub id",
    )
    parser.add_argument(
        "--file-name",
        metavar="FILE",
        help="the ONNX file to run, in MODEL, such as onnx/model_quantized.onnx",
    )
    parser.add_argument("--device", choices=DEVICES, default="auto")
    parser.add_argument(
        "--precision", choices=PRECISIONS, default="auto", help="default: the best that is there"
    )
    parser.add_argument(
        "--threads", type=_positive, metavar="N", help="default: the CPUs this process may use"
    )


def _add_long_text_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--long-text",
        choices=LONG_TEXT,
        default="truncate",
        help="read a text over the limit in overlapping windows (default: truncate)",
    )
    parser.add_argument(
        "--stride",
        type=_whole,
        metavar="N",
        help="tokens that windows share (default: an eighth of the limit)",
    )
    parser.add_argument(
        "--combine",
        choices=COMBINE,
        default="mean",
        help="how the windows' logits become the text's (default: mean)",
    )
    _add_batch_arguments(parser)


def _add_batch_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--no-truncate", action="store_true", help="fail on a text over the model's limit"
    )
    parser.add_argument(
        "--max-batch-tokens", type=_positive, default=DEFAULT_MAX_BATCH_TOKENS, metavar="N"
    )


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 0 or more")
    return int(text)


def _threshold(text: str) -> tuple[str, float]:
    """(label, number); the label is empty where there is a number alone."""
    label, _, number = text.rpartition("=")
    try:
        return label, float(number)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor LABEL=N") from error


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def _top_k(text: str) -> int | str:
    return text if text == "all" else _positive(text)


def _classify(arguments: argparse.Namespace) -> None:
    classifier = _classifier(arguments)
    lines, spoken = itertools.tee(arguments.texts or _stdin_lines())
    results: Iterator[Prediction | list[Prediction]]
    if arguments.candidate_labels is not None:
        results = _zero_shot(classifier, lines, arguments, _chunk_size(arguments, 128))
    else:
        if arguments.multi_label or arguments.hypothesis_template != HYPOTHESIS_TEMPLATE:
            raise InputError("--multi-label and --hypothesis-template need --candidate-labels")
        results = classifier.stream(
            _pairs(lines) if arguments.pairs else lines,
            {None: BEST, "all": None}.get(arguments.top_k, arguments.top_k),
            threshold=_thresholds(arguments.threshold),
            chunk_size=_chunk_size(arguments, 1024),
            truncate=not arguments.no_truncate,
            long_text=arguments.long_text,
            stride=arguments.stride,
            combine=arguments.combine,
        )
    # The results first: they draw the lines that `spoken` then repeats.
    for result, text in _with_progress(zip(results, spoken, strict=False)):
        print(json.dumps({"text": text, **_record(result)}, ensure_ascii=False))


def _classifier(arguments: argparse.Namespace) -> Classifier:
    return Classifier(
        arguments.model,
        arguments.device,
        threads=arguments.threads,
        precision=arguments.precision,
        file_name=arguments.file_name,
        max_batch_tokens=arguments.max_batch_tokens,
    )


def _zero_shot(
    classifier: Classifier, lines: Iterable[str], arguments: argparse.Namespace, chunk_size: int
) -> Iterator[list[Prediction]]:
    for option, unfit in (
        ("--pairs", arguments.pairs),
        ("--threshold", arguments.threshold is not None),
        ("--no-truncate", arguments.no_truncate),
        ("--long-text", arguments.long_text != "truncate"),
        ("--stride", arguments.stride is not None),
        ("--combine", arguments.combine != "mean"),
    ):
        if unfit:
            raise InputError(f"{option} does not go with --candidate-labels: leave one of them out")
    zero_shot = ZeroShotClassifier.from_classifier(
        classifier,
        arguments.candidate_labels,
        hypothesis_template=arguments.hypothesis_template,
    )
    count = None if arguments.top_k == "all" else arguments.top_k
    stream = zero_shot.stream(lines, multi_label=arguments.multi_label, chunk_size=chunk_size)
    return (predictions[:count] for predictions in stream)


def _thresholds(given: list[tuple[str, float]] | None) -> Threshold | None:
    if given is None:
        return None
    if len(given) == 1 and not given[0][0]:
        return given[0][1]
    if not all(label for label, _ in given):
        raise InputError("--threshold is repeated: give one number, or LABEL=N for every label")
    return dict(given)


def _rerank(arguments: argparse.Namespace) -> None:
    classifier = _classifier(arguments)
    texts = arguments.texts or list(_stdin_lines())
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
            "score": round(ranked.score, 6),
        }
        print(json.dumps(record, ensure_ascii=False))


def _tag(arguments: argparse.Namespace) -> None:
    classifier = TokenClassifier(
        arguments.model,
        arguments.device,
        threads=arguments.threads,
        precision=arguments.precision,
        file_name=arguments.file_name,
        max_batch_tokens=arguments.max_batch_tokens,
    )
    lines, spoken = itertools.tee(arguments.texts or _stdin_lines())
    found = classifier.stream(
        lines,
        aggregation_strategy=arguments.aggregation,
        stride=arguments.stride,
        chunk_size=_chunk_size(arguments, 1024),
        truncate=not arguments.no_truncate,
    )
    for entities, text in _with_progress(zip(found, spoken, strict=False)):
        record = {"text": text, "entities": [_entity(entity) for entity in entities]}
        print(json.dumps(record, ensure_ascii=False))


def _entity(entity: Entity) -> dict[str, Any]:
    facts = {**asdict(entity), "score": round(entity.score, 6)}
    return {name: value for name, value in facts.items() if value is not None}


def _chunk_size(arguments: argparse.Namespace, size: int) -> int:
    """Someone who types wants each answer at once; a file goes faster in large chunks."""
    typed = not arguments.texts and sys.stdin is not None and sys.stdin.isatty()
    return 1 if typed else size


def _with_progress(results: Iterable[tuple[_Result, str]]) -> Iterable[tuple[_Result, str]]:
    """Count texts on standard error, if that is a terminal and the results go elsewhere."""
    if sys.stdout.isatty() or not sys.stderr.isatty():
        return results
    from tqdm import tqdm  # comes with huggingface_hub; not needed where nobody looks

    counted: Iterable[tuple[_Result, str]] = tqdm(results, unit=" texts", file=sys.stderr)
    return counted


def _record(result: Prediction | list[Prediction]) -> dict[str, Any]:
    if isinstance(result, list):
        return {"predictions": [_record(prediction) for prediction in result]}
    return {"label": result.label, "score": round(result.score, 6)}


def _stdin_lines() -> Iterator[str]:
    if sys.stdin is None:
        raise InputError("there is no text to classify, and standard input is closed")
    if sys.stdin.isatty():
        print("bertrt: reading one text a line; end with Ctrl-D", file=sys.stderr)
    for number, line in enumerate(sys.stdin.buffer, start=1):
        try:
            yield line.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise InputError(
                f"line {number} of standard input is not UTF-8 ({error.reason} at byte "
                f"{error.start}): convert the input with iconv"
            ) from error


def _pairs(lines: Iterable[str]) -> Iterator[TextInput]:
    for number, line in enumerate(lines):
        first, tab, second = line.partition("\t")
        if not tab:
            raise InputError(f"text {number} has no tab: with --pairs a text is FIRST<TAB>SECOND")
        yield first, second


def _info(arguments: argparse.Namespace) -> None:
    loaded = load_model(
        arguments.model,
        arguments.device,
        threads=arguments.threads,
        precision=arguments.precision,
        file_name=arguments.file_name,
    )
    try:
        facts = _facts(loaded)
    except (KeyError, TypeError) as error:
        raise ArtifactError(
            f"{loaded.artifact.path / MANIFEST} is incomplete or malformed: {error!r}; "
            "export the model again"
        ) from error
    if arguments.json:
        print(json.dumps(facts, ensure_ascii=False, indent=2))
        return
    readable = {
        **facts,
        "exported_from": facts["exported_from"] or "unknown",
        "exported_with": facts["exported_with"] or "unknown",
        "labels": ", ".join(facts["labels"]),
        "thresholds": _thresholds_line(facts["thresholds"]),
        "max_length": f"{facts['max_length']} tokens",
        "size": f"{facts['size'] / 1e6:.1f} MB",
        "precisions": ", ".join(facts["precisions"]),
        "verified": _verified_line(facts["verified"]),
    }
    width = max(len(name) for name in readable)
    for name, value in readable.items():
        print(f"{name.replace('_', ' '):<{width}}  {value}")


def _facts(loaded: LoadedModel) -> dict[str, Any]:
    """What there is to say of a model: sizes in bytes, the rest as in the manifest."""
    artifact = loaded.artifact
    manifest, graph = artifact.manifest, artifact.graphs[loaded.precision]
    exported: dict[str, Any] = {"exported_from": None, "exported_with": None}
    verified, sizes = None, [file.stat().st_size for file in (graph, *external_data(graph))]
    if manifest is not None:
        exported["exported_from"] = manifest["source"]["model"]
        exported["exported_with"] = f"bertrt {manifest['bertrt_version']}"
        verified = manifest["verified"][loaded.precision]
        sizes = [file["size"] for file in manifest["files"].values()]
    thresholds = artifact.thresholds
    return {
        "model": str(artifact.path),
        **exported,
        "task": artifact.task,
        "labels": list(artifact.labels),
        "scores": "raw values" if artifact.activation == "none" else artifact.activation,
        "thresholds": thresholds and dict(zip(artifact.labels, thresholds, strict=True)),
        "max_length": artifact.max_length,
        "precisions": list(artifact.graphs),
        "precision": loaded.precision,
        "layout": artifact.layout,
        "size": sum(sizes),
        "verified": verified,
        "runs_on": loaded.provider,
        "threads": loaded.threads,
        "cpu_int8": describe_int8(),
    }


def _thresholds_line(thresholds: dict[str, float] | None) -> str:
    if thresholds is None:
        return "none tuned"
    return ", ".join(f"{label} {value:g}" for label, value in thresholds.items())


def _verified_line(verified: dict[str, Any] | None) -> str:
    """What the exporter measured against PyTorch, in the precision that is loaded."""
    if verified is None:
        return "by nobody: not exported by bertrt"
    difference, texts = verified["max_abs_diff"], verified["texts"]
    if "agreement" not in verified:
        limit = verified["tolerance"]
        return f"max |Δlogit| {difference:.1e} against PyTorch on {texts} texts (limit {limit:.0e})"
    return (
        f"same answer as PyTorch for {verified['agreement']:.2%} of {texts} texts, mean |Δlogit| "
        f"{verified['mean_abs_diff']:.3f}, max {difference:.3f}"
    )
