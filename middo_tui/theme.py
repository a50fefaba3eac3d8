"""The colours, by meaning. A widget names a role; nothing else in this package names a colour.

One accent per axis, the same everywhere and never without its letter: complexity orange C, diversity cyan D, quality
green Q. What needs a person is violet, so it is none of the three. Under NO_COLOR the filter at the end takes every
colour out and keeps bold, dim and underline (Textual's own filter would still send grey truecolour).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.filter import LineFilter
from textual.theme import Theme

BACKGROUND = "#11151c"
FOREGROUND = "#d3d8df"
DIM = "#7f8894"
FAINT = "#4a525e"

COMPLEXITY = "#ff9d5c"
DIVERSITY = "#4fc8e0"
QUALITY = "#8fd16f"
ACTIVE = "#7fb4ff"
DECIDE = "#cfa5ff"
BAD = "#ff6b6b"

ROLES: dict[str, Style] = {
    "": Style(),
    "dim": Style(color=DIM),
    "faint": Style(color=FAINT),
    "strong": Style(bold=True),
    "key": Style(color=ACTIVE, bold=True),
    "active": Style(color=ACTIVE),
    "active-strong": Style(color=ACTIVE, bold=True),
    "decide": Style(color=DECIDE, bold=True),
    "bad": Style(color=BAD, bold=True),
    "error": Style(color=BAD),
    "warn": Style(color=COMPLEXITY),
    "complexity": Style(color=COMPLEXITY),
    "diversity": Style(color=DIVERSITY),
    "quality": Style(color=QUALITY),
    "series-0": Style(color=ACTIVE),
    "series-1": Style(color="#77808c"),
    "series-2": Style(color="#565e69"),
    "series-3": Style(color="#414953"),
}

LETTERS = {"complexity": "C", "diversity": "D", "quality": "Q"}

MIDDO = Theme(
    name="middo",
    primary=ACTIVE,
    secondary=DIVERSITY,
    accent=ACTIVE,
    warning=COMPLEXITY,
    error=BAD,
    success=QUALITY,
    foreground=FOREGROUND,
    background=BACKGROUND,
    surface=BACKGROUND,
    panel="#1b212b",
    dark=True,
)


class Colourless(LineFilter):
    """NO_COLOR: the text as it is, in the terminal's own colours."""

    def apply(self, segments: Sequence[Segment], background: Color) -> list[Segment]:
        """Drop foreground and background from every segment."""
        return [Segment(text, _plain(style) if style else style, control) for text, style, control in segments]


@lru_cache(512)
def _plain(style: Style) -> Style:
    return Style(bold=style.bold, dim=style.dim, italic=style.italic, underline=style.underline, reverse=style.reverse)
