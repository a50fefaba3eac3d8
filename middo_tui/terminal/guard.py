"""Keeps data from controlling the terminal.

Every Textual widget passes escape sequences that are in its text straight through (OSC 52 writes the clipboard, OSC
0 the title, CSI moves the cursor, bidi marks reorder the line), so dataset text is hostile until it has gone through
here:

- ``clean`` and ``one_line`` at the edge, before any width is measured. What was invisible becomes visible, and is
  counted: hidden characters in training data are a finding in themselves;
- ``Guard``, a line filter over everything that is painted, as the last line: it cannot know what the text was for,
  so it only makes sure that nothing but printable characters leaves, without changing any width.

Text from data is never parsed as markup anywhere in this package.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.cells import cell_len
from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

from middo_tui.terminal.console import ELLIPSIS, INVISIBLE, SURROGATES, clean, hides, one_line

__all__ = ["ELLIPSIS", "Guard", "clean", "fit", "hides", "one_line"]

_UNPRINTABLE = re.compile(f"[\x00-\x1f\x7f-\x9f{INVISIBLE}{SURROGATES}]")
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def fit(text: str, width: int, *, right: bool = False) -> str:
    """Clean ``text`` cut or padded to exactly ``width`` cells; cut text ends in an ellipsis."""
    size = cell_len(text)
    if size > width:
        text = _cut(text, max(0, width - 1)) + ELLIPSIS if width > 0 else ""
        size = cell_len(text)
    pad = " " * max(0, width - size)
    return pad + text if right else text + pad


def _cut(text: str, width: int) -> str:
    """The longest beginning of ``text`` that is no wider than ``width`` cells."""
    if text.isascii():
        return text[:width]
    used = 0
    for at, character in enumerate(text):
        used += cell_len(character)
        if used > width:
            return text[:at]
    return text


class Guard(LineFilter):
    """The last line: no painted segment holds anything that a terminal would act on. Widths stay as they were."""

    def apply(self, segments: Sequence[Segment], background: Color) -> list[Segment]:
        """Replace each unprintable character by as many replacement signs as the cells it was given (often none)."""
        return [_safe(segment) for segment in segments]


def _safe(segment: Segment) -> Segment:
    text, style, control = segment
    if control is not None or (text.isascii() and text.isprintable()):
        return segment
    return Segment(_UNPRINTABLE.sub(_placeholder, text), style)


def _placeholder(match: re.Match[str]) -> str:
    return _REPLACEMENT * cell_len(match.group())
