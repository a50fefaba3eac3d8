"""Beside or below the map: its classes with their counts, and the samples under the cursor."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from rich.cells import cell_len

from middo_tui.feed.map_classes import MapClass
from middo_tui.terminal import guard
from middo_tui.widgets.lines import Line, Lines, Run, width_of
from middo_tui.widgets.paragraph import wrap

ROWS = 2
"""Rows of a legend below the map."""
NAMES = (60, 36, 24, 18, 12)
"""Longest entries of a legend below the map, the next one where they do not fit."""
ALONE = "▸"
"""Before the class that is shown alone: bold and dim letters are not told apart everywhere."""
PROMPTS = 2
"""Prompts below the map."""


class MapLegendState(Struct, frozen=True):
    """``classes``: those of the map; ``only``: the one that is shown alone; ``column``: one below the other."""

    classes: tuple[MapClass, ...] = ()
    only: int | None = None
    column: bool = False


def legend_lines(state: MapLegendState, width: int) -> list[Line]:
    """Mark, count and name of every class that has samples; names are cut until all have room."""
    if state.column:
        return [_entry(state, at, width - 1) for at in _shown(state)]
    rows: list[Line] = []
    for longest in NAMES:
        rows = _flowed([_entry(state, at, longest) for at in _shown(state)], width)
        if len(rows) <= ROWS:
            break
    return rows[:ROWS]


def _shown(state: MapLegendState) -> list[int]:
    return [at for at, one in enumerate(state.classes) if one.count or at == state.only or not one.mark.strip("~")]


def _entry(state: MapLegendState, at: int, width: int) -> Line:
    one, role = state.classes[at], _role(state, at)
    mark, count = f"{ALONE if at == state.only else ' '}{one.mark} ", f"{one.count:,} " if one.count else ""
    room = max(1, width - len(mark) - len(count))
    name = one.name if cell_len(one.name) <= room else guard.fit(one.name, room).rstrip()
    return Run(mark, one.role), Run(count + name, role)


def _flowed(entries: Sequence[Line], width: int) -> list[Line]:
    """The entries in as many rows as they need."""
    rows: list[Line] = []
    for entry in entries:
        if rows and width_of(rows[-1]) + 1 + width_of(entry) <= width:
            rows[-1] = (*rows[-1], Run(" "), *entry)
        else:
            rows.append(entry)
    return rows


def _role(state: MapLegendState, at: int) -> str:
    return "strong" if state.only == at else "dim" if state.only is not None else ""


class MapLegend(Lines[MapLegendState]):
    """``legend_lines`` as a widget, as high as it needs."""

    DEFAULT_CSS = """
    MapLegend { height: auto; }
    """

    def draw(self, data: MapLegendState, width: int, height: int) -> list[Line]:
        """The classes."""
        return legend_lines(data, width)


class MapPrompt(Struct, frozen=True):
    """A sample under the cursor: its number and how its prompt begins, clean."""

    seq: int
    text: str


class MapCellState(Struct, frozen=True):
    """What is under the cursor, or in the marked rectangle: how many of which class, and the first prompts."""

    title: str = ""
    total: int = 0
    counts: tuple[tuple[MapClass, int], ...] = ()
    prompts: tuple[MapPrompt, ...] = ()


def cell_lines(state: MapCellState, width: int, height: int, tall: bool) -> list[Line]:
    """The counts, then the prompts: a row each, or (``tall``) as many as each needs."""
    kinds: list[Line] = [(Run(f" {one.mark} ", one.role), Run(f"{count:,}")) for one, count in state.counts]
    title: Line = (Run(f" {state.title}", "strong"),)
    out = [title, *_flowed(kinds, width)] if tall else _flowed([title, *kinds], width)[:1]
    for prompt in state.prompts:
        name = f" #{prompt.seq:,} "
        rows = _wrapped(prompt.text, width - len(name) - 1) if tall else [guard.fit(prompt.text, width - len(name) - 1)]
        out += [(Run(name if not at else " " * len(name), "dim"), Run(row.rstrip())) for at, row in enumerate(rows)]
    rest = state.total - len(state.prompts)
    if tall and rest > 0 and state.prompts and len(out) < height:
        out.append((Run(f" … and {rest:,} more", "dim"),))
    return out[:height] if height else out


def _wrapped(text: str, width: int) -> Sequence[str]:
    return wrap(text, max(10, width), 3)


class MapCellPane(Lines[MapCellState]):
    """``cell_lines`` as a widget: three rows below the map, all there is beside it."""

    DEFAULT_CSS = """
    MapCellPane { height: 3; }
    """

    def draw(self, data: MapCellState, width: int, height: int) -> list[Line]:
        """The counts and the prompts."""
        return cell_lines(data, width, height, height > 1 + PROMPTS)
