"""Readings of GPUs, on a stand-in for the NVML library: there is no driver where the tests run."""

from __future__ import annotations

from types import SimpleNamespace

import pynvml
import pytest

from engine.machine import gauges

LOST, DUMB = 1, 2
UUIDS = ("GPU-1f", "GPU-2a", "GPU-3c")


def refuse(handle: int, *_: object) -> float:
    raise pynvml.NVMLError_GpuIsLost() if handle == LOST else pynvml.NVMLError_NotSupported()


def partition(uuid: str) -> str:
    if uuid == "MIG-7":
        return uuid
    raise pynvml.NVMLError_NotFound()


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
    monkeypatch.setattr(pynvml, "nvmlDeviceGetUUID", UUIDS.__getitem__)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByUUID", partition)


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


@pytest.mark.parametrize(
    ("chosen", "left"),
    [
        (None, [0, 1, 2]),
        ("", []),
        ("1", [1]),
        (" 2 , 0 ", [2, 0]),
        ("GPU-3,GPU-1f", [2, 0]),
        ("MIG-7,MIG-8,0", ["MIG-7"]),
        ("9", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("0,-1,2", [0]),
        ("1,GPU-7,2", [1]),
    ],
)
def test_cuda_visible_devices_is_read_as_cuda_reads_it(
    monkeypatch: pytest.MonkeyPatch, chosen: str | None, left: list[object]
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if chosen is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert gauges.visible_gpus() == left
