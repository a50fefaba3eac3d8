"""Titled texts and differences below a list, scrolled as a whole; old and new side by side where there is room."""

from __future__ import annotations

from msgspec import Struct

from middo_tui.feed.rewrite import TextBlock
from middo_tui.widgets.lines import Line, Lines, window
from middo_tui.widgets.word_diff import laid_out

SPLIT = 100
"""Cells from which old and new stand side by side."""


class TextPaneState(Struct, frozen=True):
    """``top``: rows scrolled off."""

    blocks: tuple[TextBlock, ...] = ()
    top: int = 0


def text_rows(pane: TextPaneState, width: int) -> list[Line]:
    """All rows."""
    return list(laid_out(pane.blocks, width >= SPLIT, True, width))


class TextPane(Lines[TextPaneState]):
    """``text_rows`` as a widget; fills what it is given and scrolls by ``top``."""

    DEFAULT_CSS = """
    TextPane { height: 1fr; }
    """

    def draw(self, data: TextPaneState, width: int, height: int) -> list[Line]:
        """The rows from ``top`` on; the last one says when there are more."""
        return window(text_rows(data, width), data.top, height)
