"""Dropping, protecting and requesting a rewrite from the Samples screen: one sample, marked ones, and back."""

from __future__ import annotations

from pathlib import Path

from engine.store.connect import reader
from engine.store.overrides import current
from middo_tui.app import MiddoApp
from tests.support.screens import until
from tests.support.stores import Store


def wanted(project: Path) -> list[tuple[str, str | None]]:
    db = reader(project)
    try:
        return [(one.action, one.axis) for one in current(db).values()]
    finally:
        db.close()


async def test_one_sample_then_all_marked_ones_then_none(tmp_path: Path) -> None:
    Store(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("2")
        await until(pilot, "d override")
        await pilot.press("d")
        await until(pilot, "Override what happens to this sample.")
        await pilot.press("d")
        await until(pilot, "1 sample will leave the dataset at the next merge.")
        assert wanted(tmp_path / "p") == [("drop", None)]
        await pilot.press("space", "space", "d")
        await until(pilot, "Override what happens to 2 samples.")
        await pilot.press("q")
        await until(pilot, "2 samples will be selected next.")
        assert sorted(wanted(tmp_path / "p")) == [("rewrite", "quality")] * 2
        await until(pilot, " + ")
        await pilot.press("d", "u")
        await until(pilot, "2 samples: the signals decide again.")
        assert wanted(tmp_path / "p") == []
