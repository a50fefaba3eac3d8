"""The Log screen: the run's events and what its processes wrote, followed, searched, by level."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType

from engine.errors import MiddoError
from engine.plurals import counted
from middo_tui.feed.run_log import EVENTS, LEVELS, Level, LogEntry, RunLog, load
from middo_tui.feed.view import LoopView
from middo_tui.keys import tables
from middo_tui.screens.frame import ReadMessage
from middo_tui.screens.input_line import TypeLine
from middo_tui.screens.log_keys import KEYS, LogState
from middo_tui.screens.menu_screen import MenuScreen
from middo_tui.terminal import guard
from middo_tui.text import number_format
from middo_tui.text.notice import Notice
from middo_tui.widgets.choices import Choices, Item, Menu
from middo_tui.widgets.divider import Divider
from middo_tui.widgets.log_tail import LEVEL_ROLES
from middo_tui.widgets.paragraph import Paragraph

COLUMN = 17
MOST = 1000
NEXT: dict[Level, str] = {"all": "warnings", "warning": "errors only", "error": "all levels"}
NAMES: dict[Level, str] = {"all": "", "warning": "warnings and errors", "error": "errors"}
SIGNS = {"error": "✘", "warning": "!"}


class LogRead(ReadMessage):
    """The log has been read."""

    def __init__(self, found: RunLog) -> None:
        super().__init__()
        self.found = found


class LogScreen(MenuScreen):
    """Which log, its lines, newest first, the whole text of one. The cursor follows the newest until it is moved."""

    NAME = "log"
    KEYS = KEYS
    CSS_PATH = "log.tcss"
    BINDINGS: ClassVar[list[BindingType]] = tables.bindings(KEYS, NAME)

    def __init__(self, project: Path, view: LoopView) -> None:
        super().__init__(project, view, COLUMN, "Reading the log …")
        self._found = RunLog()
        self._source = EVENTS
        self._level: Level = "all"
        self._words = ""
        self._newest: tuple[LogEntry, ...] = ()
        self._held: LogEntry | None = None

    def body(self) -> ComposeResult:
        """Which log, its lines, one of them."""
        yield Paragraph(Notice(""), id="summary")
        yield Divider()
        yield Choices(self._menu, id="rows")
        yield Divider()
        yield Paragraph(Notice(""), id="whole")

    def changed(self, view: LoopView) -> None:
        """Read again: events come with everything that changes."""
        self.action_reload()

    def action_reload(self) -> None:
        """Read everything again."""
        work = partial(self._load, self._source, self._level, self._words)
        self.run_worker(work, group="log", description="log", thread=True, exclusive=True, exit_on_error=False)

    def _load(self, source: str, level: Level, words: str) -> None:
        try:
            found = load(self.project, source, level, words, MOST)
        except (MiddoError, OSError) as error:
            found = RunLog(source=source, problem=guard.clean(str(error)).text)
        self.post_message(LogRead(found))

    @on(LogRead)
    def _loaded(self, message: LogRead) -> None:
        if message.outdated:
            return
        found = message.found
        self._found = found
        self._newest = found.entries[::-1]
        items = tuple(map(_item, self._newest))
        if self._held not in self._newest:
            self._held = None
        at = 0 if self._held is None else self._newest.index(self._held)
        nothing = "Nothing logged yet." if not self._words and self._level == "all" else "No matching lines."
        column = COLUMN if found.source == EVENTS else 1
        self._menu = Menu(items, at, column, found.problem or nothing)
        self.query_one("#summary", Paragraph).show(Notice(self._summary(), "strong"))
        self.moved()

    def _summary(self) -> str:
        """E.g. ``Log · events (1 of 4) · warnings and errors · with "loss" · 12 lines``."""
        found = self._found
        place = f" ({found.sources.index(found.source) + 1} of {len(found.sources)})" if len(found.sources) > 1 else ""
        parts = [f"Log · {guard.one_line(found.source, 60)}{place}", NAMES[self._level]]
        parts.append(f'with "{guard.one_line(self._words, 40)}"' if self._words else "")
        if not found.problem:
            parts.append(counted(found.found, "line") + (", the end of the file only" if found.cut else ""))
        return " · ".join(part for part in parts if part)

    @property
    def entry(self) -> LogEntry | None:
        """The cursor's line."""
        return self._newest[self._menu.at] if self._newest else None

    def show_row(self) -> None:
        """The whole line."""
        entry = self.entry
        text = guard.clean(entry.text).text if entry is not None else ""
        role = LEVEL_ROLES.get(entry.level, "") if entry is not None else ""
        self.query_one("#whole", Paragraph).show(Notice(text, role))

    def state(self) -> LogState:
        """What the keys depend on."""
        several, some = len(self._found.sources) > 1, bool(self._newest)
        return LogState(some, self._held is not None, several, bool(self._words), NEXT[self._level])

    def own_notice(self) -> Notice:
        """That there is more than is listed."""
        if self._found.found > len(self._found.entries):
            return Notice(f"Only the newest {MOST:,} lines are listed. To list all: middo-tui log --limit 0", "dim")
        return Notice("")

    # ---------------------------------------------------------------------------------- the keys

    def move(self, by: int) -> None:
        """The cursor stays on the line it was moved to; on the newest it follows."""
        super().move(by)
        self._held = self.entry if self._menu.at else None
        self.state_changed()

    def action_follow(self) -> None:
        """The newest line, whichever it is."""
        self.move(-len(self._newest))

    def action_first(self) -> None:
        """The first line."""
        self.move(len(self._newest))

    def action_source(self) -> None:
        """Another log."""
        self._to_source(1)

    def action_source_back(self) -> None:
        """The log before."""
        self._to_source(-1)

    def _to_source(self, by: int) -> None:
        there = self._found.sources
        at = there.index(self._found.source) if self._found.source in there else 0
        self._source, self._held = there[(at + by) % len(there)], None
        self.action_reload()

    def action_level(self) -> None:
        """Fewer levels, then all again."""
        self._level = LEVELS[(LEVELS.index(self._level) + 1) % len(LEVELS)]
        self.action_reload()

    def action_search(self) -> None:
        """Words that a line must have."""
        self.app.push_screen(TypeLine("Show lines with (empty: all):", self._words), self._search)

    def _search(self, words: str | None) -> None:
        if words is not None:
            self._words = words.strip()
            self.action_reload()


def _item(entry: LogEntry) -> Item:
    at = number_format.clock(entry.at, seconds=True) if entry.at is not None else ""
    name = f"{at} {guard.one_line(entry.stage, 20)}".strip()
    role = LEVEL_ROLES.get(entry.level, "")
    return Item(name, guard.one_line(entry.text), mark=SIGNS.get(entry.level, " "), role=role)
