"""What the Samples screen says of a row in signs, and of values that are not there."""

from __future__ import annotations

from engine.store.rows import RATING_COLUMNS
from middo_tui.feed.pages import SampleRow
from middo_tui.keys.tables import press
from middo_tui.look.theme import LETTERS
from middo_tui.screens.samples.sort_menu import BY_NAME
from middo_tui.text.notice import Notice

MARKS_OF_STATES = {
    "owed": "·",
    "prompted": "·",
    "proposed": "?",
    "failed": "!",
    "kept": "=",
    "rejected": "✘",
    "accepted": "✔",
}
MARKS_OF_OVERRIDES = {"drop": "-", "protect": "=", "rewrite": "+"}
MARK_OF_INJECTION = "⚑"
MARK_OF_UNFLAGGED = "⚐"


def axes_cell(row: SampleRow) -> str:
    """Signs: flagged as a possible prompt injection or unflagged by a person, its override, the axes that selected it,
    what became of its rewrites.
    """
    letters = MARK_OF_UNFLAGGED if row.unflagged else MARK_OF_INJECTION * bool(row.injection)
    letters += MARKS_OF_OVERRIDES.get(row.override, "")
    letters += "".join(LETTERS[axis] for axis in row.axes)
    return letters + "".join(dict.fromkeys(MARKS_OF_STATES.get(state, "") for _, state in row.states))


def absent(sort: str, round: int, first: SampleRow | None, at: SampleRow | None, never: bool) -> Notice:
    """Why there is nothing to sort by, or no value of the sample under the cursor; empty where there is one.

    Args:
        sort: what is sorted by. first: the first row, if it has been read. at: the row under the cursor, likewise.
        never: the round is the final evaluation, which scores no samples.
    """
    before = f" Press {press('samples.older')} for the previous round's signals." if round else ""
    if never and at is not None and not at.numbers and not at.error:
        return Notice(f"Not scored: the final evaluation scores no samples.{before}", "dim")
    if sort != "seq" and first is not None and first.number(sort) is None:  # what was not measured comes last
        judged = sort == "quality" or sort in RATING_COLUMNS
        why = f" before the {'judge' if judged else 'score'} stage has run"
        if first.numbers and not judged:
            why = ": it was scored by an older version, or its answers are too short"
        said = f"No listed sample has a value for {BY_NAME[sort].words} in round {round}{why}."
        return Notice(f"{said} There is nothing to sort by.{before}", "decide")
    if at is not None and not at.numbers and not at.error:
        return Notice(f"Not scored yet.{before}", "dim")
    return Notice("")
