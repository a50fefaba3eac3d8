"""The card before a merge: what goes in, what is riskiest about it, what becomes of the dataset, and the way back."""

from __future__ import annotations

import sqlite3
from functools import partial
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen

from engine.errors import MiddoError
from engine.plurals import counted
from engine.store.rows import AXES
from middo_tui.feed import control
from middo_tui.feed.merge_card import MergeCard, Risk, read_card
from middo_tui.feed.review import Key
from middo_tui.keys.tables import press
from middo_tui.look.theme import LETTERS
from middo_tui.screens.frame import Framed
from middo_tui.terminal import guard
from middo_tui.text import number_format
from middo_tui.text.notice import Notice
from middo_tui.widgets.divider import Divider
from middo_tui.widgets.key_bar import KeyBar
from middo_tui.widgets.lines import Line, Lines, Run
from middo_tui.widgets.paragraph import wrap

FIELD = 12
"""Cells before what is said of a field."""


def lines(card: MergeCard) -> list[Notice]:
    """The card's rows, the most important first; at most nine."""
    out = [Notice(f"Merge round {card.round}? {counted(card.accepted, 'rewrite')} accepted.", "decide")]
    axes = [
        f"{LETTERS[axis]} {axis} {accepted:,} of {total:,}"
        for axis, (accepted, total) in zip(AXES, card.by_axis, strict=True)
        if total
    ]
    out.append(Notice(f"  accepted  {' · '.join(axes) or 'nothing'}"))
    if card.not_improved:
        them = "1 is" if card.not_improved == 1 else f"{card.not_improved:,} are"
        out.append(Notice(f"  doubts    {them} accepted although not improved by the signals", "warn"))
    out += [Notice(_risk(at, risk), "warn") for at, risk in enumerate(card.risks, start=1)]
    out.append(Notice(f"  dataset   {_size(card)}"))
    out.append(Notice(f"  teacher   {_cost(card)}"))
    way = f"{press('loop.undo')}, until the next round starts, {control.HOLD_S:.0f} s after the merge"
    out.append(Notice(f"  undo      {way}", "dim"))
    return out


def _risk(at: int, risk: Risk) -> str:
    doubt = f"{risk.doubt}: " if risk.doubt else ""
    return f"  {'riskiest' if at == 1 else '':<8}  {at}  #{risk.seq} {risk.key[1]}: {doubt}{risk.why}"


def _size(card: MergeCard) -> str:
    parts = [f"{counted(card.size, 'sample')}: {card.replaces:,} replaced"]
    if card.adds:
        parts.append(f"{card.adds:,} added")
    if card.flawed:
        parts.append(f"{card.flawed:,} flawed dropped")
    if card.by_hand:
        parts.append(f"{card.by_hand:,} dropped by hand")
    if card.room:
        parts.append(f"up to {card.room:,} redundant retired")
    return ", ".join(parts)


def _cost(card: MergeCard) -> str:
    cost = f" · {number_format.money(card.cost)}" if card.cost else ""
    return f"{counted(card.calls, 'call')} · {number_format.count(card.tokens)} tokens{cost}"


class CardRows(Lines[tuple[Notice, ...]]):
    """What does not fit goes on in a second row below its text; what does not fit there is cut."""

    DEFAULT_CSS = """
    CardRows { height: auto; }
    """

    def draw(self, data: tuple[Notice, ...], width: int, height: int) -> list[Line]:
        """The rows."""
        out: list[Line] = []
        for row in data:
            field, said = (row.text[:FIELD], row.text[FIELD:]) if row.text.startswith(" ") else ("", row.text)
            starts = [field, " " * len(field)]
            texts = wrap(said, max(1, width - 1 - len(field)), len(starts))
            out += [(Run(f" {start}{text}", row.role),) for start, text in zip(starts, texts, strict=False)]
        return out


class ConfirmMerge(ModalScreen[Key | bool]):
    """Dismisses with True to merge, False not to, or the key of a risky rewrite to look at.

    Enter merges: it was pressed to merge, and this is the second time.
    """

    DEFAULT_CSS = """
    ConfirmMerge { align: left bottom; background: transparent; }
    ConfirmMerge #card { height: auto; background: $background; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y,enter", "answer(True)", "merge", show=False),
        Binding("n,escape,q", "answer(False)", "not now", show=False),
        *(Binding(str(at), f"look({at})", show=False) for at in (1, 2, 3)),
    ]

    def __init__(self, card: MergeCard) -> None:
        super().__init__()
        self._card = card

    def compose(self) -> ComposeResult:
        """A rule, the card, the keys."""
        risks = len(self._card.risks)
        look = ((f"1-{risks}" if risks > 1 else "1", "look at it"),) if risks else ()
        with Vertical(id="card"):
            yield Divider()
            yield CardRows(tuple(lines(self._card)))
            yield KeyBar((("enter", "merge"), *look, ("esc", "not now")))

    def action_answer(self, answer: bool) -> None:
        """Close with the answer."""
        self.dismiss(answer)

    def action_look(self, at: int) -> None:
        """Close with one of the riskiest."""
        if at <= len(self._card.risks):
            self.dismiss(self._card.risks[at - 1].key)


def ask_to_merge(screen: Framed, round: int) -> None:
    """Show the card on ``screen``; merge and run on to the end of the plan if the person says so."""
    try:
        card = read_card(screen.project, round)
    except (MiddoError, sqlite3.Error) as error:
        screen.say(Notice(guard.clean(str(error)).text, "bad"))
        return

    def answered(found: Key | bool | None) -> None:
        if found is True:
            screen.ask(partial(control.go, screen.project), saying="Starting the worker …")
        elif isinstance(found, tuple):
            screen.go("review", (round, *found))

    screen.app.push_screen(ConfirmMerge(card), answered)
