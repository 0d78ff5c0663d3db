"""--tune-thresholds: thresholds of maximum F1, the files that they come from, what is written."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bertrt import Classifier
from bertrt.artifact import load_artifact
from bertrt.postprocess import scores
from bertrt_export import (
    CalibrationError,
    CalibrationFile,
    ExportError,
    LabelledFile,
    Limits,
    export_model,
)
from bertrt_export.cli import main
from bertrt_export.labelled_texts import MIN_LABELLED_TEXTS, LabelledTexts, read_labelled
from bertrt_export.thresholds import DEFAULT_THRESHOLD, f1_scores, tune_thresholds, tuned
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import edit_json

_LABELS = ("negative", "neutral", "positive")
_LABEL2ID = {name: number for number, name in enumerate(_LABELS)}

# A text, and the labels that it has.
_TEXTS = [
    (f"text {n}, such as it is", [name for k, name in enumerate(_LABELS) if n % (k + 2) == 0])
    for n in range(MIN_LABELLED_TEXTS)
]


def _tune(scores: Sequence[float], targets: Sequence[int]) -> float:
    column = np.array([scores], dtype=np.float32).T
    return float(tune_thresholds(column, np.array([targets], dtype=bool).T)[0])


# The cut


@given(
    st.lists(
        st.tuples(st.sampled_from([k / 16 for k in range(17)]), st.booleans()),
        min_size=1,
        max_size=30,
    )
)
def test_no_cut_has_a_higher_f1(rows: list[tuple[float, bool]]) -> None:
    scores = np.array([[score] for score, _ in rows], dtype=np.float32)
    targets = np.array([[target] for _, target in rows])
    thresholds = tune_thresholds(scores, targets)
    if not targets.any():
        assert thresholds[0] == DEFAULT_THRESHOLD
        return
    best = f1_scores(scores, targets, thresholds)[0]
    cuts = [k / 32 for k in range(1, 33)]  # between all scores that there can be, and at them
    assert best == max(f1_scores(scores, targets, cut)[0] for cut in (0.0, *cuts))


def test_f1_is_that_of_the_definition() -> None:
    scores = np.array([[0.9], [0.8], [0.3], [0.2]])
    targets = np.array([[True], [False], [True], [False]])
    # Two are predicted, one rightly: precision 1/2, recall 1/2.
    assert f1_scores(scores, targets, 0.5) == [0.5]
    # Three are predicted, two rightly: precision 2/3, recall 1.
    assert f1_scores(scores, targets, 0.25) == [0.8]


def test_cut_is_midway_between_neighbouring_scores() -> None:
    assert _tune([0.125, 0.25, 0.75, 0.875], [0, 0, 1, 1]) == 0.5
    assert _tune([0.0, 0.125, 0.25, 0.5], [0, 0, 0, 1]) == 0.375


def test_cut_where_all_have_the_label_is_midway_to_nothing() -> None:
    assert _tune([0.25, 0.5], [1, 1]) == 0.125


def test_of_equal_cuts_the_nearest_to_a_half_is_taken() -> None:
    # Two predicted, one rightly; or four, two of them rightly: 2/4 and 4/6 differ, so all equal:
    # at 0.8125 one right of one (2/3), at 0.1875 two right of four (2*2/(4+2) = 2/3).
    scores, targets = [0.875, 0.75, 0.25, 0.2, 0.125], [1, 0, 0, 1, 0]
    assert _tune(scores, targets) == 0.8125
    # The same, seen from the other side of a half.
    assert _tune([0.99, 0.98, 0.45, 0.4, 0.375], targets) == pytest.approx(0.3875)


def test_label_that_no_text_has_keeps_a_half_and_is_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    targets = np.array([[True, False], [False, False]])
    texts = LabelledTexts(("a", "b"), targets, "file.csv", "0" * 64)
    result = tuned(np.array([[0.25, 0.9], [0.125, 0.8]]), texts, ("seen", "unseen"), "fp32")
    assert result.by_label() == {"seen": 0.1875, "unseen": DEFAULT_THRESHOLD}
    assert result.f1[0] == 1 and result.f1_at_default[0] == 0
    assert np.isnan(result.f1[1]) and np.isnan(result.f1_at_default[1])
    assert result.mean(result.f1) == 1  # of the labels that there are
    assert "file.csv has the labels unseen: their threshold stays 0.5" in caplog.text
    assert "seen," not in caplog.text


# The files


def _jsonl(rows: Sequence[tuple[str, Sequence[Any]]]) -> str:
    return "".join(json.dumps({"text": text, "labels": labels}) + "\n" for text, labels in rows)


def _table(
    rows: Sequence[tuple[str, Sequence[str]]], delimiter: str, labels: Sequence[str] = _LABELS
) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=delimiter)
    writer.writerow(["id", *labels, "text"])
    for number, (text, names) in enumerate(rows):
        # By place: a test may call the columns otherwise.
        writer.writerow([number, *(int(label in names) for label in _LABELS), text])
    return stream.getvalue()


def _write(folder: Path, name: str, content: str) -> Path:
    file = folder / name
    file.write_text(content, encoding="utf-8", newline="")
    return file


@pytest.mark.parametrize("name", ["t.jsonl", "t.csv", "T.CSV", "t.tsv"])
def test_format_makes_no_difference(tmp_path: Path, name: str) -> None:
    rows = [(text.replace(",", ";"), labels) for text, labels in _TEXTS]
    content = {"l": _jsonl(rows), "v": _table(rows, "," if name[2:] in ("csv", "CSV") else "\t")}
    read = read_labelled(_write(tmp_path, name, content[name[-1].lower()]), label2id=_LABEL2ID)
    assert read.texts == tuple(text for text, _ in rows)
    expected = [[label in labels for label in _LABELS] for _, labels in rows]
    assert read.targets.dtype == bool and read.targets.tolist() == expected
    assert read.source == name and len(read.sha256) == 64


def test_columns_of_labels_stand_in_any_order_and_case(tmp_path: Path) -> None:
    header = " Negative ,NEUTRAL,positive,text"
    lines = [f"{n % 2},{n % 3 % 2},1,text {n}" for n in range(40)]
    file = _write(tmp_path, "t.csv", "\n".join([header, *lines]))
    label2id = {"positive": 0, "negative": 1, "neutral": 2}
    targets = read_labelled(file, label2id=label2id).targets
    assert targets[:, 0].all()
    assert targets[:, 1].tolist() == [bool(n % 2) for n in range(40)]
    assert targets[:, 2].tolist() == [n % 3 == 1 for n in range(40)]


def test_labels_by_id_and_in_any_case(tmp_path: Path) -> None:
    rows = [(text, [0, "POSITIVE", 0]) for text, _ in _TEXTS]
    targets = read_labelled(_write(tmp_path, "t.jsonl", _jsonl(rows)), label2id=_LABEL2ID).targets
    assert targets.all(axis=0).tolist() == [True, False, True]


def test_pairs_and_named_columns(tmp_path: Path) -> None:
    lines = [
        json.dumps({"q": f"question {n}", "a": "answer", "note": "n", "labels": []})
        for n in range(40)
    ]
    file = _write(tmp_path, "t.jsonl", "\n".join(lines))
    read = read_labelled(file, text_column="q", text_pair_column="a", label2id=_LABEL2ID)
    assert read.texts[3] == ("question 3", "answer") and not read.targets.any()


def test_repeated_texts_all_count(tmp_path: Path) -> None:
    rows = [("the same", ["neutral"])] * MIN_LABELLED_TEXTS
    read = read_labelled(_write(tmp_path, "t.jsonl", _jsonl(rows)), label2id=_LABEL2ID)
    assert len(read.texts) == MIN_LABELLED_TEXTS


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("t.txt", "a text\n", ["cannot hold several labels", ".jsonl", ".csv"]),
        ("t.jsonl", "", ["is empty"]),
        ("t.jsonl", _jsonl(_TEXTS[:-1]), ["has 31 texts", "at least 32"]),
        ("t.jsonl", '{"text": "a"}\n', ["line 1: 'labels' is missing", "[] where it has none"]),
        ("t.jsonl", '{"text": "a", "labels": "neutral"}\n', ["'labels' is 'neutral'", "the list"]),
        (
            "t.jsonl",
            _jsonl([*_TEXTS, ("b", ["neutrl"])]),
            ["line 33, has the label 'neutrl'", "'neutral' (1)"],
        ),
        ("t.jsonl", _jsonl([("a", [3])]), ["has the label 3", "'positive' (2)"]),
        ("t.jsonl", '"just a text"\n', ["'labels' is missing"]),
        ("t.jsonl", '{"labels": []}\n', ["no column that looks like the texts"]),
        (
            "t.csv",
            _table(_TEXTS, ",", ["negative", "middle", "positive"]),
            ["no column for the labels 'neutral'", "'middle'", "header line"],
        ),
        (
            "t.csv",
            _table(_TEXTS, ",").replace(",1,", ",yes,", 1),
            ["line 2: 'negative' is 'yes'", "write 1"],
        ),
        ("t.csv", _table(_TEXTS, ",").replace(",1,", ",0.7,", 1), ["is '0.7'", "and 0 where not"]),
    ],
)
def test_file_that_cannot_be_used(
    tmp_path: Path, name: str, content: str, words: list[str]
) -> None:
    with pytest.raises(CalibrationError) as raised:
        read_labelled(_write(tmp_path, name, content), label2id=_LABEL2ID)
    for word in [name, *words]:
        assert word in str(raised.value)


def test_columns_of_texts_that_are_labels_or_are_not_there(tmp_path: Path) -> None:
    file = _write(tmp_path, "t.csv", _table(_TEXTS, ","))
    with pytest.raises(CalibrationError, match="--text-column is 'neutral', and that column"):
        read_labelled(file, text_column="neutral", label2id=_LABEL2ID)
    with pytest.raises(CalibrationError, match="has no column 'body'"):
        read_labelled(file, text_column="body", label2id=_LABEL2ID)
    with pytest.raises(CalibrationError, match="there is no file"):
        read_labelled(tmp_path / "none.csv", label2id=_LABEL2ID)


# The export


@pytest.fixture(scope="module")
def multi_label(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny_checkpoint` as a multi-label model."""
    folder = tmp_path_factory.mktemp("multi-label") / "checkpoint"
    folder.mkdir()
    for file in tiny_checkpoint.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    edit_json(folder / "config.json", {"problem_type": "multi_label_classification"})
    return folder


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory, sst2_dev: list[tuple[str, int]]) -> Path:
    """60 sentences with labels that have little to do with them; none is neutral."""
    rows = [
        (text, ["positive", "negative"] if number % 5 == 0 else [_LABELS[2 * label]])
        for number, (text, label) in enumerate(sst2_dev[:60])
    ]
    return _write(tmp_path_factory.mktemp("labelled"), "sst2.jsonl", _jsonl(rows))


