"""Loading checkpoints: every way in which one can be wrong is told apart and explained."""

import contextlib
import http.server
import json
import shutil
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import huggingface_hub.constants
import numpy as np
import pytest
import torch
import transformers
from bertrt_export.checkpoint import Checkpoint, load_checkpoint
from bertrt_export.errors import CheckpointError, ExportError, UnsupportedModelError
from bertrt_export.families import FAMILIES, Family
from bertrt_export.packed import packed_graph
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from tests.helpers import edit_json
from tests.passes.graphs import run

CopiedCheckpoint = Callable[[], Path]


def _message(
    model: str | Path,
    kind: type[ExportError] = CheckpointError,
    *,
    revision: str | None = None,
    allow_pickle: bool = False,
) -> str:
    """What the error says that loading this checkpoint raises."""
    with pytest.raises(kind) as raised:
        load_checkpoint(str(model), revision=revision, allow_pickle=allow_pickle)
    assert type(raised.value) is kind
    message = str(raised.value)
    assert "\n" not in message
    return message


def _logits(checkpoint: Checkpoint) -> np.ndarray:
    ids = torch.tensor([checkpoint.tokenizer("a gorgeous film")["input_ids"]])
    with torch.inference_mode():
        logits: np.ndarray = checkpoint.model(input_ids=ids).logits.numpy()
    return logits


def _edit_weights(
    folder: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]
) -> None:
    file = folder / "model.safetensors"
    save_file(change(load_file(file)), file, metadata={"format": "pt"})


def _pickled(folder: Path) -> Path:
    """The checkpoint with its weights in a pickle instead."""
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder


# What is loaded


def test_loads_a_classifier_ready_to_run(tiny_checkpoint: Path) -> None:
    checkpoint = load_checkpoint(str(tiny_checkpoint))
    assert checkpoint.name == str(tiny_checkpoint)
    assert checkpoint.folder == tiny_checkpoint
    assert checkpoint.revision is None
    assert not checkpoint.model.training
    assert {parameter.dtype for parameter in checkpoint.model.parameters()} == {torch.float32}
    assert checkpoint.config.id2label == {0: "negative", 1: "neutral", 2: "positive"}
    assert checkpoint.tokenizer("good")["input_ids"] == [101, 2204, 102]
    assert checkpoint.max_length == 512


def test_home_folder_is_understood(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tiny_checkpoint.parent))
    assert load_checkpoint(f"~/{tiny_checkpoint.name}").folder == tiny_checkpoint


def test_half_precision_is_loaded_as_float32(copied_checkpoint: CopiedCheckpoint) -> None:
    folder = copied_checkpoint()
    _edit_weights(folder, lambda weights: {name: w.half() for name, w in weights.items()})
    edit_json(folder / "config.json", {"dtype": "float16", "torch_dtype": "float16"})
    checkpoint = load_checkpoint(str(folder))
    assert {parameter.dtype for parameter in checkpoint.model.parameters()} == {torch.float32}
    assert checkpoint.model.dtype == torch.float32


def test_weights_in_several_files_give_the_same_logits(
    tiny_checkpoint: Path, copied_checkpoint: CopiedCheckpoint
) -> None:
    whole, folder = load_checkpoint(str(tiny_checkpoint)), copied_checkpoint()
    (folder / "model.safetensors").unlink()
    whole.model.save_pretrained(folder, max_shard_size="1MB")  # type: ignore[operator]
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    assert not (folder / "model.safetensors").exists()
    sharded = load_checkpoint(str(folder))
    np.testing.assert_allclose(_logits(sharded), _logits(whole), atol=1e-5)
    assert sharded.sha256 != whole.sha256


