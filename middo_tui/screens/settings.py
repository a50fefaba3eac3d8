"""The Settings screen: the whole config with its defaults and meanings, edited in place, and the person's own theme."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import ClassVar, cast

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.widgets import Input

from middo_tui.base_app import BaseApp
from middo_tui.feed import settings
from middo_tui.feed.settings import Setting, Settings
from middo_tui.feed.view import LoopView
from middo_tui.keys import tables
from middo_tui.look import theme
from middo_tui.screens.frame import ReadMessage
from middo_tui.screens.menu_screen import MenuScreen
from middo_tui.screens.settings_keys import KEYS, SettingsState
from middo_tui.terminal import guard
from middo_tui.text.notice import Notice
from middo_tui.widgets.choices import Choices, Item, Menu
from middo_tui.widgets.divider import Divider
from middo_tui.widgets.paragraph import Paragraph
from middo_tui.widgets.text_input import TextInput

COLUMN = 24
CHANGED, DIFFERS = "•", "≠"
AUTO = '"improved"'
"""What ``[review] policy`` is in effect while automatic review is on (``--auto``, or its key on the Loop screen)."""


class SettingsRead(ReadMessage):
    """The settings have been read."""

    def __init__(self, found: Settings) -> None:
        super().__init__()
        self.found = found


def rows(found: Settings, theme_name: str, only_changed: bool) -> list[tuple[Item, Setting | None]]:
    """A heading per section and a row per setting; the person's own theme comes first."""
    out: list[tuple[Item, Setting | None]] = [
        (Item("user preferences", heading=True), None),
        (Item("theme", theme_name, theme.ABOUT[theme_name]), None),
    ]
    for section, inside in settings.sections(found.rows):
        shown = [row for row in inside if row.changed or row.used or not only_changed]
        if shown:
            out.append((Item(f"[{section}]", heading=True), None))
            out += [(_item(row, found.round), row) for row in shown]
    return out


def summary(found: Settings) -> str:
    """How many settings are not the default, and how many the newest round ran without."""
    if not found.rows:
        return "Settings"
    changed, differs = sum(row.changed for row in found.rows), sum(bool(row.used) for row in found.rows)
    since = f" · {differs} not as in round {found.round} {DIFFERS}" if differs else ""
    return f"Settings · {changed} changed {CHANGED}{since}"


def _item(row: Setting, round: int | None) -> Item:
    aside = f"round {round}: {_short(row.used)}" if row.used else ""
    if row.changed and not row.used:
        aside = f"default {_short(row.default)}"
    mark = DIFFERS if row.used else CHANGED if row.changed else " "
    return Item(row.name, guard.one_line(row.value), aside, mark, "active" if row.changed else "")


def _short(value: str) -> str:
    return guard.fit(guard.one_line(value), 16).rstrip()


def about(row: Setting | None, found: Settings) -> str:
    """What a setting means, what it reaches and what it was."""
    if row is None:
        return f"Colours of all screens, saved in your user preferences. Themes: {', '.join(theme.ABOUT)}."
    parts = [row.help]
    if row.stages:
        parts.append(f"Used by {', '.join(row.stages)}.")
    if row.name.endswith("_env") and row.value != '""':
        there = "is set" if row.value.strip('"') in os.environ else "is not set here"
        parts.append(f"The name of an environment variable, which {there}.")
    if row.changed:
        parts.append(f"Default: {row.default}.")
    if row.used:
        by = ": automatic review was on" if row.key == "review.policy" and row.used == AUTO else ""
        parts.append(f"Round {found.round} last ran with {guard.one_line(row.used, 80)}{by}.")
    return "  ".join(part for part in parts if part)


