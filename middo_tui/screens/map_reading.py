"""The reading half of the Map screen: the round's map, its colours, the cells in view, what is under the cursor."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from functools import partial
from pathlib import Path

from textual import events, on
from textual.app import ComposeResult
from textual.containers import Container, Vertical

from engine.errors import MiddoError
from engine.files.embedding_map_file import Box
from engine.plurals import counted
from engine.store.connect import reader
from middo_tui.feed.map_cells import MapCell, MapWindow, cells, magnification, rounded, whole
from middo_tui.feed.map_classes import Colour, Coloured, coloured
from middo_tui.feed.map_moves import Moves, moves
from middo_tui.feed.map_places import PlacedSamples, Point, mapped_rounds, open_map, open_places, with_ids
from middo_tui.feed.pages import Pages
from middo_tui.feed.view import LoopView
from middo_tui.screens.frame import WIDE, Framed
from middo_tui.screens.map_messages import CellRead, CellsCounted, ColourRead, MapRead, MovesRead
from middo_tui.terminal import guard
from middo_tui.text.notice import Notice
from middo_tui.widgets.map_canvas import (
    MIXED,
    CanvasResized,
    Glyphs,
    MapCanvas,
    MapPicture,
    arrows,
    glyphs_of,
    standing_out,
)
from middo_tui.widgets.map_legend import MapCellPane, MapCellState, MapLegend, MapLegendState, MapPrompt
from middo_tui.widgets.paragraph import Paragraph

FAILURES = (MiddoError, sqlite3.Error, OSError)
PROMPTS = 12
"""Prompts that are read of what is under the cursor."""
ONLY = 24
"""Cells for the name of a class that is shown alone: a cluster is called by a prompt."""
MANY = 50_000
"""Samples whose picture is painted before it is known who they are."""
SKETCHED = 30_000
"""Samples that the first picture is made of, evenly spread: one of all comes with their colours."""


class MapReading(Framed):
    """A line that says what is shown, the map, and beside or below it the classes and the samples under the cursor."""

    def __init__(self, project: Path, view: LoopView) -> None:
        super().__init__(project, view)
        self._pages = Pages(project)
        self._round: int | None = None  # None: the newest that has a map
        self._asked: int | None = None
        self._rounds: tuple[int, ...] = ()
        self._placed: PlacedSamples | None = None
        self._coloured: Coloured | None = None
        self._cells: Mapping[tuple[int, int], MapCell] = {}
        self._cells_by: Coloured | None = None  # may be older than what the legend says
        self._count_number = 0  # of the newest: an older one has other places or classes
        self._glyphs: Glyphs = {}
        self._mixed = False
        self._moves: Moves | None = None
        self._window: MapWindow | None = None
        self._at = (0, 0)
        self._placed_cursor = False
        self._wanted: int | None = None  # a sample that another screen asked for
        self._pin: Point | None = None  # where it lies, until the cursor moves
        self._corner: tuple[int, int] | None = None
        self._under = MapCellState()
        self._colour: Colour = "state"
        self._only: int | None = None
        self._marks = False
        self._moved = False
        self._problem = ""
        self._seen = _signature(view)

    def body(self) -> ComposeResult:
        """What is shown, the map, its classes, the cursor's samples."""
        yield Paragraph(Notice(""), id="summary")
        with Container(id="main"):
            yield MapCanvas(MapPicture(empty="Reading the map …"))
            with Vertical(id="side"):
                yield MapLegend(MapLegendState())
                yield MapCellPane(MapCellState())

    def on_mount(self) -> None:
        """Begin to read. Where colours say nothing, letters do."""
        self._marks = self.app.no_color
        self.action_reload()

    def on_screen_suspend(self) -> None:
        """Out of sight, the file need not be in memory."""
        if self._placed is not None:
            self._placed.file.rest()

    def on_unmount(self) -> None:
        """Give the connection back."""
        self._pages.close()

    def changed(self, view: LoopView) -> None:
        """A stage has ended or begun: states and signals may be others."""
        now = _signature(view)
        if now != self._seen:
            self._seen = now
            self.action_reload()

    @property
    def reading(self) -> bool:
        """Nothing was read yet, nor is it known why not."""
        return self._placed is None and not self._problem

    # ----------------------------------------------------------------------------------- the map

    def action_reload(self) -> None:
        """Read everything again."""
        self._asked = self._round
        work = partial(self._load, self._round)
        self._in_thread(work, "map")

    def _in_thread(self, work: partial[None], group: str) -> None:
        """Textual would write all that ``work`` is given into a description of it: half a megabyte at every key."""
        self.run_worker(work, group=group, description=group, thread=True, exclusive=True, exit_on_error=False)

    def _open(self) -> sqlite3.Connection:
        db = reader(self.project)
        db.text_factory = lambda raw: raw.decode("utf-8", "replace")
        return db

    def _load(self, round: int | None) -> None:
        rounds: tuple[int, ...] = ()
        try:
            with closing(self._open()) as db:
                rounds = mapped_rounds(db)
                wanted = round if round is not None else rounds[-1] if rounds else self.view.round or 0
                places = open_places(db, self.project, wanted)
                if places.ids or places.head.rows >= MANY:
                    self.post_message(MapRead(round, places, rounds))
                known = with_ids(db, places)
                if known is not places:
                    self.post_message(MapRead(round, known, rounds))
        except FAILURES as error:
            self.post_message(MapRead(round, None, rounds, guard.clean(str(error)).text))

    @on(MapRead)
    def _map_read(self, message: MapRead) -> None:
        if message.asked != self._asked:  # another one was asked for meanwhile
            return
        self._rounds, self._problem = message.rounds, message.problem
        self._placed, self._coloured, self._moves = message.placed, None, None
        self._count_number += 1
        if message.placed is None:
            self._window, self._cells, self._glyphs, self._under = None, {}, {}, MapCellState()
            self.paint()
            return
        self._round = message.placed.round
        self._fit()
        if not message.placed.ids:  # the rest of it follows
            return
        self.read_colour()
        if self._moved:
            self.read_moves()

    def on_key(self, event: events.Key) -> None:
        """From the first key on the cursor is the person's."""
        super().on_key(event)
        self._placed_cursor = bool(self._cells)

    @on(CanvasResized)
    def _fit(self) -> None:
        """A window as large as the widget, on what was looked at."""
        size = self.query_one(MapCanvas).size
        if self._placed is None or not size.width or not size.height:
            return
        if self._window is None:
            window = whole(self._placed, size.width, size.height)
        else:
            window = MapWindow(self._window.box, size.width, size.height)
            row, column = window.place(*(self._pin or self._window.center(*self._at)))
            self._at = min(row, size.height - 1), min(column, size.width - 1)
        if window != self._window:
            self._corner = None
        self.show_window(window)

    def show_window(self, window: MapWindow) -> None:
        """Look at another part."""
        self._window = window
        self.bin()

    def bin(self) -> None:
        """Count the cells of what is looked at."""
        if self._placed is not None and self._window is not None:
            self._count_number += 1
            work = partial(self._count, self._count_number, self._placed, self._coloured, self._window, self._only)
            self._in_thread(work, "cells")

    def _count(
        self, number: int, placed: PlacedSamples, by: Coloured | None, window: MapWindow, only: int | None
    ) -> None:
        if number != self._count_number:  # another was asked for before this one had its turn
            return
        if by is None:
            sketch = cells(placed, bytes(len(placed)), window, every=max(1, len(placed) // SKETCHED))
            self.post_message(CellsCounted(number, by, sketch))
        else:
            self.post_message(CellsCounted(number, by, cells(placed, by.codes, window, only)))

    @on(CellsCounted)
    def _counted(self, message: CellsCounted) -> None:
        if message.count == self._count_number:
            self._cells, self._cells_by = message.found, message.by
            self.draw_cells()
            self._place_cursor()
            self.paint()
            self.look()

    def _place_cursor(self) -> None:
        """On the sample that another screen asked for; before the first key on the cell with the most samples."""
        if not self._placed_cursor and self._cells:
            self._at = max(self._cells, key=lambda at: (self._cells[at].total, at))
        if self._wanted is None or self._placed is None or not self._placed.ids or self._window is None:
            return
        id, self._wanted, self._placed_cursor = self._wanted, None, True
        self._pin = found = self._placed.points([id]).get(id)
        if found is None:
            self.say(Notice(f"That sample has no place on the map of round {self._placed.round}.", "decide"))
            return
        row, column = self._window.place(*found)
        middle = self._window.height // 2, self._window.width // 2
        if 0 <= row < self._window.height and 0 <= column < self._window.width:
            self._at = row, column
        else:
            self._at = middle
            self.show_window(self._window.moved(column - middle[1], middle[0] - row))

    # -------------------------------------------------------------------------------- colours and moves

    def read_colour(self) -> None:
        """Read the classes of what the map is coloured by."""
        if self._placed is not None and self._placed.ids:
            work = partial(self._load_colour, self._placed, self._colour)
            self._in_thread(work, "colour")

    def _load_colour(self, placed: PlacedSamples, colour: Colour) -> None:
        try:
            with closing(self._open()) as db:
                found = coloured(db, placed.round, placed.ids, placed.order, colour)
                self.post_message(ColourRead(placed, found))
        except FAILURES as error:
            self.post_message(MapRead(self._asked, None, self._rounds, guard.clean(str(error)).text))

    @on(ColourRead)
    def _colour_read(self, message: ColourRead) -> None:
        if message.placed is self._placed and message.found.colour == self._colour:
            self._coloured = message.found
            self.bin()

    def read_moves(self) -> None:
        """Read where rewritten samples went."""
        if self._placed is not None and self._placed.ids:
            work = partial(self._load_moves, self._placed)
            self._in_thread(work, "moves")

    def _load_moves(self, placed: PlacedSamples) -> None:
        try:
            with closing(self._open()) as db:
                before = open_map(db, self.project, placed.round - 1)
                self.post_message(MovesRead(placed, moves(db, before, placed)))
        except FAILURES as error:
            self.post_message(MovesRead(placed, None, guard.clean(str(error)).text))

    @on(MovesRead)
    def _moves_read(self, message: MovesRead) -> None:
        if message.placed is not self._placed:  # another round was asked for meanwhile
            return
        self._moves = message.found
        if message.found is None:
            self._moved = False
            self.say(Notice(message.problem, "decide"))
        self.bin()

    # -------------------------------------------------------------------------------- under the cursor

    def area(self) -> Box:
        """The cursor's cell, or the rectangle."""
        if self._window is None:
            return 0.0, 0.0, 0.0, 0.0
        return rounded(self._window.area(self._corner or self._at, self._at))

    def look(self) -> None:
        """Read what is under the cursor."""
        if self._placed is not None and self._placed.ids and self._window is not None:
            work = partial(self._look, self._placed, self._coloured, self.area(), self._corner is not None)
            self._in_thread(work, "look")

    def _look(self, placed: PlacedSamples, by: Coloured | None, area: Box, rectangle: bool) -> None:
        found = placed.within(area)
        counts = sorted(Counter(by.codes[at] for at in found).items(), reverse=True) if by else []
        ids = [placed.id(at) for at in found[:PROMPTS]]
        where = "In the rectangle" if rectangle else "Under the cursor"
        title = f"{where}: {counted(len(found), 'sample') if found else 'no sample'}"
        try:
            rows = self._pages.rows(ids, placed.round) if ids else {}
        except FAILURES as error:
            rows, title = {}, guard.one_line(str(error))
        prompts = tuple(MapPrompt(row.seq, row.text) for row in sorted(rows.values(), key=lambda row: row.seq))
        classes = tuple((by.classes[kind], count) for kind, count in counts) if by else ()
        self.post_message(CellRead(area, by, MapCellState(title, len(found), classes, prompts)))

    @on(CellRead)
    def _cell_read(self, message: CellRead) -> None:
        if message.area == self.area() and message.by is self._coloured:
            self._under = message.found
            self.query_one(MapCellPane).show(self._under)
            self.state_changed()

    # -------------------------------------------------------------------------------------- painting

    def draw_cells(self) -> None:
        """Turn what was counted into what is painted: not at every move of the cursor."""
        classes = self._cells_by.classes if self._cells_by else ()
        ways = self._moves.ways if self._moved and self._moves and self._window else ()
        glyphs = glyphs_of(self._cells, () if self._moved else classes, self._marks)
        self._mixed = bool(classes) and any(standing_out(cell, classes) is None for cell in self._cells.values())
        self._glyphs = glyphs | (arrows(ways, self._window) if ways and self._window else {})

    def paint(self) -> None:
        """Show what is known."""
        empty = "No sample here. Press 0 for the whole map." if self._placed and not self._problem else ""
        picture = MapPicture(self._window, self._glyphs, self._at, self._corner, empty)
        self.query_one(MapCanvas).show(picture)
        classes = self._coloured.classes if self._coloured and not self._moved else ()
        mixed = (MIXED,) if classes and self._mixed else ()
        self.query_one(MapLegend).show(MapLegendState((*classes, *mixed), self._only, self.size.width >= WIDE))
        self.query_one(MapCellPane).show(self._under)
        self.query_one("#summary", Paragraph).show(Notice(self._summary(), "strong"))
        self.state_changed()

    def _summary(self) -> str:
        """E.g. ``Map · round 1 · 589 samples by state · shows 38% of the variance``."""
        placed = self._placed
        if placed is None:
            return "Map"
        without = placed.head.rows - len(placed)
        parts = [f"Map · round {placed.round}", counted(len(placed), "sample")]
        if not self._moved:
            parts[-1] += f" by {self._colour}"
            classes = self._coloured.classes if self._coloured else ()
            if self._only is not None and self._only < len(classes):
                parts.append(f"only {guard.fit(classes[self._only].name, ONLY).rstrip()}")
        if self._moved and self._moves is not None:
            found = self._moves
            parts.append(f"{len(found.ways):,} rewritten, moved {found.rewritten:.3f} (others {found.noise:.3f})")
        parts.append(f"{sum(placed.head.shares):.0%} of the variance")
        near = magnification(placed, self._window) if self._window else 1.0
        parts.append(f"{near:.1f}×" if abs(near - 1) > 0.01 else "")
        parts.append(f"{without:,} without an embedding" if without else "")
        return " · ".join(part for part in parts if part)

    def own_notice(self) -> Notice:
        """What is wrong, or what an arrow is."""
        if self._problem:
            return Notice(self._problem, "decide")
        if not self._moved or self._moves is None:
            return Notice("")
        if not self._moves.ways:
            return Notice("No sample was replaced by its rewrite before this round.", "dim")
        model = f"The model alone moved everybody by {self._moves.model:.3f}; that is taken out."
        return Notice(f"Arrows: from the originals of a cell to their rewrites, on average. {model}", "dim")


def _signature(view: LoopView) -> tuple[object, ...]:
    """What classes depend on, as far as a map is read again for it."""
    return view.round, tuple(stage.state for stage in view.stages)
