"""checkpoint -> traced graph -> packed graph -> verified artifact."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from bertrt import BertrtError
from bertrt.artifact import MIN_MAX_LENGTH
from bertrt.loading import load_model
from bertrt.packing import pack
from bertrt.tokenizer import Encoding, TextTokenizer

from bertrt_export.artifact_writer import (
    BERTRT,
    GRAPH_FILES,
    check_output,
    remove_graph,
    save_graph,
    staged_folder,
    write_manifest,
    write_tokenizer,
)
from bertrt_export.calibration import BUILT_IN_WARNING, CalibrationTexts, read_calibration
from bertrt_export.candidates import Timing, fastest, time_candidates
from bertrt_export.checkpoint import Checkpoint, load_checkpoint
from bertrt_export.errors import (
    CalibrationError,
    ExportError,
    QuantizationError,
    UnsupportedModelError,
    VerificationError,
)
from bertrt_export.families import FAMILIES
from bertrt_export.golden import GOLDEN_TEXTS
from bertrt_export.half import HalfResult, check_cuda_graph, half_graph, verify_half
from bertrt_export.labelled_texts import LabelledFile
from bertrt_export.packed import packed_graph
from bertrt_export.padded import padded_graph
from bertrt_export.quantization.fidelity import Limits
from bertrt_export.quantization.graph_session import GraphSession
from bertrt_export.quantization.int8 import Int8Result, quantize
from bertrt_export.report import GraphOrigin, Report
from bertrt_export.sessions import open_graph
from bertrt_export.thresholds import TunedThresholds
from bertrt_export.tokenizer_fidelity import notice_of_own_file
from bertrt_export.tuning import labelled_texts, tune
from bertrt_export.verify import Verification, reference_logits, verify

__all__ = [
    "LAYOUTS",
    "PRECISIONS",
    "CalibrationFile",
    "ExportResult",
    "LabelledFile",
    "Limits",
    "Progress",
    "export_model",
]

PRECISIONS = ("fp32", "int8", "fp16")
LAYOUTS = ("auto", "packed", "padded")

# Both of the CPU's are made and timed, and the faster one that holds the limits is kept.
_AUTO, _TIMED = "auto", ("fp32", "int8")

_logger = logging.getLogger("bertrt_export")

# Called with what is being done, how many steps of it are done, and how many there are.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class CalibrationFile:
    """A file of texts like those that the model will meet, and its columns: read_calibration."""

    path: Path | None = None
    text_column: str | None = None
    text_pair_column: str | None = None
    label_column: str | None = None


_BUILT_IN = CalibrationFile()
_DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What was exported: where it is, its size in bytes, its precisions, and what was verified.

    int8: None where no int8 graph was sought, or none holds the limits; `refused` then says why.
    half: of the fp16 graph, or None.
    timings: the candidates of precision `auto`, where there were two.
    layout: `packed` or `padded`. notices: what is not as was asked for, or may surprise.
    thresholds: where they were tuned.
    """

    path: Path
    size: int
    precisions: tuple[str, ...]
    verification: Verification
    int8: Int8Result | None
    half: HalfResult | None
    refused: str | None
    timings: Mapping[str, Timing] | None
    layout: str
    notices: tuple[str, ...]
    thresholds: TunedThresholds | None


