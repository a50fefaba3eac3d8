"""Laying other projects over this one on the Rounds screen: a list of those that are known, and their curves."""

from __future__ import annotations

import sqlite3
from functools import partial
from pathlib import Path

from textual import on
from textual.message import Message

from engine.errors import MiddoError
from middo_tui.feed import overlay
from middo_tui.feed.overlay import OtherProject
from middo_tui.screens.bottom_menu import BottomMenu
from middo_tui.screens.rounds_reading import RoundsReading
from middo_tui.terminal import guard
from middo_tui.text import number_format
from middo_tui.text.notice import Notice
from middo_tui.widgets.choices import Item, Menu
from middo_tui.widgets.round_panels import TABS

LISTED = 12
"""Projects in the list: the last used ones."""
NONE_KNOWN = "No other project is known: none beside this one, and none was opened lately."


class OthersFound(Message):
    """The projects that can be chosen."""

    def __init__(self, found: list[tuple[Path, float]]) -> None:
        super().__init__()
        self.found = found


class OtherRead(Message):
    """A project's rounds, or why there are none."""

    def __init__(self, other: OtherProject | None, problem: str = "") -> None:
        super().__init__()
        self.other = other
        self.problem = problem


class RoundsOverlay(RoundsReading):
    """Asks which project, reads it in a thread, draws it."""

    def action_overlay(self) -> None:
        """Another project over this one, or one of them away."""
        self.asks_soon()
        self.run_worker(self._find, group="overlay", thread=True, exclusive=True, exit_on_error=False)

    def _find(self) -> None:
        self.post_message(OthersFound(overlay.others(self.project)[:LISTED]))

    @on(OthersFound)
    def _found(self, message: OthersFound) -> None:
        if not message.found:
            self.say(Notice(NONE_KNOWN, "decide"))
            self.asked()
            return
        shown = {other.folder for other in self._others}
        items = tuple(
            Item(
                guard.one_line(folder.name),
                guard.one_line(str(folder.parent)),
                f"used {number_format.day(used)}",
                mark="✔" if folder in shown else " ",
            )
            for folder, used in message.found
        )
        question = f"Draw which project over this one (at most {overlay.MOST})? One that is drawn is taken away."
        folders = [folder for folder, _ in message.found]
        menu = BottomMenu[Path](question, Menu(items, column=28), folders, "draw")
        self.app.push_screen(menu, self._chose)
        menu.call_later(self.asked)  # behind its first message: it is composed

    def _chose(self, folder: Path | None) -> None:
        if folder is None:
            return
        rest = tuple(other for other in self._others if other.folder != folder)
        if len(rest) < len(self._others):
            self._lay_over(rest)
        elif len(rest) == overlay.MOST:
            self.say(Notice(f"{overlay.MOST} projects are drawn already. Take one away first.", "decide"))
        else:
            self.say(Notice(f"Reading {guard.one_line(folder.name)} …", "dim"))
            read = partial(self._read_other, folder)
            self.run_worker(
                read, group="overlay", description="overlay", thread=True, exclusive=True, exit_on_error=False
            )

    def _read_other(self, folder: Path) -> None:
        try:
            self.post_message(OtherRead(overlay.read(self.project, folder)))
        except (MiddoError, sqlite3.Error, OSError) as error:
            self.post_message(OtherRead(None, guard.clean(str(error)).text))

    @on(OtherRead)
    def _other_was_read(self, message: OtherRead) -> None:
        if message.other is None:
            self.say(Notice(message.problem, "bad"))
        else:
            self._lay_over((*self._others, message.other))

    def _lay_over(self, others: tuple[OtherProject, ...]) -> None:
        self.say(Notice(""))
        self._others, self._figure = others, 0
        self._tab = TABS.index("curves")
        self._paint()
