"""`bertrt serve`: the options, from flags and from the environment."""

import argparse
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from bertrt.server.settings import Settings, environment_name, flag_name

__all__ = ["add_options", "converted", "parse_models", "settings_from"]

_NAME = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*")
_KINDS = {str(bool): "true or false", str(float): "a number"}
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add an option for every setting, and the models."""
    parser.add_argument(
        "models",
        metavar="[NAME=]MODEL",
        nargs="+",
        help="a folder that export-model wrote, one with model.onnx, or a hub id; the first is the "
        "default",
    )
    for option in fields(Settings):
        default = "" if option.default in (None, (), False) else f" (default: {option.default})"
        help_text = f"{option.metadata['help']}{default} [{environment_name(option.name)}]"
        # argparse expands %; a default of None is left to the environment and then to Settings.
        common: dict[str, Any] = {"default": None, "help": help_text.replace("%", "%%")}
        if option.type is bool:
            common["action"] = argparse.BooleanOptionalAction
        elif option.name == "cors_origin":
            common.update(action="append", metavar="ORIGIN")
        elif "choices" in option.metadata:
            common["choices"] = option.metadata["choices"]
        else:
            common["metavar"] = option.name.rsplit("_", maxsplit=1)[-1].upper()
        parser.add_argument(flag_name(option.name), **common)


def settings_from(
    arguments: argparse.Namespace, environment: Mapping[str, str] = os.environ
) -> Settings:
    """The settings: of each the flag, else the environment variable, else the default.

    Raises ValueError for a value that is none of the setting's type or out of its range.
    """
    values: dict[str, Any] = {}
    for option in fields(Settings):
        given = getattr(arguments, option.name)
        variable = environment_name(option.name)
        if given is not None:
            values[option.name] = converted(option, given, flag_name(option.name))
        elif environment.get(variable) and not _is_service_link(environment[variable]):
            values[option.name] = converted(option, environment[variable], variable)
    return Settings(**values)


def parse_models(words: Sequence[str]) -> dict[str, str]:
    """Models by name, in order: `NAME=MODEL`, or MODEL, whose name is that of its last folder.

    Raises ValueError for a name unfit for a URL, and for one given twice.
    """
    models: dict[str, str] = {}
    for word in words:
        name, given, model = word.partition("=")
        if not given:
            name, model = Path(word).expanduser().absolute().name, word
        if not _NAME.fullmatch(name) or not model:
            raise ValueError(
                f"{word!r} gives no name for a model: write NAME=MODEL, with letters, "
                "digits, '.', '_', '-' and '/' in the name"
            )
        if name in models:
            raise ValueError(f"two models are called {name!r}: name them, as in a={model}")
        models[name] = model
    return models


def _is_service_link(value: str) -> bool:
    """Kubernetes puts BERTRT_PORT=tcp://10.0.0.1:80 into every pod beside a Service `bertrt`."""
    return value.startswith("tcp://")


def converted(option: Field[Any], value: Any, source: str) -> Any:
    """A value as the setting's type has it, of words too; ValueError, which names its source."""
    kind = option.type
    try:
        if kind is bool:
            return value if isinstance(value, bool) else _boolean(value)
        if kind == tuple[str, ...]:
            return tuple(value) if isinstance(value, list) else tuple(value.split(","))
        if kind in (int, int | None):
            return int(value)
        return float(value) if kind is float else value
    except ValueError as error:
        wanted = _KINDS.get(str(kind), "a whole number")
        raise ValueError(f"{source} is {value!r}: give {wanted}") from error


def _boolean(text: str) -> bool:
    if text.lower() not in _TRUE + _FALSE:
        raise ValueError(text)
    return text.lower() in _TRUE