def test_hash_is_that_of_the_weights(
    tiny_checkpoint: Path, copied_checkpoint: CopiedCheckpoint
) -> None:
    folder = copied_checkpoint()
    (folder / "README.md").write_text("a note")
    original = load_checkpoint(str(tiny_checkpoint)).sha256
    assert load_checkpoint(str(folder)).sha256 == original

    def nudge(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {**weights, "classifier.bias": weights["classifier.bias"] + 1}

    _edit_weights(folder, nudge)
    assert load_checkpoint(str(folder)).sha256 != original


@pytest.mark.parametrize(
    ("tokenizer_limit", "expected"),
    [
        pytest.param(128, 128, id="the tokenizer's"),
        pytest.param(100_000, 512, id="the position table's"),
        pytest.param(10**30, 512, id="none stated"),
        pytest.param(None, 512, id="left out"),
    ],
)
def test_max_length_is_the_smaller_limit(
    copied_checkpoint: CopiedCheckpoint, tokenizer_limit: int | None, expected: int
) -> None:
    folder = copied_checkpoint()
    stated = {} if tokenizer_limit is None else {"model_max_length": tokenizer_limit}
    left_out = [] if stated else ["model_max_length"]
    edit_json(folder / "tokenizer_config.json", stated, left_out)
    assert load_checkpoint(str(folder)).max_length == expected


def test_tokenizer_of_a_vocabulary_alone_is_converted(
    copied_checkpoint: CopiedCheckpoint, encoder_folder: Path
) -> None:
    folder = copied_checkpoint()
    (folder / "tokenizer.json").unlink()
    shutil.copy(encoder_folder / "vocab.txt", folder)
    ids = load_checkpoint(str(folder)).tokenizer("good")["input_ids"]
    assert ids == AutoTokenizer.from_pretrained(encoder_folder)("good")["input_ids"]


# Where it is


@pytest.mark.parametrize(
    "model", ["./nope", "/no/such/folder", "a/b/c", "~/nope", "../nope", "-x", "a b"]
)
def test_missing_directory_that_is_no_hub_id(model: str) -> None:
    message = _message(model)
    assert "no directory" in message and model in message
    assert "no hub id" in message and "user/name" in message


def test_empty_name_is_not_the_current_directory(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_checkpoint)
    assert "no hub id" in _message("")


def test_file_instead_of_a_directory(tiny_checkpoint: Path) -> None:
    file = tiny_checkpoint / "model.safetensors"
    message = _message(file)
    assert str(file) in message and "is a file" in message and "directory" in message


def test_revision_of_a_local_directory(tiny_checkpoint: Path) -> None:
    message = _message(tiny_checkpoint, revision="main")
    assert "--revision" in message and "hub" in message and str(tiny_checkpoint) in message


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(LocalEntryNotFoundError("no connection\nmore lines"), id="not in the cache"),
        pytest.param(ConnectionError("no connection"), id="connection"),
        pytest.param(TimeoutError("no connection"), id="timeout"),
        pytest.param(HFValidationError("no connection"), id="name"),
    ],
)
def test_hub_failure_names_the_model_and_the_reason(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", fail)
    message = _message("user/name")
    assert "no directory user/name" in message and "hub gave no such model" in message
    assert message.endswith("no connection")


@pytest.fixture
def hub_status(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Lets a server on this machine stand in for the hub, and sets the status it answers."""

    class Handler(http.server.BaseHTTPRequestHandler):
        status = 200

        def do_GET(self) -> None:
            self.send_error(self.status)

        def log_message(self, *_: object) -> None:
            """Nothing on stderr."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    monkeypatch.setattr(
        huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}"
    )
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield lambda status: setattr(Handler, "status", status)
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("status", [401, 404, 500])
def test_hub_answer_that_is_an_error(hub_status: Callable[[int], None], status: int) -> None:
    hub_status(status)
    message = _message("user/name")
    assert "no directory user/name" in message and "hub gave no such model" in message
    assert str(status) in message


