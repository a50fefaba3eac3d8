"""The terminal app: one project's screens, fed by one polling thread, paced by the line to the terminal.

Opening it starts nothing and closing it stops nothing; any number may look at one project. It talks to the run only
through the store.
"""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from importlib import import_module
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, cast

from textual import events, on
from textual.message import Message
from textual.screen import Screen
from textual.timer import Timer

from engine.errors import MiddoError, StoreBlocked
from middo_tui.base_app import BaseApp
from middo_tui.feed.poll import MemoryRelease, StoreChanged, poll
from middo_tui.feed.reader import Reader
from middo_tui.feed.turn import news
from middo_tui.feed.view import LoopView
from middo_tui.keys import tables
from middo_tui.look.preferences import Preferences
from middo_tui.screens.frame import Ask, Framed, Go
from middo_tui.screens.loop import LoopScreen
from middo_tui.terminal.attention import call
from middo_tui.terminal.guard import clean
from middo_tui.terminal.pacing import REQUEST, Link
from middo_tui.text.command_line import equivalent
from middo_tui.text.notice import Notice
from middo_tui.widgets.link_gauge import LinkState, rounded_ms

if TYPE_CHECKING:
    from middo_tui.screens.palette_entries import Command, HelpTopic


def supported() -> str | None:
    """Why this terminal cannot show the app, or None when it can."""
    term = os.environ.get("TERM", "")
    if term in ("", "dumb", "unknown"):
        return f"The app cannot run in this terminal: TERM is {term or 'not set'}."
    return None


SCREENS = {
    name: f"middo_tui.screens.{name}{'.screen' if name in tables.FOLDERS else ''}:{name.capitalize()}Screen"
    for name in (*tables.SCREENS, *tables.UNNUMBERED)
}
"""Where each screen is; all but the Loop screen are imported when they are first looked at."""
TRAIL = 20
SLOW_S = 1.5
SLOW = "Waiting for the database: another process is writing to it. Your key presses are queued; none are lost."
FULL = "The disk is full: waiting for free space. Your key presses are queued; none are lost."
AGAIN_S = 0.5


class Answered(Message):
    """What came of something that a person asked for. ``after`` is None when it went wrong."""

    def __init__(self, notice: Notice, after: Callable[[], None] | None) -> None:
        super().__init__()
        self.notice = notice
        self.after = after


class RequestBlocked(Message):
    """What was asked for has to wait for the database, or for space on the disk."""

    def __init__(self, notice: Notice) -> None:
        super().__init__()
        self.notice = notice


