"""The thread that reads the store for the app: polls twice a second, and posts only what has changed.

While nothing changes, a poll costs one ``PRAGMA data_version`` and one check of the worker's process, and writes
nothing to the terminal.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event

from textual.message import Message

from middo_tui.feed.reader import Reader
from middo_tui.feed.view import LoopView

EVERY_S = 0.5
QUIET_S = 0.5
"""Seconds without a key press before memory is released, so as not to delay what a key has started."""


class StoreChanged(Message):
    """There is something new to show. A newer message replaces an older one that is still queued."""

    def __init__(self, view: LoopView) -> None:
        super().__init__()
        self.view = view

    def can_replace(self, message: Message) -> bool:
        """Only the newest view matters."""
        return isinstance(message, StoreChanged)


def _give_back() -> None:
    from middo_tui.feed.release_memory import give_back  # not needed to start

    give_back()


class MemoryRelease:
    """Releases memory once after each burst of typing: every screen that is opened leaves some megabytes behind.
    ``clock``: monotonic, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, free: Callable[[], object] = _give_back) -> None:
        self._clock = clock
        self._free = free
        self._typed: float | None = None  # None: nothing was typed since the last time

    def typed(self) -> None:
        """A key was pressed."""
        self._typed = self._clock()

    def release_if_idle(self) -> None:
        """Release memory if nothing was typed for QUIET_S seconds. May be called from any thread."""
        typed = self._typed
        if typed is not None and self._clock() - typed >= QUIET_S:
            self._typed = None
            self._free()


def poll(
    reader: Reader,
    stop: Event,
    post: Callable[[LoopView], object],
    last: LoopView | None = None,
    every_s: float = EVERY_S,
    also: Callable[[], object] = lambda: None,
) -> None:
    """Post every view that differs from the one before (at first: from ``last``), until ``stop`` is set.

    Runs in a thread of its own, which owns ``reader`` and closes it. ``also``: called after each poll.
    """
    try:
        while True:
            view = reader.view()
            if view != last:
                last = view
                post(view)
            also()
            if stop.wait(every_s):
                return
    finally:
        reader.close()