def test_hub_that_no_connection_reaches(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    message = _message("user/name")
    assert "no directory user/name" in message and "hub" in message


def test_hub_in_offline_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert "user/name" in _message("user/name")


class _Hub:
    """A hub with one model, the files of which lie in a folder; stands in for the network."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.revision: str | None = None
        self.downloads: list[tuple[str | None, list[str]]] = []
        monkeypatch.setattr(huggingface_hub.HfApi, "model_info", self._model_info)
        monkeypatch.setattr(huggingface_hub, "snapshot_download", self._download)

    def _model_info(self, name: str, *, revision: str | None = None) -> Any:
        self.revision = revision
        siblings = [{"rfilename": path.name} for path in self.folder.iterdir()]
        return huggingface_hub.ModelInfo(  # type: ignore[no-untyped-call]
            id=name, sha="0123abcd", siblings=siblings, private=False, downloads=0, likes=0, tags=[]
        )

    def _download(self, name: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        self.downloads.append((revision, allow_patterns))
        return str(self.folder)

    def fetched(self) -> set[str]:
        """Files that the one download was for."""
        ((_, patterns),) = self.downloads
        names = {path.name for path in self.folder.iterdir()}
        return {name for name in names if any(Path(name).match(pattern) for pattern in patterns)}


def test_hub_model_is_pinned_to_the_revision_it_has(
    copied_checkpoint: CopiedCheckpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = _Hub(copied_checkpoint(), monkeypatch)
    checkpoint = load_checkpoint("user/name", revision="a-branch")
    assert hub.revision == "a-branch"
    assert [revision for revision, _ in hub.downloads] == ["0123abcd"]
    assert (checkpoint.name, checkpoint.revision) == ("user/name", "0123abcd")


def test_hub_download_leaves_out_what_is_not_needed(
    copied_checkpoint: CopiedCheckpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copied_checkpoint()
    needed = {path.name for path in folder.iterdir()}
    for name in ("pytorch_model.bin", "tf_model.h5", "model.onnx", "modeling.py", "film.mp4"):
        (folder / name).write_bytes(b"")
    hub = _Hub(folder, monkeypatch)
    load_checkpoint("user/name")
    assert hub.fetched() == needed


def test_pickled_hub_model_is_refused_before_the_download(
    copied_checkpoint: CopiedCheckpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = _Hub(_pickled(copied_checkpoint()), monkeypatch)
    assert "--allow-pickle" in _message("user/name")
    assert hub.downloads == []


def test_pickled_hub_model_is_loaded_where_allowed(
    copied_checkpoint: CopiedCheckpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = _Hub(_pickled(copied_checkpoint()), monkeypatch)
    assert load_checkpoint("user/name", allow_pickle=True).revision == "0123abcd"
    assert "pytorch_model.bin" in hub.fetched()


# What kind of files it has


def test_directory_without_config(copied_checkpoint: CopiedCheckpoint) -> None:
    folder = copied_checkpoint()
    (folder / "config.json").unlink()
    message = _message(folder)
    assert str(folder) in message and "no config.json" in message


@pytest.mark.parametrize("content", [b"{", b"", b"[]", b"null", b"\xff\xfe", b'"text"'])
def test_broken_config(copied_checkpoint: CopiedCheckpoint, content: bytes) -> None:
    folder = copied_checkpoint()
    (folder / "config.json").write_bytes(content)
    message = _message(folder)
    assert str(folder) in message and "config.json" in message


def test_config_without_a_model_type(copied_checkpoint: CopiedCheckpoint) -> None:
    folder = copied_checkpoint()
    edit_json(folder / "config.json", {}, ["model_type"])
    message = _message(folder)
    assert str(folder) in message and "config.json" in message and "model_type" in message


def test_directory_without_weights(copied_checkpoint: CopiedCheckpoint) -> None:
    folder = copied_checkpoint()
    (folder / "model.safetensors").unlink()
    message = _message(folder)
    assert str(folder) in message and "no model.safetensors" in message


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("tf_model.h5", ["TensorFlow", "from_tf=True", "save_pretrained"]),
        ("flax_model.msgpack", ["Flax", "from_flax=True", "save_pretrained"]),
        ("model.onnx", ["ONNX", "PyTorch", "the checkpoint it was made from"]),
    ],
)
def test_weights_of_another_framework(
    copied_checkpoint: CopiedCheckpoint, file: str, words: list[str]
) -> None:
    folder = copied_checkpoint()
    (folder / "model.safetensors").rename(folder / file)
    message = _message(folder)
    assert str(folder) in message
    for word in words:
        assert word in message


def test_onnx_model_in_a_subfolder(copied_checkpoint: CopiedCheckpoint) -> None:
    """Where Optimum and the hub's converters put it."""
    folder = copied_checkpoint()
    (folder / "onnx").mkdir()
    (folder / "model.safetensors").rename(folder / "onnx" / "model.onnx")
    message = _message(folder)
    assert str(folder) in message and "ONNX" in message


def test_pickled_weights_are_refused(copied_checkpoint: CopiedCheckpoint) -> None:
    folder = _pickled(copied_checkpoint())
    message = _message(folder)
    assert "pickle" in message and "--allow-pickle" in message and "safetensors" in message


def test_pickled_weights_are_loaded_where_allowed(
    tiny_checkpoint: Path, copied_checkpoint: CopiedCheckpoint
) -> None:
    pickled = load_checkpoint(str(_pickled(copied_checkpoint())), allow_pickle=True)
    whole = load_checkpoint(str(tiny_checkpoint))
    np.testing.assert_allclose(_logits(pickled), _logits(whole), atol=1e-5)


def test_safetensors_are_preferred_to_pickles(copied_checkpoint: CopiedCheckpoint) -> None:
    folder = copied_checkpoint()
    (folder / "pytorch_model.bin").write_bytes(b"not to be read")
    for allow_pickle in (False, True):
        assert load_checkpoint(str(folder), allow_pickle=allow_pickle).max_length == 512


def test_broken_pickle(copied_checkpoint: CopiedCheckpoint) -> None:
    folder = _pickled(copied_checkpoint())
    (folder / "pytorch_model.bin").write_bytes(b"not a pickle")
    message = _message(folder, allow_pickle=True)
    assert str(folder) in message and "weights" in message and "cannot be loaded" in message


@pytest.mark.parametrize("kept", [0, 6, 1_000, 100_000])
def test_truncated_safetensors(copied_checkpoint: CopiedCheckpoint, kept: int) -> None:
    folder = copied_checkpoint()
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    message = _message(folder)
    assert f"the weights of {folder} cannot be loaded" in message


def test_corrupt_safetensors(copied_checkpoint: CopiedCheckpoint) -> None:
    folder = copied_checkpoint()
    file = folder / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:8] + b"\x00" * 64 + content[72:])
    assert f"the weights of {folder} cannot be loaded" in _message(folder)


