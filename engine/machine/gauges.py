"""Reading the machine: GPUs by NVML, the CPU where there is none. A reading that fails is left out: it ends no run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

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


def visible_gpus() -> list[object]:
    """NVML handles of the GPUs that CUDA_VISIBLE_DEVICES leaves, in its order.

    As in CUDA, the first entry that names no GPU ends the list, so -1 hides all. Indices are NVML's, which are CUDA's
    where the GPUs are alike or CUDA_DEVICE_ORDER is PCI_BUS_ID.
    """
    gpus, chosen = open_gpus(), os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None or not gpus:
        return gpus
    found: list[object] = []
    for entry in chosen.split(","):
        if (gpu := _named(entry.strip(), gpus)) is None:
            break
        found.append(gpu)
    return found


def _named(entry: str, gpus: list[object]) -> object | None:
    """A GPU by its index or the beginning of its UUID, or a MIG partition by its UUID; None: there is none."""
    if entry.isdecimal():
        return gpus[int(entry)] if int(entry) < len(gpus) else None
    if entry.startswith("MIG-"):
        try:
            partition: object = pynvml.nvmlDeviceGetHandleByUUID(entry)
        except pynvml.NVMLError:
            return None
        return partition
    return next((gpu for gpu in gpus if entry and pynvml.nvmlDeviceGetUUID(gpu).startswith(entry)), None)


def names(gpus: list[object]) -> list[str]:
    """What the GPUs are, such as ``NVIDIA H200``."""
    return [pynvml.nvmlDeviceGetName(handle) for handle in gpus]


def uuids(gpus: list[object]) -> list[str]:
    """What tells each GPU from all others, such as ``GPU-5f2c…``."""
    return [pynvml.nvmlDeviceGetUUID(handle) for handle in gpus]


def sample(gpus: list[object]) -> list[Gauge]:
    """One reading per GPU that can be read, or one of the CPU (percent since the last call). ``id`` is 0: the store
    numbers them.
    """
    now = time.time()
    if not gpus:
        memory = psutil.virtual_memory()
        return [Gauge(0, now, "cpu", psutil.cpu_percent(), memory.total - memory.available, memory.total, None, None)]
    found = (_gpu(index, handle, now) for index, handle in enumerate(gpus))
    return [gauge for gauge in found if gauge is not None]


def _gpu(index: int, handle: object, now: float) -> Gauge | None:
    """A reading; None if the GPU reports no utilisation or memory (it fell off the bus, or uses MIG)."""
    try:
        name = pynvml.nvmlDeviceGetName(handle)
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        util = float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)
    except pynvml.NVMLError:
        return None
    power = _known(lambda: pynvml.nvmlDeviceGetPowerUsage(handle) / 1000.0)
    warmth = _known(lambda: float(pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU)))
    return Gauge(0, now, f"cuda:{index} {name}", util, int(memory.used), int(memory.total), power, warmth)


def _known(read: Callable[[], float]) -> float | None:
    """Values that not every GPU reports."""
    try:
        return read()
    except pynvml.NVMLError:
        return None
