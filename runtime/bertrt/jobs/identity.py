"""What a job is: what it must have in common with one that it goes on with."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from bertrt.artifact import fingerprint
from bertrt.columns import ResultColumns
from bertrt.errors import InputError
from bertrt.jobs.files import JobFiles
from bertrt.jobs.formats import STANDARD_STREAM
from bertrt.jobs.scoring import Scorer
from bertrt.jobs.source import Columns
from bertrt.jobs.state import JobState
from bertrt.version import __version__

__all__ = ["check_same", "identity"]


# By what of the command line some of it is given.
_OPTIONS = {
    "input": "--input",
    "format": "--input-format, --output-format, --delimiter, --no-quotes, --no-header",
    "text column": "--text-column, --text-pair-column",
    "result": "--add, --prefix, --top-k, --threshold",
    "long texts": "--long-text, --stride, --combine, --no-truncate",
    "batch size": "--max-batch-tokens",
    "provider": "--device",
}


def identity(
    scorer: Scorer, result: ResultColumns, files: JobFiles, columns: Columns
) -> dict[str, Any]:
    """All that the output depends on, in words for people and values that JSON has."""
    classifier = scorer.classifier
    thresholds = result.selection.thresholds
    return {
        "version of bertrt": __version__,
        "model": fingerprint(classifier.artifact, classifier.precision),
        "precision": classifier.precision,
        "provider": classifier.provider,
        "batch size": classifier.max_batch_tokens,
        "input": [_file(file) for file in files.inputs],
        "format": [asdict(files.input_format), asdict(files.output_format), asdict(files.dialect)],
        "text column": [columns.text, columns.pair],
        "result": [
            list(result.names),
            result.selection.top_k,
            None if thresholds is None else thresholds.tolist(),
        ],
        **scorer.settings,
    }


def check_same(state: JobState, current: dict[str, Any]) -> None:
    """Keep what the job is; InputError if it goes on with one that was another."""
    kept = state.value("identity")
    if kept is None:
        state.commit({"identity": current})
        return
    other = [
        f"{name} ({_OPTIONS[name]})" if name in _OPTIONS else name
        for name in current
        if current[name] != kept.get(name)
    ]
    if other:
        raise InputError(
            f"the job that was stopped had another {', another '.join(other)}: give it as then, or "
            "begin anew with --overwrite"
        )


def _file(file: str) -> list[Any]:
    if file == STANDARD_STREAM:
        return [file]
    facts = Path(file).stat()
    return [str(Path(file).resolve()), facts.st_size, facts.st_mtime_ns]
