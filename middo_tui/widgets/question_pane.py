"""A held-out question with what two rounds' models replied, word by word; side by side where there is room."""

from __future__ import annotations

from msgspec import Struct

from middo_tui.feed.flips import FlipRow, FlipsView
from middo_tui.feed.rewrite import TextBlock, cached_diff
from middo_tui.terminal import guard
from middo_tui.text import number_format
from middo_tui.text.word_diff import Part
from middo_tui.widgets.lines import Line, Lines, Run
from middo_tui.widgets.word_diff import laid_out

SPLIT = 100
"""Cells from which both replies stand side by side."""
WORDS = {True: "right", False: "wrong", None: "not marked"}


class QuestionPaneState(Struct, frozen=True):
    """The question of the cursor. ``top``: rows scrolled off."""

    view: FlipsView
    row: FlipRow | None = None
    top: int = 0


def question_lines(pane: QuestionPaneState, width: int) -> list[Line]:
    """All rows."""
    row, view = pane.row, pane.view
    if row is None:
        return []
    blocks = [_block("question", row.prompt)]
    if row.before is None or row.after is None:
        losses = " → ".join(number_format.fixed(loss, 3) for loss in row.loss)
        blocks += [_block(f"loss of the right answer: {losses}", row.wanted)]
        return list(laid_out(tuple(blocks), False, True, width))
    if True not in row.right:
        blocks.append(_block("right answer", row.wanted))
    marks = " → ".join(
        f"round {at} {WORDS[mark]}" for at, mark in zip((view.before, view.after), row.right, strict=True)
    )
    parts = cached_diff(guard.clean(row.before).text, guard.clean(row.after).text)
    same = " · the same reply" if row.before == row.after else ""
    blocks.append(TextBlock(f"reply: {marks}{same}", parts))
    return list(laid_out(tuple(blocks), width >= SPLIT, True, width))


def _block(title: str, text: str) -> TextBlock:
    return TextBlock(title, (Part("same", guard.clean(text).text),))


class QuestionPane(Lines[QuestionPaneState]):
    """``question_lines`` as a widget; fills what it is given and scrolls by ``top``."""

    DEFAULT_CSS = """
    QuestionPane { height: 1fr; }
    """

    def draw(self, data: QuestionPaneState, width: int, height: int) -> list[Line]:
        """The rows from ``top`` on; the last one says when there are more."""
        rows = question_lines(data, width)
        shown = rows[data.top : data.top + height] if height else rows
        left = len(rows) - data.top - len(shown)
        if left > 0 and shown:
            shown[-1] = (Run(f" … {left + 1:,} more rows", "dim"),)
        return shown
