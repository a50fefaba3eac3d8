"""The command palette: finds every command, screen, setting, help topic, project and sample by name, and does it.

Textual's own palette stays off: it knows nothing of what works in which state, and its widgets repaint whole.
"""

from __future__ import annotations

import sqlite3
from functools import partial
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Input

from engine.errors import MiddoError
from middo_tui.feed import home, recent
from middo_tui.feed.quick_find import FoundSample, found_samples
from middo_tui.screens.palette_entries import Command, listed, project_commands, sample_commands
from middo_tui.terminal import guard
from middo_tui.widgets.choices import Choices, Item, Menu
from middo_tui.widgets.divider import Divider
from middo_tui.widgets.key_bar import KeyBar
from middo_tui.widgets.text_input import TextInput

FOOT = (("enter", "run"), ("↑↓", "choose"), ("esc", "back"))
COLUMN = 30


class ProjectsFound(Message):
    """The other projects that are known."""

    def __init__(self, folders: list[Path]) -> None:
        super().__init__()
        self.folders = folders


class SamplesFound(Message):
    """The samples with the words of ``typed``, or why they cannot be searched."""

    def __init__(self, typed: str, samples: tuple[FoundSample, ...], problem: str = "") -> None:
        super().__init__()
        self.typed = typed
        self.samples = samples
        self.problem = problem


def menu(found: list[Command], at: int = 0) -> Menu:
    """The commands as rows; what does not work now says so."""
    items = tuple(
        Item(command.name, command.text, command.key if command.works else "unavailable now", role=_role(command))
        for command in found
    )
    return Menu(items, at, column=COLUMN, empty="Nothing matches. Press esc to go back.")


def _role(command: Command) -> str:
    return "" if command.works else "dim"


class Palette(ModalScreen[Command | None]):
    """Dismisses with the chosen command, or None."""

    AUTO_FOCUS = "TextInput"
    DEFAULT_CSS = """
    Palette { align: left bottom; background: transparent; }
    Palette #commands { height: 50%; min-height: 14; background: $background; }
    Palette Choices { height: 1fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,ctrl+p", "dismiss(None)", show=False),
        Binding("down", "move(1)", show=False),
        Binding("up", "move(-1)", show=False),
        Binding("pagedown", "move(10)", show=False),
        Binding("pageup", "move(-10)", show=False),
    ]

    def __init__(self, found: list[Command], project: Path, round: int, given: bool = False) -> None:
        """``round``: of the dataset whose samples are found; ``given``: only ``found``, no samples and no projects."""
        super().__init__()
        self._given = given
        self._all = self._found = found
        self._project, self._round = project, round
        self._samples: list[Command] = []
        self._searching = False

    def compose(self) -> ComposeResult:
        """A rule, the line to type in, the commands, the keys."""
        with Vertical(id="commands"):
            yield Divider()
            more = "" if self._given else ", setting, sample (#120 or its words), project"
            yield TextInput(placeholder=f"a command{more} or help topic")
            yield Choices(menu(self._found))
            yield KeyBar(FOOT)

    def on_mount(self) -> None:
        """Look for other projects: a folder may be slow."""
        if not self._given:
            self.run_worker(self._find_projects, group="projects", thread=True, exit_on_error=False)

    def _find_projects(self) -> None:
        here = self._project.resolve()
        folders = home.folders(here.parent, recent.folders())
        self.post_message(ProjectsFound([folder for folder in folders if folder.resolve() != here]))

    @on(ProjectsFound)
    def _projects_found(self, message: ProjectsFound) -> None:
        self._all = [*self._all, *project_commands(message.folders)]
        self._list_again()

    @property
    def _typed(self) -> str:
        return self.query_one(TextInput).value

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        self._samples = []
        self._found = self._listed(event.value)
        self.query_one(Choices).show(menu(self._found))
        if not self._given:
            self._search()

    def _listed(self, typed: str) -> list[Command]:
        found = listed(self._all, typed, self._samples)
        return [one for one in found if one in self._all] if self._given else found

    def _search(self) -> None:
        """Have samples found in a thread, one search at a time: the next is for what is typed by then."""
        if not self._searching:
            self._searching = True
            work = partial(self._find_samples, self._typed)
            self.run_worker(work, group="samples", description="samples", thread=True, exit_on_error=False)

    def _find_samples(self, typed: str) -> None:
        try:
            self.post_message(SamplesFound(typed, found_samples(self._project, typed, self._round)))
        except (MiddoError, sqlite3.Error) as error:
            self.post_message(SamplesFound(typed, (), guard.one_line(str(error))))

    @on(SamplesFound)
    def _samples_found(self, message: SamplesFound) -> None:
        self._searching = False
        if message.typed != self._typed:
            self._search()
        elif message.samples or message.problem:
            self._samples = sample_commands(message.samples, message.problem)
            self._list_again()

    def _list_again(self) -> None:
        """With what was found meanwhile; the cursor stays on its command."""
        before, at = self._found, self.query_one(Choices).data.at
        self._found = self._listed(self._typed)
        if at:
            at = self._found.index(before[at])
        self.query_one(Choices).show(menu(self._found, at))

    @on(Input.Submitted)
    def _chosen(self) -> None:
        at = self.query_one(Choices).data.at
        self.dismiss(self._found[at] if self._found else None)

    def action_move(self, by: int) -> None:
        """Another command."""
        choices = self.query_one(Choices)
        choices.show(choices.data.moved(by))
