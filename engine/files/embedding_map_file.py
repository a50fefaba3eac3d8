"""The embedding map of a round as a file: two coordinates of every sample, eight bytes together, sorted by the first,
and the samples' ids.

Coordinates are whole numbers from 0 to 65,535 between the ends of an axis. Sorted by the first one, what lies in a
window is found without looking at the rest, and every n-th of them is a fair picture of all, so that a reader without
numpy paints half a million samples at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from msgspec import Struct

from engine.files import mapped_file
from engine.files.mapped_file import Sections

MAP = "map"
"""The artifact's name."""
NAME = "coordinates.map"
STEPS = 65_535
FORMAT = 2
WITHOUT_IDS = 1
"""The format before, which is still read; its ``dataset`` is a ``digest``."""

Box = tuple[float, float, float, float]
"""A rectangle of the map: left, lower, right, upper."""


class MapHead(Struct, frozen=True):
    """What a map says of itself.

    ``rows``: samples of the round's dataset, with or without a place. ``basis_round``: the round whose principal axes
    these are; maps of one basis can be laid over each other. ``space``: model and embedding that the axes are of.
    ``shares``: of this round's variance along each axis, 0 to 1. ``ends``: what 0 and ``STEPS`` stand for on each axis,
    as left, lower, right, upper. ``frame``: a window without the outermost samples. ``dataset``: ``sums`` of its ids.
    """

    rows: int
    basis_round: int
    space: str
    shares: tuple[float, float]
    ends: Box
    frame: Box
    dataset: str


def digest(ids: bytes) -> str:
    """What tells one dataset's ids (int64, ascending) from another's."""
    return hashlib.blake2b(ids, digest_size=16).hexdigest()


def sums(count: int, high: int, low: int) -> str:
    """What tells one dataset from another, and a database finds without giving out its ids: how many there are, and the
    sums of their upper and of their lower 32 bits.
    """
    return f"{count} {high} {low}"


def write(out: BinaryIO, head: MapHead, order: bytes, x: bytes, y: bytes, basis: bytes, ids: bytes) -> None:
    """Write the file. ``ids``: int64, the dataset's, rising. ``order``: uint32 per placed sample, its rank among them;
    ``x`` (rising) and ``y``: uint16. ``basis``: float64, the mean and then the two axes.
    """
    facts = {"format": FORMAT, **{name: getattr(head, name) for name in MapHead.__struct_fields__}}
    mapped_file.write(out, facts, {"order": order, "x": x, "y": y, "basis": basis, "ids": ids})


class MapFile:
    """An open map, mapped into memory. ``order``, ``x``, ``y``, ``ids``: as they were written (``ids`` is empty in one
    of the format before); ``basis``: float64.
    """

    def __init__(self, path: Path) -> None:
        """Raises OSError: it cannot be read. ValueError: it is no map, or of another format."""
        if why := mapped_file.cut_off(path):
            raise ValueError(f"{path}: {why}")
        with path.open("rb") as file:
            try:
                self._parts = parts = Sections(file)
                facts: dict[str, Any] = parts.head
                if facts.pop("format", None) not in (FORMAT, WITHOUT_IDS):
                    raise ValueError(f"{path}: a map of another version")
                self.head = MapHead(**{name: _tuple(value) for name, value in facts.items()})
                self.order: Sequence[int] = parts.integers("order", "I")
                self.x: Sequence[int] = parts.integers("x", "H")
                self.y: Sequence[int] = parts.integers("y", "H")
                self.ids: Sequence[int] = parts.integers("ids", "q") if parts.has("ids") else ()
                self.basis: Sequence[float] = parts.floats("basis")
            except (TypeError, KeyError, AttributeError) as error:
                raise ValueError(f"{path}: damaged ({error})") from None
        if not len(self.x) == len(self.y) == len(self.order):
            raise ValueError(f"{path}: damaged, its parts have different lengths")
        if len(self.ids) not in (0, self.head.rows):
            raise ValueError(f"{path}: damaged, {len(self.ids):,} ids of {self.head.rows:,} samples")

    def rest(self) -> None:
        """Hold no memory until something is looked at again."""
        self._parts.rest()


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
