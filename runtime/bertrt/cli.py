"""The `bertrt` command."""

import argparse
import importlib
import io
import os
import sys
from collections.abc import Sequence

from bertrt.commands import doctor
from bertrt.errors import BertrtError, MissingDependencyError
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
    try:
        code = _run(words)
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
    return code


def _run(words: list[str]) -> int:
    # Before the others are imported, which need what it may find missing.
    if words[:1] == ["doctor"]:
        return doctor.main(words[1:])
    arguments = _parse(words)
    arguments.run(arguments)
    return 0


def _parse(argv: list[str]) -> argparse.Namespace:
    """Parse with the command's own parser, so that options may stand among the texts."""
    parser, commands = _parsers()
    if argv and argv[0] in commands:
        return commands[argv[0]].parse_intermixed_args(argv[1:])
    return parser.parse_args(argv)


def _parsers() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """The parser of the whole command line, and those of the commands by name."""
    from bertrt.commands import classify, info, prepack, rerank, tag, triton
    from bertrt.server.cli import add_options

    parser = argparse.ArgumentParser(
        prog="bertrt", description="Classify text with a BERT model, without PyTorch."
    )
    parser.add_argument("--version", action="version", version=f"bertrt {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    for command in (classify, rerank, tag, info, prepack, triton):
        command.add_command(commands)

    serve = commands.add_parser(
        "serve",
        help="answer over HTTP",
        description="Serve models over HTTP, in the protocols of text-embeddings-inference, "
        "Hugging Face's Inference API, KServe v2 (Triton), vLLM and Infinity. In brackets: the "
        "environment variable of an option. SIGTERM drains, SIGHUP loads the models anew.",
    )
    add_options(serve)
    serve.set_defaults(run=_serve)

    # Listed here; `main` hands them on, since they have parsers of their own.
    commands.add_parser("doctor", help=doctor.SUMMARY)
    commands.add_parser("bench", help="measure bertrt beside PyTorch and other engines")
    return parser, dict(commands.choices)


def _serve(arguments: argparse.Namespace) -> None:
    from bertrt.server.cli import parse_models, settings_from

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
    # Told apart here: one needs PyTorch, and the other runs where none is.
    sizing = any(word.partition("=")[0] == "--capacity" for word in words)
    module = "bertrt_bench.capacity.cli" if sizing else "bertrt_bench.cli"
    try:  # by name: the runtime imports nothing of the benchmark's for anything else
        bench = importlib.import_module(module).main
    except ModuleNotFoundError as error:
        how = (
            "it with `pip install 'bertrt[cpu,serve,bench]'`"
            if sizing
            else "bertrt from a checkout with `pip install --editable '.[cpu,export,bench]'`"
        )
        print(
            f"bertrt: error: the benchmark needs {error.name}: install {how}",
            file=sys.stderr,
        )
        return 1
    code: int = bench(words)
    return code
