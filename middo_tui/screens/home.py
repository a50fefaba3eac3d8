"""The projects in this folder: the first screen of a program that was called without one. Enter opens."""

from __future__ import annotations

import time
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen

from middo_tui.base_app import BaseApp
from middo_tui.feed.home import ProjectSummary
from middo_tui.look.preferences import Preferences
from middo_tui.terminal import guard
from middo_tui.text import number_format
from middo_tui.text.notice import Notice
from middo_tui.widgets.choices import Choices, Item, Menu
from middo_tui.widgets.divider import Divider
from middo_tui.widgets.key_bar import KeyBar
from middo_tui.widgets.paragraph import Paragraph

DAY_S = 86_400
NEW = Path()
"""What the app ends with when a new project is wanted."""


class HomeScreen(Screen[None]):
    """A row per project, and one for a new one."""

    DEFAULT_CSS = """
    HomeScreen { layout: vertical; background: $background; }
    HomeScreen Choices { height: 1fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", show=False),
        Binding("n", "new", show=False),
        Binding("down,j", "move(1)", show=False),
        Binding("up,k", "move(-1)", show=False),
        Binding("pagedown,ctrl+d", "move(10)", show=False),
        Binding("pageup,ctrl+u", "move(-10)", show=False),
        Binding("home,g", "move(-1000)", show=False),
        Binding("end,G", "move(1000)", show=False),
        Binding("q,escape,ctrl+q", "leave", show=False),
    ]

    def __init__(self, found: list[ProjectSummary], now: float) -> None:
        super().__init__()
        self._found = found
        items = [Item(guard.one_line(one.folder.name), _state(one), _ago(now - one.used)) for one in found]
        self._menu = Menu((*items, Item("new project", "from your dataset, step by step", mark="+")), column=28)

    def compose(self) -> ComposeResult:
        """What this is, the projects, the keys."""
        where = guard.one_line(str(Path.cwd()))
        yield Paragraph(Notice(f"middo  projects in {where} and opened lately", "strong"))
        yield Divider()
        yield Choices(self._menu)
        yield KeyBar((("enter", "open"), ("j/k", "move"), ("n", "new project"), ("q", "quit")))

    def action_move(self, by: int) -> None:
        """Another project."""
        self._menu = self._menu.moved(by)
        self.query_one(Choices).show(self._menu)

    def action_open(self) -> None:
        """This one."""
        at = self._menu.at
        self.app.exit(self._found[at].folder if at < len(self._found) else NEW)

    def action_new(self) -> None:
        """Another one, with the wizard."""
        self.app.exit(NEW)

    def action_leave(self) -> None:
        """None of them."""
        self.app.exit(None)


class Home(BaseApp[Path]):
    """Ends with the folder of a project, with ``NEW``, or with None."""

    def __init__(self, found: list[ProjectSummary], preferences: Preferences | None = None) -> None:
        super().__init__(preferences or Preferences())
        self._first = HomeScreen(found, time.time())

    def on_mount(self) -> None:
        """The only screen."""
        self.push_screen(self._first)


def _state(one: ProjectSummary) -> str:
    """Its state, and for a project elsewhere the folder it is in."""
    place = one.folder.parent
    if not place.is_absolute() or place == Path.cwd():
        return one.state
    home = Path.home()
    shown = f"~/{place.relative_to(home)}".removesuffix("/.") if place.is_relative_to(home) else str(place)
    return f"{one.state} · {guard.one_line(shown)}"


def _ago(seconds: float) -> str:
    if seconds >= 2 * DAY_S:
        return f"{int(seconds / DAY_S):,} days ago"
    return f"{number_format.duration(seconds)} ago" if seconds >= 60 else "just now"
