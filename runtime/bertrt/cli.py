"""The `bertrt` command."""

import argparse
import importlib
import io
import itertools
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from bertrt.artifact import MANIFEST
from bertrt.classifier import DEFAULT_MAX_BATCH_TOKENS, Classifier
from bertrt.errors import ArtifactError, BertrtError, InputError, MissingDependencyError
from bertrt.instructions import describe_int8
from bertrt.model_files import external_data
from bertrt.postprocess import Prediction
from bertrt.precision import PRECISIONS
from bertrt.server.cli import add_options, parse_models, settings_from
from bertrt.session import DEVICES
from bertrt.tokenizer import TextInput
from bertrt.version import __version__

__all__ = ["main"]


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
    classify.add_argument("--pairs", action="store_true", help="a text is FIRST<TAB>SECOND")
    classify.add_argument(
        "--no-truncate", action="store_true", help="fail on a text over the model's limit"
    )
    classify.add_argument(
        "--max-batch-tokens", type=_positive, default=DEFAULT_MAX_BATCH_TOKENS, metavar="N"
    )
    classify.set_defaults(run=_classify)

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


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def _top_k(text: str) -> int | str:
    return text if text == "all" else _positive(text)


def _classify(arguments: argparse.Namespace) -> None:
    classifier = Classifier(
        arguments.model,
        arguments.device,
        threads=arguments.threads,
        precision=arguments.precision,
        file_name=arguments.file_name,
        max_batch_tokens=arguments.max_batch_tokens,
    )
    lines, spoken = itertools.tee(arguments.texts or _stdin_lines())
    texts = _pairs(lines) if arguments.pairs else lines
    # Someone who types wants each answer at once; a file goes faster in large chunks.
    typed = not arguments.texts and sys.stdin is not None and sys.stdin.isatty()
    ranked = classifier.stream(
        texts,
        None if arguments.top_k == "all" else arguments.top_k or 1,
        chunk_size=1 if typed else 1024,
        truncate=not arguments.no_truncate,
    )
    # The results first: they draw the lines that `spoken` then repeats.
    for predictions, text in _with_progress(zip(ranked, spoken, strict=False)):
        print(json.dumps(_record(text, predictions, arguments.top_k), ensure_ascii=False))


def _with_progress(
    results: Iterable[tuple[list[Prediction], str]],
) -> Iterable[tuple[list[Prediction], str]]:
    """Count texts on standard error, if that is a terminal and the results go elsewhere."""
    if sys.stdout.isatty() or not sys.stderr.isatty():
        return results
    from tqdm import tqdm  # comes with huggingface_hub; not needed where nobody looks

    counted: Iterable[tuple[list[Prediction], str]] = tqdm(results, unit=" texts", file=sys.stderr)
    return counted


def _record(text: str, predictions: list[Prediction], top_k: int | str | None) -> dict[str, Any]:
    ranked = [{"label": p.label, "score": round(p.score, 6)} for p in predictions]
    return {"text": text, **(ranked[0] if top_k is None else {"predictions": ranked})}


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
    classifier = Classifier(
        arguments.model,
        arguments.device,
        threads=arguments.threads,
        precision=arguments.precision,
        file_name=arguments.file_name,
    )
    try:
        facts = _facts(classifier)
    except (KeyError, TypeError) as error:
        raise ArtifactError(
            f"{classifier.artifact.path / MANIFEST} is incomplete or malformed: {error!r}; "
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


def _facts(classifier: Classifier) -> dict[str, Any]:
    """What there is to say of a model: sizes in bytes, the rest as in the manifest."""
    artifact = classifier.artifact
    manifest, graph = artifact.manifest, artifact.graphs[classifier.precision]
    exported: dict[str, Any] = {"exported_from": None, "exported_with": None}
    verified, sizes = None, [file.stat().st_size for file in (graph, *external_data(graph))]
    if manifest is not None:
        exported["exported_from"] = manifest["source"]["model"]
        exported["exported_with"] = f"bertrt {manifest['bertrt_version']}"
        verified = manifest["verified"][classifier.precision]
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
        "precision": classifier.precision,
        "layout": artifact.layout,
        "size": sum(sizes),
        "verified": verified,
        "runs_on": classifier.provider,
        "threads": classifier.threads,
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
