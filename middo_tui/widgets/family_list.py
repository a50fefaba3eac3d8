"""A family of samples as an indented list: versions, and below each one what was tried on it and came to nothing."""

from __future__ import annotations

from msgspec import Struct
from rich.cells import cell_len

from middo_tui.feed.lineage import Attempt, Family, Version
from middo_tui.feed.review import STATE_WORDS
from middo_tui.look.theme import LETTERS
from middo_tui.terminal import guard
from middo_tui.text import number_format
from middo_tui.widgets.lines import Line, Lines, Run

TREE = 17
DEEPEST = 4
STATES = {
    "rejected": "✘",
    "failed": "✘",
    "kept": "=",
    "accepted": "✔",
    "proposed": "?",
    "prompted": "…",
    "owed": "…",
}


class FamilyRow(Struct, frozen=True):
    """A row: a version, or a rewrite of it that made no sample."""

    version: Version
    attempt: Attempt | None = None


class Rows(Struct, frozen=True):
    """The entries of a family and the one that the cursor is on. ``active``: keys move it."""

    entries: tuple[FamilyRow, ...]
    chosen: int = 0
    at: int = 0
    active: bool = True


def entries(family: Family | None) -> tuple[FamilyRow, ...]:
    """Every version with its attempts right behind it."""
    versions = family.versions if family else ()
    return tuple(
        entry for one in versions for entry in (FamilyRow(one), *(FamilyRow(one, tried) for tried in one.tried))
    )


def life(version: Version) -> str:
    """The rounds whose datasets had it: ``0``, ``0-2``, or ``1-`` while it is there."""
    if version.retired is None:
        return f"{version.born}-"
    last = version.retired - 1
    return str(version.born) if last == version.born else f"{version.born}-{last}"


def fate(version: Version) -> str:
    """What became of it."""
    if version.retired is None:
        return "current"
    return "replaced" if version.replaced else "retired"


def family_lines(rows: Rows, width: int, height: int) -> list[Line]:
    """Titles, and the page of entries that the cursor is on."""
    head = f" {'':<{TREE + 2}}{'rounds':<8}{'now':<10}{'base → tuned loss':<21}{'quality':>8}  prompt"
    room = max(1, height - 1) if height else len(rows.entries)
    first = rows.at // room * room if room else 0
    shown = rows.entries[first : first + room]
    body = [_row(entry, rows, at, width) for at, entry in enumerate(shown, start=first)]
    return [(Run(guard.fit(head, width), "dim"),), *body]


def _row(entry: FamilyRow, rows: Rows, at: int, width: int) -> Line:
    pointer = "▸" if at == rows.at else " "
    depth = entry.version.depth + (entry.attempt is not None)
    indent = "  " * min(depth, DEEPEST)
    if entry.attempt is not None:
        letter, role = LETTERS.get(entry.attempt.axis, "?"), entry.attempt.axis
        name, rest = (
            f"{STATES.get(entry.attempt.state, '?')} {STATE_WORDS.get(entry.attempt.state, entry.attempt.state)}",
            _tried(entry.attempt),
        )
    else:
        letter, role = LETTERS.get(entry.version.axis, "○"), entry.version.axis
        name = f"#{entry.version.seq:,}" + ("◂" if entry.version.id == rows.chosen else "")
        rest = _measured(entry.version)
    room = max(0, TREE - cell_len(indent) - 2)
    texts = (f" {pointer}{indent}", letter, f" {guard.fit(name, room)} {rest}")
    if at == rows.at:
        return (Run(guard.fit("".join(texts), width), "cursor" if rows.active else "strong"),)
    used = cell_len(texts[0]) + cell_len(letter)
    words = Run(guard.fit(texts[2], max(0, width - used)).rstrip(), "dim" if entry.attempt else "")
    return (Run(texts[0]), Run(letter, role if role in LETTERS else "dim"), words)


def _tried(attempt: Attempt) -> str:
    why = attempt.reason or attempt.verdict
    return f"in round {attempt.round} · {why}" if why else f"in round {attempt.round}"


def _measured(version: Version) -> str:
    losses = quality = number_format.NONE
    if version.signals:
        first, last = version.signals[0], version.signals[-1]
        losses = f"{number_format.fixed(first.loss_before, 2)} → {number_format.fixed(last.loss_after, 2)}"
        quality = number_format.fixed(last.quality, 2)
    return f"{life(version):<8}{fate(version):<10}{losses:<21}{quality:>8}  {version.text}"


class FamilyList(Lines[Rows]):
    """``family_lines`` as a widget, as high as the family up to its maximum."""

    DEFAULT_CSS = """
    FamilyList { height: auto; }
    """

    def draw(self, data: Rows, width: int, height: int) -> list[Line]:
        """A page."""
        return family_lines(data, width, height)
