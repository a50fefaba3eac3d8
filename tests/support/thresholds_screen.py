"""The Thresholds screen in a test: opening it, waiting for what it paints, reading what it shows."""

from __future__ import annotations

import re
import time

from textual.app import App
from textual.pilot import Pilot

from engine.store.rows import Threshold
from middo_tui.feed import thresholds as feed
from middo_tui.screens.thresholds.screen import ThresholdsScreen

DEADLINE_S = 30.0
NARROW, LARGE = (80, 24), (140, 40)


def screen_text(app: App[int]) -> str:
    """What is painted, as rows of text."""
    return "\n".join("".join(s.text for s in strip).rstrip() for strip in app.screen._compositor.render_strips())


async def until(pilot: Pilot[int], part: str) -> str:
    """Until ``part`` is painted, on one row or over several; fails with what is painted instead."""
    deadline = time.monotonic() + DEADLINE_S
    while part not in (text := screen_text(pilot.app)) and part not in " ".join(text.split()):
        assert time.monotonic() < deadline, f"no {part!r} in\n{text}"
        await pilot.pause(0.02)
    return text


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
