"""Reading the machine: GPUs by NVML, the CPU where there is none."""

from __future__ import annotations

import time

import psutil
import pynvml

from engine.store.rows import Gauge


def open_gpus() -> list[object]:
    """NVML handles of the GPUs; empty on a machine without a driver."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    return [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]


def sample(gpus: list[object]) -> list[Gauge]:
    """One reading per GPU, or one of the CPU (percent since the last call). ``id`` is 0: the store numbers them."""
    now = time.time()
    if not gpus:
        memory = psutil.virtual_memory()
        return [Gauge(0, now, "cpu", psutil.cpu_percent(), memory.total - memory.available, memory.total, None, None)]
    return [_gpu(index, handle, now) for index, handle in enumerate(gpus)]


def _gpu(index: int, handle: object, now: float) -> Gauge:
    name = pynvml.nvmlDeviceGetName(handle)
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    return Gauge(
        0,
        now,
        f"cuda:{index} {name}",
        float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu),
        int(memory.used),
        int(memory.total),
        pynvml.nvmlDeviceGetPowerUsage(handle) / 1000.0,
        float(pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU)),
    )
