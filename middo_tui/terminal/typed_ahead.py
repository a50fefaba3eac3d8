"""Delivers keys one by one: each is handled before the next is delivered.

Textual hands a key to whatever has the focus when it arrives. Of ``f`` and six letters that arrive at once, the letters
would go to the screen on which ``f`` is about to open an input, and be lost. Here a key waits until the one before it
has passed the widget it was meant for, all of that widget's parents and the app, and until the screen that it may have
opened has put the focus where it belongs. A key that does nothing until that screen has read what it shows waits for
it too, for ``MOST_S`` at most.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from textual import events
from textual.app import App
from textual.dom import DOMNode
from textual.message_pump import MessagePump
from textual.timer import Timer

Typed = events.Key | events.Paste
MOST_S = 2.0
"""So long a key waits for a screen to have read what it shows."""


class TypedAhead:
    """The keys that wait. ``handle`` is how the app treats a key when it is its turn."""

    def __init__(self, app: App[Any], handle: Callable[[Typed], Awaitable[None]]) -> None:
        self._app = app
        self._handle = handle
        self._waiting: deque[Typed] = deque()
        self._under_way = False
        self._held: Timer | None = None

    async def take(self, event: Typed) -> None:
        """Do what was typed now, or when it is its turn."""
        self._waiting.append(event)
        if not self._under_way:
            await self._next()

    async def _next(self) -> None:
        """Hand out the key that waits longest, unless it comes too early for the screen."""
        self._under_way = bool(self._waiting)
        if self._too_early():
            self._held = self._app.set_timer(MOST_S, self._hand_out)
        else:
            await self._hand_out()

    def _too_early(self) -> bool:
        key = self._waiting[0] if self._waiting else None
        asks = getattr(self._app.screen, "too_early", None) if self._app.screen_stack else None
        return isinstance(key, events.Key) and asks is not None and bool(asks(key.key))

    async def look_again(self) -> None:
        """A screen has read something: a key that waited for it may be due."""
        if self._held is not None and not self._too_early():
            await self._hand_out()

    async def _hand_out(self) -> None:
        if self._held is not None:
            self._held.stop()
            self._held = None
        if self._waiting:
            target = self._app.focused or self._app.screen
            await self._handle(self._waiting.popleft())
            # behind the key itself, then behind what it made its target say (``Input.Submitted``, ``Go``)
            self._follow(target, lambda: self._follow(target, self._settled))

    def _follow(self, pump: MessagePump, then: Callable[[], None]) -> None:
        """Go the key's own way from ``pump`` up to the app, behind it in every queue, then on with ``then``."""

        def passed() -> None:
            parent = pump.parent if isinstance(pump, DOMNode) else None
            if pump is self._app:
                then()
            else:
                self._follow(self._app if parent is None else parent, then)

        if not pump.call_later(passed):  # it is closing, and drops the key too
            passed()

    def _settled(self) -> None:
        """The key is done. A screen that it opened takes the focus first: behind that, the next key."""
        screen = self._app.screen_stack[-1] if self._app.screen_stack else self._app
        if screen is self._app or not screen.call_later(self._app.call_later, self._next):
            self._app.call_later(self._next)