def test_missing_shard(tiny_checkpoint: Path, copied_checkpoint: CopiedCheckpoint) -> None:
    folder = copied_checkpoint()
    (folder / "model.safetensors").unlink()
    model = load_checkpoint(str(tiny_checkpoint)).model
    model.save_pretrained(folder, max_shard_size="1MB")  # type: ignore[operator]
    shard = sorted(folder.glob("model-*.safetensors"))[-1]
    shard.unlink()
    message = _message(folder)
    assert f"the weights of {folder} cannot be loaded" in message and shard.name in message


def test_weights_of_another_shape(copied_checkpoint: CopiedCheckpoint) -> None:
    folder = copied_checkpoint()
    edit_json(folder / "config.json", {"intermediate_size": 96})
    message = _message(folder)
    assert f"the weights of {folder}" in message


def test_incomplete_weights(copied_checkpoint: CopiedCheckpoint) -> None:
    folder = copied_checkpoint()
    lost = [f"bert.encoder.layer.1.attention.self.{name}.weight" for name in ("key", "query")]
    _edit_weights(folder, lambda weights: {n: w for n, w in weights.items() if n not in lost})
    message = _message(folder)
    assert "incomplete" in message
    assert all(name in message for name in lost) and "and more" not in message


def test_many_incomplete_weights_are_cut_short(copied_checkpoint: CopiedCheckpoint) -> None:
    folder = copied_checkpoint()
    _edit_weights(folder, lambda weights: {n: w for n, w in weights.items() if "layer.1" not in n})
    message = _message(folder)
    assert "incomplete" in message and "and more missing" in message
    assert message.count("layer.1") == 5


