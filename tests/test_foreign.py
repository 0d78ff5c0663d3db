"""ONNX exports that bertrt did not make: found, loaded, and answering as PyTorch does."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
from bertrt import ArtifactError, Classifier
from bertrt.artifact import fingerprint, load_artifact
from bertrt.cli import main

from tests.foreign import FAMILIES, LABELS, Foreign, reference_logits
from tests.helpers import edit_json, edit_manifest
from tests.serving import serving

ForeignModels = Callable[[str], Foreign]
CopiedForeign = Callable[[str], Path]


@pytest.fixture(scope="module")
def texts(sst2_dev: list[tuple[str, int]]) -> list[str]:
    return [text for text, _ in sst2_dev[:200]]


def _message(model: Path, **options: Any) -> str:
    """What the ArtifactError says that loading this model raises."""
    with pytest.raises(ArtifactError) as raised:
        Classifier(model, "cpu", **options)
    message = str(raised.value)
    assert "\n" not in message
    return message


# Answers


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_those_of_pytorch(foreign: ForeignModels, family: str, texts: list[str]) -> None:
    model = foreign(family)
    logits = Classifier(model.path, "cpu").logits(texts)
    expected = reference_logits(model, texts)
    assert expected.std(axis=0).min() > 0.01, "the model answers all texts alike"
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4)


def test_pairs_have_their_segments(foreign: ForeignModels, texts: list[str]) -> None:
    model = foreign("bert")
    pairs = list(zip(texts[:20], texts[20:40], strict=True))
    logits = Classifier(model.path, "cpu").logits(pairs)
    np.testing.assert_allclose(logits, reference_logits(model, pairs), rtol=0, atol=1e-4)


def test_predictions_have_the_labels_of_config_json(foreign: ForeignModels) -> None:
    named, unnamed = (Classifier(foreign(name).path, "cpu") for name in ("bert", "distilbert"))
    assert {p.label for p in named("good", None)} == set(LABELS)
    assert unnamed.labels == ("LABEL_0", "LABEL_1")
    assert {p.label for p in unnamed("good", None)} == {"LABEL_0", "LABEL_1"}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_text_answers_the_same_in_any_batch(
    foreign: ForeignModels, family: str, threads: int, texts: list[str]
) -> None:
    alone, together = (
        Classifier(foreign(family).path, "cpu", threads=threads, max_batch_tokens=tokens)
        for tokens in (1, 2048)
    )
    np.testing.assert_allclose(
        together.logits(texts[:60]), alone.logits(texts[:60]), rtol=0, atol=1e-5
    )


def test_the_half_precision_variant(foreign: ForeignModels, texts: list[str]) -> None:
    model = foreign("bert")
    half = Classifier(model.path, "cpu", file_name="onnx/model_fp16.onnx")
    assert half.precision == "fp16"
    logits = half.logits(texts)
    assert logits.dtype == half.session.run(_packed(half, texts[:2])).dtype == np.float32
    difference = np.abs(logits - reference_logits(model, texts))
    assert 0 < difference.max() < 0.05
    assert half("good").label in LABELS


def test_the_quantized_variant(foreign: ForeignModels, texts: list[str]) -> None:
    model = foreign("bert")
    quantized = Classifier(model.path, "cpu", file_name="onnx/model_quantized.onnx")
    assert quantized.precision == "quantized"
    difference = np.abs(quantized.logits(texts) - reference_logits(model, texts))
    assert 0 < difference.mean() < 0.2


def _packed(classifier: Classifier, texts: list[str]) -> Any:
    from bertrt.packing import pack

    return pack(classifier.tokenizer.encode(texts))


def test_texts_over_the_limit_are_cut_to_it(foreign: ForeignModels, texts: list[str]) -> None:
    classifier = Classifier(foreign("roberta").path, "cpu")
    assert classifier.artifact.max_length == 38
    lengths = [len(encoding) for encoding in classifier.tokenizer.encode(texts)]
    assert max(lengths) == 38


# What is loaded


@pytest.mark.parametrize(
    ("family", "graph", "labels"),
    [
        ("bert", "onnx/model.onnx", LABELS),
        ("distilbert", "model.onnx", ("LABEL_0", "LABEL_1")),
        ("roberta", "model.onnx", ("LABEL_0", "LABEL_1")),
    ],
)
def test_artifact(foreign: ForeignModels, family: str, graph: str, labels: tuple[str, ...]) -> None:
    folder = foreign(family).path
    artifact = load_artifact(folder)
    assert artifact.path == folder
    assert artifact.task == "text-classification"
    assert artifact.layout == "padded"
    assert artifact.labels == labels
    assert artifact.activation == "softmax"
    assert artifact.thresholds is None
    assert artifact.max_length == (38 if family == "roberta" else 512)
    assert artifact.pad_token_id == (1 if family == "roberta" else 0)
    assert artifact.first_position == (2 if family == "roberta" else 0)
    assert artifact.graphs == {"fp32": folder / graph}
    assert artifact.manifest is None
    assert artifact.tokenizer_path == folder


def test_the_folder_of_the_graphs_may_be_given_itself(copied_foreign: CopiedForeign) -> None:
    """transformers.js's layout, and somebody who gives MODEL/onnx."""
    folder = copied_foreign("bert")
    for name in ("config.json", "tokenizer_config.json", "vocab.txt"):
        (folder / name).rename(folder / "onnx" / name)
    inner, outer = load_artifact(folder / "onnx"), load_artifact(folder)
    assert inner.graphs == outer.graphs
    assert inner.labels == outer.labels == LABELS
    assert outer.path == folder and outer.tokenizer_path == folder / "onnx"
    assert Classifier(folder, "cpu").labels == LABELS