def test_thresholds_are_part_of_the_artifact(
    multi_label: Path,
    labelled: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In the manifest, the report, what the command prints, and what the runtime reads."""
    output = tmp_path / "out"
    assert main([str(multi_label), str(output), "--tune-thresholds", str(labelled)]) == 0
    printed = capsys.readouterr().out
    manifest = json.loads((output / "bertrt.json").read_text(encoding="utf-8"))
    thresholds = manifest["thresholds"]
    assert list(thresholds) == list(_LABELS) and thresholds["neutral"] == DEFAULT_THRESHOLD
    artifact = load_artifact(output)
    assert artifact.thresholds == tuple(thresholds.values())

    # What they were tuned for holds of the artifact.
    read = read_labelled(labelled, label2id=_LABEL2ID)
    probabilities = scores(Classifier(output, "cpu").logits(list(read.texts)), "sigmoid")
    np.testing.assert_allclose(
        tune_thresholds(probabilities, read.targets), artifact.thresholds, atol=1e-5
    )
    f1 = f1_scores(probabilities, read.targets, np.array(artifact.thresholds))
    before = f1_scores(probabilities, read.targets, DEFAULT_THRESHOLD)
    assert (f1[[0, 2]] >= before[[0, 2]]).all() and f1[[0, 2]].sum() > before[[0, 2]].sum()

    report = (output / "report.md").read_text(encoding="utf-8")
    positives = read.targets.sum(axis=0)
    assert (
        f"| negative | {thresholds['negative']:.4f} | {f1[0]:.3f} | {before[0]:.3f} | "
        f"{positives[0]} |" in report
    )
    assert "| neutral | 0.5000 | – | – | 0 |" in report and "the fp32 graph" in report
    assert f"  F1        {f1[[0, 2]].mean():.3f}," in printed and "60 texts, fp32" in printed


@pytest.mark.slow
def test_thresholds_are_tuned_on_the_graph_that_is_kept(
    multi_label: Path, labelled: Path, calibration_file: Path, tmp_path: Path
) -> None:
    result = export_model(
        str(multi_label),
        tmp_path / "out",
        precision="int8",
        calibration=CalibrationFile(calibration_file, text_column="1"),
        limits=Limits(min_agreement=0.5, max_accuracy_drop=1),
        thresholds=LabelledFile(labelled),
    )
    assert result.precisions == ("int8",)
    assert result.thresholds is not None and result.thresholds.precision == "int8"
    read = read_labelled(labelled, label2id=_LABEL2ID)
    classifier = Classifier(tmp_path / "out", "cpu", precision="int8")
    probabilities = scores(classifier.logits(list(read.texts)), "sigmoid")
    # Rounding before a quantizer may move a score between batches, so F1 is what is compared.
    tuned_f1 = f1_scores(probabilities, read.targets, result.thresholds.thresholds)
    np.testing.assert_allclose(tuned_f1, result.thresholds.f1, atol=0.05)


def test_without_the_option_there_are_none(tiny_artifact: Path) -> None:
    manifest = json.loads((tiny_artifact / "bertrt.json").read_text(encoding="utf-8"))
    assert "thresholds" not in manifest
    assert "## Thresholds" not in (tiny_artifact / "report.md").read_text(encoding="utf-8")


def test_only_multi_label_models_have_thresholds(
    tiny_checkpoint: Path, labelled: Path, tmp_path: Path
) -> None:
    with pytest.raises(ExportError) as raised:
        export_model(str(tiny_checkpoint), tmp_path / "out", thresholds=LabelledFile(labelled))
    assert "--tune-thresholds is for multi-label models" in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_labels_of_the_same_name_are_refused(
    multi_label: Path, copied_checkpoint: Callable[[], Path], labelled: Path, tmp_path: Path
) -> None:
    checkpoint = copied_checkpoint()
    changes = {
        "problem_type": "multi_label_classification",
        "id2label": {"0": "good", "1": "bad", "2": "good"},
        "label2id": {"good": 2, "bad": 1},
    }
    edit_json(checkpoint / "config.json", changes)
    with pytest.raises(ExportError, match="labels of the same name"):
        export_model(str(checkpoint), tmp_path / "out", thresholds=LabelledFile(labelled))