# What kind of model it is


@pytest.mark.parametrize(
    ("architecture", "words"),
    [
        ("BertForMaskedLM", ["masked language model", "not a classifier"]),
        ("BertForPreTraining", ["pretraining model", "not a classifier"]),
        ("BertForQuestionAnswering", ["question answering model", "not a classifier"]),
        ("BertForMultipleChoice", ["multiple choice model", "not a classifier"]),
        ("BertForNextSentencePrediction", ["next sentence", "not a classifier"]),
        ("BertLMHeadModel", ["causal language model", "not a classifier"]),
        ("BertModel", ["encoder without a classification head", "random"]),
        ("SentenceTransformer", ["encoder without a classification head", "random"]),
    ],
)
def test_model_of_another_task(
    copied_checkpoint: CopiedCheckpoint, architecture: str, words: list[str]
) -> None:
    folder = copied_checkpoint()
    edit_json(folder / "config.json", {"architectures": [architecture]})
    message = _message(folder)
    assert str(folder) in message and architecture in message
    assert "AutoModelForSequenceClassification" in message
    for word in words:
        assert word in message


@pytest.mark.parametrize("architectures", [["BertForSequenceClassification"], None, []])
def test_weights_without_a_head(
    copied_checkpoint: CopiedCheckpoint, architectures: list[str] | None
) -> None:
    folder = copied_checkpoint()
    edit_json(folder / "config.json", {"architectures": architectures})
    _edit_weights(
        folder, lambda weights: {n: w for n, w in weights.items() if "classifier" not in n}
    )
    message = _message(folder)
    assert "encoder without a classification head" in message
    assert "classifier.weight" in message and "random" in message


def test_architecture_left_out_is_found_by_the_weights(
    tiny_checkpoint: Path, copied_checkpoint: CopiedCheckpoint
) -> None:
    folder = copied_checkpoint()
    edit_json(folder / "config.json", {}, ["architectures"])
    expected = _logits(load_checkpoint(str(tiny_checkpoint)))
    np.testing.assert_allclose(_logits(load_checkpoint(str(folder))), expected, atol=1e-5)


def test_pretrained_encoder_is_refused(encoder_folder: Path) -> None:
    message = _message(encoder_folder)
    assert "encoder without a classification head (BertModel)" in message


def test_code_of_the_checkpoint_is_never_run(copied_checkpoint: CopiedCheckpoint) -> None:
    folder = copied_checkpoint()
    trap = folder / "ran"
    code = f"import pathlib\npathlib.Path({str(trap)!r}).touch()\n"
    (folder / "configuration_mine.py").write_text(code + "class MineConfig: pass\n")
    (folder / "modeling_mine.py").write_text(code + "class MineModel: pass\n")
    auto_map = {
        "AutoConfig": "configuration_mine.MineConfig",
        "AutoModelForSequenceClassification": "modeling_mine.MineModel",
    }
    edit_json(folder / "config.json", {"model_type": "mine", "auto_map": auto_map})
    message = _message(folder, UnsupportedModelError)
    assert "its own Python code" in message and "never runs" in message
    assert not trap.exists()
    assert not any("modeling_mine" in name for name in sys.modules)


def test_code_beside_a_known_architecture_is_never_run(
    tiny_checkpoint: Path, copied_checkpoint: CopiedCheckpoint
) -> None:
    """The model is the one that Transformers itself has; the code is not touched."""
    folder = copied_checkpoint()
    trap = folder / "ran"
    code = f"import pathlib\npathlib.Path({str(trap)!r}).touch()\n"
    (folder / "modeling_mine.py").write_text(code + "class MineModel: pass\n")
    auto_map = {"AutoModelForSequenceClassification": "modeling_mine.MineModel"}
    edit_json(folder / "config.json", {"auto_map": auto_map})
    expected = _logits(load_checkpoint(str(tiny_checkpoint)))
    np.testing.assert_allclose(_logits(load_checkpoint(str(folder))), expected, atol=1e-5)
    assert not trap.exists()