class MiddoApp(BaseApp[int]):
    """The app on ``project``. ``leave_when_done``: at the end of the run, enter leaves (``middo-tui demo``).

    ``next_project``: when the app has ended, the project that the person wants opened instead.
    """

    CSS_PATH = "screens/loop.tcss"  # here, because a default screen's own style sheet is not loaded

    def __init__(self, project: Path, leave_when_done: bool = False, preferences: Preferences | None = None) -> None:
        super().__init__(preferences or Preferences())
        self.link = Link(answers=False)
        self._reader = Reader(project)
        self._memory_release = MemoryRelease()
        # read before the first paint: one frame instead of an empty one and a full one, 9 KB instead of 30
        self.loop = LoopScreen(project, self._reader.view(), leave_when_done)
        self._stop = Event()
        self._pending: LoopView | None = None
        self._retry: Timer | None = None
        self._in_frame = False
        self._asked: deque[Ask] = deque()
        self.undone = 0
        self._last_verb: Callable[[], str] | None = None
        self.next_project: Path | None = None
        self._slow: Timer | None = None
        self._trail: list[str] = [LoopScreen.NAME]
        self._opened: dict[str, Framed] = {LoopScreen.NAME: self.loop}
        self.view = self._newest = self.loop.view
        self.link_state = LinkState()

    def get_default_screen(self) -> LoopScreen:
        """The Loop screen is the first one: no other is ever painted before it."""
        return self.loop

    async def on_event(self, event: events.Event) -> None:
        """Note typing, after which memory is released."""
        if isinstance(event, events.Key | events.Paste):
            self._memory_release.typed()
        await super().on_event(event)

    def on_load(self) -> None:
        """A dropped line must end the app even under nohup: on a dead terminal it would read end-of-file for ever."""
        signal.signal(signal.SIGHUP, signal.SIG_DFL)

    def on_ready(self) -> None:
        """The first screen is there: begin to follow the store."""
        if self.preferences.warnings:
            self.framed.say(Notice(clean("\n".join(self.preferences.warnings)).text, "warn"))
        self.link = Link(answers=not self.is_headless)
        work = partial(
            poll,
            self._reader,
            self._stop,
            lambda view: self.post_message(StoreChanged(view)),
            self.loop.view,
            also=self._memory_release.release_if_idle,
        )
        self.run_worker(work, group="feed", description="feed", thread=True, exclusive=True, exit_on_error=False)

    def on_unmount(self) -> None:
        """Let the reading thread end."""
        self._stop.set()

    @on(StoreChanged)
    def _changed(self, message: StoreChanged) -> None:
        self._pending = message.view
        said, self._newest = news(self._newest, message.view), message.view
        if said and self.preferences.bell and self._driver is not None:
            self._driver.write(call(f"middo {message.view.project}", said))
        self._paint()

    def _paint(self) -> None:
        """Paint the newest view if the line has taken the last frame; else it waits, and newer ones replace it."""
        now = time.monotonic()
        closing = not any(isinstance(screen, Framed) for screen in self.screen_stack)
        if self._pending is None or closing:
            return
        if not self.link.ready(now):
            if self._retry is None:
                self._retry = self.set_timer(self.link.wait_s(now), self._paint_late)
            return
        view, self._pending = self._pending, None
        self._in_frame = True
        latency = self.link.latency_ms
        fps = round(self.link.frames_per_s(now))
        self.view, self.link_state = view, LinkState(None if latency is None else rounded_ms(latency), fps)
        self.framed.show(view, self.link_state)

    def _paint_late(self) -> None:
        self._retry = None
        self._paint()

    def post_display_hook(self) -> None:
        """Behind a frame of data, ask the terminal to say when it has shown it."""
        if self._in_frame and self._driver is not None:
            self._in_frame = False
            if self.link.painted(time.monotonic()):
                self._driver.write(REQUEST)

    def on_cursor_position(self, event: events.CursorPosition) -> None:
        """The terminal has shown the last frame of data."""
        self.link.answered(time.monotonic())
        self._paint()

    @property
    def last_command(self) -> str:
        """What a script would call instead of the last key that asked for something; empty where there is nothing."""
        return equivalent(self._last_verb) if self._last_verb is not None else ""

    @property
    def framed(self) -> Framed:
        """The screen that is looked at, under any question or help page."""
        return next(screen for screen in reversed(self.screen_stack) if isinstance(screen, Framed))

    @on(Go)
    def _go(self, message: Go) -> None:
        """Another screen; an empty name is the one before."""
        if not message.screen:
            if len(self._trail) > 1:
                self._trail.pop()
        elif message.screen != self._trail[-1]:
            self._trail = [*self._trail, message.screen][-TRAIL:]
        name = self._trail[-1]
        if name not in self._opened:
            self._opened[name] = self._open(name)
            self.install_screen(self._opened[name], name)
        target = self._opened[name]
        if target is not self.framed:
            if target is self.loop:
                self.pop_screen()
            elif self.framed is self.loop:
                self.push_screen(target)
            else:
                self.switch_screen(target)
        if message.target is not None:
            target.call_later(target.aim, message.target)

    def say_how_to_quit(self, words: Notice) -> None:
        """In the place for sentences, where there is one."""
        if self.screen is not self.framed:
            super().say_how_to_quit(words)
            return
        continues = " The run continues in the background." if self.view.state in tables.RUNNING else ""
        self.framed.say(Notice(f"Press {tables.press('app.quit')} to quit the app.{continues}", "decide"))

    def _open(self, name: str) -> Framed:
        module, _, attribute = SCREENS[name].partition(":")
        screen: Framed = getattr(import_module(module), attribute)(self.loop.project, self.view)
        return screen

    def painted(self) -> Iterable[Screen[Any]]:
        """Also the screens that were left, as they come back as they were."""
        return {*self.screen_stack, *self._opened.values()}

    def on_key(self, event: events.Key) -> None:
        """The palette's key in a question or on a help page: those know no bindings of a screen."""
        row = next(row for row in tables.remapped(tables.EVERYWHERE, "app") if row.id == "palette")
        if event.key in row.keys and self.screen is not self.framed:
            event.prevent_default()  # or the palette would get this key too, and close
            self.open_palette()

    def open_palette(self) -> None:
        """Find everything by name; over something that is being typed only what leaves it there."""
        from middo_tui.screens.palette import Palette
        from middo_tui.screens.palette_entries import commands, staying

        if isinstance(self.screen, Palette):
            return
        here = self.framed
        found = commands(here, self.loop, self.view)
        typing = self.screen is not here and self.focused is not None
        if typing:
            found = staying(found)
        self.push_screen(Palette(found, here.project, self.view.scored_round, typing), self.perform)

    def _close_pages(self) -> None:
        """Questions and help pages above the screen, as escape does."""
        while self.screen is not self.framed:
            self.screen.dismiss(None)

    def perform(self, command: Command | None) -> None:
        """Do what the palette was asked for."""
        if command is None:
            return
        from middo_tui.screens.palette_entries import stays

        if not stays(command):
            self._close_pages()
        if not command.screen and isinstance(command.target, Path):
            self.next_project = command.target
            self.exit(0)
        elif not command.screen and command.target is not None:
            self._show_help(cast("HelpTopic", command.target))
        elif not command.screen:
            self.framed.ask(self.choose_theme(command.action))
        elif not command.action:
            self._go(Go(command.screen, command.target))
        else:
            if command.screen not in (self.framed.NAME, LoopScreen.NAME):
                self._go(Go(command.screen))
            screen = self._opened[command.screen]
            screen.call_later(screen.do_soon, command.action)

    def _show_help(self, topic: HelpTopic) -> None:
        from middo_tui.screens.help import Help

        name = topic.screen or self.framed.NAME
        self.push_screen(Help(name, tables.remapped(tables.of_screen(name), name), topic.wanted))

    @on(Ask)
    def _ask(self, message: Ask) -> None:
        """Do what was asked for in a thread, one thing at a time, in order; no key is lost."""
        self._asked.append(message)
        self._last_verb = message.verb
        self.undone += 1
        if len(self._asked) == 1:
            self._carry_out_next()

    def _carry_out_next(self) -> None:
        if not self._asked[0].said:
            self._slow = self.set_timer(SLOW_S, lambda: self.framed.say(Notice(SLOW, "strong")))
        work = partial(self._carry_out, self._asked[0])
        self.run_worker(work, group="ask", description="ask", thread=True, exit_on_error=False)

    def _carry_out(self, message: Ask) -> None:
        """Ask until the database can be written, or the app is left (then ``undone`` tells what was lost)."""
        answer: Answered | None = None
        said_at = 0.0
        while answer is None:
            try:
                answer = Answered(Notice(message.verb(), "strong"), message.after)
            except StoreBlocked as error:
                if self._stop.wait(AGAIN_S):
                    return
                if time.monotonic() - said_at >= SLOW_S:  # again, as a key pressed meanwhile may have taken it away
                    said_at = time.monotonic()
                    self.post_message(RequestBlocked(Notice(FULL if error.trouble == "full" else SLOW, "strong")))
            except MiddoError as error:
                answer = Answered(Notice(clean(str(error)).text, "bad"), None)
            except OSError as error:
                place = f"{error.filename}: " if error.filename else ""
                answer = Answered(Notice(clean(f"{place}{error.strerror or error}.").text, "bad"), None)
            except Exception as error:  # noqa: BLE001 - a fault of ours: said, and what was asked for next is done
                said = f"{type(error).__name__}: {error}. This is a bug in middo-tui; please report it."
                answer = Answered(Notice(clean(said).text, "bad"), None)
        self.undone -= 1
        self.post_message(answer)

    @on(RequestBlocked)
    def _held(self, message: RequestBlocked) -> None:
        self.framed.say(message.notice)

    @on(Answered)
    def _answered(self, message: Answered) -> None:
        self._asked.popleft()
        if self._slow is not None:
            self._slow.stop()
            self._slow = None
        self.framed.answer(message.notice)
        if message.after is not None:
            message.after()
        if self._asked:
            self._carry_out_next()
