"""What the command palette lists. Commands are made from the key tables, so that they cannot disagree with keys and
footer; settings from config.toml's template; help from what the help page says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

from engine.config.schema import Config
from middo_tui.feed import settings
from middo_tui.feed.quick_find import FoundSample, SampleNumber, words
from middo_tui.keys import tables
from middo_tui.keys.tables import Key
from middo_tui.look import theme
from middo_tui.terminal import guard
from middo_tui.text import ranking
from middo_tui.text.signal_help import SIGNALS

LEFT_OUT = frozenset({"palette", "back"})
STAYS = frozenset({"help", "redraw", "suspend", "quit"})
_SIDES = ("down up left right far_left far_right first last", "tab tab_back older newer signal signal_back show_back")
_STEPS = ("page_down page_up half_down half_up pane_down pane_up", "next_found previous_found range mark clear back")
_AXES = ("next_axis previous_axis next_section previous_section", "pan_left pan_right pan_up pan_down")
MOVES = frozenset(" ".join((*_SIDES, *_STEPS, *_AXES)).split(" "))
"""Rows of other screens that mean nothing without looking at them."""


class Command(NamedTuple):
    """``action`` is run on the screen called ``screen``; without an action the screen is shown, aimed at ``target``.

    Without a screen: ``action`` is a theme to use, ``target`` a project to open or a ``HelpTopic`` to show.
    ``works``: it can be done now, as far as is known here.
    """

    name: str
    text: str
    key: str
    screen: str
    action: str
    target: object = None
    works: bool = True


class HelpTopic(NamedTuple):
    """A help page: the keys of ``screen``, searched for ``wanted``."""

    screen: str
    wanted: str = ""


class Screenlike(Protocol):
    """What the palette needs of a screen."""

    NAME: ClassVar[str]

    def shown_keys(self) -> tuple[Key[Any], ...]:
        """Its key table."""

    def state(self) -> Any:
        """What the table's rows are asked with."""


def commands(here: Screenlike, loop: Screenlike, view: Any) -> list[Command]:
    """What can be done here, everywhere, with the run, on the other screens; themes, settings, help. What does not
    work right now is last.
    """
    found = sorted(_of(here.NAME, here.shown_keys(), here.state()), key=lambda one: not _named(one.action))
    found += _of("app", tuple(row for row in tables.EVERYWHERE if row.id not in LEFT_OUT), view, here.NAME)
    if loop is not here:
        found += [
            command._replace(name=f"run: {command.name}", key="") for command in _of(loop.NAME, loop.shown_keys(), view)
        ]
    # Rounds first: of two exports, the one of the dataset, which asks before it writes
    for screen in sorted((*tables.SCREENS, *tables.UNNUMBERED), key=lambda name: name != "rounds"):
        if screen not in (here.NAME, loop.NAME):
            found += _elsewhere(screen)
    found += (Command(f"theme {name}", text, "", "", name) for name, text in theme.ABOUT.items())
    return sorted([*found, *_settings(), *_help()], key=lambda command: not command.works)


def stays(command: Command) -> bool:
    """Whether what is being typed or asked stays as it is: help, themes, and what all screens have but going away."""
    if command.screen:
        return command.action in STAYS
    return not isinstance(command.target, Path)


def staying(found: Iterable[Command]) -> list[Command]:
    """Those that do, each once."""
    return list({(one.name, one.action): one for one in found if stays(one)}.values())


def _of(screen: str, table: Sequence[Key[Any]], state: Any, on: str = "") -> Iterator[Command]:
    working = {row.id for row in table if row.works(state)}
    for row in tables.remapped(table, screen):
        works = row.works(state)
        if works or (_named(row.id) and row.id not in working):
            label = row.label(state) if works else row.id.replace("_", " ")
            yield Command(label, row.help, tables.name(row.keys[0]), on or screen, row.id, works=works)


def _named(action: str) -> bool:
    """Whether it means something where the screen is not looked at."""
    return "(" not in action and action not in MOVES


def _elsewhere(screen: str) -> Iterator[Command]:
    """What the screen called ``screen`` is for, with the keys to press. Whether it works is only known there."""
    way = _way(screen)
    if screen in tables.UNNUMBERED and not way:
        yield Command(screen, f"Go to the {screen.capitalize()} screen.", "", screen, "")
    for row in tables.remapped(tables.of_screen(screen), screen):
        if _named(row.id):
            keys = f"{way} {tables.name(row.keys[0])}" if way else ""
            yield Command(f"{screen}: {row.id.replace('_', ' ')}", row.help, keys, screen, row.id)


def _way(screen: str) -> str:
    """The key that goes to a screen from everywhere; empty if there is none."""
    rows = tables.remapped(tables.EVERYWHERE, "app")
    return next((tables.name(row.keys[0]) for row in rows if row.id == f"go('{screen}')"), "")


def _settings() -> Iterator[Command]:
    """Every key of config.toml: goes there."""
    about = settings.comments()
    for key in settings.flat(Config()):
        yield Command(key, about.get(key, ""), "setting", "settings", "", key)


def _help() -> Iterator[Command]:
    """What the help page explains: the signals, and the keys of every screen."""
    for name, means, _ in SIGNALS:
        yield Command(f"help: {name}", means, "", "", "", HelpTopic("", name))
    for screen in (*tables.SCREENS, *tables.UNNUMBERED):
        yield Command(
            f"help: {screen} keys", f"All keys of the {screen.capitalize()} screen.", "", "", "", HelpTopic(screen)
        )


def project_commands(folders: Iterable[Path]) -> list[Command]:
    """Opens another project."""
    return [
        Command(f"open {guard.one_line(one.name)}", guard.one_line(str(one)), "project", "", "", one) for one in folders
    ]


def _of_number(typed: str) -> Iterator[Command]:
    """For a number: the sample that has it."""
    number = typed.strip().removeprefix("#").replace(",", "")
    if number.isascii() and number.isdigit() and len(number) < 10:
        seq = int(number)
        yield Command(f"#{seq}", "Go to the sample of this number.", "sample", "samples", "", SampleNumber(seq))


def _with_words(typed: str) -> Iterator[Command]:
    """For words: all samples with them."""
    if found := words(typed):
        where = " ".join(f"text:{word}" for word in (*found[:-1], f"{found[-1]}*"))
        about = f"List the samples with “{guard.one_line(' '.join(found), 60)}” in their text."
        yield Command("samples: with these words", about, "", "samples", "", where)


def sample_commands(found: Iterable[FoundSample], problem: str = "") -> list[Command]:
    """Goes to a sample. ``problem``: why none could be searched."""
    out = [Command(f"#{one.seq}", one.text, "sample", "samples", "", SampleNumber(one.seq)) for one in found]
    return [*out, *([Command("samples", problem, "", "samples", "", works=False)] if problem else [])]


def listed(found: Sequence[Command], typed: str, samples: Sequence[Command] = ()) -> list[Command]:
    """What fits, best first, otherwise in its order; what works before what does not. ``samples`` (those with the
    words in their text) stand before names that only have the letters somewhere.
    """
    if not typed.strip():
        return [*found]
    fits: list[tuple[ranking.Fit | None, Command]] = [
        (ranking.fit(typed, command.name, command.text), command) for command in found
    ]
    fits += [((ranking.SCATTERED, 0), command) for command in samples]
    fitting = [(not command.works, fit, command) for fit, command in fits if fit is not None]
    best = [command for *_, command in sorted(fitting, key=lambda item: item[:2])]
    return [*_of_number(typed), *best, *_with_words(typed)]