def test_the_only_graph_needs_no_name(copied_foreign: CopiedForeign) -> None:
    folder = copied_foreign("distilbert")
    (folder / "model.onnx").rename(folder / "model_int8.onnx")
    assert load_artifact(folder).graphs == {"int8": folder / "model_int8.onnx"}
    assert Classifier(folder).precision == "int8"


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("model.onnx", "fp32"),
        ("model_quantized.onnx", "quantized"),
        ("model_fp16.onnx", "fp16"),
        ("model_qint8_avx512_vnni.onnx", "qint8_avx512_vnni"),
        ("int8.onnx", "int8"),
        ("onnx/q4.onnx", "q4"),
    ],
)
def test_the_precision_is_what_the_file_is_called(
    copied_foreign: CopiedForeign, name: str, precision: str
) -> None:
    folder = copied_foreign("distilbert")
    (folder / "onnx").mkdir()
    (folder / "model.onnx").rename(folder / name)
    assert list(load_artifact(folder, file_name=name).graphs) == [precision]


def test_the_fingerprint_is_of_the_graph_its_weights_and_config_json(
    copied_foreign: CopiedForeign,
) -> None:
    def taken() -> str:
        return fingerprint(load_artifact(folder), "fp32")

    folder = copied_foreign("roberta")
    seen = [taken()]
    for name in ("config.json", "model.onnx", "model.onnx_data"):
        with (folder / name).open("ab") as stream:
            stream.write(b" ")
        seen.append(taken())
    (folder / "vocab.json").touch()
    assert len(set(seen)) == 4
    assert taken() == seen[-1]


def test_an_artifact_of_bertrts_is_known_by_its_manifest(tiny_artifact: Path) -> None:
    chosen = load_artifact(tiny_artifact, file_name="model.onnx")
    assert chosen == load_artifact(tiny_artifact)
    assert chosen.layout == "packed" and chosen.manifest is not None


def test_a_file_name_chooses_among_the_graphs_of_an_artifact(tiny_int8_artifact: Path) -> None:
    chosen = load_artifact(tiny_int8_artifact, file_name="model_int8.onnx")
    assert chosen.graphs == {"int8": tiny_int8_artifact / "model_int8.onnx"}


# What cannot be loaded


def test_several_graphs_and_none_of_the_usual_name(copied_foreign: CopiedForeign) -> None:
    folder = copied_foreign("bert")
    (folder / "onnx/model.onnx").unlink()
    message = _message(folder)
    assert "no model.onnx or onnx/model.onnx" in message
    assert "onnx/model_fp16.onnx, onnx/model_quantized.onnx" in message
    assert "--file-name" in message and "file_name=" in message


def test_a_file_that_is_not_there(foreign: ForeignModels) -> None:
    message = _message(foreign("bert").path, file_name="model_q4.onnx")
    assert "has no model_q4.onnx, only onnx/model.onnx, onnx/model_fp16.onnx, " in message


@pytest.mark.parametrize(
    "name", ["../model.onnx", "/model.onnx", "", "onnx/../../x.onnx", "onnx\\model.onnx"]
)
def test_a_file_outside_the_folder(foreign: ForeignModels, name: str) -> None:
    message = _message(foreign("bert").path, file_name=name)
    assert repr(name) in message and "inside the model's folder" in message


def test_a_file_name_that_an_artifact_does_not_have(tiny_int8_artifact: Path) -> None:
    message = _message(tiny_int8_artifact, file_name="onnx/model.onnx")
    assert "graphs are model.onnx, model_int8.onnx, not onnx/model.onnx" in message
    assert "--precision" in message


def test_a_checkpoint_that_is_not_exported(foreign: ForeignModels) -> None:
    checkpoint = foreign("bert").checkpoint
    message = _message(checkpoint)
    assert "PyTorch checkpoint" in message
    assert f"`export-model {checkpoint} OUTPUT`" in message


