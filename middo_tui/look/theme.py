"""The colours, by meaning. A widget names a role; the palettes beside this file say what it looks like in each theme.

One accent per axis, the same everywhere and never without its letter: complexity orange C, diversity cyan D, quality
green Q. What needs a person is violet, so it is none of the three. Under NO_COLOR the filter at the end takes every
colour out and keeps bold, dim, underline and strike (Textual's own filter would still send grey truecolour).

``ROLES`` is one dictionary for the whole program, filled anew when the theme changes: painting a run stays one look-up.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.filter import LineFilter
from textual.theme import Theme

from middo_tui.look import palettes
from middo_tui.look.palettes import Palette

PALETTES: dict[str, Palette] = {
    "middo": palettes.DARK,
    "middo-light": palettes.LIGHT,
    "middo-contrast": palettes.CONTRAST,
    "middo-colourblind": palettes.COLOURBLIND,
    "middo-16": palettes.ANSI,
}
"""By theme."""
ABOUT = {
    "middo": "dark",
    "middo-light": "light",
    "middo-contrast": "high contrast on black",
    "middo-colourblind": "dark, told apart without red against green",
    "middo-16": "the terminal's own 16 colours",
}
DEFAULT, SIXTEEN = "middo", "middo-16"

MEANS: dict[str, str] = {
    "": "",
    "dim": "muted",
    "faint": "faint",
    "strong": "bold",
    "key": "active bold",
    "active": "active",
    "active-strong": "active bold",
    "decide": "decide bold",
    "bad": "bad bold",
    "error": "bad",
    "warn": "complexity",
    "complexity": "complexity",
    "diversity": "diversity",
    "quality": "quality",
    "complexity-strong": "complexity bold",
    "diversity-strong": "diversity bold",
    "quality-strong": "quality bold",
    "series-0": "active",
    "series-1": "older",
    "series-2": "old",
    "series-3": "oldest",
    "cursor": "raised bold",
    "gone": "bad strike",
    "came": "active underline",
    "doubtful": "complexity underline",
}
"""What a role is made of: colours of the palette and attributes (bold, dim, italic, underline, reverse, strike)."""

ROLES: dict[str, Style] = {}
"""The roles in the theme that is in use."""

LETTERS = {"complexity": "C", "diversity": "D", "quality": "Q"}


def styles(palette: Palette) -> dict[str, Style]:
    """Every role as this palette has it."""
    return {role: Style.parse(" ".join(palette.get(word, word) for word in means.split()) or "none")
            for role, means in MEANS.items()}  # fmt: skip


def use(name: str, colourless: bool = False) -> None:
    """Fill ``ROLES`` for the theme called ``name`` (KeyError when there is none); ``colourless``: for NO_COLOR."""
    ROLES.update(styles(palettes.COLOURLESS if colourless else PALETTES[name]))


NO_OTHER_COLOURS = dict.fromkeys(
    (
        "ansi-background",
        "ansi-foreground",
        "border-blurred",
        "input-selection-foreground",
        "scrollbar-background",
        "scrollbar-background-hover",
        "scrollbar-background-active",
    ),
    "ansi_default",
)
"""What Textual would make black or white under an ANSI theme, and a terminal then perhaps black on black."""


def _theme(name: str, palette: Palette) -> Theme:
    """The palette as Textual wants it, for the few stock widgets there are."""
    ansi = palette is palettes.ANSI

    def colour(key: str) -> str:
        return f"ansi_{palette[key]}" if ansi and not palette[key].startswith("ansi_") else palette[key]

    return Theme(
        name=name,
        primary=colour("active"),
        secondary=colour("diversity"),
        accent=colour("active"),
        warning=colour("complexity"),
        error=colour("bad"),
        success=colour("quality"),
        foreground=colour("foreground"),
        background=colour("background"),
        surface=colour("background"),
        panel=colour("background") if ansi else palette["raised"].removeprefix("on "),
        dark=palette is not palettes.LIGHT,
        variables=NO_OTHER_COLOURS if ansi else {},
        ansi=ansi,
    )


THEMES: tuple[Theme, ...] = tuple(_theme(name, palette) for name, palette in PALETTES.items())
use(DEFAULT)


class Colourless(LineFilter):
    """NO_COLOR: the text as it is, in the terminal's own colours."""

    def apply(self, segments: Sequence[Segment], background: Color) -> list[Segment]:
        """Drop foreground and background from every segment."""
        return [Segment(text, _plain(style) if style else style, control) for text, style, control in segments]


@lru_cache(512)
def _plain(style: Style) -> Style:
    return Style(
        bold=style.bold,
        dim=style.dim,
        italic=style.italic,
        underline=style.underline,
        reverse=style.reverse,
        strike=style.strike,
    )
