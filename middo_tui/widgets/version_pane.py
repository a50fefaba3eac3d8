"""One version of a sample: how it came to be, its signals over the rounds, and word by word what changed."""

from __future__ import annotations

import time

from msgspec import Struct

from engine.plurals import counted
from middo_tui.feed.lineage import POLICY, Attempt, Family, Section, Signals, Version
from middo_tui.feed.review import STATE_WORDS
from middo_tui.feed.rewrite import TextBlock, direction
from middo_tui.keys.tables import press
from middo_tui.look.theme import LETTERS
from middo_tui.text import number_format
from middo_tui.widgets.family_list import FamilyRow, fate
from middo_tui.widgets.lines import Line, Lines, Run, window
from middo_tui.widgets.paragraph import wrap
from middo_tui.widgets.word_diff import laid_out

COLUMNS = (("base loss", "loss_before"), ("tuned loss", "loss_after"), ("similarity", "similarity"),
           ("quality", "quality"), ("flaw", "flaw"))  # fmt: skip
"""Title and field."""
LEAST_CHANGE = 0.005
SPLIT = 120
"""Cells from which on old and new text stand side by side."""
WHO = {"app": "in the app", "command line": "on the command line", POLICY: "by the review policy"}


class VersionPaneState(Struct, frozen=True):
    """What is told. ``sections``: None while they are compared; ``top``: rows scrolled off; ``heir``: the number of
    the sample that an imported one stands beside.
    """

    family: Family | None = None
    entry: FamilyRow | None = None
    sections: tuple[Section, ...] | None = None
    top: int = 0
    active: bool = False
    heir: int | None = None


def pane_lines(pane: VersionPaneState, width: int) -> list[Line]:
    """All rows."""
    if pane.family is None or pane.entry is None:
        return []
    version, attempt = pane.entry.version, pane.entry.attempt
    parent = pane.family.at(version.parent)
    rows = _story(version, parent, width) if attempt is None else _attempt(attempt, version, width)
    rows += _signals(pane.entry, parent)
    heading = "compared with its original" if attempt is not None or parent is not None else "text"
    if pane.sections is None:
        return [*rows, (Run(f" {heading}: comparing …", "dim"),)]
    if not pane.sections:
        kept = attempt is not None and attempt.state == "kept"
        why = "the original was kept" if kept else "the teacher returned nothing usable"
        return [*rows, (Run(f" no text: {why}", "dim"),)]
    beside = pane.heir is not None and attempt is None and parent is None
    told = [(Run(f" compared with #{pane.heir:,}, which replaced it", "dim"),)] if beside else []
    return [*rows, *told, *section_lines(pane.sections, width)]


def _paragraph(text: str, width: int, role: str = "") -> list[Line]:
    return [(Run(f" {row}", role),) for row in wrap(text, max(1, width - 2), 4)]


def _story(version: Version, parent: Version | None, width: int) -> list[Line]:
    """How a version came to be."""
    if parent is None:
        said = f"○ #{version.seq:,} was imported"
    elif version.axis == "diversity":
        said = f"D #{version.seq:,} was inspired by #{parent.seq:,} in round {version.born - 1}"
    else:
        letter = LETTERS.get(version.axis, "?")
        said = f"{letter} #{version.seq:,} replaced #{parent.seq:,} in round {version.born - 1} ({version.axis})"
    if version.retired is not None:
        why = f" ({version.why_retired})" if version.why_retired else ""
        how = "replaced" if fate(version) == "replaced" else f"retired{why}"
        said += f"; {how} in round {version.retired - 1}"
    if version.hidden:
        said += f"; {counted(version.hidden, 'hidden character')}"
    rows = _paragraph(said, width, version.axis if version.axis in LETTERS else "strong")
    return rows + (_decided(version.made_by, width) if version.made_by else [])


