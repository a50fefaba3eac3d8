"""The one thread that reads the store for the app: looks twice a second, and says something only when it is new.

Idle costs one ``PRAGMA data_version`` and one look at the worker's process per half second, and no byte on the
terminal.
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
"""So long nobody has typed when memory is given back: not in the middle of what a key has asked for."""


class StoreChanged(Message):
    """There is something new to show. A newer one replaces an older one that still waits in the queue."""

    def __init__(self, view: LoopView) -> None:
        super().__init__()
        self.view = view

    def can_replace(self, message: Message) -> bool:
        """Only the newest view matters."""
        return isinstance(message, StoreChanged)


def _give_back() -> None:
    from middo_tui.feed.release_memory import give_back  # not needed to start

    give_back()


class Rests:
    """Gives memory back once after somebody has typed, when it is quiet again: every screen that is opened leaves some
    megabytes of work behind. ``clock`` in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, free: Callable[[], object] = _give_back) -> None:
        self._clock = clock
        self._free = free
        self._typed: float | None = None  # None: nothing was typed since the last time

    def typed(self) -> None:
        """Somebody has."""
        self._typed = self._clock()

    def look(self) -> None:
        """Give back if it is time. From any thread."""
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
    """Post every view that differs from ``last`` and from the one before, until ``stop`` is set. ``also``: is done each
    time.

    Runs in a thread of its own, which from then on owns ``reader``.
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