class SettingsScreen(MenuScreen):
    """A list of everything that can be set; below it what the row means, and the line to type a value in."""

    NAME = "settings"
    KEYS = KEYS
    CSS_PATH = "settings.tcss"
    BINDINGS: ClassVar[list[BindingType]] = tables.bindings(KEYS, NAME)

    def __init__(self, project: Path, view: LoopView) -> None:
        super().__init__(project, view, COLUMN, "Loading config.toml …")
        self._found = Settings()
        self._rows: list[tuple[Item, Setting | None]] = []
        self._only_changed = False
        self._editing: Setting | None = None
        self._wanted = ""

    def body(self) -> ComposeResult:
        """The list, the explanation, the line to type in."""
        yield Paragraph(Notice(""), id="summary")
        yield Divider()
        yield Choices(self._menu, id="rows")
        yield Divider()
        yield Paragraph(Notice(""), id="about")
        with Horizontal(id="edit"):
            yield Paragraph(Notice(""), id="key")
            yield TextInput(id="value")

    def action_reload(self) -> None:
        """Read everything anew."""
        self.run_worker(self._read, group="settings", thread=True, exclusive=True, exit_on_error=False)

    def _read(self) -> None:
        self.post_message(SettingsRead(settings.load(self.project)))

    @on(SettingsRead)
    def _loaded(self, message: SettingsRead) -> None:
        if message.outdated:
            return
        self._found = message.found
        self._list()

    def _list(self) -> None:
        """Show the rows with the cursor where it was."""
        before = self._wanted or (self._row.key if self._row else "")
        self._wanted = "" if self._found.rows else self._wanted
        name = self._app.preferences.theme
        self._rows = rows(self._found, name, self._only_changed)
        at = next((i for i, (_, row) in enumerate(self._rows) if row and row.key == before), 1)
        self._menu = Menu(tuple(item for item, _ in self._rows), at, COLUMN)
        self.query_one("#summary", Paragraph).show(Notice(summary(self._found), "strong"))
        self.moved()

    def aim(self, target: object) -> None:
        """Go to the setting with this dotted key, among all of them."""
        self._wanted = str(target)
        self._only_changed = False
        self._list()

    @property
    def _app(self) -> BaseApp[int]:
        return cast(BaseApp[int], self.app)

    @property
    def _row(self) -> Setting | None:
        return self._rows[self._menu.at][1] if self._rows else None

    def show_row(self) -> None:
        """What the setting means."""
        self.query_one("#about", Paragraph).show(Notice(about(self._row, self._found), "dim"))

    def state(self) -> SettingsState:
        """Where the cursor is."""
        row = self._row
        return SettingsState(
            row=row is not None,
            changed=row is not None and row.changed,
            theme=row is None and bool(self._rows),
            editing=self._editing is not None,
            only_changed=self._only_changed,
            some=bool(self._rows),
        )

    def own_notice(self) -> Notice:
        """Why there is nothing to set, or that a run does not wait for settings."""
        if self._found.problem:
            return Notice(self._found.problem, "bad")
        return Notice("")

    def would(self, key: str) -> str:
        """While a value is typed, keys are letters of it."""
        return "" if self._editing else super().would(key)

    def _footer(self) -> tuple[tuple[str, str], ...]:
        """While a value is typed, every other key is a letter of it."""
        return (("enter", "save"), ("esc", "cancel")) if self._editing else super()._footer()

    # ---------------------------------------------------------------------------------- the keys

    def action_next_section(self) -> None:
        """To the first setting of the next section."""
        self._to_section(1)

    def action_previous_section(self) -> None:
        """To the first setting of the section before."""
        self._to_section(-1)

    def _to_section(self, by: int) -> None:
        at = self._menu.at
        starts = [i + 1 for i, (item, _) in enumerate(self._rows) if item.heading]
        here = max((n for n, start in enumerate(starts) if start <= at), default=0)
        self.move(starts[(here + by) % len(starts)] - at)

    def action_only_changed(self) -> None:
        """Everything, or only what is not the default."""
        self._only_changed = not self._only_changed
        self._list()

    def action_edit(self) -> None:
        """Type a value; on the theme: the next one."""
        row = self._row
        if row is None:
            names = list(theme.PALETTES)
            now = self._app.preferences.theme
            self.ask(self._app.choose_theme(names[(names.index(now) + 1) % len(names)]))
            self._list()
            return
        self._editing = row
        self.query_one("#edit").add_class("-on")
        label = self.query_one("#key", Paragraph)
        label.styles.width = len(row.key) + 4
        label.show(Notice(f"{row.key} =", "key"))
        entry = self.query_one("#value", TextInput)
        entry.value = row.value
        entry.cursor_position = len(row.value)
        entry.focus()
        self.say(Notice(""))
        self.state_changed()

    @on(Input.Submitted)
    def _write(self, event: Input.Submitted) -> None:
        if self._editing is not None:
            self._ask_to_write(self._editing, event.value)

    def action_reset(self) -> None:
        """Back to the default."""
        if self._row is not None:
            self._ask_to_write(self._row, self._row.default)

    def _ask_to_write(self, row: Setting, value: str) -> None:
        running = self.view.worker != "idle"
        verb = partial(settings.save, self.project, row, value, self._found.ran, self._found.round, running)
        self.ask(verb, self._written)

    def _written(self) -> None:
        self._close()
        self.action_reload()

    def action_back(self) -> None:
        """Out of the line, or to the screen before."""
        if self._editing is None:
            super().action_back()
        else:
            self.say(Notice(""))
            self._close()

    def _close(self) -> None:
        self._editing = None
        self.query_one("#edit").remove_class("-on")
        self.set_focus(None)
        self.state_changed()
