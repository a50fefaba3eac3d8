"""The one thread that reads the store for the app: looks twice a second, and says something only when it is new.

Idle costs one ``PRAGMA data_version`` and one look at the worker's process per half second, and no byte on the
terminal.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Event

from textual.message import Message

from middo_tui.feed.reader import Reader
from middo_tui.feed.view import LoopView

EVERY_S = 0.5


class StoreChanged(Message):
    """There is something new to show. A newer one replaces an older one that still waits in the queue."""

    def __init__(self, view: LoopView) -> None:
        super().__init__()
        self.view = view

    def can_replace(self, message: Message) -> bool:
        """Only the newest view matters."""
        return isinstance(message, StoreChanged)


def poll(
    reader: Reader,
    stop: Event,
    post: Callable[[LoopView], object],
    last: LoopView | None = None,
    every_s: float = EVERY_S,
) -> None:
    """Post every view that differs from ``last`` and from the one before, until ``stop`` is set.

    Runs in a thread of its own, which from then on owns ``reader``.
    """
    try:
        while True:
            view = reader.view()
            if view != last:
                last = view
                post(view)
            if stop.wait(every_s):
                return
    finally:
        reader.close()
