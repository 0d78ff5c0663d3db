"""Arguments that several commands share, and what loads the model that they name."""

import argparse
from typing import TypeAlias

from bertrt.classifier import Classifier
from bertrt.devices import Device
from bertrt.loading import DEFAULT_MAX_BATCH_TOKENS, GPU_MAX_BATCH_TOKENS
from bertrt.long_text import COMBINE, LONG_TEXT
from bertrt.precision import PRECISIONS

__all__ = [
    "Commands",
    "add_batch_arguments",
    "add_long_text_arguments",
    "add_model_arguments",
    "device",
    "load_classifier",
    "positive",
    "whole",
]


# What `add_parser` is a method of: argparse keeps the class to itself.
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """The model, and how to run it."""
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
    parser.add_argument(
        "--device",
        type=device,
        default="auto",
        help="cpu, cuda, tensorrt, of several GPUs cuda:1; default: CUDA where it works, else cpu",
    )
    parser.add_argument(
        "--precision", choices=PRECISIONS, default="auto", help="default: the best that is there"
    )
    parser.add_argument(
        "--threads", type=positive, metavar="N", help="default: the CPUs this process may use"
    )


def add_long_text_arguments(parser: argparse.ArgumentParser) -> None:
    """What becomes of texts over the model's limit; includes `add_batch_arguments`."""
    parser.add_argument(
        "--long-text",
        choices=LONG_TEXT,
        default="truncate",
        help="read a text over the limit in overlapping windows (default: truncate)",
    )
    parser.add_argument(
        "--stride",
        type=whole,
        metavar="N",
        help="tokens that windows share (default: an eighth of the limit)",
    )
    parser.add_argument(
        "--combine",
        choices=COMBINE,
        default="mean",
        help="how the windows' logits become the text's (default: mean)",
    )
    add_batch_arguments(parser)


def add_batch_arguments(parser: argparse.ArgumentParser) -> None:
    """Whether texts are cut, and the size of batches."""
    parser.add_argument(
        "--no-truncate", action="store_true", help="fail on a text over the model's limit"
    )
    parser.add_argument(
        "--max-batch-tokens",
        type=positive,
        metavar="N",
        help=f"default: {DEFAULT_MAX_BATCH_TOKENS}, and {GPU_MAX_BATCH_TOKENS} on a GPU",
    )


def device(text: str) -> str:
    """An argument that names a device."""
    try:
        return str(Device.parse(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def whole(text: str) -> int:
    """An argument of 0 or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 0 or more")
    return int(text)


def positive(text: str) -> int:
    """An argument of 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def load_classifier(arguments: argparse.Namespace) -> Classifier:
    """The text classifier that the arguments name."""
    return Classifier(
        arguments.model,
        arguments.device,
        threads=arguments.threads,
        precision=arguments.precision,
        file_name=arguments.file_name,
        max_batch_tokens=arguments.max_batch_tokens,
    )
