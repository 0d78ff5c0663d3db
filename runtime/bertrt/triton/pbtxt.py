"""Protobuf's text format, as far as config.pbtxt needs it.

protobuf itself would need Triton's schema, which comes with tritonclient and gRPC: much to install
for four short files. The tests parse what is written here with both.
Source: https://protobuf.dev/reference/protobuf/textformat-spec/
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, Union

__all__ = ["Message", "Word", "to_pbtxt"]


@dataclass(frozen=True, slots=True)
class Word:
    """The name of a value of an enumeration, which has no quotes."""

    name: str


# A field that is repeated, as those of a map are too, is a list.
_Single: TypeAlias = Union[str, bool, int, Word, "Message"]
Message: TypeAlias = Mapping[str, _Single | Sequence[_Single]]

_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def to_pbtxt(message: Message) -> str:
    """A message as text, a field a line, in the order given."""
    return "".join(f"{line}\n" for line in _lines(message))


def _lines(message: Message) -> Iterator[str]:
    for name, value in message.items():
        repeated = isinstance(value, Sequence) and not isinstance(value, str)
        # mypy does not see that this tells a list from a message.
        for item in value if repeated else [value]:  # type: ignore[union-attr]
            if isinstance(item, Mapping):
                yield f"{name} {{"
                yield from (f"  {line}" for line in _lines(item))
                yield "}"
            else:
                yield f"{name}: {_scalar(item)}"  # type: ignore[arg-type]


def _scalar(value: str | bool | int | Word) -> str:
    if isinstance(value, Word):
        return value.name
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    return '"' + "".join(map(_escaped, value)) + '"'


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    return character if character >= " " else f"\\{ord(character):03o}"
