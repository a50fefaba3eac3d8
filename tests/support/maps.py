"""Small maps with places that a test chooses."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from engine.files import embedding_map_file, mapped_file
from engine.files.embedding_map_file import MapFile
from engine.signals.embedding_map import Basis, MapPlaces, save
from middo_tui.feed.map_places import PlacedSamples


def placed(path: Path, places: Sequence[tuple[float, float] | None], round: int = 0, basis: int = 0) -> PlacedSamples:
    """A map on which sample ``10 + n`` lies at ``places[n]``; None: nowhere."""
    ids = [10 + at for at in range(len(places))]
    where = np.array([(np.nan, np.nan) if place is None else place for place in places], dtype=np.float64)
    save(path, ids, MapPlaces(where, (0.5, 0.25)), Basis(basis, np.zeros(2), np.eye(2)), "space")
    return PlacedSamples(round, MapFile(path), array("q", ids))


def make_older(path: Path) -> None:
    """Write the map again as the first version did: without ids."""
    parts = mapped_file.Sections(path.open("rb"))
    dataset = embedding_map_file.digest(parts.part("ids").tobytes())
    with path.with_suffix(".older").open("wb") as out:
        kept = {name: parts.part(name).tobytes() for name in ("order", "x", "y", "basis")}
        mapped_file.write(out, parts.head | {"format": embedding_map_file.WITHOUT_IDS, "dataset": dataset}, kept)
    path.with_suffix(".older").replace(path)