def test_unknown_model_type(copied_checkpoint: CopiedCheckpoint) -> None:
    folder = copied_checkpoint()
    edit_json(folder / "config.json", {"model_type": "no-such-model"})
    with pytest.raises(ExportError) as raised:
        load_checkpoint(str(folder))
    message = str(raised.value)
    assert "no-such-model" in message and "\n" not in message


def test_decoder_is_unsupported(copied_checkpoint: CopiedCheckpoint) -> None:
    folder = copied_checkpoint()
    edit_json(folder / "config.json", {"is_decoder": True})
    message = _message(folder, UnsupportedModelError)
    assert "decoder" in message and "encoders" in message


@pytest.mark.parametrize("kind", ["relative_key", "relative_key_query"])
def test_relative_positions_are_unsupported(copied_checkpoint: CopiedCheckpoint, kind: str) -> None:
    folder = copied_checkpoint()
    edit_json(folder / "config.json", {"position_embedding_type": kind})
    message = _message(folder, UnsupportedModelError)
    assert message == (
        f"{folder} has {kind} position embeddings, which Transformers 5 gave up and bertrt does "
        "not support"
    )


# What differs between families

_SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
}


@pytest.fixture
def saved(encoder_folder: Path, tmp_path: Path) -> Callable[..., Path]:
    """Saves a checkpoint of any family with MiniLM's tokenizer, which gives token_type_ids.

    name: of the model; settings: of its configuration; stated: in tokenizer_config.json.
    """

    def save(name: str, settings: dict[str, Any], stated: dict[str, Any]) -> Path:
        kind = getattr(transformers, name)
        config = kind.config_class(**{"vocab_size": 30_522, **settings})
        kind(config).save_pretrained(tmp_path)
        AutoTokenizer.from_pretrained(encoder_folder).save_pretrained(tmp_path)
        edit_json(tmp_path / "tokenizer_config.json", stated)
        return tmp_path

    return save


_ROBERTA = {**_SIZES, "max_position_embeddings": 514, "type_vocab_size": 1}
_MODERNBERT = {
    **_SIZES,
    "max_position_embeddings": 96,
    **{f"{token}_token_id": number for number, token in enumerate("pad bos cls sep eos".split())},
}


@pytest.mark.parametrize(
    ("stated", "expected"), [(10**30, 512), (1e30, 512), (514, 512), (512, 512), (128, 128)]
)
def test_two_of_the_positions_of_roberta_are_for_no_token(
    saved: Callable[..., Path], stated: float, expected: int
) -> None:
    checkpoint = load_checkpoint(
        str(saved("RobertaForSequenceClassification", _ROBERTA, {"model_max_length": stated}))
    )
    assert checkpoint.max_length == expected
    assert checkpoint.family is FAMILIES["roberta"]
    if expected == 512:  # PyTorch has a position for as many, and for no more
        for length, ok in ((512, True), (513, False)):
            ids = torch.full((1, length), 5)
            with contextlib.nullcontext() if ok else pytest.raises((IndexError, RuntimeError)):
                checkpoint.model(input_ids=ids)


def test_padding_id_moves_the_first_position(saved: Callable[..., Path]) -> None:
    settings = {**_ROBERTA, "pad_token_id": 3}
    stated = {"model_max_length": 10**30}
    folder = saved("RobertaForSequenceClassification", settings, stated)
    assert load_checkpoint(str(folder)).max_length == 510


