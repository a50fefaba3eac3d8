"""What every screen of a project has: a header, its own body, a sentence, the keys that work now.

A screen shows the store and holds no more than a cursor, a filter and a sort. It gets a new view whenever the store has
changed and it is the one that is looked at; it asks for things by ``Ask`` and moves on by ``Go``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from shlex import quote
from typing import Any, ClassVar, Protocol, cast

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.message import Message
from textual.screen import Screen
from textual.worker import get_current_worker

from middo_tui.feed.view import LoopView
from middo_tui.keys import tables
from middo_tui.keys.tables import Key
from middo_tui.terminal.guard import clean
from middo_tui.text.notice import Notice
from middo_tui.widgets.header import Header
from middo_tui.widgets.key_bar import KeyBar
from middo_tui.widgets.link_gauge import LinkState
from middo_tui.widgets.paragraph import Paragraph

LEAST = (80, 24)
TALL, WIDE, VAST = 36, 120, 46
"""Rows, columns and rows from which a screen has the class ``-tall``, ``-wide``, ``-vast``."""


class Ask(Message):
    """A person wants something done that may block: ``verb`` is bound, takes no arguments, and says what it did. It
    is called again while it raises ``StoreBlocked``.

    Asked-for things are done one after the other, in order, in a thread. ``after`` is called in the app's own thread
    once this one is done.
    """

    def __init__(self, verb: Callable[[], str], after: Callable[[], None] | None = None, said: bool = False) -> None:
        """``said``: it was said already what is waited for."""
        super().__init__()
        self.verb = verb
        self.after = after
        self.said = said


class Go(Message):
    """Show another screen, aimed at ``target`` (what it takes is the screen's own: see its ``aim``)."""

    def __init__(self, screen: str, target: object = None) -> None:
        super().__init__()
        self.screen = screen
        self.target = target


class ReadMessage(Message):
    """What an exclusive worker has read in its thread. A thread cannot be stopped: when another read was started
    meanwhile, what this one found is ``outdated``, and must not replace what the newer one has found.
    """

    def __init__(self) -> None:
        super().__init__()
        self._worker = get_current_worker()

    @property
    def outdated(self) -> bool:
        """Whether a newer read was started."""
        return self._worker.is_cancelled


class Shows(Protocol):
    """What a screen needs of the app it is in."""

    view: LoopView
    link_state: LinkState
    loop: Framed

    @property
    def last_command(self) -> str:
        """The command line of what was done last."""

    def forget_shown(self) -> None:
        """Rely on nothing that the terminal was told before."""

    def has_read(self) -> None:
        """A screen has something new to show."""

    def open_palette(self) -> None:
        """Find everything by name."""


class Framed(Screen[None]):
    """A project's screen. A subclass names itself, gives its keys and its body, and paints what is new.

    ``NAME`` is one of ``keys.SCREENS``; ``KEYS`` is the key table, whose rows are asked with ``state()``. ``BINDINGS``
    of the subclass must be ``keys.bindings(KEYS, NAME)``. ``FOLLOWS_RUN``: what is said here is about the run, so it
    is old as soon as the run's state is another one.
    """

    NAME: ClassVar[str]
    FOLLOWS_RUN: ClassVar[bool] = False
    KEYS: ClassVar[tuple[Key[Any], ...]] = ()
    BINDINGS: ClassVar[list[BindingType]] = tables.bindings(tables.EVERYWHERE, "app")
    DEFAULT_CSS = """
    Framed { layout: vertical; background: $background; }
    Framed #notice { min-height: 1; max-height: 4; }
    Framed #too-small { display: none; height: 1fr; }
    Framed.-small > * { display: none; }
    Framed.-small > #too-small { display: block; }
    """

    def __init__(self, project: Path, view: LoopView) -> None:
        super().__init__()
        self.project = project
        self.view = view
        self._shown_notice: Notice | None = None
        self._waits = False  # what is said holds until it is done
        self._asked_in = ""  # the state of the run when it was asked for
        self._deferred = ""  # an action that was chosen by name, until it works here
        self._dead = ""  # a key that does nothing now, while that is said
        self._asks_soon = False  # what a question offers is being read

    # ------------------------------------------------------------------------- for subclasses

    def body(self) -> ComposeResult:
        """The screen's own widgets, between header and notice."""
        raise NotImplementedError(f"{type(self).__name__} shows nothing")

    def state(self) -> Any:
        """What the key table's rows are asked with; the view, unless a screen has more to say."""
        return self.view

    def changed(self, view: LoopView) -> None:
        """The store has changed: paint what is new."""

    def aim(self, target: object) -> None:
        """Look at ``target``, which another screen asked for."""

    def own_notice(self) -> Notice:
        """The sentence above the keys, while nothing else was said."""
        return Notice("")

    def ask(self, verb: Callable[[], str], after: Callable[[], None] | None = None, saying: str = "") -> None:
        """Have ``verb`` done in a thread, after what was asked for before. ``saying``: said until it is done."""
        if saying:
            self.say(Notice(saying, "dim"))
            self._waits, self._asked_in = True, self.view.state
        self.post_message(Ask(verb, after, bool(saying)))

    def confirm(self, question: str, verb: Callable[[], str], after: Callable[[], None] | None = None) -> None:
        """Have it done if the person says yes."""
        from middo_tui.screens.confirm import Confirm  # a second screen can wait until it is asked for

        self.app.push_screen(Confirm(question), lambda yes: self.ask(verb, after) if yes else None)

    def go(self, screen: str, target: object = None) -> None:
        """Show another screen."""
        self.post_message(Go(screen, target))

    def do_soon(self, action: str) -> None:
        """Do ``action``, as soon as what it needs was read; the next key drops it."""
        self._deferred = action
        self._run_deferred()
        row = next((row for row in self.shown_keys() if row.id == self._deferred), None)
        if row is not None:
            self.say(Notice(f"Unavailable right now: {row.help}", "dim"))

    def _run_deferred(self) -> None:
        action = self._deferred
        row = next((row for row in self.KEYS if row.id == action), None)
        if action and self.there and (row is None or (row in self.shown_keys() and row.works(self.state()))):
            self._deferred = ""
            self.say(Notice(""))
            self.app.call_later(self.app.run_action, action, self)

    def state_changed(self) -> None:
        """What ``state()`` gives is not what it was: show the keys that work now, and the notice."""
        if self._dead and not self.would(self._dead):
            self.say(Notice(""))
        self.query_one(KeyBar).show(self._footer())
        self.query_one("#notice", Paragraph).show(self._notice())
        self._run_deferred()
        cast(Shows, self.app).has_read()

    @property
    def reading(self) -> bool:
        """Nothing of what this screen is about has been read yet."""
        return False

    def too_early(self, key: str) -> bool:
        """Whether ``key`` does nothing now, and may do something once the screen has read what it shows; or is meant
        for a question that is about to be asked.
        """
        return self._asks_soon or (self.reading and bool(self.would(key)))

    def asks_soon(self) -> None:
        """What the next question offers has to be read first: keys wait for it until ``asked``."""
        self._asks_soon = True

    def asked(self) -> None:
        """The question is there, or there will be none: the keys that wait are handed on."""
        self._asks_soon = False
        cast(Shows, self.app).has_read()

    # ------------------------------------------------------------------------------ the frame

    def compose(self) -> ComposeResult:
        """Top to bottom."""
        yield Header((self.view, LinkState()))
        yield from self.body()
        yield Paragraph(self._notice(), id="notice")
        yield KeyBar(self._footer())
        yield Paragraph(Notice(""), id="too-small")

    def on_resize(self, event: events.Resize) -> None:
        """Room decides what is shown; under the least there is only a word about it."""
        width, height = event.size
        small = width < LEAST[0] or height < LEAST[1]
        self.set_class(small, "-small")
        self.set_class(height >= TALL, "-tall")
        self.set_class(height >= VAST, "-vast")
        self.set_class(width >= WIDE, "-wide")
        text = f"The terminal is {width}×{height}; at least {LEAST[0]}×{LEAST[1]} is needed. Enlarge the window."
        self.query_one("#too-small", Paragraph).show(Notice(text, "decide"))

    def on_screen_resume(self) -> None:
        """Looked at again: catch up with what changed meanwhile."""
        app = cast(Shows, self.app)
        self.show(app.view, app.link_state)

    @property
    def there(self) -> bool:
        """All of it is mounted: what comes in can be painted."""
        return self.is_mounted and bool(self.query(Header)) and bool(self.query(KeyBar))

    def on_key(self, event: events.Key) -> None:
        """A said sentence was read when the next key comes; this runs before what the key does.

        A key that does nothing now says so: silence would look like a hung program. Where the screen says what to do
        instead, that stays.
        """
        self._deferred = ""
        if self._shown_notice is not None:
            self.say(Notice(""))
        would = self.would(event.key)
        if would and self._notice().role not in ("decide", "bad"):
            self.say(Notice(f"{tables.name(event.key)} is unavailable here: {would}", "dim"))
            self._dead = event.key

    def would(self, key: str) -> str:
        """What a key of this screen that does not work now is for; empty for every other key."""
        own = tables.remapped(self.shown_keys(), self.NAME)
        return tables.unavailable(((own, self.state()), (tables.remapped(tables.EVERYWHERE, "app"), self.view)), key)

    def show(self, view: LoopView, link: LinkState) -> None:
        """Paint what is new in ``view``."""
        if self.FOLLOWS_RUN and view.state != self.view.state and not self._waits:
            self._shown_notice = None
        self.view = view
        if not self.there:  # pushed a moment ago (it resumes once it is there), or going
            return
        self.query_one(Header).show((view, link))
        self.changed(view)
        self.state_changed()

    def say(self, text: Notice) -> None:
        """Show a sentence in place of the screen's own."""
        self._shown_notice, self._waits, self._dead = text if text.text else None, False, ""
        self.query_one("#notice", Paragraph).show(self._notice())

    def answer(self, notice: Notice) -> None:
        """What was asked for is done. Without a word of its own, what was said holds until the run shows it."""
        if self._waits and not notice.text and self.FOLLOWS_RUN and self.view.state == self._asked_in:
            self._waits = False
        else:
            self.say(notice)

    def _notice(self) -> Notice:
        if self.view.problem:
            return Notice(self.view.problem, "bad")
        return self._shown_notice or self.own_notice()

    def _footer(self) -> tuple[tuple[str, str], ...]:
        own = tables.footer(tables.remapped(self.shown_keys(), self.NAME), self.state())
        return (
            *own,
            (tables.numbers(), "screens"),
            *tables.footer(tables.remapped(tables.EVERYWHERE, "app"), self.view),
        )

    def shown_keys(self) -> tuple[Key[Any], ...]:
        """The rows of the key table that exist here at all."""
        return self.KEYS

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """A key works exactly while the footer shows it."""
        row = next((key for key in self.KEYS if key.id == action), None)
        return True if row is None else row in self.shown_keys() and row.works(self.state())

    def action_go(self, screen: str) -> None:
        """A number key."""
        self.go(screen)

    def action_back(self) -> None:
        """The screen before."""
        self.go("")

    def action_help(self) -> None:
        """The key table."""
        from middo_tui.screens.help import Help

        self.app.push_screen(Help(self.NAME, tables.remapped(self.shown_keys(), self.NAME)))

    def action_redraw(self) -> None:
        """All of it, whatever the terminal was told before."""
        cast(Shows, self.app).forget_shown()
        self.refresh()

    def action_suspend(self) -> None:
        """Stop this process as a shell's ctrl-z does; the run is another's."""
        self.app.action_suspend_process()

    def action_command_line(self) -> None:
        """What a script would call instead of the last key that asked for something."""
        line = clean(cast(Shows, self.app).last_command).text
        none = "No command does what you did last, or you have done nothing yet. All commands: middo-tui --help"
        self.say(Notice(f"The same from a shell: {line}" if line else none, "strong"))

    def action_palette(self) -> None:
        """Everything by name."""
        cast(Shows, self.app).open_palette()

    def action_quit(self) -> None:
        """Leave, and say in the shell what goes on."""
        at = quote(str(self.project))
        words = f"The run continues in the background. Watch it: middo-tui {at}\nPause it: middo-tui pause {at}"
        self.app.exit(0, message=Text(clean(words).text) if self.view.state in tables.RUNNING else None)
