"""What every app of this package is: themed, remappable, guarded, with the mouse only if it is wanted."""

from __future__ import annotations

import gc
import sys
import termios
from collections.abc import Callable, Iterable
from functools import partial
from itertools import chain
from typing import Any, TypeVar

from msgspec.structs import replace
from textual import events
from textual.app import App
from textual.driver import Driver
from textual.filter import LineFilter
from textual.screen import Screen
from textual.widget import Widget

from middo_tui.keys import tables
from middo_tui.look import theme
from middo_tui.look.preferences import Preferences, remember_theme
from middo_tui.terminal.guard import Guard
from middo_tui.terminal.typed_ahead import TypedAhead
from middo_tui.text.notice import Notice

R = TypeVar("R")


def kept_theme(name: str) -> str:
    """Keep the theme for the next time; says where.

    Raises:
        ConfigError: it cannot be written.
    """
    return f"Theme set to {name}, saved in {remember_theme(name)}."


class BaseApp(App[R]):
    """An app as ``preferences`` want it. Textual's own command palette stays off: ours is made from the key tables."""

    ENABLE_COMMAND_PALETTE = False
    AUTO_FOCUS = None

    def __init__(self, preferences: Preferences) -> None:
        super().__init__()
        self.preferences = preferences
        self._deaf = False  # what is typed is meant for the app before this one
        self._typed_ahead = TypedAhead(self, super().on_event)
        for known in theme.THEMES:
            self.register_theme(known)
        self._filters_last: list[LineFilter] = [Guard(), *([theme.Colourless()] if self.no_color else [])]
        theme.use(preferences.theme, self.no_color)
        self.theme = preferences.theme
        tables.use_remapped({})
        if preferences.keys:
            self.remap()

    def start(self, afresh: bool = False) -> R | None:
        """Run in this terminal until it is left. ``afresh``: whatever is typed before the first screen is painted is
        dropped.

        What was made so far stays as long as the app: the collector of garbage need not go through it again, which
        would take 20 ms each time, in the middle of whatever a key asked for.
        """
        gc.freeze()
        gc.enable()
        if afresh:
            self._deaf = True
            termios.tcflush(sys.stdin, termios.TCIFLUSH)
        return self.run(mouse=self.preferences.mouse)

    def remap(self) -> None:
        """Put the person's keys in the place of the usual ones."""
        from middo_tui.keys import keymap  # reads every screen's key table: only for those who need it

        checked = keymap.check(self.preferences.keys)
        tables.use_remapped(checked.keys)
        self.preferences = keymap.with_warnings(self.preferences, checked)
        self.set_keymap(checked.textual())

    async def on_event(self, event: events.Event) -> None:
        """What is typed waits for its turn; everything else is as in any app."""
        if isinstance(event, events.Key | events.Paste) and not event.is_forwarded:
            if self._deaf:
                return
            await self._typed_ahead.take(event)
        else:
            await super().on_event(event)

    def on_ready(self) -> None:
        """The first screen is there: what is typed from now on is meant for it."""
        self._deaf = False

    def has_read(self) -> None:
        """A screen has something new to show: what was typed may have waited for it."""
        self.call_later(self._typed_ahead.look_again)

    def action_help_quit(self) -> None:
        """ctrl-c, which ends most programs: say what ends this one."""
        self.say_how_to_quit(Notice(f"Press {tables.name(tables.ALWAYS_LEAVES)} to quit the app."))

    def key_ctrl_c(self) -> None:
        """The same in a question or an input: those know no bindings of the app."""
        self.action_help_quit()

    def say_how_to_quit(self, words: Notice) -> None:
        """Show ``words``; over a question or an input, in a corner."""
        self.notify(words.text, markup=False)

    def get_driver_class(self) -> type[Driver]:
        """The one that writes what changes something, in place of the usual one."""
        from middo_tui.terminal.delta_driver import (  # the driver is only imported when an app is made
            LinuxDriver,
            SparingDriver,
        )

        usual = super().get_driver_class()
        return SparingDriver if usual is LinuxDriver else usual

    def on_mount(self) -> None:
        """Watch for the return from the shell (ctrl-z, fg)."""
        self.app_resume_signal.subscribe(self, self._paint_anew)

    def _paint_anew(self, _: object) -> None:
        self.forget_shown()
        for screen in self.painted():
            screen.refresh()

    def on_resize(self, event: events.Resize) -> None:
        """A terminal that was resized may show anything."""
        self.forget_shown()

    def forget_shown(self) -> None:
        """Rely on nothing that the terminal was told before."""
        forget = getattr(self._driver, "forget", None)
        if forget is not None:
            forget()

    def get_line_filters(self) -> list[LineFilter]:
        """Everything painted passes the guard last."""
        return [*super().get_line_filters(), *self._filters_last]

    def wear(self, name: str) -> None:
        """Change to the theme called ``name`` and paint everything anew."""
        theme.use(name, self.no_color)
        self.theme = name
        self.preferences = replace(self.preferences, theme=name)
        for widget in chain.from_iterable(screen.walk_children(Widget) for screen in self.painted()):
            widget.notify_style_update()
            widget.refresh()

    def choose_theme(self, name: str) -> Callable[[], str]:
        """Wear it now; returns what keeps it for the next time, and may block."""
        self.wear(name)
        return partial(kept_theme, name)

    def painted(self) -> Iterable[Screen[Any]]:
        """Every screen that has been painted and will be looked at again."""
        return self.screen_stack
