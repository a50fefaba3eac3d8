"""A screen that is a list with something below it: the cursor, its keys, and reading again when it is looked at."""

from __future__ import annotations

from pathlib import Path

from middo_tui.feed.view import LoopView
from middo_tui.screens.frame import Framed
from middo_tui.widgets.choices import Choices, Menu


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
