"""One version of a sample: how it came to be, its signals over the rounds, and word by word what changed."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from rich.cells import cell_len

from middo_tui import figures
from middo_tui.feed.lineage import POLICY, Attempt, Family, Section, Signals, Version
from middo_tui.theme import LETTERS
from middo_tui.widgets.family_list import WAITING, Entry, fate
from middo_tui.widgets.lines import Line, Lines, Run, width_of
from middo_tui.widgets.paragraph import wrap
from middo_tui.word_diff import Part

MARKS = {"same": ("", "", ""), "old": ("[-", "-]", "error"), "new": ("{+", "+}", "strong")}
COLUMNS = (("loss before", "loss_before", -1), ("loss after", "loss_after", -1), ("similarity", "similarity", -1),
           ("quality", "quality", 1))  # fmt: skip
"""Title, field, and the sign of a change for the better."""
LEAST_CHANGE = 0.005
WHO = {"app": "in the app", "command line": "on the command line", POLICY: "by the review policy"}
_WORD = re.compile(r"\n|[^\S\n]*\S+|[^\S\n]+")


@dataclass(frozen=True, slots=True)
class Pane:
    """What is told. ``sections``: None while they are compared; ``top``: rows scrolled off."""

    family: Family | None = None
    entry: Entry | None = None
    sections: tuple[Section, ...] | None = None
    top: int = 0
    active: bool = False


def pane_lines(pane: Pane, width: int) -> list[Line]:
    """All rows."""
    if pane.family is None or pane.entry is None:
        return []
    version, attempt = pane.entry.version, pane.entry.attempt
    parent = pane.family.at(version.parent)
    rows = _story(version, parent, width) if attempt is None else _told(attempt, version, width)
    rows += _signals(pane.entry, parent)
    heading = "against its original" if attempt is not None or parent is not None else "text"
    if pane.sections is None:
        return [*rows, (Run(f" {heading}: comparing …", "dim"),)]
    if not pane.sections:
        return [*rows, (Run(" there is no text: nothing usable came back", "dim"),)]
    return [*rows, *section_lines(pane.sections, width)]


def _paragraph(text: str, width: int, role: str = "") -> list[Line]:
    return [(Run(f" {row}", role),) for row in wrap(text, max(1, width - 2), 4)]


def _story(version: Version, parent: Version | None, width: int) -> list[Line]:
    """How a version came to be."""
    if parent is None:
        said = f"○ #{version.seq:,} came with the data"
    elif version.axis == "diversity":
        said = f"D #{version.seq:,} was inspired by #{parent.seq:,} in round {version.born - 1}, which stays"
    else:
        letter = LETTERS.get(version.axis, "?")
        said = (
            f"{letter} #{version.seq:,} took the place of #{parent.seq:,} in round {version.born - 1} ({version.axis})"
        )
    if version.retired is not None:
        how = "replaced" if fate(version) == "replaced" else "retired as redundant"
        said += f"; {how} in round {version.retired - 1}"
    if version.hidden:
        said += f"; {version.hidden:,} hidden characters"
    rows = _paragraph(said, width, version.axis if version.axis in LETTERS else "strong")
    return rows + (_decided(version.made_by, width) if version.made_by else [])


def _told(attempt: Attempt, version: Version, width: int) -> list[Line]:
    """What came of a rewrite that made no sample."""
    letter = LETTERS.get(attempt.axis, "?")
    what = WAITING.get(attempt.state, attempt.state)
    said = f"{letter} rewrite of #{version.seq:,} in round {attempt.round} ({attempt.axis}): {what}"
    return _paragraph(said, width, "strong") + _decided(attempt, width)


def _decided(attempt: Attempt, width: int) -> list[Line]:
    """Who decided, when, why; what the checks said; a remark."""
    rows: list[Line] = []
    if attempt.by:
        state = "accepted" if attempt.state == "merged" else attempt.state
        at = "" if attempt.at is None else time.strftime(", %d %b %H:%M", time.localtime(attempt.at))
        edited = " · edited by hand" if attempt.edited else ""
        rows += _paragraph(f"{state} {WHO.get(attempt.by, attempt.by)}{at}{edited}", width)
    if attempt.reason:
        rows += _paragraph(f"why: {attempt.reason}", width)
    if attempt.verdict and attempt.verdict != attempt.reason:
        rows += _paragraph(f"signals: {attempt.verdict}", width, "dim")
    return rows + (_paragraph(f"note: {attempt.note}", width) if attempt.note else [])


def _signals(entry: Entry, parent: Version | None) -> list[Line]:
    """A row per round, with arrows against the row above; the parent's last row first."""
    rows: list[tuple[str, Signals]] = []
    if entry.attempt is not None:
        known = [one for one in entry.version.signals if one.round == entry.attempt.round]
        rows = [("original", one) for one in known] + [("rewrite", entry.attempt.measured)]
    else:
        if parent is not None and parent.signals:
            rows.append((f"#{parent.seq:,}", parent.signals[-1]))
        rows += [(f"round {one.round}", one) for one in entry.version.signals]
    rows = [(name, one) for name, one in rows if any(getattr(one, field) is not None for _, field, _ in COLUMNS)]
    if not rows:
        return []
    out: list[Line] = [(Run(f" {'':<10}" + "".join(f"{title:>13}" for title, _, _ in COLUMNS), "dim"),)]
    before: Signals | None = None
    for name, one in rows:
        runs = [Run(f" {name:<10}", "dim")]
        for _, field, sign in COLUMNS:
            value, was = getattr(one, field), getattr(before, field) if before else None
            arrow, role = _arrow(value, was, sign)
            runs += [Run(f"{figures.fixed(value, 2):>11}"), Run(f" {arrow}", role)]
        out.append(tuple(runs))
        before = one
    return [*out, ()]


