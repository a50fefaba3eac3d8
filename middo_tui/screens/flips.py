"""The Flips screen: the same held-out questions under two rounds' models, which flipped, and both replies."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType

from engine.errors import MiddoError
from engine.plurals import counted
from middo_tui.feed.flips import SHOWN, FlipRow, FlipsView, Shown, load
from middo_tui.feed.rewrite import TextBlock, cached_diff
from middo_tui.feed.view import LoopView
from middo_tui.keys import tables
from middo_tui.screens.flips_keys import KEYS, FlipsState
from middo_tui.screens.frame import ReadMessage
from middo_tui.screens.menu_screen import TextMenuScreen
from middo_tui.terminal import guard
from middo_tui.text import number_format
from middo_tui.text.notice import Notice
from middo_tui.text.word_diff import Part
from middo_tui.widgets.choices import Choices, Item, Menu
from middo_tui.widgets.divider import Divider
from middo_tui.widgets.paragraph import Paragraph
from middo_tui.widgets.text_pane import TextPane, TextPaneState

COLUMN = 6
MOST = 1000
"""So many questions are listed; the command lists all."""
NAMES = {"changed": "changed", "gained": "wrong → right", "lost": "right → wrong", "all": "all"}
LOSSES = {"changed": "by change of loss", "gained": "loss fell", "lost": "loss rose", "all": "by change of loss"}
WORDS = {True: "right", False: "wrong", None: "not marked"}
MARKS = {1: ("✔", "active"), -1: ("✘", "error"), 0: (" ", "")}


class FlipsRead(ReadMessage):
    """The questions have been read."""

    def __init__(self, found: FlipsView) -> None:
        super().__init__()
        self.found = found


class FlipsScreen(TextMenuScreen):
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

    def body(self) -> ComposeResult:
        """The verdict, the questions, one of them."""
        yield Paragraph(Notice(""), id="summary")
        yield Divider()
        yield Choices(self._menu, id="rows")
        yield TextPane(TextPaneState())

    def aim(self, target: object) -> None:
        """``target``: the number of the later round."""
        if isinstance(target, int):
            self._after = target or None
            self.action_reload()

    def action_reload(self) -> None:
        """Read everything again."""
        work = partial(self._load, self._after, self._since_first, self._show)
        self.run_worker(work, group="flips", description="flips", thread=True, exclusive=True, exit_on_error=False)

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
        if message.outdated:
            return
        found = message.found
        same = (found.before, found.after, found.show) == (self._found.before, self._found.after, self._found.show)
        self._found = found
        at = min(self._menu.at, max(0, len(found.rows) - 1)) if same else 0
        empty = found.problem or ("No question flipped." if found.show == "changed" else "No such question.")
        self._menu = Menu(tuple(_item(row) for row in found.rows), at, COLUMN, empty)
        names = NAMES if found.replies else LOSSES
        count = counted(found.total, "question")
        said = f"{found.verdict} Shown: {names[found.show]}, {count}." if not found.problem else ""
        self.query_one("#summary", Paragraph).show(Notice(said, "strong"))
        self.moved()

    @property
    def row(self) -> FlipRow | None:
        """The cursor's question."""
        return self._found.rows[self._menu.at] if self._found.rows else None

    def blocks(self) -> tuple[TextBlock, ...]:
        """The question with both replies."""
        return question_blocks(self._found, self.row)

    def state(self) -> FlipsState:
        """What the keys depend on."""
        return FlipsState(bool(self._found.rows), len(self._found.rounds) > 2, self.hidden() > 0)

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


def _item(row: FlipRow) -> Item:
    mark, role = MARKS[row.flip]
    before, after = row.loss
    moved = "" if before is None or after is None else f"loss {number_format.change(after - before, 2)}"
    return Item(str(row.item), guard.one_line(row.prompt, 300), moved, mark, role)


def question_blocks(view: FlipsView, row: FlipRow | None) -> tuple[TextBlock, ...]:
    """A question with what two rounds' models replied, word by word; the right answer where neither gave it."""
    if row is None:
        return ()
    asked = _block("question", row.prompt)
    if row.before is None or row.after is None:
        losses = " → ".join(number_format.fixed(loss, 3) for loss in row.loss)
        return asked, _block(f"loss of the right answer: {losses}", row.wanted)
    before, after = (WORDS[mark] for mark in row.right)
    same = " · the same reply" if row.before == row.after else ""
    title = f"reply: round {view.before} {before} → round {view.after} {after}{same}"
    replies = TextBlock(title, cached_diff(guard.clean(row.before).text, guard.clean(row.after).text))
    right = () if True in row.right else (_block("right answer", row.wanted),)
    return asked, *right, replies


def _block(title: str, text: str) -> TextBlock:
    return TextBlock(title, (Part("same", guard.clean(text).text),))
