"""The names of devices."""

import pytest
from bertrt.devices import Device


@pytest.mark.parametrize(
    ("name", "device"),
    [
        ("auto", Device("auto")),
        ("cpu", Device("cpu")),
        ("cuda", Device("cuda")),
        ("cuda:0", Device("cuda")),
        ("cuda:3", Device("cuda", 3)),
        ("tensorrt", Device("tensorrt")),
        ("tensorrt:12", Device("tensorrt", 12)),
    ],
)
def test_names(name: str, device: Device) -> None:
    assert Device.parse(name) == device
    assert Device.parse(str(device)) == device
    assert device.on_gpu is name.startswith(("cuda", "tensorrt"))


@pytest.mark.parametrize(
    "name",
    [
        "",
        "gpu",
        "CUDA",
        "cuda:",
        "cuda:-1",
        "cuda:x",
        "cuda:1000",
        "cpu:0",
        "auto:0",
        "cuda:1 ",
        "cuda:١",
    ],
)
def test_other_names_say_what_there_is(name: str) -> None:
    with pytest.raises(ValueError, match="auto, cpu, cuda, tensorrt") as raised:
        Device.parse(name)
    assert repr(name) in str(raised.value)


def test_what_is_no_name_at_all() -> None:
    with pytest.raises(ValueError, match="device is 0"):
        Device.parse(0)  # type: ignore[arg-type]
