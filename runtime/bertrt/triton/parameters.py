"""What a step's config.pbtxt tells the step, in Triton's `parameters`."""

import json
from collections.abc import Mapping
from typing import Any

from bertrt.triton.pbtxt import Message

__all__ = ["from_config", "to_parameters"]


def to_parameters(values: Mapping[str, object]) -> list[Message]:
    """The entries of the field `parameters`: strings as they are, all else as JSON."""
    return [
        {"key": key, "value": {"string_value": value if isinstance(value, str) else _json(value)}}
        for key, value in values.items()
    ]


def from_config(model_config: str) -> dict[str, str]:
    """The parameters of a configuration as Triton hands it to a Python model: as JSON."""
    parameters: dict[str, Any] = json.loads(model_config).get("parameters", {})
    return {key: str(value["string_value"]) for key, value in parameters.items()}


def _json(value: object) -> str:
    return json.dumps(value)  # ASCII, whatever the labels