@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        ("ModernBertForSequenceClassification", _MODERNBERT, 96),
        ("XLNetForSequenceClassification", {"d_model": 16, "n_layer": 1, "n_head": 2}, 512),
    ],
    ids=["rotary", "without an end"],
)
def test_max_length_without_a_table_of_positions(
    saved: Callable[..., Path], name: str, settings: dict[str, Any], expected: int
) -> None:
    folder = saved(name, settings, {"model_max_length": 10**30})
    assert load_checkpoint(str(folder)).max_length == expected


@pytest.mark.parametrize(
    ("name", "settings", "segments"),
    [
        ("BertForSequenceClassification", _SIZES, True),
        ("BertForSequenceClassification", {**_SIZES, "type_vocab_size": 1}, False),
        ("RobertaForSequenceClassification", _ROBERTA, False),
        ("RobertaForSequenceClassification", {**_ROBERTA, "type_vocab_size": 2}, True),
        ("DistilBertForSequenceClassification", {"dim": 16, "n_layers": 1, "n_heads": 2}, False),
        ("ModernBertForSequenceClassification", _MODERNBERT, False),
        ("DebertaV2ForSequenceClassification", {**_SIZES, "type_vocab_size": 0}, False),
        # What cannot be packed, and has no table that would tell, is fed what it takes.
        ("XLNetForSequenceClassification", {"d_model": 16, "n_layer": 1, "n_head": 2}, True),
    ],
)
def test_segments_are_fed_where_the_model_has_use_for_them(
    saved: Callable[..., Path], name: str, settings: dict[str, Any], segments: bool
) -> None:
    stated = {"model_input_names": ["input_ids", "token_type_ids", "attention_mask"]}
    checkpoint = load_checkpoint(str(saved(name, settings, stated)))
    assert "token_type_ids" in checkpoint.tokenizer("good")
    assert checkpoint.segments is segments


def test_tokenizer_without_segments_feeds_none(copied_checkpoint: CopiedCheckpoint) -> None:
    """All tokens are of the first segment then, in PyTorch as in the packed graph."""
    folder = copied_checkpoint()
    names = {"model_input_names": ["input_ids", "attention_mask"]}
    edit_json(folder / "tokenizer_config.json", names)
    checkpoint = load_checkpoint(str(folder))
    assert checkpoint.segments is False
    graph = packed_graph(checkpoint)
    assert [value.name for value in graph.graph.inputs] == ["input_ids", "lengths"]
    texts = ["a gorgeous film", "bad", "it is neither good nor bad, and far too long"]
    rows = [np.array(checkpoint.tokenizer(text)["input_ids"]) for text in texts]
    feeds = {
        "input_ids": np.concatenate(rows),
        "lengths": np.array([len(row) for row in rows], dtype=np.int32),
    }
    with torch.inference_mode():
        tensors = [torch.from_numpy(row[None]) for row in rows]
        expected = torch.cat([checkpoint.model(input_ids=row).logits for row in tensors]).numpy()
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(run(graph, feeds)[0], expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "settings", "task", "per_token"),
    [
        ("BertForSequenceClassification", _SIZES, "text-classification", False),
        ("BertForTokenClassification", _SIZES, "token-classification", True),
        ("RobertaForTokenClassification", _ROBERTA, "token-classification", True),
    ],
)
def test_task_is_what_the_architecture_says(
    saved: Callable[..., Path], name: str, settings: dict[str, Any], task: str, per_token: bool
) -> None:
    folder = saved(name, {**settings, "num_labels": 5}, {})
    checkpoint = load_checkpoint(str(folder))
    assert (checkpoint.task, checkpoint.per_token) == (task, per_token)
    assert type(checkpoint.model).__name__ == name
    with torch.inference_mode():
        logits = checkpoint.model(input_ids=torch.tensor([[7, 8, 9]])).logits
    assert logits.shape == ((1, 3, 5) if per_token else (1, 5))


