"""Which of an artifact's graphs runs, and that it is the one that answers."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from bertrt import ArtifactError, Classifier, DeviceError, precision, session
from bertrt.artifact import Artifact
from bertrt.devices import Device
from bertrt.precision import PRECISIONS, choose_precision, devices_to_try

from tests.helpers import edit_manifest, pretend_cpu

_BOTH, _FP32, _INT8, _FP16 = ("fp32", "int8"), ("fp32",), ("int8",), ("fp16",)
_ALL = ("fp32", "int8", "fp16")
_GPU = ("cuda", "cuda:1", "tensorrt")
_DEVICES = ("auto", "cpu", *_GPU)
_ANY = (False, True)

# What is held, asked for, on which devices, whether there is CUDA, whether int8 is slow -> answer.
_Rule = tuple[
    tuple[str, ...],
    str,
    tuple[str, ...],
    tuple[bool, ...],
    tuple[bool, ...],
    str | type[Exception],
]
_RULES: list[_Rule] = [
    (_FP32, "auto", _DEVICES, _ANY, _ANY, "fp32"),
    (_FP32, "fp32", _DEVICES, _ANY, _ANY, "fp32"),
    (_FP32, "int8", _DEVICES, _ANY, _ANY, ArtifactError),
    (_FP32, "fp16", _DEVICES, _ANY, _ANY, ArtifactError),
    (_INT8, "auto", ("auto", "cpu"), _ANY, _ANY, "int8"),
    (_INT8, "auto", _GPU, _ANY, _ANY, DeviceError),
    (_INT8, "fp32", _DEVICES, _ANY, _ANY, ArtifactError),
    (_INT8, "fp16", _DEVICES, _ANY, _ANY, ArtifactError),
    (_INT8, "int8", ("auto", "cpu"), _ANY, _ANY, "int8"),
    (_INT8, "int8", _GPU, _ANY, _ANY, DeviceError),
    (_BOTH, "fp32", _DEVICES, _ANY, _ANY, "fp32"),
    (_BOTH, "fp16", _DEVICES, _ANY, _ANY, ArtifactError),
    (_BOTH, "int8", ("auto", "cpu"), _ANY, _ANY, "int8"),
    (_BOTH, "int8", _GPU, _ANY, _ANY, DeviceError),
    (_BOTH, "auto", ("cpu",), _ANY, (False,), "int8"),
    (_BOTH, "auto", ("cpu",), _ANY, (True,), "fp32"),
    (_BOTH, "auto", ("auto",), (False,), (False,), "int8"),
    (_BOTH, "auto", ("auto",), (False,), (True,), "fp32"),
    (_BOTH, "auto", ("auto",), (True,), _ANY, "fp32"),
    (_BOTH, "auto", _GPU, _ANY, _ANY, "fp32"),
    (_FP16, "auto", ("auto",), (True,), _ANY, "fp16"),
    (_FP16, "auto", ("auto",), (False,), _ANY, DeviceError),
    (_FP16, "auto", ("cpu",), _ANY, _ANY, DeviceError),
    (_FP16, "auto", _GPU, _ANY, _ANY, "fp16"),
    (_FP16, "fp16", ("auto",), (True,), _ANY, "fp16"),
    (_FP16, "fp16", ("auto",), (False,), _ANY, DeviceError),
    (_FP16, "fp16", ("cpu",), _ANY, _ANY, DeviceError),
    (_FP16, "fp16", _GPU, _ANY, _ANY, "fp16"),
    (_FP16, "fp32", _DEVICES, _ANY, _ANY, ArtifactError),
    (_FP16, "int8", _DEVICES, _ANY, _ANY, ArtifactError),
    (_ALL, "fp32", _DEVICES, _ANY, _ANY, "fp32"),
    (_ALL, "int8", ("auto", "cpu"), _ANY, _ANY, "int8"),
    (_ALL, "int8", _GPU, _ANY, _ANY, DeviceError),
    (_ALL, "fp16", ("auto",), (True,), _ANY, "fp16"),
    (_ALL, "fp16", ("auto",), (False,), _ANY, DeviceError),
    (_ALL, "fp16", ("cpu",), _ANY, _ANY, DeviceError),
    (_ALL, "fp16", _GPU, _ANY, _ANY, "fp16"),
    (_ALL, "auto", ("cpu",), _ANY, (False,), "int8"),
    (_ALL, "auto", ("cpu",), _ANY, (True,), "fp32"),
    (_ALL, "auto", ("auto",), (False,), (False,), "int8"),
    (_ALL, "auto", ("auto",), (False,), (True,), "fp32"),
    (_ALL, "auto", ("auto",), (True,), _ANY, "fp16"),
    (_ALL, "auto", _GPU, _ANY, _ANY, "fp16"),
]


def _cases(rule: _Rule) -> Iterator[tuple[tuple[str, ...], str, str, bool, bool]]:
    held, asked, devices, cuda, slow, _ = rule
    return itertools.product([held], [asked], devices, cuda, slow)


def _artifact(held: tuple[str, ...], *, own: bool = True) -> Artifact:
    folder = Path("the model")
    return Artifact(
        path=folder,
        task="text-classification",
        layout="packed" if own else "padded",
        labels=("a", "b"),
        activation="softmax",
        thresholds=None,
        max_length=512,
        pad_token_id=0,
        graphs={name: folder / f"model_{name}.onnx" for name in held},
        manifest={} if own else None,
    )


def _chosen(artifact: Artifact, asked: str, device: str) -> str:
    """The precision on the best device, which starts."""
    first, *_ = devices_to_try(artifact, asked, Device.parse(device))
    return choose_precision(artifact, asked, first)


def test_the_rules_name_every_case_once() -> None:
    cases = [case for rule in _RULES for case in _cases(rule)]
    every = itertools.product((_FP32, _INT8, _BOTH, _FP16, _ALL), PRECISIONS, _DEVICES, _ANY, _ANY)
    assert sorted(cases) == sorted(every)


@pytest.mark.parametrize("rule", _RULES, ids=lambda rule: f"{'+'.join(rule[0])} {rule[1:]}")
def test_choice(monkeypatch: pytest.MonkeyPatch, rule: _Rule) -> None:
    expected = rule[-1]
    for held, asked, device, cuda, slow in _cases(rule):
        monkeypatch.setattr(precision, "cuda_is_available", lambda cuda=cuda: cuda)
        monkeypatch.setattr(precision, "may_saturate", lambda slow=slow: slow)
        for order in (held, held[::-1]):
            if isinstance(expected, str):
                assert _chosen(_artifact(order), asked, device) == expected
            else:
                with pytest.raises(expected):
                    _chosen(_artifact(order), asked, device)


# What the errors say


@pytest.mark.parametrize("asked", ["fp64", "INT8", "", "fp32,int8"])
def test_a_precision_that_does_not_exist(tiny_int8_artifact: Path, asked: str) -> None:
    with pytest.raises(ValueError, match="choose one of auto, fp32, int8, fp16") as raised:
        Classifier(tiny_int8_artifact, "cpu", precision=asked)
    assert f"precision is {asked!r}" in str(raised.value)


@pytest.mark.parametrize(
    ("held", "asked", "export"),
    [(_FP32, "int8", "fp32,int8"), (_INT8, "fp32", "int8,fp32")],
)
def test_a_precision_that_is_not_held(held: tuple[str, ...], asked: str, export: str) -> None:
    with pytest.raises(ArtifactError) as raised:
        choose_precision(_artifact(held), asked, Device("cpu"))
    message = str(raised.value)
    assert f"the model holds no {asked} graph, only {held[0]}" in message
    assert f"export it again with --precision {export}" in message


@pytest.mark.parametrize(("held", "asked"), [(_BOTH, "int8"), (_INT8, "int8"), (_INT8, "auto")])
def test_int8_on_cuda(held: tuple[str, ...], asked: str) -> None:
    with pytest.raises(DeviceError, match="int8 runs on the CPU only") as raised:
        choose_precision(_artifact(held), asked, Device("cuda", 1))
    assert "device='cpu'" in str(raised.value)
    assert "--precision fp16 for device='cuda:1'" in str(raised.value)


@pytest.mark.parametrize(("held", "asked"), [(_ALL, "fp16"), (_FP16, "fp16"), (_FP16, "auto")])
def test_fp16_on_the_cpu(held: tuple[str, ...], asked: str) -> None:
    with pytest.raises(DeviceError, match="fp16 runs on CUDA only") as raised:
        choose_precision(_artifact(held), asked, Device("cpu"))
    assert "device='cuda'" in str(raised.value) and "--precision int8" in str(raised.value)


def test_precisions_of_a_later_bertrt() -> None:
    with pytest.raises(ArtifactError, match="holds fp4, fp8 only") as raised:
        choose_precision(_artifact(("fp4", "fp8")), "auto", Device("cpu"))
    assert "pip install --upgrade bertrt" in str(raised.value)
    assert choose_precision(_artifact(("fp4", "fp32")), "auto", Device("cpu")) == "fp32"


# Folders that bertrt did not make


@pytest.mark.parametrize("name", ["fp32", "int8", "quantized", "q4"])
@pytest.mark.parametrize("device", _DEVICES)
def test_the_only_graph_of_another_exporter(name: str, device: str) -> None:
    artifact = _artifact((name,), own=False)
    assert _chosen(artifact, "auto", device) == name
    assert _chosen(artifact, name, device) == name


@pytest.mark.parametrize("asked", ["fp32", "int8", "fp16", "nonsense"])
def test_another_precision_of_another_exporter(asked: str) -> None:
    with pytest.raises(ArtifactError, match="not exported by bertrt") as raised:
        choose_precision(_artifact(("quantized",), own=False), asked, Device("cpu"))
    message = str(raised.value)
    assert f"its model_quantized.onnx is quantized, not {asked}" in message
    assert "--file-name" in message and "file_name=" in message


@pytest.mark.parametrize(
    ("name", "devices"),
    [
        ("fp32", ["cuda", "cpu"]),
        ("fp16", ["cuda", "cpu"]),
        ("q4", ["cuda", "cpu"]),
        ("int8", ["cpu"]),
        ("quantized", ["cpu"]),
        ("uint8", ["cpu"]),
        ("qint8_avx512", ["cpu"]),
    ],
)
def test_integer_products_are_not_left_to_cuda(
    monkeypatch: pytest.MonkeyPatch, name: str, devices: list[str]
) -> None:
    artifact = _artifact((name,), own=False)
    monkeypatch.setattr(precision, "cuda_is_available", lambda: True)
    assert list(map(str, devices_to_try(artifact, "auto", Device("auto")))) == devices
    for device in ("cuda", "cpu"):
        assert devices_to_try(artifact, "auto", Device(device)) == [Device(device)]
    monkeypatch.setattr(precision, "cuda_is_available", lambda: False)
    assert devices_to_try(artifact, "auto", Device("auto")) == [Device("cpu")]


# End to end


@pytest.fixture(scope="module")
def texts(sst2_dev: list[tuple[str, int]]) -> list[str]:
    return [text for text, _ in sst2_dev[:100]]


def test_each_precision_answers_for_itself(tiny_int8_artifact: Path, texts: list[str]) -> None:
    fp32, int8 = (
        Classifier(tiny_int8_artifact, "cpu", precision=name) for name in ("fp32", "int8")
    )
    assert (fp32.precision, int8.precision) == ("fp32", "int8")
    assert fp32.provider == int8.provider == "CPUExecutionProvider"
    exact, rounded = fp32.logits(texts), int8.logits(texts)
    difference = np.abs(exact - rounded)
    assert difference.min() > 0, "the same graph answers twice"
    assert difference.mean() < 0.1 < exact.std()
    agreement = (exact.argmax(axis=1) == rounded.argmax(axis=1)).mean()
    assert agreement >= 0.95


@pytest.mark.parametrize("asked", ["fp32", "int8"])
def test_answers_are_those_that_the_manifest_holds(tiny_int8_artifact: Path, asked: str) -> None:
    classifier = Classifier(tiny_int8_artifact, "cpu", precision=asked)
    assert classifier.artifact.manifest is not None
    for entry in classifier.artifact.manifest["golden"]:
        text = entry["text"] if isinstance(entry["text"], str) else tuple(entry["text"])
        np.testing.assert_allclose(classifier.logits(text), [entry["logits"][asked]], atol=1e-3)


def test_int8_answers_alike_in_any_batch(tiny_int8_artifact: Path, texts: list[str]) -> None:
    alone, batched = (
        Classifier(tiny_int8_artifact, "cpu", precision="int8", max_batch_tokens=tokens)
        for tokens in (1, 1024)
    )
    np.testing.assert_allclose(batched.logits(texts), alone.logits(texts), atol=1e-4)


@pytest.mark.parametrize(("flag", "taken"), [("avx512_vnni", "int8"), ("avx2", "fp32")])
def test_auto_takes_what_is_fast_on_this_cpu(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    tiny_int8_artifact: Path,
    texts: list[str],
    flag: str,
    taken: str,
) -> None:
    pretend_cpu(monkeypatch, tmp_path, "x86_64", f"flags\t: {flag}\n")
    # Where VNNI is only pretended, int8 saturates, and the check of its answers rightly fails.
    auto = Classifier(tiny_int8_artifact, "cpu", check_answers=False)
    asked = Classifier(tiny_int8_artifact, "cpu", precision=taken, check_answers=False)
    assert auto.precision == taken
    np.testing.assert_array_equal(auto.logits(texts[:5]), asked.logits(texts[:5]))


def test_where_cuda_does_not_start_auto_takes_the_cpu_and_says_why(
    monkeypatch: pytest.MonkeyPatch, tiny_int8_artifact: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A build with CUDA on a machine without a GPU. int8 does not even try."""
    monkeypatch.setattr(precision, "cuda_is_available", lambda: True)
    tried: list[str] = []

    def no_gpu(graph: Path, device: Device, **options: object) -> object:
        tried.append(graph.name)
        raise DeviceError("there is no GPU")

    monkeypatch.setattr(session, "create_gpu_session", no_gpu)
    with caplog.at_level("INFO", "bertrt"):
        assert Classifier(tiny_int8_artifact, precision="int8").precision == "int8"
        assert not tried
        classifier = Classifier(tiny_int8_artifact)
    assert tried == ["model.onnx"]
    assert classifier.provider == "CPUExecutionProvider"
    (warning,) = (r.message for r in caplog.records if r.levelname == "WARNING")
    assert warning == "device='auto' takes the CPU: there is no GPU"
    with pytest.raises(DeviceError, match="there is no GPU"):
        Classifier(tiny_int8_artifact, "cuda")


def test_an_artifact_of_one_precision(copied_int8_artifact: Callable[[], Path]) -> None:
    folder = copied_int8_artifact()
    edit_manifest(folder, {"graphs": {"int8": "model_int8.onnx"}})
    assert Classifier(folder, "cpu").precision == "int8"
    with pytest.raises(ArtifactError, match="--precision int8,fp32") as raised:
        Classifier(folder, "cpu", precision="fp32")
    assert str(folder) in str(raised.value)
