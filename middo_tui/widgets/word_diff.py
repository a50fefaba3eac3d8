"""A rewrite for reading: titled blocks, changes marked in the text, inline or in two columns.

What went is ``[-struck out-]``, what came is ``{+underlined+}``, what looks wrong is ``{?underlined?}``: signs and
strokes, so that nothing hangs on a colour.
A change of white space alone is not marked. Text comes in clean; widths are cells.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import zip_longest

from msgspec import Struct
from rich.cells import cell_len

from middo_tui.feed.rewrite import Parts, TextBlock
from middo_tui.terminal import guard
from middo_tui.text.word_diff import WIDE
from middo_tui.widgets.lines import Line, Lines, Run, width_of

ROLES = {"same": "", "old": "gone", "new": "came", "doubt": "doubtful"}
SIGNS = {"old": ("[-", "-]"), "new": ("{+", "+}"), "doubt": ("{?", "?}")}
SIGN_ROLES = {"old": "error", "new": "active", "doubt": "warn"}  # a sign that is struck out itself cannot be read
OPENING = frozenset(begin for begin, _ in SIGNS.values())
AFTER = "after: "
REWRITTEN = "all of it is new"
CHANGES = frozenset({REWRITTEN, *(SIGNS[kind][0] for kind in ("old", "new"))})
ALL_SIGNS = frozenset(sign for pair in SIGNS.values() for sign in pair)
INDENT = 2
GAP = " │ "
_PIECE = re.compile(rf"\n|[^\S\n]+|[^\s{WIDE}]+|[{WIDE}]")
_LEAST_COLUMN = 8


class DiffPage(Struct, frozen=True):
    """What is shown, and how. ``x`` and ``y`` are the first column and row that are seen."""

    blocks: tuple[TextBlock, ...] = ()
    split: bool = False
    wrap: bool = True
    y: int = 0
    x: int = 0


@lru_cache(32)
def laid_out(blocks: tuple[TextBlock, ...], split: bool, wrap: bool, width: int) -> tuple[Line, ...]:
    """All rows of a page."""
    out: list[Line] = []
    for at, block in enumerate(blocks):
        out += [()] if at else []
        out.append(_rule(block.title, width))
        if rewritten(block.parts, width):
            out += _side_by_side(block.parts, wrap, width)
            continue
        changed = any(part.kind != "same" for part in block.parts)
        two = split and changed and any(part.kind == "old" for part in block.parts)
        out += _columns(block.parts, wrap, width) if two else _inline(block, wrap, width)
    return tuple(out)


def changes(lines: Sequence[Line]) -> list[int]:
    """The rows in which a change begins."""
    return [y for y, line in enumerate(lines) if any(run.text in CHANGES for run in line)]


def _rule(title: str, width: int) -> Line:
    text = guard.fit(f" {title} ", max(0, width - 1)).rstrip() + " "
    return (Run(text, "dim"), Run("─" * max(0, width - cell_len(text)), "faint"))


def _inline(block: TextBlock, wrap: bool, width: int) -> list[Line]:
    pad = Run(" " * INDENT)
    runs = marked(block.parts, block.role)
    return [(pad, *line) for line in flow(runs, max(_LEAST_COLUMN, width - 2 * INDENT) if wrap else None)]


def rewritten(parts: Parts, width: int) -> bool:
    """Whether nothing of the old text is left in the new one, and it is too long to be taken in at a glance: signs
    around all of it would only be in the way.
    """
    if {part.kind for part in parts if part.text.strip()} != {"old", "new"}:
        return False
    return "\n" in _joined(parts, "old").strip() or sum(cell_len(part.text) for part in parts) > width - 4 * INDENT


def _joined(parts: Parts, kind: str) -> str:
    return "".join(part.text for part in parts if part.kind in ("same", kind))


def _side_by_side(parts: Parts, wrap: bool, width: int) -> list[Line]:
    """The old text on the left and the new one on the right, unmarked, under a heading that says so."""
    room = _column(width)
    head = (Run(guard.fit(" " * INDENT + "before", INDENT + room), "dim"), Run(GAP, "faint"))
    texts = ([Run(_joined(parts, "old").strip(), "dim")], [Run(_joined(parts, "new").strip())])
    after = (Run(AFTER, "dim"),) if room >= len(AFTER) + len(REWRITTEN) else ()
    return [(*head, *after, Run(REWRITTEN, "dim")), *_level([texts], wrap, width)]


def _column(width: int) -> int:
    return max(_LEAST_COLUMN, (width - 2 * INDENT - len(GAP)) // 2)


def _columns(parts: Parts, wrap: bool, width: int) -> list[Line]:
    """Old on the left, new on the right, level with each other again wherever both begin a new line."""
    return _level(_paragraphs(parts), wrap, width)


def _level(pairs: Iterable[tuple[list[Run], list[Run]]], wrap: bool, width: int) -> list[Line]:
    """Each pair begins on one row."""
    room = _column(width)
    out: list[Line] = []
    for left, right in pairs:
        old = flow(left, room if wrap else None)
        new = flow(right, room if wrap else None)
        for a, b in zip_longest(old, new, fillvalue=()):
            cut = a if wrap else _cut(a, room)
            gap = Run(" " * (room - width_of(cut)))
            out.append((Run(" " * INDENT), *cut, gap, Run(GAP, "faint"), *(b if wrap else _cut(b, room))))
    return out


def _cut(line: Line, width: int) -> Line:
    """A row for a column: what is beyond it is left out."""
    used = 0
    out: list[Run] = []
    for run in line:
        size = cell_len(run.text)
        if used + size > width:
            return (*out, Run(guard.fit(run.text, width - used), run.role)) if width > used else tuple(out)
        out.append(run)
        used += size
    return tuple(out)


def _paragraphs(parts: Parts) -> Iterator[tuple[list[Run], list[Run]]]:
    """Runs for left and right, cut at the line ends that both have."""
    left: list[Run] = []
    right: list[Run] = []
    for part in parts:
        if part.kind == "old":
            left += marked((part,), "")
        elif part.kind == "new":
            right += marked((part,), "")
        else:
            for at, text in enumerate(part.text.split("\n")):
                if at:
                    yield left, right
                    left, right = [], []
                if text:
                    left.append(Run(text))
                    right.append(Run(text))
    yield left, right


def marked(parts: Iterable[tuple[str, str]], role: str) -> list[Run]:
    """The parts with their signs. White space that went is left out, white space that came is just there."""
    out: list[Run] = []
    for kind, text in parts:
        if kind == "same" or not text.strip():
            out += [Run(text, role)] if kind != "old" else []
            continue
        begin, end = SIGNS[kind]
        body = text.strip()
        lead, trail = text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :]
        blank = [Run(space, role) if kind == "new" or "\n" not in space else Run("", role) for space in (lead, trail)]
        out += [blank[0], Run(begin, SIGN_ROLES[kind]), Run(body, ROLES[kind]), Run(end, SIGN_ROLES[kind]), blank[1]]
    return out


def flow(runs: Sequence[Run], width: int | None) -> list[Line]:
    """Runs as rows of at most ``width`` cells, broken between words and wide characters; None: at line ends only.

    Words hold together over runs, so that no sign stands alone. A word that is wider than a row is cut. A row that is
    broken drops the space it is broken at.
    """
    paper = _Paper(width)
    for run in runs:
        for piece in _PIECE.findall(run.text):
            if piece == "\n":
                paper.new_row()
            elif piece.isspace():
                paper.space(Run(piece, run.role))
            else:
                paper.write(Run(piece, run.role), breaks=cell_len(piece) == 2 * len(piece))
    paper.settle()
    return [tuple(row) for row in paper.rows]


class _Paper:
    """Rows under way: the last word and the space before it are held back until it is known where they go."""

    def __init__(self, width: int | None) -> None:
        self.width = width
        self.rows: list[list[Run]] = [[]]
        self._used = 0
        self._space: list[Run] = []
        self._word: list[Run] = []

    def new_row(self) -> None:
        """A line end."""
        self.settle()
        self.rows.append([])
        self._used, self._space = 0, []

    def space(self, run: Run) -> None:
        """The end of a word."""
        self.settle()
        self._space.append(run)

    def write(self, run: Run, breaks: bool) -> None:
        """More of a word; ``breaks``: a row may end before it."""
        if breaks and self._word and self._word[-1].text not in OPENING:
            self.settle()
        self._word.append(run)

    def settle(self) -> None:
        """The word is complete: it goes on this row or on the next."""
        if not self._word:
            return
        word, self._word = self._word, []
        size, gap = width_of(tuple(word)), width_of(tuple(self._space))
        if self.width is not None and self._used and self._used + gap + size > self.width:
            self.rows.append([])
            self._used, self._space = 0, []
        for run in self._space:
            self._put(run)
        self._space = []
        for run in word:
            self._put_cut(run)

    def _put_cut(self, run: Run) -> None:
        """A run that may be too wide for what is left of the row."""
        if self.width is None or self._used + cell_len(run.text) <= self.width:
            self._put(run)
            return
        for character in run.text:
            if self._used and self._used + cell_len(character) > self.width:
                self.rows.append([])
                self._used = 0
            self._put(Run(character, run.role))

    def _put(self, run: Run) -> None:
        """Append, joined to a run of the same role; signs stay runs of their own."""
        row = self.rows[-1]
        if row and row[-1].role == run.role and not {run.text, row[-1].text} & ALL_SIGNS:
            row[-1] = Run(row[-1].text + run.text, run.role)
        else:
            row.append(run)
        self._used += cell_len(run.text)


class WordDiff(Lines[DiffPage]):
    """A window on ``laid_out``."""

    DEFAULT_CSS = """
    WordDiff { height: 1fr; }
    """

    def draw(self, data: DiffPage, width: int, height: int) -> list[Line]:
        """The rows in the window; a row that is shifted to the left loses what is beyond the edge."""
        rows = laid_out(data.blocks, data.split, data.wrap, width)[data.y : data.y + height]
        return [_shifted(row, data.x) for row in rows] if data.x else list(rows)

    @property
    def last(self) -> int:
        """The largest ``y`` that leaves no empty row at the end."""
        return max(0, len(self.rows) - self.size.height)

    @property
    def rows(self) -> tuple[Line, ...]:
        """All rows at the present width."""
        return laid_out(self.data.blocks, self.data.split, self.data.wrap, max(1, self.size.width))


def _shifted(line: Line, x: int) -> Line:
    out: list[Run] = []
    for run in line:
        size = cell_len(run.text)
        if x >= size:
            x -= size
            continue
        text = run.text
        while x > 0 and text:
            x -= cell_len(text[0])
            text = text[1:]
        out.append(Run(" " * -x + text, run.role))
        x = 0
    return tuple(out)
