"""What the hardware does: one block of two rows per GPU, or CPU and RAM where there is none."""

from __future__ import annotations

from middo_tui.feed.view import DeviceReading
from middo_tui.terminal import guard
from middo_tui.text import number_format
from middo_tui.widgets.lines import Line, Lines, Run, justified

BAR = 9
HOT_CELSIUS = 85


def gpu_bar(gauges: tuple[DeviceReading, ...], width: int) -> list[Line]:
    """Two rows per device: use, power and temperature; memory."""
    return [row for gauge in gauges for row in _device(gauge, width)]


def _device(gauge: DeviceReading, width: int) -> list[Line]:
    figures_ = [Run(f"{gauge.util:3.0f}%")]
    if gauge.power is not None:
        figures_.append(Run(f" {gauge.power:4.0f} W"))
    if gauge.temperature is not None:
        figures_.append(Run(f" {gauge.temperature:3.0f}°", "bad" if gauge.temperature >= HOT_CELSIUS else ""))
    name = guard.fit(gauge.device, max(0, width - sum(len(run.text) for run in figures_) - 1))
    first = justified((Run(name, "dim"),), tuple(figures_), width)
    share = gauge.memory_used / gauge.memory_total if gauge.memory_total else 0.0
    full = min(BAR, round(share * BAR))
    label = "RAM " if gauge.device == "CPU" else "mem "
    left = (Run(label, "dim"), Run("▇" * full), Run("░" * (BAR - full), "faint"))
    return [first, justified(left, (Run(number_format.gigabytes(gauge.memory_used, gauge.memory_total)),), width)]


class GpuBar(Lines[tuple[DeviceReading, ...]]):
    """``gpu_bar`` as a widget, as high as it has devices."""

    DEFAULT_CSS = """
    GpuBar { height: auto; }
    """

    def draw(self, data: tuple[DeviceReading, ...], width: int, height: int) -> list[Line]:
        """Two rows per device."""
        return gpu_bar(data, width)
