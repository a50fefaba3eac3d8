"""The Lineage screen on real stores, driven by keys."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.pilot import Pilot

from engine.store.rows import Sample
from middo_tui.app import MiddoApp
from middo_tui.feed.lineage import compared, family
from middo_tui.screens.lineage import LineageScreen
from middo_tui.terminal.guard import clean
from middo_tui.widgets.family_list import Rows, entries, family_lines, fate, life
from middo_tui.widgets.lineage_charts import FamilySignals, charts, line_of, lineage_charts
from middo_tui.widgets.lines import plain, width_of
from middo_tui.widgets.version_pane import VersionPaneState, pane_lines
from tests.support import families
from tests.support.families import BETTER, FIRST, SIMPLER
from tests.support.hostile import CORPUS
from tests.support.screens import screen_text, until
from tests.support.stores import Store

SIZES = [(80, 24), (140, 40)]


async def opened(pilot: Pilot[int], part: str, at: int | None = None) -> LineageScreen:
    """The screen, aimed at a sample, once ``part`` is painted."""
    if at is None:
        await pilot.press("6")
    else:
        pilot.app.framed.go("lineage", at)  # type: ignore[attr-defined]
    await until(pilot, part)
    assert isinstance(pilot.app.screen, LineageScreen)
    return pilot.app.screen


@pytest.fixture
def project(tmp_path: Path) -> Path:
    families.family(tmp_path / "p")
    return tmp_path / "p"


@pytest.mark.parametrize("size", SIZES)
async def test_it_begins_with_the_most_changed_and_opens_one(project: Path, size: tuple[int, int]) -> None:
    app = MiddoApp(project)
    async with app.run_test(size=size) as pilot:
        await opened(pilot, "2 rewrites, 4 versions")
        assert "rewritten most often" in screen_text(app)
        await pilot.press("enter")
        await until(pilot, "was imported")
        for part in ("#3◂", "Q #120", "C #121", "D #122", "✘ rejected"):
            assert part in screen_text(app)
        await pilot.press("s")
        await until(pilot, "2 rewrites, 4 versions")


async def test_another_screen_asks_for_a_version_and_the_cursor_is_on_it(project: Path) -> None:
    app = MiddoApp(project)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, "C #121 replaced #120 in round 1 (complexity)", SIMPLER.id)
        await until(pilot, "{+very+}")
        assert "by the review policy" in screen_text(app)


async def test_moving_tells_how_each_came_to_be(project: Path) -> None:
    app = MiddoApp(project)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, "was imported", FIRST.id)
        await pilot.press("j")
        await until(pilot, "rejected on the command line")
        assert "why: changes the facts" in screen_text(app)
        await pilot.press("j")
        await until(pilot, "accepted in the app")
        assert "edited by hand" in screen_text(app)
        await pilot.press("j")
        await until(pilot, "why: no JSON in 3 replies")
        await until(pilot, "no text: the teacher")
        await pilot.press("G")
        await until(pilot, "D #122 was inspired by #120 in round 1")
        await pilot.press("g")
        await until(pilot, "was imported")


async def test_tab_gives_the_keys_to_the_text(project: Path) -> None:
    app = MiddoApp(project)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot, "accepted in the app", BETTER.id)
        await until(pilot, "{+useful+}")
        await pilot.press("tab")
        await until(pilot, "tab versions")
        row = screen._at
        await pilot.press("j", "j", "k")
        assert screen._at == row
        await pilot.press("tab", "k")
        assert screen._at == row - 1


async def test_a_sample_is_found_by_words_by_place_and_not_at_all(project: Path) -> None:
    app = MiddoApp(project)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, "2 rewrites")
        await pilot.press("slash", *"useful", "enter")
        await until(pilot, "Samples that match: useful")
        assert "#121" in screen_text(app)
        await pilot.press("slash", "number_sign", "7", "enter")
        await until(pilot, "○ #7 was imported")
        await pilot.press("slash", *"zzz", "enter")
        await until(pilot, "Nothing found for: zzz")
        await pilot.press("slash", "escape")
        await until(pilot, "Nothing found for: zzz")


async def test_what_is_no_sample_is_told_and_the_list_is_there(project: Path) -> None:
    app = MiddoApp(project)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, "No sample 12345", 12345)
        await until(pilot, "2 rewrites, 4 versions")


async def test_without_rewrites_it_says_when_there_will_be_some(tmp_path: Path) -> None:
    Store(tmp_path / "p")
    app = MiddoApp(tmp_path / "p")
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, "No sample has been rewritten yet")
        for key in ("j", "enter", "tab", "o", "r", "s", "pagedown"):
            await pilot.press(key)
        assert isinstance(app.screen, LineageScreen)


async def test_going_on_to_samples_and_review(project: Path) -> None:
    app = MiddoApp(project)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot, "accepted in the app", BETTER.id)
        went: list[tuple[str, object]] = []
        screen.go = lambda screen, target=None: went.append((screen, target))  # type: ignore[method-assign]
        await pilot.press("o", "r")
        assert went == [("samples", BETTER.id), ("review", (0, FIRST.id, "quality"))]


async def test_a_new_version_appears(project: Path) -> None:
    store_project = project
    app = MiddoApp(store_project)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot, "C #121 replaced", SIMPLER.id)
        from engine.store import write
        from engine.store.connect import writer

        db = writer(store_project)
        newer = families.child("Name 3 most useful things.", SIMPLER, "quality", 3, 123)
        write.replace(db, 2, [newer], [SIMPLER.id], [])
        db.execute("UPDATE job SET state='done' WHERE round=2 AND stage='evaluate'")
        db.close()
        await until(pilot, "Q #123")
        assert screen._entry is not None
        assert screen._entry.version.id == SIMPLER.id


# ------------------------------------------------------------------------------------------------ drawing


@pytest.mark.parametrize("width", [80, 140])
def test_everything_fits(project: Path, width: int) -> None:
    found = family(project, FIRST.id)
    assert found is not None
    rows = entries(found)
    assert len(rows) == 6
    assert [(life(v), fate(v)) for v in found.versions][:3] == [("0", "replaced"), ("1", "replaced"), ("2-", "current")]
    for at, entry in enumerate(rows):
        sections = compared(project, entry.version.id, entry.attempt)
        lines = [
            *family_lines(Rows(rows, FIRST.id, at), width, 7),
            *pane_lines(VersionPaneState(found, entry, sections), width),
        ]
        assert all(width_of(line) <= width for line in lines)


def test_a_page_holds_the_cursor(project: Path) -> None:
    rows = entries(family(project, FIRST.id))
    for at in range(len(rows)):
        assert "▸" in plain(family_lines(Rows(rows, 0, at), 80, 3))


@pytest.mark.parametrize("name", [name for name in CORPUS if name != "lone surrogate"])
def test_hostile_texts_are_shown_clean(tmp_path: Path, name: str) -> None:
    store = Store(tmp_path / "p").round(0, 9)
    evil = CORPUS[name]
    made = Sample(7, families.text(evil, evil), seq=900, parent_id=FIRST.id, axis="quality", born_round=1)
    families.save(store, 0, "verify", families.rewrite(FIRST, 0, "complexity", "rejected", made, reason=evil))
    families.bear(store, 0, [made], [FIRST])
    found = family(tmp_path / "p", 7)
    assert found is not None
    for at, entry in enumerate(entries(found)):
        sections = compared(tmp_path / "p", entry.version.id, entry.attempt)
        painted = plain(
            [
                *family_lines(Rows(entries(found), 7, at), 80, 7),
                *pane_lines(VersionPaneState(found, entry, sections), 80),
            ]
        )
        assert clean(painted).hidden == 0


# --------------------------------------------------------------------------------- where there is room


async def test_a_replaced_sample_stands_beside_what_replaced_it(project: Path) -> None:
    app = MiddoApp(project)
    async with app.run_test(size=(140, 40)) as pilot:
        await opened(pilot, "compared with #120, which replaced it", FIRST.id)
        await until(pilot, "{+useful+}")
        await pilot.resize_terminal(80, 24)
        await until(pilot, "user · unchanged")
        assert "compared with" not in screen_text(app), "one below the other the sample's own text comes first"


@pytest.mark.parametrize("size", [(140, 40), (200, 50)])
async def test_signals_over_the_rounds_are_drawn_where_there_is_room(project: Path, size: tuple[int, int]) -> None:
    app = MiddoApp(project)
    async with app.run_test(size=size) as pilot:
        await opened(pilot, "was imported", FIRST.id)
        text = await until(pilot, "losses  round ")
        assert "base ━" in text
        assert "quality  round " in text


def test_the_line_of_a_version_goes_from_its_first_ancestor_to_what_is_current(project: Path) -> None:
    found = family(project, FIRST.id)
    assert found is not None
    expected = [FIRST.id, BETTER.id, SIMPLER.id]
    assert [[one.id for one in line_of(found, id)] for id in expected] == [expected] * 3
    assert charts(FamilySignals(found, FIRST.id))
    assert charts(FamilySignals(None, None)) == []


@pytest.mark.parametrize("width", [40, 80, 139, 199])
def test_charts_stay_within_their_width(project: Path, width: int) -> None:
    rows = lineage_charts(FamilySignals(family(project, FIRST.id), FIRST.id), width, 9)
    assert all(width_of(row) <= width for row in rows)
    assert len(rows) == 9