def test_a_file_instead_of_a_folder(foreign: ForeignModels) -> None:
    message = _message(foreign("bert").path / "onnx/model_fp16.onnx")
    assert "is a file: give the folder that holds it" in message and "--file-name" in message


def test_missing_config(copied_foreign: CopiedForeign) -> None:
    folder = copied_foreign("bert")
    (folder / "config.json").unlink()
    message = _message(folder)
    assert f"{folder} has no config.json: copy it from the model that was exported" in message


def test_missing_tokenizer(copied_foreign: CopiedForeign) -> None:
    folder = copied_foreign("bert")
    (folder / "vocab.txt").unlink()
    message = _message(folder)
    assert f"{folder} has no tokenizer.json, vocab.txt" in message


@pytest.mark.parametrize("precision", ["int8", "fp16", "quantized"])
def test_a_precision_that_the_file_does_not_have(foreign: ForeignModels, precision: str) -> None:
    message = _message(foreign("bert").path, precision=precision)
    assert "not exported by bertrt" in message
    assert f"its model.onnx is fp32, not {precision}" in message and "--file-name" in message


def test_the_precision_that_the_file_has(foreign: ForeignModels) -> None:
    folder = foreign("bert").path
    assert Classifier(folder, "cpu", precision="fp32").precision == "fp32"
    name = "onnx/model_fp16.onnx"
    assert Classifier(folder, "cpu", precision="fp16", file_name=name).precision == "fp16"


def test_more_labels_in_the_graph_than_in_config_json(copied_foreign: CopiedForeign) -> None:
    folder = copied_foreign("bert")
    edit_json(folder / "config.json", {"id2label": {"0": "no", "1": "yes"}})
    message = _message(folder)
    assert "the graph has 3 labels and config.json names 2: correct id2label" in message


@pytest.mark.parametrize("label_axis", ["unnamed", "named"])
def test_a_graph_that_leaves_the_number_of_labels_open(
    copied_foreign: CopiedForeign, texts: list[str], label_axis: str
) -> None:
    folder = copied_foreign("distilbert")
    expected = Classifier(folder, "cpu").logits(texts[:5])
    graph = onnx.load(folder / "model.onnx")
    axis = graph.graph.output[0].type.tensor_type.shape.dim[1]
    axis.Clear()
    if label_axis == "named":
        axis.dim_param = "labels"
    reshape = onnx.helper.make_node("Reshape", ["answer", "shape"], ["logits"])
    shape = onnx.helper.make_node("Shape", ["answer"], ["shape"])
    graph.graph.node[-1].output[0] = "answer"
    graph.graph.node.extend([shape, reshape])
    onnx.save(graph, folder / "model.onnx")
    np.testing.assert_array_equal(Classifier(folder, "cpu").logits(texts[:5]), expected)
    edit_json(folder / "config.json", {"id2label": {"0": "only"}})
    assert "the graph has 2 labels and config.json names 1" in _message(folder)


def test_missing_external_weights(copied_foreign: CopiedForeign) -> None:
    folder = copied_foreign("roberta")
    (folder / "model.onnx_data").unlink()
    assert f"onnxruntime cannot load {folder / 'model.onnx'}" in _message(folder)


def test_external_weights_behind_links_as_in_the_cache_of_the_hub(
    copied_foreign: CopiedForeign, tmp_path: Path
) -> None:
    folder, snapshot = copied_foreign("roberta"), tmp_path / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    for number, file in enumerate(folder.iterdir()):
        blob = tmp_path / f"blob-{number}"
        file.rename(blob)
        (snapshot / file.name).symlink_to(blob)
    assert Classifier(snapshot, "cpu").labels == ("LABEL_0", "LABEL_1")


def test_a_packed_graph_without_its_manifest(copied_artifact: Callable[[], Path]) -> None:
    folder = copied_artifact()
    (folder / "bertrt.json").unlink()
    message = _message(folder)
    assert "is a packed graph" in message and "has no bertrt.json: copy the whole" in message


def test_a_graph_for_tokens(copied_foreign: CopiedForeign) -> None:
    folder = copied_foreign("bert")
    edit_json(folder / "config.json", {"architectures": ["BertForTokenClassification"]})
    message = _message(folder)
    assert "is a model for token-classification" in message and "use TokenClassifier" in message


def test_an_encoder_without_a_head(copied_foreign: CopiedForeign) -> None:
    folder = copied_foreign("bert")
    edit_json(folder / "config.json", {"architectures": ["BertModel"]})
    message = _message(folder)
    assert "is a BertModel, which has no classification head" in message


def test_a_limit_that_leaves_no_room_for_text(copied_foreign: CopiedForeign) -> None:
    folder = copied_foreign("bert")
    edit_json(folder / "tokenizer_config.json", {"model_max_length": 7})
    message = _message(folder)
    assert "limit texts to 7 tokens, under 8" in message


