"""The Thresholds screen in a test: opening it, waiting for what it paints, reading what it shows."""

from __future__ import annotations

import re

from textual.pilot import Pilot

from engine.store.rows import Threshold
from middo_tui.feed import thresholds as feed
from middo_tui.screens.thresholds.screen import ThresholdsScreen
from tests.support.screens import until

NARROW, LARGE = (80, 24), (140, 40)


async def opened(pilot: Pilot[int]) -> ThresholdsScreen:
    """The screen with its signals."""
    await pilot.press("3")
    await until(pilot, "past threshold")
    screen = pilot.app.screen
    assert isinstance(screen, ThresholdsScreen)
    return screen


def counts_shown(text: str) -> dict[str, int]:
    """The counts of the axes' row."""
    found = re.findall(r"[CDQ] (complexity|diversity|quality) ([\d,]+)", text)
    return {axis: int(count.replace(",", "")) for axis, count in found}


def mark(signal: str, cut: float, floor: float | None = None, rule: str = "sigma") -> Threshold:
    axis = feed.SIGNALS[signal].axis
    return Threshold(
        1, signal, axis, 1.0, 0.5, 1.0, cut, floor, rule, '{"verdict": "why"}' if rule != "sigma" else None
    )
