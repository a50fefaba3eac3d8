"""A screen that is a list with something below it: the cursor, its keys, and reading again when it is looked at."""

from __future__ import annotations

from pathlib import Path

from middo_tui.feed.rewrite import TextBlock
from middo_tui.feed.view import LoopView
from middo_tui.screens.frame import Framed
from middo_tui.widgets.choices import Choices, Menu
from middo_tui.widgets.text_pane import TextPane, TextPaneState, text_rows


class MenuScreen(Framed):
    """Quarantine and Settings. The subclass places ``Choices(self._menu, id="rows")`` and shows the cursor's row."""

    def __init__(self, project: Path, view: LoopView, column: int, empty: str) -> None:
        super().__init__(project, view)
        self._menu = Menu((), column=column, empty=empty)

    def on_screen_resume(self) -> None:
        """What is listed may have changed meanwhile."""
        super().on_screen_resume()
        self.action_reload()

    def action_reload(self) -> None:
        """Read everything again."""
        raise NotImplementedError

    def show_row(self) -> None:
        """Show what the cursor's row is, below the list."""
        raise NotImplementedError

    def moved(self) -> None:
        """The list or its cursor is another one."""
        self.query_one("#rows", Choices).show(self._menu)
        self.show_row()
        self.state_changed()

    def move(self, by: int) -> None:
        """The cursor ``by`` rows down."""
        self._menu = self._menu.moved(by)
        self.moved()

    def action_down(self) -> None:
        """One down."""
        self.move(1)

    def action_up(self) -> None:
        """One up."""
        self.move(-1)

    def action_page_down(self) -> None:
        """A page down."""
        self.move(self.query_one("#rows", Choices).size.height)

    def action_page_up(self) -> None:
        """A page up."""
        self.move(-self.query_one("#rows", Choices).size.height)


class TextMenuScreen(MenuScreen):
    """A list whose row is shown in full in a ``TextPane`` below it. The subclass yields both."""

    def __init__(self, project: Path, view: LoopView, column: int, empty: str) -> None:
        super().__init__(project, view, column, empty)
        self._top = 0

    def blocks(self) -> tuple[TextBlock, ...]:
        """The texts of the cursor's row."""
        raise NotImplementedError

    def show_row(self) -> None:
        """The texts, from their beginning."""
        self._top = 0
        self._paint()

    def _paint(self) -> None:
        self.query_one(TextPane).show(TextPaneState(self.blocks(), self._top))

    def hidden(self) -> int:
        """Rows of the texts that do not fit."""
        if not self.is_mounted:
            return 0
        pane = self.query_one(TextPane).size
        return max(0, len(text_rows(TextPaneState(self.blocks()), pane.width)) - pane.height)

    def action_page_down(self) -> None:
        """More of the texts."""
        self._scroll(1)

    def action_page_up(self) -> None:
        """Back."""
        self._scroll(-1)

    def _scroll(self, by: int) -> None:
        page = max(1, self.query_one(TextPane).size.height - 2)
        self._top = max(0, min(self._top + by * page, self.hidden()))
        self._paint()
