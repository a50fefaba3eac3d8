"""The Lineage screen: every version of a sample, who decided about it, and what changed word by word."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.message import Message

from engine.errors import MiddoError
from engine.plurals import counted
from middo_tui.feed import lineage
from middo_tui.feed.lineage import Family, Section, Start, Version
from middo_tui.feed.rounds import moved
from middo_tui.feed.view import LoopView
from middo_tui.keys import tables
from middo_tui.screens.frame import TALL, WIDE, Framed
from middo_tui.screens.input_line import TypeLine
from middo_tui.screens.lineage_keys import KEYS, LineageKeyState
from middo_tui.terminal import guard
from middo_tui.text.notice import Notice, unindexed
from middo_tui.widgets.choices import Choices, Item, Menu
from middo_tui.widgets.divider import Divider
from middo_tui.widgets.family_list import FamilyList, FamilyRow, Rows, entries
from middo_tui.widgets.lineage_charts import FamilySignals, LineageCharts, charts, replacement
from middo_tui.widgets.version_pane import SPLIT, VersionPane, VersionPaneState, pane_lines

NOTHING_YET = "No sample has been rewritten yet: lineages start with the first merge."
QUESTION = "Which sample? Type #120, an id, or words of its text:"


class FamilyRead(Message):
    """A family, None when there is no such sample."""

    def __init__(self, asked: int, family: Family | None) -> None:
        super().__init__()
        self.asked = asked
        self.family = family


class StartsRead(Message):
    """Samples to begin with; ``typed``: what was searched for, empty for the most changed ones."""

    def __init__(self, typed: str, starts: tuple[Start, ...]) -> None:
        super().__init__()
        self.typed = typed
        self.starts = starts


class TextRead(Message):
    """What changed in the version ``entry``."""

    def __init__(self, entry: FamilyRow, sections: tuple[Section, ...]) -> None:
        super().__init__()
        self.entry = entry
        self.sections = sections


class ReadFailed(Message):
    """Why something could not be read."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text


