"""The held-out questions of two rounds: what flipped, with both replies. Texts are as stored. For threads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from msgspec import Struct

from engine.errors import UsageError
from engine.plurals import counted
from engine.store import flips
from engine.store.connect import reader
from engine.store.flips import HeldOutQuestion, QuestionComparison
from middo_tui.text import flip_wording

Shown = Literal["changed", "gained", "lost", "all"]
SHOWN: tuple[Shown, ...] = ("changed", "gained", "lost", "all")
LONGEST = 20_000
"""Characters of a text that are kept; a longer one is cut, and that is said."""


class FlipRow(Struct, frozen=True):
    """A question. ``flip``: 1 from wrong to right, -1 from right to wrong; ``loss``: (before, after). A reply is None
    where none was asked for. Clean the texts before they are shown.
    """

    item: int
    flip: int
    right: tuple[bool | None, bool | None]
    loss: tuple[float | None, float | None]
    prompt: str
    wanted: str
    before: str | None
    after: str | None


class FlipsView(Struct, frozen=True):
    """The questions of rounds ``before`` and ``after``. ``rounds``: all that were evaluated; ``total``: rows there are,
    of which ``rows`` are the first; ``problem``: why there are none.
    """

    rounds: tuple[int, ...] = ()
    before: int = 0
    after: int = 0
    show: Shown = "changed"
    replies: bool = True
    verdict: str = ""
    total: int = 0
    rows: tuple[FlipRow, ...] = ()
    problem: str = ""


def listed(whole: QuestionComparison, show: Shown) -> list[HeldOutQuestion]:
    """The questions to show. With replies: those that flipped, by item. With losses only: the largest changes first."""
    if whole.asked:
        picked = {"changed": lambda one: one.flip, "gained": lambda one: one.flip > 0, "lost": lambda one: one.flip < 0}
        return [one for one in whole.questions if show == "all" or picked[show](one)]
    wanted = {"gained": -1.0, "lost": 1.0}.get(show, 0.0)
    found = [one for one in whole.questions if one.loss_change * wanted > 0 or not wanted]
    return sorted(found, key=lambda one: (-abs(one.loss_change), one.item))


def load(project: Path, after: int | None, before: int | None, show: Shown, most: int | None) -> FlipsView:
    """The first ``most`` questions (None: all). ``after`` None: the newest evaluated round; ``before`` None: the
    evaluated round that comes before it.

    Raises:
        UsageError: such a round was not evaluated; says which were. StoreError: the store cannot be read.
    """
    db = reader(project)
    try:
        db.execute("BEGIN")
        rounds = flips.evaluated_rounds(db)
        after, before = _pair(rounds, after, before)
        whole = flips.compare(db, before, after)
        found = listed(whole, show)
        samples = flips.evaluated(db)
        rows = tuple(_row(one, flips.replies(db, samples, before, after, one.item)) for one in found[:most])
        return FlipsView(
            tuple(rounds), before, after, show, bool(whole.asked), flip_wording.verdict(whole), len(found), rows
        )
    finally:
        db.close()


def _pair(rounds: Sequence[int], after: int | None, before: int | None) -> tuple[int, int]:
    if len(rounds) < 2:
        raise UsageError("Fewer than two rounds have been evaluated: there is nothing to compare yet.")
    after = rounds[-1] if after is None else after
    before = max((one for one in rounds if one < after), default=None) if before is None else before
    if before is None:
        raise UsageError(f"Round {after} is the first that was evaluated: there is none before it to compare with.")
    for asked in (before, after):
        if asked not in rounds:
            raise UsageError(f"Round {asked} was not evaluated. Evaluated: {', '.join(map(str, rounds))}.")
    if before >= after:
        raise UsageError(f"Round {before} does not come before round {after}.")
    return after, before


def _row(one: HeldOutQuestion, said: flips.QuestionReplies) -> FlipRow:
    before, after = (None if reply is None else _cut(reply) for reply in (said.before, said.after))
    return FlipRow(one.item, one.flip, one.right, one.loss, _cut(said.prompt), _cut(said.wanted), before, after)


def _cut(text: str) -> str:
    rest = len(text) - LONGEST
    return text[:LONGEST] + (f"\n… {counted(rest, 'more character')}" if rest > 0 else "")
