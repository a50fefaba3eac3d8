"""A Textual driver that only writes what changed on the screen.

Textual paints the whole screen whenever a question, a menu or another screen comes or goes: 10 to 21 KB at 80 x 24,
more than a second on a slow line, mostly of what was there before. The driver here remembers every cell that it wrote
and leaves out the rows, and the style runs at both ends of a row, that would change nothing. Of a style it writes what
differs from the run before. (curses does the same.)

It speaks only the little that frames are made of: go to a place, a style, text. Whatever else is written (a cleared
screen, another program's turn) makes it forget what it knew, and then everything is written as it comes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from rich.cells import cell_len, get_character_cell_size
from textual.drivers.linux_driver import LinuxDriver as LinuxDriver

Cell = tuple[str, str] | None
"""Its style (the numbers of an SGR sequence) and its character; the second cell of a wide one has none. None: it is not
known."""

_PART = re.compile(r"\x1b\[(?P<y>\d+);(?P<x>\d+)H|\x1b\[(?P<style>[\d;]*)m|(?P<text>[^\x00-\x1f\x7f]+)|(?P<end>\n)")
_MOVES_NOTHING = re.compile(
    r"(?:\x1b\[(?:6n|\?(?:25|1000|1003|1004|1006|1015|1016|2004|2026)[hl])|\x1b\](?:9|22|52|777);[^\x07\x1b]*\x07|\x07)+"
)


class StyledRun(NamedTuple):
    """Text of one style from column ``x`` (0: the first) on."""

    x: int
    style: str
    text: str
    cells: list[Cell]

    @property
    def end(self) -> int:
        """The column after it."""
        return self.x + len(self.cells)


class TerminalContents:
    """The known content of the terminal."""

    def __init__(self) -> None:
        self._rows: dict[int, list[Cell]] = {}
        self._cursor = ""

    def forget(self) -> None:
        """Forget the terminal's content."""
        self._rows.clear()
        self._cursor = ""

    def needed(self, data: str) -> str:
        """The part of ``data`` that must be written."""
        if _MOVES_NOTHING.fullmatch(data):
            return data
        out: list[str] = []
        y, x, style, at = -1, 0, "", 0
        runs: list[StyledRun] = []
        for part in _PART.finditer(data):
            if part.start() != at:
                break
            if part["text"] is not None:
                if y < 0:
                    break
                runs.append(StyledRun(x, style, part["text"], _cells(style, part["text"])))
                x = runs[-1].end
            elif part["style"] is not None:
                style = "" if part["style"] == "0" else part["style"]
            else:
                out.append(self._changed(y, runs))
                runs = []
                if part["y"] is not None:
                    y, x = int(part["y"]) - 1, int(part["x"]) - 1
                else:
                    y = -1
            at = part.end()
        if at != len(data) or y < 0 or runs:  # not a frame of Textual's, which ends with the cursor's place
            self.forget()
            return data
        changed, before, self._cursor = "".join(out), self._cursor, f"\x1b[{y + 1};{x + 1}H"
        return changed + self._cursor if changed or before != self._cursor else ""

    def _changed(self, y: int, runs: list[StyledRun]) -> str:
        """The runs of one row, without those at its ends that are there already."""
        if not runs:
            return ""
        row = self._rows.setdefault(y, [])
        row += [None] * (runs[-1].end - len(row))
        new = [at for at, run in enumerate(runs) if None in run.cells or row[run.x : run.end] != run.cells]
        if not new:
            return ""
        written = runs[new[0] : new[-1] + 1]
        begin, end = written[0].x, written[-1].end
        if begin and _second_half(row[begin]):  # half of a wide character is written over: the other half goes too
            row[begin - 1] = None
        row[begin:end] = [cell for run in written for cell in run.cells]
        if end < len(row) and _second_half(row[end]):
            row[end] = None
        return f"\x1b[{y + 1};{begin + 1}H" + _painted(written)


def _second_half(cell: Cell) -> bool:
    return cell is not None and not cell[1]


def _painted(runs: Sequence[StyledRun]) -> str:
    """Runs side by side, each telling of its style what is other than its neighbour's."""
    out, before = [], ""
    for run in runs:
        out += [_turned(before, run.style), run.text]
        before = run.style
    return "".join([*out, _turned(before, "")])


@lru_cache(maxsize=4096)
def _turned(old: str, new: str) -> str:
    """What changes style ``old`` to ``new``. Colours replace each other; all else can only be taken back at once."""
    if old == new:
        return ""
    if not new:
        return "\x1b[0m"
    was, now = _taken_apart(old), _taken_apart(new)
    if was.others != now.others or bool(was.front) > bool(now.front) or bool(was.back) > bool(now.back):
        return f"\x1b[0;{new}m" if old else f"\x1b[{new}m"
    told = [code for code, known in ((now.front, was.front), (now.back, was.back)) if code != known]
    return f"\x1b[{';'.join(told)}m" if told else ""


class StyleCodes(NamedTuple):
    """A style in three parts of its SGR numbers."""

    others: str
    front: str
    back: str


def _taken_apart(style: str) -> StyleCodes:
    numbers = style.split(";") if style else []
    others, colours = [], {"3": "", "4": ""}
    while numbers:
        size = {"5": 3, "2": 5}.get(numbers[1], 1) if numbers[0] in ("38", "48") and len(numbers) > 1 else 1
        code, numbers = numbers[:size], numbers[size:]
        ground = {"9": "3", "10": "4"}.get(code[0][:-1], code[0][:-1])  # 90 to 107: the bright ones
        if ground in colours:
            colours[ground] = ";".join(code)
        else:
            others += code
    return StyleCodes(";".join(others), colours["3"], colours["4"])


def _cells(style: str, text: str) -> list[Cell]:
    """The cells of ``text``; unknown ones where a terminal may see other widths than the library does."""
    if text.isascii():
        return [(style, character) for character in text]
    out: list[Cell] = []
    for character in text:
        wide = get_character_cell_size(character)
        if wide == 0:
            return [None] * cell_len(text)
        out += [(style, character), (style, "")][:wide]
    return out if len(out) == cell_len(text) else [None] * cell_len(text)


class SparingDriver(LinuxDriver):
    """Textual's driver for terminals, with a memory."""

    shown: TerminalContents | None = None

    def write(self, data: str) -> None:
        """Write only changes."""
        if self.shown is None:
            self.shown = TerminalContents()
        if needed := self.shown.needed(data):
            super().write(needed)

    def _sigcont_application(self, *_: object) -> None:
        """Go on after ctrl-z, or after SIGSTOP, which no program is told of: then application mode is still on.

        Begun a second time, two threads would read keys, quitting would wait for one of them for ever, and the
        terminal would stay without echo.
        """
        if self._auto_restart and not self._must_signal_resume and self._key_thread is not None:
            self.suspend_application_mode()
            self._must_signal_resume = True  # everything is painted again
        super()._sigcont_application()

    def forget(self) -> None:
        """Forget the content after another program wrote to the terminal: the next frame is written in full."""
        if self.shown is not None:
            self.shown.forget()
