"""The job: a chunk of rows at a time to labels and scores, and on to the next."""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from bertrt.artifact import fingerprint
from bertrt.columns import ResultColumns
from bertrt.errors import InputError
from bertrt.jobs.chunks import MISSING, Chunk, Position
from bertrt.jobs.encoders import Encoder, encoder_of, error_line
from bertrt.jobs.formats import STANDARD_STREAM, Dialect, FileFormat
from bertrt.jobs.scoring import Scorer
from bertrt.jobs.source import Columns, choose_columns, open_source
from bertrt.jobs.streams import compress
from bertrt.jobs.workplace import Workplace
from bertrt.prefetch import prefetch
from bertrt.tokenizer import TextInput
from bertrt.version import __version__

__all__ = ["JobFiles", "JobReport", "Progress", "run_job"]

# Seconds of work that a kill may cost.
_BETWEEN_CHECKPOINTS = 5.0


@dataclass(frozen=True, slots=True)
class JobFiles:
    """What a job reads and writes.

    inputs: files of one format, one after another; or `-`, standard input.
    output: a file, which appears when it is whole; or `-`, standard output.
    errors: the file of rows that cannot be classified, JSON Lines; None: such a row ends the job.
    text_column, pair_column: where the texts are; None for the column that must be meant, and for
        texts that are no pairs.
    dialect: of CSV and TSV; that of the output, where that is of the same format.
    """

    inputs: Sequence[str]
    input_format: FileFormat
    output: str
    output_format: FileFormat
    errors: str | None = None
    text_column: str | None = None
    pair_column: str | None = None
    dialect: Dialect = field(default_factory=Dialect)


@dataclass(frozen=True, slots=True)
class JobReport:
    """What a job has done, all its runs together.

    rows: read. written: with a result. faults: left out. computed: texts that the model has seen;
    other rows repeat one of them. cut: of those, the texts that were over the model's limit.
    """

    rows: int = 0
    written: int = 0
    faults: int = 0
    computed: int = 0
    cut: int = 0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job has come. consumed: share of the input, from 0 to 1; None where unknown."""

    report: JobReport
    consumed: float | None


def run_job(
    scorer: Scorer,
    result: ResultColumns,
    files: JobFiles,
    *,
    resume: bool = False,
    overwrite: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> JobReport:
    """Classify the rows of files, and write them with their results; all columns are kept.

    The memory does not grow with the files. Rows are in their order; texts that are equal are
    computed once. What is done is in OUTPUT.partial until all is, so that a job that was killed, at
    any moment, goes on where it was, and gives the same file.

    resume: go on with a job that was stopped; where there is none, begin. overwrite: replace an
    output that is there.
    on_progress: called at the start, and after every chunk of rows.
    Raises InputError for files that cannot be read or written, for a row that cannot be classified
    where `files.errors` is None, and for a job that is resumed with other files or another model.
    """
    _check_paths(files)
    source = open_source(files.inputs, files.input_format.name, files.dialect)
    columns = choose_columns(source, files.inputs, files.text_column, files.pair_column)
    if source.columns is not None:
        result.check_free(source.columns, files.inputs[0])
    place = Workplace(files.output, files.errors, resume=resume, overwrite=overwrite)
    try:
        _check_same(place, _identity(scorer, result, files, columns))
        begun = place.state.value("encoder")
        dialect = files.dialect.of_output(files.input_format.name, files.output_format.name)
        encoder = encoder_of(files.output_format.name, source, result, dialect, begun)
        job = _Job(scorer, columns, files, place, encoder)
        if on_progress is not None:
            on_progress(Progress(job.report, None))
        if not place.complete:
            chunks = prefetch(source.chunks(job.position, scorer.rows))
            with closing(chunks):  # type: ignore[type-var]
                for chunk in chunks:
                    job.classify(chunk)
                    if on_progress is not None:
                        on_progress(Progress(job.report, chunk.consumed))
            job.complete()
    except BaseException:
        place.abandon()
        raise
    place.publish(_finisher(files.output_format))
    return job.report


class _Job:
    """Where a job is, and what it does with a chunk."""

    def __init__(
        self, scorer: Scorer, columns: Columns, files: JobFiles, place: Workplace, encoder: Encoder
    ) -> None:
        self._scorer, self._columns, self._files = scorer, columns, files
        self._place, self._encoder = place, encoder
        self.position = Position(**place.state.value("position", {}))
        self.report = JobReport(**place.state.value("report", {}))
        self._saved = time.monotonic()

    def classify(self, chunk: Chunk) -> None:
        """Write the results of a chunk's rows."""
        texts, faults = self._texts(chunk)
        keys = {index: _key(text) for index, text in texts.items()}
        firsts = {key: index for index, key in reversed(keys.items())}
        answers = self._place.state.answers(firsts)
        missing = {key: texts[index] for key, index in firsts.items() if key not in answers}
        computed, reasons, cut = self._computed(missing)
        answers |= computed
        kept = [index for index, key in keys.items() if key in answers]
        faults |= {index: reasons[key] for index, key in keys.items() if key in reasons}
        if faults:
            self._leave_out(chunk, faults)
        if kept:
            logits = np.stack([answers[keys[index]] for index in kept])
            self._write(self._encoder.encode(chunk, kept, logits))
        self.position = chunk.end
        self.report = replace(
            self.report,
            rows=self.report.rows + len(chunk),
            written=self.report.written + len(kept),
            faults=self.report.faults + len(faults),
            computed=self.report.computed + len(computed),
            cut=self.report.cut + cut,
        )
        if time.monotonic() - self._saved >= _BETWEEN_CHECKPOINTS:
            self._checkpoint()

    def complete(self) -> None:
        """Keep that all rows are done."""
        self._write(self._encoder.end())
        self._checkpoint(complete=True)

    def _texts(self, chunk: Chunk) -> tuple[dict[int, TextInput], dict[int, str]]:
        """The texts of the rows that have one, and what is wrong with the others."""
        names = [name for name in (self._columns.text, self._columns.pair) if name is not None]
        texts: dict[int, TextInput] = {}
        faults: dict[int, str] = {}
        for index, values in enumerate(zip(*map(chunk.column, names), strict=True)):
            fault = chunk.fault(index)
            for name, value in zip(names, values, strict=True):
                if fault is None and not isinstance(value, str):
                    fault = _no_text(name, value)
            if fault is None:
                texts[index] = values[0] if len(values) == 1 else (values[0], values[1])
            else:
                faults[index] = fault
        return texts, faults

    def _computed(
        self, texts: Mapping[bytes, TextInput]
    ) -> tuple[dict[bytes, np.ndarray], dict[bytes, str], int]:
        """Numbers of the texts, float32 [labels]; why others have none; how many were cut."""
        reasons: dict[bytes, str] = {}
        if not texts:
            return {}, reasons, 0
        try:
            numbers, cut = self._scorer.scores(list(texts.values()))
        except InputError:
            reasons = self._reasons(texts)
            good = {key: text for key, text in texts.items() if key not in reasons}
            if not reasons:
                raise
            if not good:
                return {}, reasons, 0
            numbers, cut = self._scorer.scores(list(good.values()))
            texts = good
        self._place.state.add_answers(list(texts), numbers)
        return dict(zip(texts, numbers, strict=True)), reasons, int(cut.sum())

    def _reasons(self, texts: Mapping[bytes, TextInput]) -> dict[bytes, str]:
        """Why texts cannot be classified, of those that cannot."""
        reasons = {}
        for key, text in texts.items():
            try:
                self._scorer.check(text)
            except InputError as error:
                reasons[key] = str(error).removeprefix("text 0 ")
        return reasons

    def _leave_out(self, chunk: Chunk, faults: Mapping[int, str]) -> None:
        """Write rows to the errors; InputError for the first where no errors are asked for."""
        for index in sorted(faults):
            place = chunk.place(index)
            if self._files.errors is None:
                raise InputError(
                    f"{place}, {faults[index]}. To leave such rows out, and have them in a file, "
                    "give --errors FILE"
                )
            self._place.add_error(error_line(place, faults[index], chunk.record(index)))

    def _write(self, data: bytes) -> None:
        if data:
            self._place.add_rows(compress(data, self._compression))

    @property
    def _compression(self) -> str | None:
        return self._files.output_format.compression

    def _checkpoint(self, *, complete: bool = False) -> None:
        self._place.checkpoint(
            {
                "position": asdict(self.position),
                "report": asdict(self.report),
                "encoder": self._encoder.begun,
                "complete": complete,
            }
        )
        self._saved = time.monotonic()


