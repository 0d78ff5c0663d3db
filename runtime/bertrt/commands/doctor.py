"""`bertrt doctor`. It imports nothing that needs onnxruntime, unless it is given a model."""

import argparse
import json
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from bertrt.diagnosis import Facts, Fault, find_faults, find_notes, gather
from bertrt.errors import BertrtError

__all__ = ["SUMMARY", "main", "page"]

SUMMARY = "find what is wrong with this installation, and what mends it"
_DEVICES = ("auto", "cpu", "cuda", "tensorrt")
_WIDTH = 100
_COMMAND, _GLUE = re.compile(r"`[^`]*`"), "\0"

_Rows = list[tuple[str, str]]


def main(words: Sequence[str]) -> int:
    """Run `bertrt doctor`; 1 where there are faults, else 0."""
    arguments = _parser().parse_args(words)
    facts = gather(arguments.device)
    faults = find_faults(facts, arguments.device)
    model = None
    complete = facts.packages.version is not None and all(facts.versions.values())
    if arguments.model is not None and complete:
        model, fault = _load(arguments.model, arguments.device)
        faults += [fault] if fault else []
    notes = find_notes(facts)
    if arguments.json:
        found = {**asdict(facts), "model": model, "faults": [asdict(fault) for fault in faults]}
        print(json.dumps({**found, "notes": notes}, ensure_ascii=False, indent=2))
    else:
        print("\n".join(page(facts, model, faults, notes)))
    return 1 if faults else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bertrt doctor",
        description="Look at the packages, the NVIDIA driver and its libraries, and the CPU; say "
        "what is wrong and what mends it. Exits with 1 if anything is.",
    )
    parser.add_argument("model", metavar="MODEL", nargs="?", help="a model to load as well")
    parser.add_argument(
        "--device",
        choices=_DEVICES,
        default="auto",
        help="what is wanted: cuda and tensorrt count all that keeps this machine from them "
        "(default: auto)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _load(model: str, device: str) -> tuple[dict[str, Any] | None, Fault | None]:
    """What runs a model, or why it cannot be loaded."""
    from bertrt.loading import load_model  # here: it needs onnxruntime

    try:
        loaded = load_model(model, device)
    except (BertrtError, ValueError, OSError) as error:
        return None, Fault(f"{model} cannot be loaded: {error}.", "Do as that sentence says.")
    return {
        "path": str(loaded.artifact.path),
        "precision": loaded.precision,
        "runs_on": loaded.provider,
        "threads": loaded.threads,
    }, None


def page(
    facts: Facts, model: dict[str, Any] | None, faults: Sequence[Fault], notes: Sequence[str]
) -> Iterator[str]:
    """The lines of the report for people."""
    yield from _section("Packages", _packages(facts))
    yield from _section("NVIDIA", _nvidia(facts))
    yield from _section("CPU", _cpu(facts))
    if model is not None:
        yield from _section("Model", [(name.replace("_", " "), str(model[name])) for name in model])
    if notes:
        yield from _list("Notes", [(note, ()) for note in notes])
    if faults:
        yield from _list("Faults", [(fault.what, _mend(fault)) for fault in faults])
    else:
        yield "No faults found."


def _section(title: str, rows: _Rows) -> Iterator[str]:
    width = max(len(name) for name, _ in rows)
    yield title
    for name, value in rows:
        yield f"  {name:<{width}}  {value}"
    yield ""


def _list(title: str, entries: Sequence[tuple[str, Sequence[str]]]) -> Iterator[str]:
    yield title
    for number, (sentence, mend) in enumerate(entries, start=1):
        first, rest = f"  {number}. ", "     "
        lines = [*_wrapped(sentence), *mend]
        yield first + lines[0]
        yield from (rest + line for line in lines[1:])
    yield ""


def _mend(fault: Fault) -> list[str]:
    """A command on a line of its own, to be copied; other advice wrapped."""
    if fault.command is not None:
        return [f"$ {fault.command}"]
    return _wrapped(fault.mend)


def _wrapped(text: str) -> list[str]:
    """The text in lines, its commands whole."""
    whole = _COMMAND.sub(lambda command: command.group().replace(" ", _GLUE), text)
    lines = textwrap.wrap(whole, _WIDTH - 5, break_on_hyphens=False, break_long_words=False)
    return [line.replace(_GLUE, " ") for line in lines]


def _packages(facts: Facts) -> _Rows:
    packages = facts.packages
    rows = [(name, version or "not installed") for name, version in facts.versions.items()]
    rows += packages.wheels.items() or [("onnxruntime", "not installed")]
    if packages.version is not None:
        cuda = f", built for CUDA {packages.cuda}" if packages.has_cuda and packages.cuda else ""
        rows.append(("imported", f"{packages.wheel or 'onnxruntime'} {packages.version}{cuda}"))
        rows.append(("providers", ", ".join(packages.providers)))
    elif packages.problem is not None:
        rows.append(("imported", f"nothing: {packages.problem}"))
    return rows


def _nvidia(facts: Facts) -> _Rows:
    driver = facts.driver
    rows = [
        (
            "GPU",
            f"{gpu.name}, {_gigabytes(gpu.memory)}, compute capability {_dotted(gpu.capability)}",
        )
        for gpu in driver.gpus
    ]
    newest = "" if driver.cuda is None else f"runs CUDA up to {_dotted(driver.cuda)}"
    known = [part for part in (driver.release, newest) if part]
    rows = rows or [("GPU", "none that CUDA can use")]
    rows.append(("driver", ", ".join(known) or ("loaded" if driver.loads else "none")))
    rows += [(library.name, library.path or "missing") for library in facts.libraries]
    return [(_short(name), value) for name, value in rows]


def _cpu(facts: Facts) -> _Rows:
    machine = facts.machine
    quota = "no quota" if machine.quota is None else f"quota {machine.quota:g}"
    memory = "unknown" if machine.memory is None else _gigabytes(machine.memory)
    limit = (
        "no limit" if machine.memory_limit is None else f"limit {_gigabytes(machine.memory_limit)}"
    )
    return [
        ("model", machine.cpu),
        ("instructions", " ".join(machine.instructions) or "unknown"),
        ("int8", machine.int8),
        ("CPUs", f"{machine.cpus}, affinity {machine.affinity}, {quota}"),
        ("threads", str(machine.threads)),
        ("memory", f"{memory}, {limit}"),
    ]


def _short(library: str) -> str:
    """`cublas` of libcublas.so.13."""
    return library.partition(".so")[0].removeprefix("lib")


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB"


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