def test_token_classifier_without_a_head(saved: Callable[..., Path]) -> None:
    folder = saved("BertForTokenClassification", _SIZES, {})
    _edit_weights(
        folder, lambda weights: {n: w for n, w in weights.items() if "classifier" not in n}
    )
    message = _message(folder)
    assert "encoder without a classification head" in message and "classifier.bias" in message


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("XLNetForSequenceClassification", {"d_model": 16, "n_layer": 1, "n_head": 2}),
        ("GPT2ForSequenceClassification", {"n_embd": 16, "n_layer": 1, "n_head": 2}),
    ],
)
def test_model_of_no_family_is_loaded_all_the_same(
    saved: Callable[..., Path], name: str, settings: dict[str, Any]
) -> None:
    """It may be exported in the padded layout."""
    checkpoint = load_checkpoint(str(saved(name, settings, {})))
    assert checkpoint.family is None
    assert checkpoint.task == "text-classification"


@pytest.mark.parametrize(
    ("name", "settings", "family"),
    [
        ("ErnieForSequenceClassification", _SIZES, Family("encoder", "from 0")),
        ("MegatronBertForSequenceClassification", _SIZES, Family("encoder", "from 0")),
        ("Data2VecTextForSequenceClassification", _ROBERTA, Family("", "after padding")),
        ("ErnieForTokenClassification", _SIZES, Family("", "from 0")),
    ],
)
def test_family_of_others_is_guessed_by_what_they_have(
    saved: Callable[..., Path], name: str, settings: dict[str, Any], family: Family
) -> None:
    assert load_checkpoint(str(saved(name, settings, {}))).family == family


# Its tokenizer


def test_missing_tokenizer(copied_checkpoint: CopiedCheckpoint) -> None:
    folder = copied_checkpoint()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    message = _message(folder)
    assert str(folder) in message and "tokenizer" in message


def test_missing_vocabulary(copied_checkpoint: CopiedCheckpoint) -> None:
    """Transformers 5 then makes a tokenizer of nothing but special tokens."""
    folder = copied_checkpoint()
    (folder / "tokenizer.json").unlink()
    message = _message(folder)
    assert str(folder) in message and "tokenizer" in message


@pytest.mark.parametrize("content", ["{", "{}", '{"model": {"type": "Nothing"}}'])
def test_broken_tokenizer(copied_checkpoint: CopiedCheckpoint, content: str) -> None:
    folder = copied_checkpoint()
    (folder / "tokenizer.json").write_text(content)
    message = _message(folder)
    assert str(folder) in message and "tokenizer" in message and "cannot be loaded" in message


def test_tokenizer_settings_that_are_no_json(copied_checkpoint: CopiedCheckpoint) -> None:
    folder = copied_checkpoint()
    (folder / "tokenizer_config.json").write_text(json.dumps({})[:1])
    message = _message(folder)
    assert str(folder) in message and "tokenizer" in message


def test_tokenizer_with_code_of_its_own(copied_checkpoint: CopiedCheckpoint) -> None:
    folder = copied_checkpoint()
    (folder / "tokenizer.json").unlink()
    auto_map = {"AutoTokenizer": ["tokenization_mine.MineTokenizer", None]}
    edit_json(
        folder / "tokenizer_config.json", {"auto_map": auto_map, "tokenizer_class": "MineTokenizer"}
    )
    trap = folder / "ran"
    code = f"import pathlib\npathlib.Path({str(trap)!r}).touch()\nclass MineTokenizer: pass\n"
    (folder / "tokenization_mine.py").write_text(code)
    with pytest.raises(ExportError) as raised:
        load_checkpoint(str(folder))
    assert "tokenizer" in str(raised.value) and "\n" not in str(raised.value)
    assert not trap.exists()


def test_vocabulary_larger_than_the_embedding_table(copied_checkpoint: CopiedCheckpoint) -> None:
    """Texts with its last tokens would fail, golden ones among them."""
    folder = copied_checkpoint()
    edit_json(folder / "config.json", {"vocab_size": 5_000})

    def cut(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        name = "bert.embeddings.word_embeddings.weight"
        return {**weights, name: weights[name][:5_000].clone()}

    _edit_weights(folder, cut)
    message = _message(folder)
    assert "tokenizer" in message and "5000" in message.replace(",", "")
