"""The Flips screen: the same held-out questions under two rounds' models, which flipped, and both replies."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.message import Message

from engine.errors import MiddoError
from middo_tui.feed.flips import SHOWN, FlipRow, FlipsView, Shown, load
from middo_tui.feed.view import LoopView
from middo_tui.keys import tables
from middo_tui.screens.flips_keys import KEYS, FlipsState
from middo_tui.screens.menu_screen import MenuScreen
from middo_tui.terminal import guard
from middo_tui.text import number_format
from middo_tui.text.notice import Notice
from middo_tui.widgets.choices import Choices, Item, Menu
from middo_tui.widgets.divider import Divider
from middo_tui.widgets.paragraph import Paragraph
from middo_tui.widgets.question_pane import QuestionPane, QuestionPaneState, question_lines

COLUMN = 6
MOST = 1000
"""So many questions are listed; the command lists all."""
NAMES = {"changed": "changed", "gained": "wrong → right", "lost": "right → wrong", "all": "all"}
LOSSES = {"changed": "by change of loss", "gained": "loss fell", "lost": "loss rose", "all": "by change of loss"}
MARKS = {1: ("✔", "active"), -1: ("✘", "error"), 0: (" ", "")}


class FlipsRead(Message):
    """The questions have been read."""

    def __init__(self, found: FlipsView) -> None:
        super().__init__()
        self.found = found


class FlipsScreen(MenuScreen):
    """A verdict, the questions, and the texts of the one that the cursor is on."""

    NAME = "flips"
    KEYS = KEYS
    CSS_PATH = "flips.tcss"
    BINDINGS: ClassVar[list[BindingType]] = tables.bindings(KEYS, NAME)

    def __init__(self, project: Path, view: LoopView) -> None:
        super().__init__(project, view, COLUMN, "Reading the held-out questions …")
        self._found = FlipsView()
        self._after: int | None = None
        self._since_first = False
        self._show: Shown = "changed"
        self._top = 0

    def body(self) -> ComposeResult:
        """The verdict, the questions, one of them."""
        yield Paragraph(Notice(""), id="summary")
        yield Divider()
        yield Choices(self._menu, id="rows")
        yield QuestionPane(QuestionPaneState(self._found))

    def aim(self, target: object) -> None:
        """``target``: the number of the later round."""
        if isinstance(target, int):
            self._after = target or None
            self.action_reload()

    def action_reload(self) -> None:
        """Read everything again."""
        work = partial(self._load, self._after, self._since_first, self._show)
        self.run_worker(work, group="flips", thread=True, exclusive=True, exit_on_error=False)

    def _load(self, after: int | None, since_first: bool, show: Shown) -> None:
        try:
            found = load(self.project, after, None, show, MOST)
            if since_first and found.before != found.rounds[0]:
                found = load(self.project, found.after, found.rounds[0], show, MOST)
        except MiddoError as error:
            found = FlipsView(problem=guard.clean(str(error)).text)
        self.post_message(FlipsRead(found))

    @on(FlipsRead)
    def _loaded(self, message: FlipsRead) -> None:
        found = message.found
        same = (found.before, found.after, found.show) == (self._found.before, self._found.after, self._found.show)
        self._found = found
        at = min(self._menu.at, max(0, len(found.rows) - 1)) if same else 0
        empty = found.problem or ("No question flipped." if found.show == "changed" else "No such question.")
        self._menu = Menu(tuple(_item(row) for row in found.rows), at, COLUMN, empty)
        names = NAMES if found.replies else LOSSES
        count = number_format.counted(found.total, "question")
        said = f"{found.verdict} Shown: {names[found.show]}, {count}." if not found.problem else ""
        self.query_one("#summary", Paragraph).show(Notice(said, "strong"))
        self.moved()

    @property
    def row(self) -> FlipRow | None:
        """The cursor's question."""
        return self._found.rows[self._menu.at] if self._found.rows else None

    def show_row(self) -> None:
        """The question with both replies, from their beginning."""
        self._top = 0
        self._paint()

    def _paint(self) -> None:
        self.query_one(QuestionPane).show(QuestionPaneState(self._found, self.row, self._top))

    def _hidden(self) -> int:
        """Rows of the texts that do not fit."""
        if not self.is_mounted:
            return 0
        pane = self.query_one(QuestionPane).size
        return max(0, len(question_lines(QuestionPaneState(self._found, self.row), pane.width)) - pane.height)

    def state(self) -> FlipsState:
        """What the keys depend on."""
        return FlipsState(bool(self._found.rows), len(self._found.rounds) > 2, self._hidden() > 0)

    def own_notice(self) -> Notice:
        """That there is more than is listed."""
        if self._found.total > len(self._found.rows):
            return Notice(
                f"Only the first {MOST:,} questions are listed; `middo-tui flips --limit 0` lists all.", "dim"
            )
        return Notice("")

    # ---------------------------------------------------------------------------------- the keys

    def action_show(self) -> None:
        """The next kind of questions."""
        self._show_next(1)

    def action_show_back(self) -> None:
        """The kind before."""
        self._show_next(-1)

    def _show_next(self, by: int) -> None:
        self._show = SHOWN[(SHOWN.index(self._show) + by) % len(SHOWN)]
        self.action_reload()

    def action_later(self) -> None:
        """A later round."""
        self._to_round(1)

    def action_earlier(self) -> None:
        """An earlier round."""
        self._to_round(-1)

    def _to_round(self, by: int) -> None:
        later = self._found.rounds[1:]
        if self._found.after in later:
            self._after = later[(later.index(self._found.after) + by) % len(later)]
            self.action_reload()

    def action_since_first(self) -> None:
        """Against the first round, or the one before."""
        self._since_first = not self._since_first
        self.action_reload()

    def action_page_down(self) -> None:
        """More of the texts."""
        self._scroll(1)

    def action_page_up(self) -> None:
        """Back."""
        self._scroll(-1)

    def _scroll(self, by: int) -> None:
        page = max(1, self.query_one(QuestionPane).size.height - 2)
        self._top = max(0, min(self._top + by * page, self._hidden()))
        self._paint()


def _item(row: FlipRow) -> Item:
    mark, role = MARKS[row.flip]
    before, after = row.loss
    moved = "" if before is None or after is None else f"loss {number_format.change(after - before, 2)}"
    return Item(str(row.item), guard.one_line(row.prompt, 300), moved, mark, role)
