"""The Map screen: the round's embeddings in two dimensions, coloured, with the samples under a cursor."""

from __future__ import annotations

from typing import ClassVar

from textual import events, on
from textual.binding import BindingType

from middo_tui.feed.map_cells import filter_of, may_zoom, whole
from middo_tui.feed.map_classes import COLOURS
from middo_tui.feed.orders import Order
from middo_tui.keys import tables
from middo_tui.screens.map_keys import KEYS, MapKeyState
from middo_tui.screens.map_reading import MapReading
from middo_tui.widgets.map_canvas import MapCanvas

ZOOM = 1.6


class MapScreen(MapReading):
    """The map by its keys."""

    NAME = "map"
    KEYS = KEYS
    CSS_PATH = "map.tcss"
    BINDINGS: ClassVar[list[BindingType]] = tables.bindings(KEYS, NAME)

    def state(self) -> MapKeyState:
        """What the keys depend on."""
        shown, rounds = self._placed, self._rounds
        at = rounds.index(shown.round) if shown is not None and shown.round in rounds else -1
        return MapKeyState(
            some=shown is not None and self._window is not None,
            under=self._under.total,
            clears=self._clears(),
            marking=self._corner is not None,
            marks=self._marks,
            moved=self._moved,
            moves=at > 0,
            earlier=at > 0 or (at < 0 and bool(rounds)),
            later=0 <= at < len(rounds) - 1,
            zoomed=self._window is not None and shown is not None and self._window.box != shown.head.frame,
            colour=COLOURS[(COLOURS.index(self._colour) + 1) % len(COLOURS)],
        )

    def _clears(self) -> str:
        if self._corner is not None:
            return "rectangle"
        return "moves" if self._moved else "class" if self._only is not None else ""

    # ------------------------------------------------------------------------------------- moving

    def _move(self, down: int, right: int) -> None:
        """The cursor; where it would leave, the map goes the other way."""
        window = self._window
        if window is None:
            return
        self._pin = None
        row, column = self._at[0] + down, self._at[1] + right
        inside = min(window.height - 1, max(0, row)), min(window.width - 1, max(0, column))
        self._at = inside
        if (row, column) != inside:
            self._shift(right * window.width // 4, -down * max(1, window.height // 4))
        else:
            self.paint()
            self.look()

    def _shift(self, right: int, up: int) -> None:
        """The map, and what is at places of it stays there."""
        self._pin = None
        if self._window is None:
            return
        self._at = self._kept(self._at, up, -right)
        if self._corner is not None:
            self._corner = self._corner[0] + up, self._corner[1] - right
        self.show_window(self._window.moved(right, up))

    def _kept(self, at: tuple[int, int], down: int, right: int) -> tuple[int, int]:
        height, width = (self._window.height, self._window.width) if self._window else (1, 1)
        return min(height - 1, max(0, at[0] + down)), min(width - 1, max(0, at[1] + right))

    def action_left(self) -> None:
        """One cell to the left."""
        self._move(0, -1)

    def action_right(self) -> None:
        """One to the right."""
        self._move(0, 1)

    def action_up(self) -> None:
        """One up."""
        self._move(-1, 0)

    def action_down(self) -> None:
        """One down."""
        self._move(1, 0)

    def action_pan_left(self) -> None:
        """Half a window to the left."""
        self._pan(-1, 0)

    def action_pan_right(self) -> None:
        """To the right."""
        self._pan(1, 0)

    def action_pan_up(self) -> None:
        """Up."""
        self._pan(0, 1)

    def action_pan_down(self) -> None:
        """Down."""
        self._pan(0, -1)

    def _pan(self, right: int, up: int) -> None:
        if self._window is not None:
            at = self._at
            self._shift(right * self._window.width // 2, up * self._window.height // 2)
            self._at = at  # the cursor looks at another part
            self.paint()

    def action_zoom_in(self) -> None:
        """Nearer, around the cursor."""
        self._zoom(ZOOM)

    def action_zoom_out(self) -> None:
        """Further away."""
        self._zoom(1 / ZOOM)

    def _zoom(self, factor: float) -> None:
        if self._window is None or self._placed is None or not may_zoom(self._placed, self._window, factor):
            return
        self._corner = None
        window, point = self._window.zoomed(factor, *self._at), self._window.center(*self._at)
        if factor < 1:  # around a cursor at the edge, most of what comes in view would be beside the map
            window = window.kept_on(self._placed.head.frame)
            self._at = self._kept(window.place(*point), 0, 0)
        self.show_window(window)

    def action_reset(self) -> None:
        """The whole map."""
        if self._placed is not None and self._window is not None:
            self._corner = None
            self.show_window(whole(self._placed, self._window.width, self._window.height))

    @on(events.Click)
    def _clicked(self, event: events.Click) -> None:
        place = event.get_content_offset(self.query_one(MapCanvas))
        if place is not None and self._window is not None:
            self._at, self._pin, self._placed_cursor = self._kept((place.y, place.x), 0, 0), None, True
            self.paint()
            self.look()

    # ------------------------------------------------------------------------------------- what is shown

    def action_colour(self) -> None:
        """By the next."""
        self._colour_by(1)

    def action_colour_back(self) -> None:
        """By the one before."""
        self._colour_by(-1)

    def _colour_by(self, by: int) -> None:
        self._colour = COLOURS[(COLOURS.index(self._colour) + by) % len(COLOURS)]
        self._only, self._moved = None, False
        self.read_colour()

    def action_only(self) -> None:
        """The next class alone."""
        self._show_only(1)

    def action_only_back(self) -> None:
        """The one before."""
        self._show_only(-1)

    def _show_only(self, by: int) -> None:
        if self._coloured is None:
            return
        there = [None, *(at for at, one in enumerate(self._coloured.classes) if one.count)]
        at = there.index(self._only) if self._only in there else 0
        self._only = there[(at + by) % len(there)]
        self.bin()

    def action_marks(self) -> None:
        """Letters or dots."""
        self._marks = not self._marks
        self.draw_cells()
        self.paint()

    def action_moved(self) -> None:
        """Arrows or samples."""
        self._moved, self._only = not self._moved, None
        self.read_moves() if self._moved else self.bin()

    def action_range(self) -> None:
        """Begin a rectangle, or none."""
        self._corner = self._at if self._corner is None else None
        self.paint()
        self.look()

    def action_samples(self) -> None:
        """Those under the cursor, as a list."""
        if self._placed is not None and self._window is not None:
            self.go("samples", Order(self._placed.round, filter_of(self.area())))

    def action_older(self) -> None:
        """An earlier round."""
        self._to_round(-1)

    def action_newer(self) -> None:
        """A later round."""
        self._to_round(1)

    def _to_round(self, by: int) -> None:
        if self._round in self._rounds:
            at = self._rounds.index(self._round) + by
            self._round = self._rounds[min(len(self._rounds) - 1, max(0, at))]
        elif self._rounds:
            self._round = self._rounds[-1]
        self.action_reload()

    def action_back(self) -> None:
        """First take back what was set here, the last thing first; then to the screen before."""
        clears = self._clears()
        if clears == "rectangle":
            self.action_range()
        elif clears == "moves":
            self.action_moved()
        elif clears == "class":
            self._only = None
            self.bin()
        else:
            super().action_back()

    def aim(self, target: object) -> None:
        """A round, with the id of a sample or None."""
        if isinstance(target, tuple):
            self._round, self._wanted = target
            self._corner = None
            self.action_reload()
