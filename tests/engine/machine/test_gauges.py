"""Readings of GPUs, on a stand-in for the NVML library: there is no driver where the tests run."""

from __future__ import annotations

from types import SimpleNamespace

import pynvml
import pytest

from engine.machine import gauges

LOST, DUMB = 1, 2


def refuse(handle: int, *_: object) -> float:
    raise pynvml.NVMLError_GpuIsLost() if handle == LOST else pynvml.NVMLError_NotSupported()


@pytest.fixture(autouse=True)
def _nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    """GPU 0 tells everything, GPU 1 fell off the bus, GPU 2 knows neither power nor temperature."""

    def of(value: object, deaf: tuple[int, ...]) -> object:
        return lambda handle, *_: refuse(handle) if handle in deaf else value

    for name, value, deaf in (
        ("nvmlInit", None, ()),
        ("nvmlDeviceGetName", "NVIDIA H200", ()),
        ("nvmlDeviceGetMemoryInfo", SimpleNamespace(used=98_000_000_000, total=141_000_000_000), (LOST,)),
        ("nvmlDeviceGetUtilizationRates", SimpleNamespace(gpu=97), (LOST,)),
        ("nvmlDeviceGetPowerUsage", 612_000, (LOST, DUMB)),
        ("nvmlDeviceGetTemperature", 64, (LOST, DUMB)),
    ):
        monkeypatch.setattr(pynvml, name, (lambda: None) if name == "nvmlInit" else of(value, deaf))
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: 3)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda index: index)


def test_a_gpu_tells_its_use_memory_power_and_temperature() -> None:
    full, dumb = gauges.sample(gauges.open_gpus())
    assert (full.device, full.util, full.memory_used, full.memory_total) == (
        "cuda:0 NVIDIA H200",
        97.0,
        98_000_000_000,
        141_000_000_000,
    )
    assert (full.power, full.temperature) == (612.0, 64.0)
    assert (dumb.device, dumb.util, dumb.power, dumb.temperature) == ("cuda:2 NVIDIA H200", 97.0, None, None)


def test_a_lost_gpu_is_left_out_and_ends_nothing() -> None:
    assert [gauge.device for gauge in gauges.sample([LOST])] == []


def test_without_a_driver_it_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> None:
        raise pynvml.NVMLError_LibraryNotFound()

    monkeypatch.setattr(pynvml, "nvmlInit", none)
    assert [gauge.device for gauge in gauges.sample(gauges.open_gpus())] == ["cpu"]
