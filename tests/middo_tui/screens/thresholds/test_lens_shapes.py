"""How the lenses of a round are distributed: figures from the store, histograms on a screen of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from textual.app import App

from engine.store import read
from engine.store.rows import Lenses, Losses
from middo_tui.feed import lens_shapes
from middo_tui.feed.orders import Order
from middo_tui.screens.thresholds.lens_shapes import LensShapes
from tests.support import tiny
from tests.support.screens import until

COUNT = 200


@pytest.fixture
def made(tmp_path: Path) -> tiny.Project:
    """Ends of turn from 0 to 19.9, no IFD, one value of worst windows."""
    out = tiny.Project(tmp_path, tiny.make_config(tmp_path), tiny.chats(COUNT))
    ids = [s.id for s in read.dataset(out.db, 0)]
    losses = [Losses(0, id, 1.0, 1.0, 2, 2) for id in ids]
    out.ctx("score").save([*losses, *(Lenses(0, id, i / 10, None, None, 2.0, 0, 1) for i, id in enumerate(ids))])
    return out


def test_figures_are_those_of_the_values(made: tiny.Project) -> None:
    end, ifd, window = lens_shapes.load(made.folder, 0)
    values = np.arange(COUNT) / 10
    assert (end.count, end.median, end.high, end.highest) == (COUNT, 10.0, 19.0, 19.9)
    assert end.bins is not None
    assert sum(end.bins.counts) == COUNT
    assert end.bins.low <= values[1]
    assert (ifd.count, ifd.bins) == (0, None)
    assert window.bins is not None
    assert (window.bins.low, window.bins.high, window.median) == (2.0, 2.0, 2.0)


@pytest.mark.parametrize("name", lens_shapes.LENSES)
def test_a_quantile_comes_from_the_index(made: tiny.Project, name: str) -> None:
    sql = f"SELECT {name} FROM signal WHERE round=? AND {name} IS NOT NULL ORDER BY {name} LIMIT 1 OFFSET ?"
    plan = " ".join(row[3] for row in made.db.execute(f"EXPLAIN QUERY PLAN {sql}", (0, 5)))
    assert f"USING COVERING INDEX signal_by_{name}" in plan
    assert "TEMP B-TREE" not in plan


class Shown(App[None]):
    """The screen by itself."""

    asked: Order | None = None

    def __init__(self, project: Path) -> None:
        super().__init__()
        self.project = project

    def on_mount(self) -> None:
        self.push_screen(LensShapes(self.project, 0), self.take)

    def take(self, order: Order | None) -> None:
        self.asked = order


async def test_the_screen_shows_them_and_lists_the_worst(made: tiny.Project) -> None:
    app = Shown(made.folder)
    async with app.run_test(size=(80, 24)) as pilot:
        text = await until(pilot, "highest 19.90")
        assert "end of turn  median 10.00 · 95% below 19.00 · highest 19.90  the last token" in text
        assert "IFD: no sample of this round has one." in text
        assert "worst window  median 2.00" in text
        await pilot.press("o")
        await pilot.pause()
        assert app.asked == Order(0, "", "flaw", down=True)


async def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    async with Shown(tmp_path).run_test(size=(80, 24)) as pilot:
        assert "middo-tui" in await until(pilot, "no project here")
