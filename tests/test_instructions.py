"""What the CPU offers for 8-bit products, and what the session does where that is too little."""

from pathlib import Path

import numpy as np
import pytest
from bertrt import Classifier
from bertrt.backend import create_session
from bertrt.instructions import describe_int8, has_vnni, may_saturate

from tests.helpers import pretend_cpu

_ENTRY = "session.x64quantprecision"


def _x86(*flags: str) -> str:
    """As Linux lists an x86 CPU of two cores."""
    core = "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu {} avx2\nbugs\t\t: none\n\n"
    return core.format(" ".join(flags)) * 2


_ARM = "processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd asimddp i8mm\n"
_SLOW = "int8 runs exactly, but about as slowly as fp32"


@pytest.mark.parametrize(
    ("machine", "cpuinfo", "vnni", "saturates", "described"),
    [
        pytest.param("x86_64", _x86("avx512_vnni"), True, False, "VNNI", id="AVX-512 VNNI"),
        pytest.param("x86_64", _x86("avx_vnni"), True, False, "VNNI", id="AVX VNNI"),
        pytest.param("AMD64", _x86("avx_vnni"), True, False, "VNNI", id="as Windows names x86"),
        pytest.param("AMD64", None, None, True, f"VNNI unknown: {_SLOW}", id="Windows"),
        pytest.param("x86_64", _x86(), False, True, f"no VNNI: {_SLOW}", id="x86 without VNNI"),
        pytest.param(
            "x86_64",
            _x86("avx512f", "avx_vnni_int8"),
            False,
            True,
            f"no VNNI: {_SLOW}",
            id="a flag that is only like VNNI's",
        ),
        pytest.param("x86_64", None, None, True, f"VNNI unknown: {_SLOW}", id="no cpuinfo"),
        pytest.param(
            "x86_64",
            "processor\t: 0\nmodel name\t: with avx512_vnni\n",
            None,
            True,
            f"VNNI unknown: {_SLOW}",
            id="no line of flags",
        ),
        pytest.param("aarch64", _ARM, None, False, "aarch64 dot products", id="ARM"),
        pytest.param("arm64", None, None, False, "arm64 dot products", id="ARM without cpuinfo"),
    ],
)
def test_what_a_cpu_offers(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    machine: str,
    cpuinfo: str | None,
    vnni: bool | None,
    saturates: bool,
    described: str,
) -> None:
    pretend_cpu(monkeypatch, tmp_path, machine, cpuinfo)
    assert has_vnni() is vnni
    assert may_saturate() is saturates
    assert describe_int8() == described


# What the session makes of it


@pytest.mark.parametrize("name", ["model.onnx", "model_int8.onnx"])
@pytest.mark.parametrize(
    ("machine", "cpuinfo", "exact"),
    [
        pytest.param("x86_64", _x86(), True, id="x86 without VNNI"),
        pytest.param("x86_64", None, True, id="x86 unknown"),
        pytest.param("x86_64", _x86("avx512_vnni"), False, id="VNNI"),
        pytest.param("aarch64", _ARM, False, id="ARM"),
    ],
)
def test_exact_products_are_asked_for_only_where_they_may_saturate(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    tiny_int8_artifact: Path,
    name: str,
    machine: str,
    cpuinfo: str | None,
    exact: bool,
) -> None:
    pretend_cpu(monkeypatch, tmp_path, machine, cpuinfo)
    session = create_session(tiny_int8_artifact / name, ["CPUExecutionProvider"], 1)
    options = session.get_session_options()
    if exact:
        assert options.get_session_config_entry(_ENTRY) == "1"
    else:
        with pytest.raises(RuntimeError, match="does not have configuration"):
            options.get_session_config_entry(_ENTRY)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_exact_products_give_the_same_answers(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    tiny_int8_artifact: Path,
    sst2_dev: list[tuple[str, int]],
    precision: str,
) -> None:
    texts = [text for text, _ in sst2_dev[:40]]
    usual = Classifier(tiny_int8_artifact, "cpu", precision=precision).logits(texts)
    pretend_cpu(monkeypatch, tmp_path, "x86_64", _x86())
    exact = Classifier(tiny_int8_artifact, "cpu", precision=precision).logits(texts)
    np.testing.assert_allclose(exact, usual, atol=1e-3)
