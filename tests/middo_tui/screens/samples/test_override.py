"""Dropping, protecting and requesting a rewrite from the Samples screen: one sample, marked ones, and back."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

from engine.store.connect import reader
from engine.store.overrides import current
from middo_tui.app import MiddoApp
from tests.support.screens import until
from tests.support.stores import Store, finished


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
        assert app.last_command == f"middo-tui override {quote(str(tmp_path / 'p'))} --drop 0"
        await pilot.press("space", "space", "d")
        await until(pilot, "Override what happens to 2 samples.")
        await pilot.press("q")
        await until(pilot, "2 samples will be selected next.")
        assert app.last_command == f"middo-tui override {quote(str(tmp_path / 'p'))} --rewrite quality 0 1"
        assert sorted(wanted(tmp_path / "p")) == [("rewrite", "quality")] * 2
        await until(pilot, " + ")
        await pilot.press("d", "u")
        await until(pilot, "2 samples: the signals decide again.")
        assert wanted(tmp_path / "p") == []


async def test_enter_alone_never_drops_a_sample(tmp_path: Path) -> None:
    Store(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("2")
        await until(pilot, "d override")
        await pilot.press("d", "enter")
        await until(pilot, "1 sample protected: never rewritten or retired.")
        assert wanted(tmp_path / "p") == [("protect", None)]


async def test_a_finished_project_opens_on_the_newest_scored_dataset(tmp_path: Path) -> None:
    finished(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("2")
        await until(pilot, "dataset of round 1")
        await pilot.press("d")
        await until(pilot, "d is unavailable here: it works on the newest dataset. Press ] to go there.")
        await pilot.press("right_square_bracket")
        await until(pilot, "dataset of round 2")
        await pilot.press("j")
        await until(pilot, "Not scored: the final evaluation scores no samples.")
