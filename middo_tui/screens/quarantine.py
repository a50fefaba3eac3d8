"""The Quarantine screen: the rows that could not be imported, with file, row, reason and text."""

from __future__ import annotations

from functools import partial
from itertools import islice
from pathlib import Path
from shlex import quote
from typing import ClassVar

from msgspec import Struct
from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType

from engine.errors import MiddoError
from engine.plurals import counted
from engine.store.connect import reader
from engine.store.quarantine import Reason, Refused, reasons, refused
from middo_tui.feed.view import LoopView
from middo_tui.keys import tables
from middo_tui.screens.frame import ReadMessage
from middo_tui.screens.menu_screen import MenuScreen
from middo_tui.screens.quarantine_keys import KEYS, QuarantineState
from middo_tui.terminal import guard
from middo_tui.text.notice import Notice
from middo_tui.widgets.choices import Choices, Item, Menu
from middo_tui.widgets.divider import Divider
from middo_tui.widgets.paragraph import Paragraph

COLUMN = 30
MOST = 1000
"""So many rows of a reason are shown; the command shows all."""
RAW = 2000


class QuarantineView(Struct, frozen=True):
    """``reasons`` of all rows; ``rows``: the first ones of the reason ``only`` ("": of all); ``problem``: why none."""

    reasons: tuple[Reason, ...] = ()
    only: str = ""
    rows: tuple[Refused, ...] = ()
    problem: str = ""

    @property
    def count(self) -> int:
        """Rows of the shown reason."""
        return sum(reason.rows for reason in self.reasons if self.only in ("", reason.reason))


class QuarantineRead(ReadMessage):
    """The quarantine has been read."""

    def __init__(self, found: QuarantineView) -> None:
        super().__init__()
        self.found = found


def load(project: Path, only: str) -> QuarantineView:
    """Read the quarantine. May block: call it in a thread."""
    try:
        db = reader(project)
    except MiddoError as error:
        return QuarantineView(problem=guard.one_line(str(error)))
    try:
        db.row_factory = None
        found = tuple(reasons(db))
        only = only if any(reason.reason == only for reason in found) else ""
        return QuarantineView(found, only, tuple(islice(refused(db, exact=only), MOST)))
    finally:
        db.close()


def summary(found: QuarantineView) -> str:
    """How many rows there are, of which reason."""
    if found.problem:
        return "Quarantine"
    if not found.only:
        many = f", for {len(found.reasons)} reasons" if len(found.reasons) > 1 else ""
        return f"Quarantine · {counted(found.count, 'row')} could not be imported{many}"
    at = next(n for n, reason in enumerate(found.reasons, start=1) if reason.reason == found.only)
    rows, reason = counted(found.count, "row"), guard.one_line(found.only, 200)
    return f"Quarantine · reason {at} of {len(found.reasons)} · {rows}: {reason}"


class QuarantineScreen(MenuScreen):
    """A list of rows with their reasons; below it the text of the one that the cursor is on."""

    NAME = "quarantine"
    KEYS = KEYS
    CSS_PATH = "quarantine.tcss"
    BINDINGS: ClassVar[list[BindingType]] = tables.bindings(KEYS, NAME)

    def __init__(self, project: Path, view: LoopView) -> None:
        super().__init__(project, view, COLUMN, "Reading the quarantine …")
        self._found = QuarantineView()

    def body(self) -> ComposeResult:
        """The count, the rows, the text of one."""
        yield Paragraph(Notice(""), id="summary")
        yield Divider()
        yield Choices(self._menu, id="rows")
        yield Divider()
        yield Paragraph(Notice(""), id="why")
        yield Paragraph(Notice(""), id="raw")

    def action_reload(self) -> None:
        """Read everything again."""
        self._read(self._found.only)

    def _read(self, only: str) -> None:
        work = partial(self._load, only)
        self.run_worker(
            work, group="quarantine", description="quarantine", thread=True, exclusive=True, exit_on_error=False
        )

    def _load(self, only: str) -> None:
        self.post_message(QuarantineRead(load(self.project, only)))

    @on(QuarantineRead)
    def _loaded(self, message: QuarantineRead) -> None:
        if message.outdated:
            return
        found = message.found
        same = found.only == self._found.only
        self._found = found
        items = tuple(
            Item(guard.one_line(f"{row.file}, row {row.row}", COLUMN * 4), guard.one_line(row.reason, 200))
            for row in found.rows
        )
        at = min(self._menu.at, max(0, len(items) - 1)) if same else 0
        empty = "" if found.problem else "No rows in quarantine: every row was imported."
        self._menu = Menu(items, at, COLUMN, empty)
        self.query_one("#summary", Paragraph).show(Notice(summary(found), "strong"))
        self.moved()

    def show_row(self) -> None:
        """The row's reason and text."""
        row = self._found.rows[self._menu.at] if self._found.rows else None
        self.query_one("#why", Paragraph).show(Notice(guard.one_line(row.reason) if row else "", "bad"))
        self.query_one("#raw", Paragraph).show(Notice(guard.one_line(row.raw, RAW) if row else ""))

    def state(self) -> QuarantineState:
        """What there is to move over."""
        return QuarantineState(bool(self._found.rows), len(self._found.reasons) > 1)

    def own_notice(self) -> Notice:
        """Why there is nothing, or that there is more than is shown."""
        if self._found.problem:
            return Notice(self._found.problem, "bad")
        if self._found.count > len(self._found.rows):
            command = f"middo-tui quarantine {quote(str(self.project))} --limit 0"
            return Notice(f"Only the first {MOST:,} rows are shown. To list all: {guard.one_line(command)}", "dim")
        return Notice("")

    # ---------------------------------------------------------------------------------- the keys

    def action_next_reason(self) -> None:
        """Only the next reason; after the last one all rows."""
        self._to_reason(1)

    def action_previous_reason(self) -> None:
        """Only the reason before."""
        self._to_reason(-1)

    def _to_reason(self, by: int) -> None:
        names = ["", *(reason.reason for reason in self._found.reasons)]
        self._read(names[(names.index(self._found.only) + by) % len(names)])
