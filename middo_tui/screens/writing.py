"""The Writing screen: rewrites as the teacher writes them, old against new, how fast, and what is refused and why."""

from __future__ import annotations

import time
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.message import Message
from textual.timer import Timer

from engine.errors import MiddoError
from middo_tui.feed.rewrite import TextBlock
from middo_tui.feed.view import LoopView
from middo_tui.feed.writing import WritingView, WrittenRewrite, load
from middo_tui.keys import tables
from middo_tui.screens.menu_screen import TextMenuScreen
from middo_tui.screens.writing_keys import KEYS, WritingState
from middo_tui.terminal import guard
from middo_tui.text import number_format
from middo_tui.text.notice import Notice
from middo_tui.widgets.choices import Choices, Item, Menu
from middo_tui.widgets.divider import Divider
from middo_tui.widgets.paragraph import Paragraph
from middo_tui.widgets.text_pane import TextPane, TextPaneState

COLUMN = 18
EVERY_S = 1.5
"""Seconds between two readings: every one moves the whole list, some 4 KB at 140×40, on a line that may be slow."""
MARKS = {"failed": ("✘", "error"), "rejected": ("✘", "error"), "kept": ("=", "dim"), "being written": ("…", "active")}
"""By state; every other one has its text."""
DONE = ("✔", "active")


class WritingRead(Message):
    """The newest rewrites have been read."""

    def __init__(self, found: WritingView) -> None:
        super().__init__()
        self.found = found


class WritingScreen(TextMenuScreen):
    """How it goes, the newest rewrites, and one of them in full: the newest until the cursor is moved."""

    NAME = "writing"
    FOLLOWS_RUN = True
    KEYS = KEYS
    CSS_PATH = "writing.tcss"
    BINDINGS: ClassVar[list[BindingType]] = tables.bindings(KEYS, NAME)

    def __init__(self, project: Path, view: LoopView) -> None:
        super().__init__(project, view, COLUMN, "Reading what the teacher wrote …")
        self._found = WritingView()
        self._held: tuple[int, str] | None = None
        self._read_at = -EVERY_S
        self._soon: Timer | None = None

    def body(self) -> ComposeResult:
        """The teacher, what was refused, the rewrites, one of them."""
        yield Paragraph(Notice(""), id="summary")
        yield Paragraph(Notice(""), id="refused")
        yield Divider()
        yield Choices(self._menu, id="rows")
        yield TextPane(TextPaneState())

    def changed(self, view: LoopView) -> None:
        """Read again: whatever has changed may be of the teacher. Not more often than a person reads a row."""
        wait = EVERY_S - (time.monotonic() - self._read_at)
        if wait <= 0:
            self.action_reload()
        elif self._soon is None:
            self._soon = self.set_timer(wait, self.action_reload)

    def action_reload(self) -> None:
        """Read everything again."""
        if self._soon is not None:
            self._soon.stop()
        self._soon, self._read_at = None, time.monotonic()
        self.run_worker(self._load, group="writing", thread=True, exclusive=True, exit_on_error=False)

    def _load(self) -> None:
        try:
            found = load(self.project)
        except MiddoError as error:
            found = WritingView(problem=guard.clean(str(error)).text)
        self.post_message(WritingRead(found))

    @on(WritingRead)
    def _loaded(self, message: WritingRead) -> None:
        found, shown = message.found, self.row
        self._found = found
        keys = [row.key for row in found.rows]
        if self._held not in keys:
            self._held = None
        at = 0 if self._held is None else keys.index(self._held)
        empty = found.problem or ("No reply yet." if found.round is not None else "The teacher has not been asked yet.")
        self._menu = Menu(tuple(map(_item, found.rows)), at, COLUMN, empty)
        head = "" if found.round is None else f"round {found.round} · {found.head}{self._time()}"
        self.query_one("#summary", Paragraph).show(Notice(head, "strong"))
        self.query_one("#refused", Paragraph).show(Notice(found.refused, "dim"))
        top = self._top if shown is not None and self.row is not None and shown.key == self.row.key else 0
        self.moved()
        self._top = min(top, self.hidden())
        self._paint()

    def _time(self) -> str:
        """How long an endpoint has been asked and how much longer it takes; a local teacher's line says it itself."""
        running = self.view.stage("running")
        if running is None or running.name != "rewrite" or self.view.writing or running.started_at is None:
            return ""
        elapsed = f" · {number_format.duration(time.time() - running.started_at)} elapsed"
        left = running.left_s
        return elapsed + ("" if left is None else f", about {number_format.duration(left)} left")

    @property
    def row(self) -> WrittenRewrite | None:
        """The cursor's rewrite."""
        return self._found.rows[self._menu.at] if 0 <= self._menu.at < len(self._found.rows) else None

    def blocks(self) -> tuple[TextBlock, ...]:
        """Old and new text."""
        return self.row.blocks if self.row is not None else ()

    def state(self) -> WritingState:
        """What the keys depend on."""
        return WritingState(bool(self._found.rows), self._held is not None, self.hidden() > 0)

    def own_notice(self) -> Notice:
        """Why the cursor's rewrite was refused."""
        row = self.row
        if row is None or not row.why:
            return Notice("")
        return Notice(f"#{row.seq} {row.state}: {row.why}", "bad" if row.state in ("failed", "rejected") else "dim")

    # ---------------------------------------------------------------------------------- the keys

    def move(self, by: int) -> None:
        """The cursor stays on the rewrite it was moved to; on the newest it follows."""
        super().move(by)
        self._held = self.row.key if self.row is not None and self._menu.at else None
        self.state_changed()

    def action_follow(self) -> None:
        """The newest, whichever it is."""
        self.move(-len(self._found.rows))


def _item(row: WrittenRewrite) -> Item:
    mark, role = MARKS.get(row.state, DONE)
    took = f"{row.seconds:.1f} s {row.tokens:>6,} tok" if row.tokens else ""
    at = number_format.clock(row.at, seconds=True)
    return Item(f"{at} {row.axis[:1].upper()} #{row.seq}", row.text, took, mark, role)
