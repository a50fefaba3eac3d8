"""The Thresholds screen on real stores: what it shows is what the select stage then selects, whatever the cut."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from engine.selection.preview.counts import Preview
from middo_tui.app import MiddoApp
from middo_tui.feed import thresholds as feed
from middo_tui.screens.thresholds.screen import ThresholdsScreen
from middo_tui.widgets.histogram import Histogram
from tests.support import rounds, stores
from tests.support.screens import screen_text, until
from tests.support.threshold_projects import Cuts, spread
from tests.support.thresholds_screen import LARGE, NARROW, counts_shown, opened

pytestmark = pytest.mark.usefixtures("prepared_here")


# ------------------------------------------------------------------------------------ what is shown


@pytest.mark.parametrize("size", [NARROW, LARGE])
async def test_all_parts_are_there(tmp_path: Path, size: tuple[int, int]) -> None:
    Cuts(tmp_path / "p", spread())
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=size) as pilot:
        await opened(pilot)
        text = await until(pilot, "ask ")
    parts = (
        "[C complexity",
        "D diversity",
        "base loss  μ + 1.00σ",
        "tuned loss",
        "just selected",
        "just inside",
        "teacher",
    )
    assert [part for part in parts if part not in text] == []
    assert "rewrites" in text
    assert "tab axis" in text
    assert max(len(row) for row in text.split("\n")) <= size[0]


async def test_every_key_press_paints_the_previews_counts(tmp_path: Path) -> None:
    Cuts(tmp_path / "p", spread())
    preview = Preview.load(tmp_path / "p", 0)
    app = MiddoApp(tmp_path / "p")
    m = dict(preview.configured)
    async with app.run_test(size=NARROW) as pilot:
        await opened(pilot)
        for axis, right in (("complexity", 1), ("diversity", -1), ("quality", -1)):
            for key, by in (("H", -0.1), ("H", -0.1), ("h", -0.01), ("l", 0.01), ("left", -0.01), ("L", 0.1)):
                await pilot.press(key)
                await pilot.pause()
                m[axis] = round(m[axis] + right * by, 6)  # type: ignore[index]
                text = screen_text(app)
                assert counts_shown(text) == preview.counts(m).selected
                assert f"{abs(m[axis]):.2f}σ" in text  # type: ignore[index]
            await pilot.press("tab")


async def test_what_is_shown_is_what_select_then_selects(tmp_path: Path) -> None:
    made = Cuts(tmp_path / "p", spread())
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=NARROW) as pilot:
        await opened(pilot)
        await pilot.press("H", "H", "H", "tab", "L", "L", "h", "tab", "H", "l")
        await pilot.pause()
        shown = counts_shown(screen_text(app))
        await pilot.press("enter")
        await until(pilot, "Round 0 will use these thresholds.")
    made.run("select")
    assert made.selected() == shown
    assert all(shown.values())


async def test_another_screen_lets_the_round_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Cuts(tmp_path / "p", spread())
    app = MiddoApp(tmp_path / "p")
    rested: list[Preview] = []
    monkeypatch.setattr(Preview, "rest", lambda preview: rested.append(preview))
    async with app.run_test(size=NARROW) as pilot:
        screen = await opened(pilot)
        assert screen._loaded is not None
        await pilot.press("1")
        await pilot.pause()
        assert rested == [screen._loaded.preview]


async def test_tab_goes_round_the_axes_and_complexity_has_two_pictures(tmp_path: Path) -> None:
    Cuts(tmp_path / "p", spread())
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=NARROW) as pilot:
        screen = await opened(pilot)
        pictures = []
        for key in ("tab", "tab", "tab", "shift+tab"):
            pictures.append((screen.axis, sum(h.display for h in screen.query(Histogram))))
            await pilot.press(key)
        assert pictures == [("complexity", 2), ("diversity", 1), ("quality", 1), ("complexity", 2)]
        assert screen.axis == "quality"


async def test_samples_beside_the_cut_are_the_nearest_ones(tmp_path: Path) -> None:
    made = Cuts(tmp_path / "p", spread())
    preview = Preview.load(tmp_path / "p", 0)
    selected, kept = preview.margin("diversity", 1.0, 1)
    places = {s.id: s.seq for s in rounds.dataset(made)}
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=NARROW) as pilot:
        await opened(pilot)
        await pilot.press("tab")
        text = await until(pilot, f"ask {places[kept[0].id]} please")
    row = text.split("\n")[next(i for i, row in enumerate(text.split("\n")) if "just inside" in row) + 1]
    assert f"ask {places[selected[0].id]} please" in row
    assert row.index("ask") < row.index(f"ask {places[kept[0].id]} please")


async def test_the_round_before_is_beside_it(tmp_path: Path) -> None:
    made = Cuts(tmp_path / "p", spread())
    made.run("select")
    made.stand(0, "rewrite", "verify", "review", "merge")
    rounds.open_round(made, 1)
    rounds.signal(made, spread(seed=8), round=1)
    made.stand(1, "train", "score", "judge", "evaluate")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=NARROW) as pilot:
        screen = await opened(pilot)
        text = await until(pilot, "round 0")
        assert "floor" in text
        assert re.search(rf"round 0 +{made.selected()['complexity']}\b", text)
        while not screen._before:
            await pilot.pause(0.01)
        bins = screen._before["quality"]
    assert sum(bins.counts) == pytest.approx(len(spread()))


def test_the_bins_of_the_round_before_hold_all_its_values(tmp_path: Path) -> None:
    made = Cuts(tmp_path / "p", spread())
    rounds.open_round(made, 1)
    values = [*spread(seed=9)[:-2], (9.0, 8.0, 0.01, 0.1), (None, None, None, None)]
    rounds.signal(made, values, round=1)
    loaded = feed.load(tmp_path / "p", 1)
    before = feed.round_before(tmp_path / "p", loaded)
    assert {round(sum(bins.counts), 6) for bins in before.values()} == {len(values) - 1}
    assert feed.round_before(tmp_path / "p", feed.load(tmp_path / "p", 0)) == {}
    made.run("select")  # keeps round 0's values, in order
    assert feed.round_before(tmp_path / "p", loaded) == before


# --------------------------------------------------------------------------------------- odd stores


async def test_without_signals_it_says_how_to_get_them(tmp_path: Path) -> None:
    stores.Store(tmp_path / "p").plan().round(0, 1)
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=NARROW) as pilot:
        await pilot.press("3")
        text = await until(pilot, "Round 0 has no signals yet. Press 1, then enter")
        await pilot.press("h", "enter", "m", "o", "equals_sign")
        await pilot.pause()
        assert isinstance(app.screen, ThresholdsScreen)
    assert "apply" not in text


@pytest.mark.parametrize("want", ["run", "pause"])
async def test_a_running_round_says_when_they_come(tmp_path: Path, want: str) -> None:
    """Also while it pauses: nothing can be started then."""
    store = stores.Store(tmp_path / "p").plan(want=want).round(0).job(0, "train", "running", 180, stores.STEPS).worker()
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=NARROW) as pilot:
        await pilot.press("3")
        await until(pilot, "compute the signals of round 0; train is at 45%")
    store.db.close()


async def test_signals_that_come_while_one_looks(tmp_path: Path) -> None:
    made = Cuts(tmp_path / "p", spread())
    made.stand(0, "score", "judge", state="pending")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=NARROW) as pilot:
        await pilot.press("3")
        await until(pilot, "has no signals yet")
        made.stand(0, "score", "judge")
        await until(pilot, "past threshold")


async def test_without_ratings_the_other_axes_can_be_cut(tmp_path: Path) -> None:
    Cuts(tmp_path / "p", [(a, b, c, None) for a, b, c, _ in spread()])
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=NARROW) as pilot:
        await opened(pilot)
        await until(pilot, "No sample has quality: quality selects nothing.")
        await pilot.press("shift+tab")
        await until(pilot, "no sample has this signal")
        await pilot.press("h", "H", "m")
        text = screen_text(app)
    shown = counts_shown(text)
    assert shown["quality"] == 0
    assert shown["complexity"] > 0


async def test_some_samples_without_signals(tmp_path: Path) -> None:
    values = [(None, None, c, d) if i % 3 else (a, b, None, d) for i, (a, b, c, d) in enumerate(spread())]
    made = Cuts(tmp_path / "p", values)
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=NARROW) as pilot:
        await opened(pilot)
        shown = counts_shown(screen_text(app))
    made.run("select")
    assert made.selected() == shown


async def test_samples_that_are_all_the_same(tmp_path: Path) -> None:
    Cuts(tmp_path / "p", [(1.5, 1.0, 0.8, 6.0)] * 20)
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=NARROW) as pilot:
        await opened(pilot)
        await until(pilot, "All samples have the same base loss: no threshold can separate them.")
        await pilot.press("h", "l", "H", "tab", "L")
        await pilot.pause()
        assert set(counts_shown(screen_text(app)).values()) == {0}


async def test_a_single_sample(tmp_path: Path) -> None:
    Cuts(tmp_path / "p", [(1.5, 1.0, 0.8, 6.0)])
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=NARROW) as pilot:
        await opened(pilot)
        for _ in range(3):
            await pilot.press("tab", "h", "L")
        await pilot.pause()
        assert set(counts_shown(screen_text(app)).values()) == {0}


async def test_a_broken_config_says_where(tmp_path: Path) -> None:
    Cuts(tmp_path / "p", spread())
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=NARROW) as pilot:
        (tmp_path / "p" / "config.toml").write_text("[select]\nm_complexty = 1\n", encoding="utf-8")
        await pilot.press("3")
        await until(pilot, "[select] m_complexty: no such key")
