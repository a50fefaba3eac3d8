"""Screens in a test: what is painted, and waiting for it."""

from __future__ import annotations

import time
from typing import Any

from textual.app import App
from textual.pilot import Pilot
from textual.screen import Screen

DEADLINE_S = 120.0


def screen_text(app: App[Any]) -> str:
    """What is painted, as rows of text."""
    return "\n".join("".join(s.text for s in strip).rstrip() for strip in app.screen._compositor.render_strips())


def on_top(app: App[Any]) -> Screen[Any]:
    """The screen that is shown now. Of ``app.screen`` mypy believes that it stays what an assertion said it was."""
    return app.screen


async def until(pilot: Pilot[Any], part: str) -> str:
    """Until ``part`` is painted, on one row or over several; fails with what is painted instead."""
    deadline = time.monotonic() + DEADLINE_S
    while part not in (text := screen_text(pilot.app)) and part not in " ".join(text.split()):
        assert time.monotonic() < deadline, f"no {part!r} in\n{text}"
        await pilot.pause(0.02)
    return text


async def settle(pilot: Pilot[Any]) -> None:
    """Until what was asked of the run is done and painted."""
    await pilot.pause()
    asked = [worker for worker in pilot.app.workers if worker.group == "ask"]
    if asked:  # an empty list would mean all, also the one that follows the store
        await pilot.app.workers.wait_for_complete(asked)
    await pilot.pause()


async def settle_all(pilot: Pilot[Any]) -> None:
    """Until all that was asked for has been read and painted."""
    quiet = 0
    while quiet < 3:  # what one worker has read may start another
        await pilot.pause()
        busy = [w for w in pilot.app.workers if w.group != "feed" and not w.is_finished]
        if busy:
            await pilot.app.workers.wait_for_complete(busy)
        quiet = 0 if busy else quiet + 1
    await pilot.pause()
