"""The job: a chunk of rows at a time to labels and scores, and on to the next."""

import hashlib
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial

import numpy as np

from bertrt.columns import ResultColumns
from bertrt.errors import InputError
from bertrt.jobs.chunks import Chunk, Position, no_text
from bertrt.jobs.encoders import Encoder, encoder_of, error_line, finisher_of
from bertrt.jobs.files import JobFiles, check_files
from bertrt.jobs.identity import check_same, identity
from bertrt.jobs.scoring import Scorer, reason
from bertrt.jobs.source import Columns, choose_columns, open_source
from bertrt.jobs.streams import compress
from bertrt.jobs.workplace import Workplace
from bertrt.prefetch import prefetch
from bertrt.tokenizer import TextInput

__all__ = ["JobReport", "Progress", "run_job"]

# Seconds of work that a kill may cost.
_BETWEEN_CHECKPOINTS = 5.0


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
    """Run a job as `classify_files` describes it, whose arguments and errors these are."""
    check_files(files, resume=resume)
    source = open_source(files.inputs, files.input_format.name, files.dialect)
    columns = choose_columns(source, files.inputs, files.text_column, files.pair_column)
    if source.columns is not None:
        result.check_free(source.columns, files.inputs[0])
    make_encoder = partial(encoder_of, files, source, result)
    make_encoder(None)  # whether it can be, before anything is replaced
    place = Workplace(files.output, files.errors, resume=resume, overwrite=overwrite)
    try:
        check_same(place.state, identity(scorer, result, files, columns))
        encoder = make_encoder(place.state.value("encoder"))
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
    place.publish(finisher_of(files))
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
            data = self._encoder.encode(chunk, kept, logits)
            self._place.add_rows(compress(data, self._files.output_format.compression))
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
        data = self._encoder.end()
        if data or not self.report.written:  # what is compressed is not nothing, though empty
            self._place.add_rows(compress(data, self._files.output_format.compression))
        if self._files.errors is not None and not self.report.faults:
            self._place.add_errors(b"")
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
                    fault = no_text(name, value)
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
            found = {key: reason(self._scorer, text) for key, text in texts.items()}
            reasons = {key: why for key, why in found.items() if why is not None}
            good = {key: text for key, text in texts.items() if key not in reasons}
            if not reasons:
                raise
            if not good:
                return {}, reasons, 0
            numbers, cut = self._scorer.scores(list(good.values()))
            texts = good
        self._place.state.add_answers(list(texts), numbers)
        return dict(zip(texts, numbers, strict=True)), reasons, int(cut.sum())

    def _leave_out(self, chunk: Chunk, faults: Mapping[int, str]) -> None:
        """Write rows to the errors; InputError for the first where no errors are asked for."""
        if self._files.errors is None:
            first = min(faults)
            raise InputError(
                f"{chunk.place(first)}, {faults[first]}. To leave such rows out, and have them in "
                "a file, give --errors FILE"
            )
        self._place.add_errors(
            b"".join(
                error_line(chunk.place(index), faults[index], chunk.record(index))
                for index in sorted(faults)
            )
        )

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


def _key(text: TextInput) -> bytes:
    """128 bits that stand for a text or pair."""
    parts = (text,) if isinstance(text, str) else text
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.digest()