def _attempt(attempt: Attempt, version: Version, width: int) -> list[Line]:
    """What came of a rewrite that made no sample."""
    letter = LETTERS.get(attempt.axis, "?")
    what = STATE_WORDS.get(attempt.state, attempt.state)
    said = f"{letter} rewrite of #{version.seq:,} in round {attempt.round} ({attempt.axis}): {what}"
    return _paragraph(said, width, "strong") + _decided(attempt, width)


def _decided(attempt: Attempt, width: int) -> list[Line]:
    """Who decided, when, why; what the checks said; a remark."""
    rows: list[Line] = []
    if attempt.by:
        at = "" if attempt.at is None else time.strftime(", %d %b %H:%M", time.localtime(attempt.at))
        edited = " · edited by hand" if attempt.edited else ""
        rows += _paragraph(f"{attempt.state} {WHO.get(attempt.by, attempt.by)}{at}{edited}", width)
    if attempt.reason:
        rows += _paragraph(f"why: {attempt.reason}", width)
    if attempt.verdict and attempt.verdict != attempt.reason:
        rows += _paragraph(f"signals: {attempt.verdict}", width, "dim")
    return rows + (_paragraph(f"note: {attempt.note}", width) if attempt.note else [])


def _signals(entry: FamilyRow, parent: Version | None) -> list[Line]:
    """A row per round, the parent's last row first.

    The signal that the axis is judged by has a sign for better or worse than in the row above.
    """
    rows: list[tuple[str, Signals]] = []
    if entry.attempt is not None:
        known = [one for one in entry.version.signals if one.round == entry.attempt.round]
        rows = [("original", one) for one in known] + [("rewrite", entry.attempt.measured)]
    else:
        if parent is not None and parent.signals:
            rows.append((f"#{parent.seq:,}", parent.signals[-1]))
        rows += [(f"round {one.round}", one) for one in entry.version.signals]
    rows = [(name, one) for name, one in rows if any(getattr(one, field) is not None for _, field in COLUMNS)]
    if not rows:
        return []
    out: list[Line] = [(Run(f" {'':<10}" + "".join(f"{title:>13}" for title, _ in COLUMNS), "dim"),)]
    axis = entry.version.axis if entry.attempt is None else entry.attempt.axis
    before: Signals | None = None
    for name, one in rows:
        runs = [Run(f" {name:<10}", "dim")]
        for _, field in COLUMNS:
            value, was = getattr(one, field), getattr(before, field) if before else None
            arrow, role = _arrow(value, was, direction(axis, field))
            runs += [Run(f"{number_format.fixed(value, 2):>11}"), Run(f" {arrow}", role)]
        out.append(tuple(runs))
        before = one
    return [*out, ()]


def _arrow(value: float | None, was: float | None, sign: int) -> tuple[str, str]:
    if not sign or value is None or was is None or abs(value - was) < LEAST_CHANGE:
        return " ", ""
    return ("▲", "active") if (value - was) * sign > 0 else ("▼", "error")


def section_lines(sections: tuple[Section, ...], width: int) -> tuple[Line, ...]:
    """Every turn under its role, word by word; side by side where there is room."""
    return laid_out(tuple(_block(section, len(sections)) for section in sections), width >= SPLIT, True, width)


def _block(section: Section, among: int) -> TextBlock:
    same = among > 1 and all(part.kind == "same" for part in section.parts)
    cut = " · only the beginning is compared" if section.cut else ""
    return TextBlock(f"{section.role}{' · unchanged' if same else ''}{cut}", section.parts)


class VersionPane(Lines[VersionPaneState]):
    """``pane_lines`` as a widget; fills what it is given and scrolls by ``top``."""

    DEFAULT_CSS = """
    VersionPane { height: 1fr; }
    """

    def draw(self, data: VersionPaneState, width: int, height: int) -> list[Line]:
        """The rows from ``top`` on; the last one says when there are more."""
        keys = press("lineage.down") if data.active else f"{press('lineage.tab')}, then {press('lineage.down')}"
        return window(pane_lines(data, width), data.top, height, f": {keys}")