def export_model(
    model: str,
    output: str | Path,
    *,
    precision: str = "fp32",
    layout: str = "auto",
    max_length: int | None = None,
    thresholds: LabelledFile | None = None,
    calibration: CalibrationFile = _BUILT_IN,
    limits: Limits = _DEFAULT_LIMITS,
    revision: str | None = None,
    allow_pickle: bool = False,
    external_data: bool = True,
    overwrite: bool = False,
    on_progress: Progress = lambda what, done, total: None,
) -> ExportResult:
    """Export a classifier (a directory or a hub id) to the folder `output`, verified.

    precision: `fp32`, `int8` (for CPUs), `fp16` (for CUDA), or several (`fp32,int8`); `auto` makes
    fp32 and int8, times them on this machine and keeps the faster one that holds the limits.
    layout: `packed`; `padded`, the standard graph for other tools, in fp32 only; `auto`: packed, or
    padded, with a notice, where the architecture cannot be packed.
    max_length: tokens a text may have; by default what the model and its tokenizer take.
    thresholds: texts to tune a multi-label model's thresholds with, on the scores of the int8 graph
    where one is kept, else of fp32.
    calibration, limits: texts that int8 is set up with, and that it and fp16 are compared with
    PyTorch on; and what they must hold.
    external_data: put the weights into model.onnx.data, which onnxruntime maps into memory.
    Raises ExportError, which says what is wrong; nothing is left behind then.
    """
    wanted = _precisions(precision)
    _check_layout(layout, precision)
    destination = Path(output).expanduser()
    check_output(destination, model=model, overwrite=overwrite)
    on_progress("loading the checkpoint", 0, 1)
    checkpoint = load_checkpoint(model, revision=revision, allow_pickle=allow_pickle)
    length = _resolved_max_length(checkpoint, max_length)
    labelled = labelled_texts(thresholds, checkpoint) if thresholds is not None else None
    texts = _calibration_texts(calibration, checkpoint) if wanted != ("fp32",) else None
    with staged_folder(destination) as stage:
        write_tokenizer(checkpoint, stage, length)
        tokenizer = TextTokenizer(stage, length)
        graph, made, verification = _verified_graph(
            checkpoint, layout, stage, tokenizer, external_data, on_progress
        )
        if made.layout == "padded" and wanted != ("fp32",):
            smaller = " and ".join(name for name in wanted if name != "fp32")
            wanted, texts = ("fp32",), None
            made = made.noting(f"{smaller} needs the packed layout: fp32 was exported instead")
        if "int8" in wanted and calibration.path is None:
            _logger.warning("Warning: %s", BUILT_IN_WARNING)
        tokenizer_notice = notice_of_own_file(checkpoint.tokenizer, checkpoint.folder)
        if tokenizer_notice is not None:
            made = made.noting(tokenizer_notice)
        for notice in made.notices:
            _logger.warning("Notice: %s", notice)
        int8, half, refused, timings = None, None, None, None
        if texts is not None:
            verification_texts = tokenizer.encode(texts.verification)
            reference = reference_logits(checkpoint, verification_texts, on_progress)
        if texts is not None and "fp16" in wanted:
            half = verify_half(checkpoint, graph, tokenizer, texts, reference, limits, on_progress)
            cuda_graph = half_graph(checkpoint, max_length=length)
            file = save_graph(cuda_graph, stage, precision="fp16", external_data=external_data)
            check_cuda_graph(file)
        if texts is not None and "int8" in wanted:
            try:
                int8 = quantize(checkpoint, graph, tokenizer, texts, reference, limits, on_progress)
            except QuantizationError as error:
                if precision != _AUTO:
                    raise
                wanted, refused = ("fp32",), str(error)
            else:
                save_graph(int8.graph, stage, precision="int8", external_data=external_data)
        if precision == _AUTO and int8 is not None and texts is not None:
            timings = time_candidates(
                {name: stage / GRAPH_FILES[name] for name in wanted},
                verification_texts,
                lambda *steps: on_progress("timing fp32 and int8", *steps),
            )
            wanted = (fastest(timings),)
        tuning = None
        if labelled is not None:
            kept = "int8" if "int8" in wanted else "fp32"
            tuning = tune(
                checkpoint,
                stage / GRAPH_FILES[kept],
                kept,
                tokenizer,
                labelled,
                lambda *steps: on_progress("tuning thresholds", *steps),
            )
        report = Report(checkpoint, verification, int8, half, refused, timings, made, tuning)
        manifest = _finish(checkpoint, stage, wanted, tokenizer, report)
    size = sum(entry["size"] for entry in manifest["files"].values())
    return ExportResult(
        destination,
        size,
        wanted,
        verification,
        int8,
        half,
        refused,
        timings,
        made.layout,
        made.notices,
        tuning,
    )


def _finish(
    checkpoint: Checkpoint,
    stage: Path,
    precisions: Sequence[str],
    tokenizer: TextTokenizer,
    report: Report,
) -> dict[str, Any]:
    """Make an artifact of the graphs to be kept: manifest, report, and a first loading."""
    for unwanted in set(PRECISIONS) - set(precisions):
        remove_graph(stage, unwanted)
    manifest = write_manifest(
        checkpoint,
        stage,
        max_length=tokenizer.max_length,
        verified=report.facts(),
        golden={
            name: _golden_logits(checkpoint, _answering(checkpoint, stage, name, report), tokenizer)
            for name in precisions
        },
        layout=report.made.layout,
        exporter=report.made.exporter,
        notices=report.made.notices,
        thresholds=report.tuning.by_label() if report.tuning is not None else None,
    )
    report.write(stage, precisions)
    for precision in precisions:
        if precision == "fp16":
            continue  # for a GPU, which this machine need not have; `check_cuda_graph` has looked
        try:
            load_model(stage, "cpu", precision=precision)
        except BertrtError as error:
            raise ExportError(f"the runtime cannot load what was exported: {error}") from error
    return manifest