class LineageScreen(Framed):
    """The versions above, the chosen one below; or a list of samples to begin with."""

    NAME = "lineage"
    KEYS = KEYS
    CSS_PATH = "lineage.tcss"
    BINDINGS: ClassVar[list[BindingType]] = tables.bindings(KEYS, NAME)

    def __init__(self, project: Path, view: LoopView) -> None:
        super().__init__(project, view)
        self._moved: object = None
        self._wanted: int | None = None
        self._family: Family | None = None
        self._entries: tuple[FamilyRow, ...] = ()
        self._at = 0
        self._text = False
        self._top = 0
        self._sections: tuple[Section, ...] | None = None
        self._told: FamilyRow | None = None  # what the pane shows: the one before, until the texts are compared
        self._starts: tuple[Start, ...] | None = None
        self._typed = ""
        self._menu_at = 0
        self._problem = ""

    def body(self) -> ComposeResult:
        """Top to bottom; the list of beginnings in the place of both."""
        yield Choices(self._menu())
        with Vertical(id="family"):
            yield FamilyList(Rows(()))
            yield Divider()
            yield VersionPane(VersionPaneState())
            yield LineageCharts(FamilySignals())

    def on_mount(self) -> None:
        """Until a sample is asked for there is a list to begin with."""
        self._paint()

    def on_resize(self, event: events.Resize) -> None:
        """Another page; texts side by side, or not."""
        self._look()
        self.call_after_refresh(self._paint)

    # ------------------------------------------------------------------------------------- reading

    def changed(self, view: LoopView) -> None:
        """Read again what is shown when the rounds have moved."""
        now = moved(view)
        if now != self._moved:
            self._moved = now
            if self._wanted is not None:
                self._read(self._wanted)
            elif not self._typed:
                self._search("")

    def aim(self, target: object) -> None:
        """``target``: a sample's id."""
        if isinstance(target, int):
            self._read(target)

    @property
    def reading(self) -> bool:
        """Nothing was read yet, nor is it known why not."""
        return self._starts is None and self._family is None and not self._problem

    def _read(self, id: int) -> None:
        self._wanted = id
        self._work("family", partial(self._read_family, id))

    def _search(self, typed: str) -> None:
        self._typed = typed
        self._work("starts", partial(self._read_starts, typed))

    def _work(self, group: str, work: partial[None]) -> None:
        self.run_worker(work, group=group, description=group, thread=True, exclusive=True, exit_on_error=False)

    def _read_family(self, id: int) -> None:
        try:
            self.post_message(FamilyRead(id, lineage.family(self.project, id)))
        except MiddoError as error:
            self.post_message(ReadFailed(guard.clean(str(error)).text))

    def _read_starts(self, typed: str) -> None:
        try:
            found = lineage.search(self.project, typed) if typed else lineage.most_changed(self.project)
            self.post_message(StartsRead(typed, found))
        except MiddoError as error:
            self.post_message(ReadFailed(guard.clean(str(error)).text))

    def _read_text(self, entry: FamilyRow, heir: int | None) -> None:
        try:
            sections = lineage.compared(self.project, entry.version.id, entry.attempt, heir)
            self.post_message(TextRead(entry, sections))
        except MiddoError as error:
            self.post_message(ReadFailed(guard.clean(str(error)).text))

    @on(FamilyRead)
    def _family_was_read(self, message: FamilyRead) -> None:
        if message.asked != self._wanted:
            return
        if message.family is None:
            self._wanted = self._family.chosen if self._family else None
            self.say(Notice(f"No sample {message.asked} in this project.", "bad"))
            if self._starts is None:
                self._search("")
            return
        self._problem = ""
        before = self._entry
        same = self._family is not None and self._family.chosen == message.asked
        self._family, self._entries = message.family, entries(message.family)
        self._at = self._place(before if same else None, message.asked)
        if not same:
            self._told, self._sections, self._top = None, None, 0
        if not same or self._entry != before:
            self._look()
        self._paint()

    def _place(self, before: FamilyRow | None, id: int) -> int:
        """The row of what the cursor was on, else of the version that was asked for."""
        for at, entry in enumerate(self._entries):
            if before is not None and entry == before:
                return at
        return next(at for at, entry in enumerate(self._entries) if entry.version.id == id and entry.attempt is None)

    @on(StartsRead)
    def _starts_were_read(self, message: StartsRead) -> None:
        if message.typed != self._typed:
            return
        self._problem, self._starts, self._menu_at = "", message.starts, 0
        if message.typed and len(message.starts) == 1:
            self._read(message.starts[0].id)
        self._paint()

    @on(TextRead)
    def _text_was_read(self, message: TextRead) -> None:
        if message.entry == self._entry:
            self._told, self._sections, self._top = message.entry, message.sections, 0
            self._paint()

    @on(ReadFailed)
    def _trouble(self, message: ReadFailed) -> None:
        self._problem = message.text
        self._paint()

    # ------------------------------------------------------------------------------------ painting

    def _paint(self) -> None:
        self.query_one(Choices).display = self._family is None
        self.query_one("#family").display = self._family is not None
        self.query_one(Choices).show(self._menu())
        chosen = self._family.chosen if self._family else 0
        self.query_one(FamilyList).show(Rows(self._entries, chosen, self._at, not self._text))
        self._top = max(0, min(self._top, self._length() - self._height()))
        self.query_one(VersionPane).show(self._pane())
        self._paint_charts()
        self.state_changed()

    def _paint_charts(self) -> None:
        """Where there is room, and something that changed over the rounds."""
        data = FamilySignals(self._family, self._entry.version.id if self._entry else None)
        widget = self.query_one(LineageCharts)
        widget.display = self.size.height >= TALL and self.size.width >= WIDE and bool(charts(data))
        widget.show(data)

    def _menu(self) -> Menu:
        items = tuple(
            Item(
                f"#{start.seq:,}",
                start.text,
                f"{counted(start.longest, 'rewrite')}, {counted(start.versions, 'version')}" if start.versions else "",
            )
            for start in self._starts or ()
        )
        empty = "" if self._starts is None else f"Nothing found for: {guard.one_line(self._typed, 60)}"
        return Menu(items, self._menu_at, 10, empty if self._typed or self._starts is None else NOTHING_YET)

    def _pane(self) -> VersionPaneState:
        heir = self._heir()
        told = self._told or self._entry
        return VersionPaneState(self._family, told, self._sections, self._top, self._text, heir.seq if heir else None)

    def _length(self) -> int:
        return len(pane_lines(self._pane(), self.query_one(VersionPane).size.width or self.size.width))

    def _height(self) -> int:
        return self.query_one(VersionPane).size.height or 1

    @property
    def _entry(self) -> FamilyRow | None:
        return self._entries[self._at] if self._entries else None

    def state(self) -> LineageKeyState:
        """What the keys depend on."""
        if self._family is None:
            return LineageKeyState(rows=len(self._starts or ()))
        entry = self._entry
        rewrite = entry is not None and (entry.attempt or entry.version.made_by) is not None
        return LineageKeyState(True, len(self._entries), self._text, rewrite)

    def own_notice(self) -> Notice:
        """What the list is, or that a family is larger than what is shown."""
        if self._problem:
            return Notice(self._problem, "bad")
        if self.reading:
            return Notice("Reading the samples …", "dim")
        if self._family is None and self._typed and self.view.unindexed:
            return Notice(unindexed(self.view.unindexed), "decide")
        if self._family is None and self._starts:
            matches = f"Samples that match: {guard.one_line(self._typed, 60)}"
            return Notice(matches if self._typed else "The samples that were rewritten most often.", "dim")
        if self._family is not None and self._family.cut:
            return Notice(f"Only the first {lineage.MOST} versions are shown.", "dim")
        return Notice("")

    # ------------------------------------------------------------------------------------ the keys

    def _look(self) -> None:
        """Compare what the cursor is on; until that is done the pane stays as it is, and is painted once."""
        if self._entry is not None:
            heir = self._heir()
            self._work("text", partial(self._read_text, self._entry, heir.id if heir else None))

    def _heir(self) -> Version | None:
        """What took the place of an imported sample: it stands beside it where texts stand side by side."""
        entry = self._entry
        alone = (
            self._family is not None and entry is not None and entry.attempt is None and entry.version.parent is None
        )
        if not alone or self.size.width < SPLIT or self._family is None or entry is None:
            return None
        return replacement(self._family, entry.version)

    def _move(self, to: int) -> None:
        if self._family is None:
            self._menu_at = max(0, min(len(self._starts or ()) - 1, to))
        elif self._text:
            self._top = to
        else:
            at = max(0, min(len(self._entries) - 1, to))
            if at != self._at:
                self._at = at
                self._look()
        self._paint()

    def _here(self) -> int:
        return self._menu_at if self._family is None else self._top if self._text else self._at

    def action_down(self) -> None:
        """The next row."""
        self._move(self._here() + 1)

    def action_up(self) -> None:
        """The row before."""
        self._move(self._here() - 1)

    def action_first(self) -> None:
        """To the beginning."""
        self._move(0)

    def action_last(self) -> None:
        """To the end."""
        self._move(1 << 30)

    def action_page_down(self) -> None:
        """The text, a page further."""
        self._top += self._height() - 1
        self._paint()

    def action_page_up(self) -> None:
        """The text, a page back."""
        self._top -= self._height() - 1
        self._paint()

    def action_tab(self) -> None:
        """Versions or text."""
        self._text = not self._text
        self._paint()

    def action_open(self) -> None:
        """The sample under the cursor."""
        if self._starts:
            self._read(self._starts[self._menu_at].id)

    def action_samples(self) -> None:
        """This version among the samples."""
        if self._entry is not None:
            self.go("samples", self._entry.version.id)

    def action_review(self) -> None:
        """The rewrite that made it, or that the cursor is on."""
        entry = self._entry
        rewrite = None if entry is None else entry.attempt or entry.version.made_by
        if rewrite is not None:
            self.go("review", (rewrite.round, rewrite.sample, rewrite.axis))

    def action_find(self) -> None:
        """Another sample."""
        self.app.push_screen(TypeLine(QUESTION), self._find)

    def _find(self, typed: str | None) -> None:
        if typed is not None and typed.strip():
            self._close()
            self._search(typed.strip())

    def action_list(self) -> None:
        """The beginnings again."""
        self._close()
        self._search("")
        self._paint()

    def _close(self) -> None:
        self._family, self._wanted, self._entries, self._at, self._text = None, None, (), 0, False
        self._starts = None
