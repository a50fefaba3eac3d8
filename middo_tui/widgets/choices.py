"""A list with a cursor: what the palette, the settings and the wizard choose from.

It shows whole pages: within a page only the two rows that the cursor leaves and enters are painted again.
"""

from __future__ import annotations

from typing import NamedTuple

from rich.cells import cell_len

from middo_tui.terminal import guard
from middo_tui.widgets.lines import Line, Lines, Run


class Item(NamedTuple):
    """One row: ``name`` in a column of its own, then ``text``, and ``aside`` at the right edge. All clean.

    ``mark`` stands before the name (of one cell); a ``heading`` cannot be chosen and has only its name.
    """

    name: str
    text: str = ""
    aside: str = ""
    mark: str = " "
    role: str = ""
    heading: bool = False


class Menu(NamedTuple):
    """Rows and the one the cursor is on. ``column``: cells of the names; ``empty``: said when there are no rows."""

    items: tuple[Item, ...]
    at: int = 0
    column: int = 18
    empty: str = ""

    def moved(self, by: int) -> Menu:
        """With the cursor ``by`` rows further, over headings; it stops at both ends."""
        step = 1 if by > 0 else -1
        at = max(0, min(len(self.items) - 1, self.at + by))
        found = self._free(at, step)
        if found is None:
            found = self._free(at, -step)
        return self._replace(at=self.at if found is None else found)

    def _free(self, at: int, step: int) -> int | None:
        while 0 <= at < len(self.items):
            if not self.items[at].heading:
                return at
            at += step
        return None

    @property
    def item(self) -> Item | None:
        """What the cursor is on."""
        return self.items[self.at] if 0 <= self.at < len(self.items) else None


def menu_lines(menu: Menu, width: int, height: int) -> list[Line]:
    """The page of ``height`` rows that the cursor is on; all rows when ``height`` is 0."""
    if not menu.items:
        return [(Run(" " + guard.fit(menu.empty, width - 2).rstrip(), "dim"),)]
    first = max(0, menu.at) // height * height if height else 0
    shown = menu.items[first : first + height] if height else menu.items
    return [_row(item, at == menu.at, menu.column, width) for at, item in enumerate(shown, start=first)]


def _row(item: Item, chosen: bool, column: int, width: int) -> Line:
    if item.heading:
        return (Run(" " + guard.fit(item.name, width - 2).rstrip(), "strong"),)
    pointer = "▸" if chosen else " "
    if not item.text and not item.aside:
        column = width - 5
    name = guard.fit(item.name, column)
    room = max(0, width - 6 - column - (len(item.aside) and cell_len(item.aside) + 2))
    text = guard.fit(item.text, room) if item.text or item.aside else ""
    aside = f"  {item.aside}" if item.aside else ""
    if chosen:
        return (Run(guard.fit(f" {pointer}{item.mark} {name} {text}{aside}", width), "cursor"),)
    return (
        Run(f"  {item.mark} ", item.role or "key"),
        Run(name, item.role),
        Run(f" {text}", item.role or "dim"),
        Run(aside, "key"),
    )


class Choices(Lines[Menu]):
    """``menu_lines`` as a widget."""

    def draw(self, data: Menu, width: int, height: int) -> list[Line]:
        """A page."""
        return menu_lines(data, width, height)