def _verified_graph(
    checkpoint: Checkpoint,
    layout: str,
    stage: Path,
    tokenizer: TextTokenizer,
    external_data: bool,
    on_progress: Progress,
) -> tuple[ir.Model, GraphOrigin, Verification]:
    """The graph of a layout, saved and compared with PyTorch; for `auto`, the best to be had.

    An architecture that nobody has said how to pack may give a graph that answers otherwise.
    """

    def verified(graph: ir.Model) -> Verification:
        on_progress("saving", 0, 1)
        file = save_graph(graph, stage, external_data=external_data)
        return verify(
            checkpoint,
            tokenizer,
            file,
            lambda *steps: on_progress("comparing with PyTorch", *steps),
        )

    on_progress("tracing", 0, 1)
    notices: tuple[str, ...] = ()
    if layout != "padded":
        known = checkpoint.config.model_type in FAMILIES
        try:
            graph = packed_graph(checkpoint)
            return graph, GraphOrigin("packed", BERTRT), verified(graph)
        except (UnsupportedModelError, VerificationError) as error:
            if layout == "packed" or (known and isinstance(error, VerificationError)):
                raise
            why = str(error).removesuffix("; nothing was written")
            notices = (f"{why}; exporting the padded layout instead",)
    graph, exporter = padded_graph(checkpoint)
    return graph, GraphOrigin("padded", exporter, notices), verified(graph)


def _check_layout(layout: str, precision: str) -> None:
    if layout not in LAYOUTS:
        raise ExportError(f"there is no layout {layout}; choose from {', '.join(LAYOUTS)}")
    smaller = [name for name in _precisions(precision) if name != "fp32"]
    if layout == "padded" and precision != _AUTO and smaller:
        raise ExportError(
            f"{smaller[0]} needs the packed layout: leave --layout padded out, or export fp32 and "
            "convert it with the tool that the padded graph is for"
        )


def _precisions(precision: str) -> tuple[str, ...]:
    """The precisions that are asked for, in the order of PRECISIONS."""
    if precision == _AUTO:
        return _TIMED
    names = [name.strip() for name in precision.split(",")]
    for name in names:
        if name == "bf16":
            raise ExportError(
                "onnxruntime has no attention for packed rows in bfloat16: choose fp16, "
                "whose report says what it costs"
            )
        if name not in PRECISIONS:
            raise ExportError(
                f"precision {name} is not available in this version; "
                f"choose from {', '.join(PRECISIONS)}, several separated by commas, or {_AUTO}"
            )
    return tuple(name for name in PRECISIONS if name in names)


def _resolved_max_length(checkpoint: Checkpoint, max_length: int | None) -> int:
    if max_length is None:
        return checkpoint.max_length
    if not MIN_MAX_LENGTH <= max_length <= checkpoint.max_length:
        raise ExportError(
            f"--max-length {max_length} is out of range: {checkpoint.name} takes "
            f"{MIN_MAX_LENGTH} to {checkpoint.max_length} tokens"
        )
    return max_length


def _calibration_texts(file: CalibrationFile, checkpoint: Checkpoint) -> CalibrationTexts:
    if checkpoint.per_token and file.label_column is not None:
        raise CalibrationError(
            f"--label-column is for text classifiers, and {checkpoint.name} is a token classifier: "
            "the label of a text says nothing of its tokens; leave the option out"
        )
    label2id = {name: number for number, name in checkpoint.config.id2label.items()}
    return read_calibration(
        file.path.expanduser() if file.path is not None else None,
        text_column=file.text_column,
        text_pair_column=file.text_pair_column,
        label_column=file.label_column,
        label2id=label2id,
    )


def _answering(
    checkpoint: Checkpoint, folder: Path, precision: str, report: Report
) -> Callable[[Encoding], np.ndarray]:
    """What asks a graph that was written; of fp16, which runs on CUDA, what stands in for it."""
    if precision == "fp16" and report.half is not None:
        rounded = GraphSession(report.half.rounded)
        return lambda text: rounded.logits([text])
    session = open_graph(checkpoint, folder / GRAPH_FILES[precision])
    return lambda text: session.run(pack([text]))


def _golden_logits(
    checkpoint: Checkpoint, answer: Callable[[Encoding], np.ndarray], tokenizer: TextTokenizer
) -> list[np.ndarray]:
    """What a graph answers to each golden text by itself: float32 [labels], or [tokens, labels]."""
    answers = [answer(text) for text in tokenizer.encode(GOLDEN_TEXTS)]
    return answers if checkpoint.per_token else [rows[0] for rows in answers]