def _check_paths(files: JobFiles) -> None:
    targets = [file for file in (files.output, files.errors) if file not in (None, STANDARD_STREAM)]
    taken = {Path(file).resolve() for file in files.inputs if file != STANDARD_STREAM}
    for target in targets:
        assert target is not None
        if Path(target).resolve() in taken:
            raise InputError(f"{target} is asked for twice: read from one file, write to others")
        taken.add(Path(target).resolve())


def _identity(
    scorer: Scorer, result: ResultColumns, files: JobFiles, columns: Columns
) -> dict[str, Any]:
    """What a job must have in common with the one that it goes on with, to give the same file."""
    classifier = scorer.classifier
    thresholds = result.selection.thresholds
    return {
        "version of bertrt": __version__,
        "model": fingerprint(classifier.artifact, classifier.precision),
        "precision": classifier.precision,
        "provider": classifier.provider,
        "input": [_identity_of(file) for file in files.inputs],
        "format": [asdict(files.input_format), asdict(files.output_format), asdict(files.dialect)],
        "columns": [columns.text, columns.pair],
        "result": [
            list(result.names),
            result.selection.top_k,
            None if thresholds is None else thresholds.tolist(),
        ],
        **scorer.settings,
    }


def _identity_of(file: str) -> list[Any]:
    if file == STANDARD_STREAM:
        return [file]
    facts = Path(file).stat()
    return [str(Path(file).resolve()), facts.st_size, facts.st_mtime_ns]


def _check_same(place: Workplace, identity: dict[str, Any]) -> None:
    """Keep what the job is; InputError if it goes on with one that was another."""
    kept = place.state.value("identity")
    if kept is None:
        place.state.commit({"identity": identity})
        return
    other = [name for name in identity if identity[name] != kept.get(name)]
    if other:
        raise InputError(
            f"the job that was stopped had another {', another '.join(other)}: give it as then, or "
            "begin anew with --overwrite"
        )


def _no_text(name: str, value: Any) -> str:
    if value is MISSING:
        return f"has no column {name!r}"
    kind = "null" if value is None else f"of type {type(value).__name__}"
    return f"has no text in column {name!r}: it is {kind}"


def _key(text: TextInput) -> bytes:
    """128 bits that stand for a text or pair."""
    parts = (text,) if isinstance(text, str) else text
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.digest()


def _finisher(output: FileFormat) -> Callable[[Path], Path]:
    """What makes a file of encoded rows the output."""
    if output.name != "parquet":
        return lambda rows: rows

    def finish(rows: Path) -> Path:
        from bertrt.jobs.parquet_encoder import write_parquet

        finished = rows.with_name("finished")
        write_parquet(rows, finished)
        return finished

    return finish
