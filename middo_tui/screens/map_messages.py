"""What the Map screen's threads say when they have read something."""

from __future__ import annotations

from collections.abc import Mapping

from textual.message import Message

from engine.files.embedding_map_file import Box
from middo_tui.feed.map_cells import MapCell
from middo_tui.feed.map_classes import Coloured
from middo_tui.feed.map_moves import Moves
from middo_tui.feed.map_places import PlacedSamples
from middo_tui.widgets.map_legend import MapCellState


class MapRead(Message):
    """The map of a round has been read, or why not. ``asked``: the round that was asked for, None: the newest."""

    def __init__(
        self, asked: int | None, placed: PlacedSamples | None, rounds: tuple[int, ...], problem: str = ""
    ) -> None:
        super().__init__()
        self.asked, self.placed, self.rounds, self.problem = asked, placed, rounds, problem


class ColourRead(Message):
    """The classes of a map's samples have been read."""

    def __init__(self, placed: PlacedSamples, found: Coloured) -> None:
        super().__init__()
        self.placed, self.found = placed, found


class MovesRead(Message):
    """Where rewritten samples went has been read, or why not."""

    def __init__(self, placed: PlacedSamples, found: Moves | None, problem: str = "") -> None:
        super().__init__()
        self.placed, self.found, self.problem = placed, found, problem


class CellsCounted(Message):
    """The cells of a window have been counted. ``count``: the number of the count; ``by``: its classes."""

    def __init__(self, count: int, by: Coloured | None, found: Mapping[tuple[int, int], MapCell]) -> None:
        super().__init__()
        self.count, self.by, self.found = count, by, found


class CellRead(Message):
    """What is under the cursor has been read. ``by``: the classes it was counted by."""

    def __init__(self, area: Box, by: Coloured | None, found: MapCellState) -> None:
        super().__init__()
        self.area, self.by, self.found = area, by, found