# do_lower_case, which stands in two files


@pytest.mark.parametrize("lower", [True, False, None])
def test_tokenizer_config_overrules_tokenizer_json(
    copied_foreign: CopiedForeign, caplog: pytest.LogCaptureFixture, lower: bool | None
) -> None:
    """As in Transformers, which takes the absence for True (tests/test_tokenizer_files.py)."""
    folder = copied_foreign("distilbert")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    del settings["do_lower_case"]
    settings |= {} if lower is None else {"do_lower_case": lower}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    with caplog.at_level(logging.WARNING, logger="bertrt"):
        classifier = Classifier(folder, "cpu")
    small, large = classifier.tokenizer.encode(["good", "GOOD"])
    assert (small.input_ids.tolist() == large.input_ids.tolist()) == (lower is not False)
    warned = "lowercase=True, and tokenizer_config.json" in caplog.text
    assert warned == (lower is False)


# The commands


def test_classify_with_a_file_name(
    foreign: ForeignModels, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, name = foreign("bert").path, "onnx/model_quantized.onnx"
    assert main(["classify", str(folder), "--file-name", name, "good", "bad"]) == 0
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    expected = Classifier(folder, file_name=name)(["good", "bad"])
    assert [line["label"] for line in printed] == [best.label for best in expected]
    scores = [line["score"] for line in printed]
    assert scores == pytest.approx([best.score for best in expected], abs=1e-5)


def test_info_in_words(foreign: ForeignModels, capsys: pytest.CaptureFixture[str]) -> None:
    folder = foreign("roberta").path
    assert main(["info", str(folder), "--threads", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    facts = {name: value.strip() for name, value in (line.split("  ", 1) for line in lines)}
    assert facts["layout"] == "padded"
    assert facts["task"] == "text-classification"
    assert facts["exported from"] == facts["exported with"] == "unknown"
    assert facts["verified"] == "by nobody: not exported by bertrt"
    assert facts["thresholds"] == "none tuned"
    assert facts["precisions"] == facts["precision"] == "fp32"
    assert facts["max length"] == "38 tokens"


def test_info_as_json(foreign: ForeignModels, capsys: pytest.CaptureFixture[str]) -> None:
    folder, name = foreign("bert").path, "onnx/model_fp16.onnx"
    assert main(["info", str(folder), "--json", "--file-name", name]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["exported_from"] is facts["exported_with"] is facts["verified"] is None
    assert facts["thresholds"] is None
    assert facts["precisions"] == ["fp16"]
    assert facts["layout"] == "padded"
    assert facts["size"] == (folder / name).stat().st_size


def test_info_counts_weights_beside_the_graph(
    foreign: ForeignModels, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = foreign("roberta").path
    assert main(["info", str(folder), "--json"]) == 0
    sizes = [(folder / name).stat().st_size for name in ("model.onnx", "model.onnx_data")]
    assert json.loads(capsys.readouterr().out)["size"] == sum(sizes)


def test_info_shows_thresholds(
    copied_artifact: Callable[[], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copied_artifact()
    edit_manifest(folder, {"thresholds": {"positive": 0.5, "neutral": 0.25, "negative": 1}})
    assert main(["info", str(folder)]) == 0
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert ["thresholds", "negative 1, neutral 0.25, positive 0.5"] in lines
    assert main(["info", str(folder), "--json"]) == 0
    thresholds = json.loads(capsys.readouterr().out)["thresholds"]
    assert thresholds == {"negative": 1.0, "neutral": 0.25, "positive": 0.5}


@pytest.mark.parametrize("command", ["classify", "info"])
def test_a_command_says_which_files_there_are(
    foreign: ForeignModels, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert main([command, str(foreign("bert").path), "--file-name", "model.onnx"]) == 1
    message = capsys.readouterr().err
    assert message.startswith("bertrt: error: ") and "has no model.onnx, only onnx/" in message


@pytest.mark.slow
def test_the_server_serves_it(foreign: ForeignModels, texts: list[str]) -> None:
    bert, roberta = foreign("bert").path, foreign("roberta").path
    with serving(f"bert={bert}", f"other={roberta}", options=["--device", "cpu"]) as server:
        response = httpx.post(
            f"{server.url}/predict", json={"inputs": [[text] for text in texts[:30]]}, timeout=30
        )
        info = httpx.get(f"{server.url}/info").json()
    answers = [{each["label"]: each["score"] for each in answer} for answer in response.json()]
    for answer, expected in zip(answers, Classifier(bert, "cpu")(texts[:30], None), strict=True):
        assert answer == pytest.approx({p.label: p.score for p in expected}, abs=1e-5)
    assert info["model_sha"] == fingerprint(load_artifact(bert), "fp32")