def _arrow(value: float | None, was: float | None, sign: int) -> tuple[str, str]:
    if value is None or was is None or abs(value - was) < LEAST_CHANGE:
        return " ", ""
    better = (value - was) * sign > 0
    return ("▲" if value > was else "▼"), "strong" if better else "bad"


@lru_cache(8)
def section_lines(sections: tuple[Section, ...], width: int) -> tuple[Line, ...]:
    """Every turn under its role; what went ``[-so-]``, what came ``{+so+}``."""
    out: list[Line] = []
    for section in sections:
        same = all(part.kind == "same" for part in section.parts)
        title = f" {section.role}{' · the same' if same and len(sections) > 1 else ''} "
        out.append((Run(title, "key"), Run("─" * max(0, width - cell_len(title) - 1), "faint")))
        out += wrapped(section.parts, max(4, width - 4))
        if section.cut:
            out.append((Run("   … it goes on; only the beginning is compared", "dim"),))
    return tuple(out)


def wrapped(parts: tuple[Part, ...], width: int) -> list[Line]:
    """Marked text in rows of at most ``width`` cells, indented by three."""
    rows: list[list[Run]] = [[Run("   ")]]
    used = 0
    for text, role in _words(parts, width):
        if text == "\n" or (used and used + cell_len(text.rstrip()) > width):
            rows.append([Run("   ")])
            used = 0
            text = "" if text == "\n" else text.lstrip(" ")
        if text:
            if rows[-1][-1].role == role and len(rows[-1]) > 1:
                rows[-1][-1] = Run(rows[-1][-1].text + text, role)
            else:
                rows[-1].append(Run(text, role))
            used = width_of(tuple(rows[-1])) - 3
    return [tuple(row) for row in rows]


def _words(parts: tuple[Part, ...], width: int) -> Iterator[tuple[str, str]]:
    """Words with the space before them; a word wider than a row in pieces."""
    for part, following in zip(parts, (*parts[1:], None), strict=True):
        for word in _WORD.findall(_marked(part, following)):
            role = MARKS[part.kind][2]
            piece, size = "", 0
            for character in word if cell_len(word) > width else ():
                if size + cell_len(character) > width:
                    yield piece, role
                    piece, size = "", 0
                piece, size = piece + character, size + cell_len(character)
            yield piece or word, role


def _marked(part: Part, following: Part | None) -> str:
    """The text between its marks; white space at its end stays outside, and goes where something new follows."""
    before, after, _ = MARKS[part.kind]
    text = part.text.rstrip()
    if part.kind == "same" or not text:
        return f"{before}{part.text}{after}"
    joined = part.kind == "old" and following is not None and following.kind == "new"
    return f"{before}{text}{after}{'' if joined else part.text[len(text) :]}"


class VersionPane(Lines[Pane]):
    """``pane_lines`` as a widget; fills what it is given and scrolls by ``top``."""

    DEFAULT_CSS = """
    VersionPane { height: 1fr; }
    """

    def draw(self, data: Pane, width: int, height: int) -> list[Line]:
        """The rows from ``top`` on; the last one says when there are more."""
        rows = pane_lines(data, width)
        shown = rows[data.top : data.top + height] if height else rows
        left = len(rows) - data.top - len(shown)
        if left > 0 and shown:
            shown[-1] = (Run(f" … {left + 1:,} more rows: {'j' if data.active else 'tab, then j'}", "dim"),)
        return shown
