"""The Map screen by its keys, and its picture as a pure function."""

from __future__ import annotations

import re
import shutil
import sqlite3
import threading
from pathlib import Path

import pytest
from textual.worker import Worker
from textual.worker_manager import WorkerManager

from engine.store.connect import transaction, writer
from middo_tui.app import MiddoApp
from middo_tui.feed.map_cells import MapCell, MapWindow, cells, filter_of, rounded
from middo_tui.feed.map_classes import MapClass
from middo_tui.feed.map_places import PlacedSamples, with_ids
from middo_tui.look.preferences import Preferences
from middo_tui.screens import map_reading
from middo_tui.screens.map import MapScreen
from middo_tui.screens.map_messages import CellsCounted
from middo_tui.widgets.lines import plain
from middo_tui.widgets.map_canvas import MapPicture, arrows, glyphs_of, map_lines, standing_out
from middo_tui.widgets.map_legend import MapLegendState, legend_lines
from tests.support import invented_project, maps
from tests.support.screens import screen_text, settle_all, until
from tests.support.stores import Store

ESCAPE = "\x1b]0;owned\x07\u202e"
WINDOW = MapWindow((0.0, 0.0, 8.0, 4.0), 8, 4)
CLASSES = (MapClass("·", "not selected", "series-2", 900), MapClass("Q", "quality", "quality", 4))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three rounds with maps; every prompt tries to take over the terminal."""
    return invented_project.make_hostile(tmp_path_factory.mktemp("map") / "p", ESCAPE)


def screen(app: MiddoApp) -> MapScreen:
    assert isinstance(app.screen, MapScreen)
    return app.screen


async def test_the_map_is_coloured_zoomed_and_listed(project: Path) -> None:
    app = MiddoApp(project, preferences=Preferences())
    async with app.run_test(size=(80, 24)) as pilot:
        await settle_all(pilot)
        await pilot.press("7")
        await until(pilot, "Map · round 2 · 600 samples by state · 17% of the variance")
        text = await until(pilot, "Under the cursor: ")
        assert re.search(r"\? \d+ undecided", text)
        await pilot.press("c", "c")
        text = await until(pilot, "by base loss")
        await until(pilot, "and above")
        await pilot.press("plus", "plus")
        await until(pilot, "2.6×")
        await settle_all(pilot)
        cursor = screen(app)._at
        await pilot.press("right", "up")
        assert screen(app)._at == (cursor[0] - 1, cursor[1] + 1)
        await pilot.press("0")
        await until(pilot, "Map · round 2 · 600 samples by base loss · 17% of the variance")
        assert "×" not in screen_text(app)
        assert "\x1b" not in screen_text(app)
        assert "\u202e" not in screen_text(app)


async def test_the_samples_of_a_rectangle_are_opened(project: Path) -> None:
    app = MiddoApp(project, preferences=Preferences())
    async with app.run_test(size=(80, 24)) as pilot:
        await settle_all(pilot)
        await pilot.press("7")
        await until(pilot, "Under the cursor: ")
        await pilot.press("v", *["left"] * 4, *["down"] * 2)
        await settle_all(pilot)
        text = await until(pilot, "In the rectangle: ")
        assert "┌" in text
        assert "⟨U+202E⟩" in text, "what was hidden in a prompt is seen"
        count = int(re.findall(r"In the rectangle: (\d+) sample", text)[0])
        assert count > 1
        await until(pilot, f"enter list {count}")
        await pilot.press("enter")
        text = await until(pilot, f"1 / {count}")
        assert "map:" in text
        assert "\x1b" not in text


async def test_zoomed_out_beyond_itself_the_map_is_in_the_middle(project: Path) -> None:
    app = MiddoApp(project, preferences=Preferences())
    async with app.run_test(size=(80, 24)) as pilot:
        await settle_all(pilot)
        await pilot.press("7")
        await until(pilot, "Under the cursor: ")
        await pilot.click("MapCanvas", offset=(1, 1))
        before = screen(app)._window
        assert before is not None
        place = before.center(*screen(app)._at)
        await pilot.press("minus", "minus")
        await settle_all(pilot)
        after = screen(app)._window
        assert after is not None
        middle = [(low + high) / 2 for low, high in zip(after.box[:2], after.box[2:], strict=True)]
        assert middle == pytest.approx(
            [(low + high) / 2 for low, high in zip(before.box[:2], before.box[2:], strict=True)]
        )
        assert after.place(*place) == screen(app)._at, "the cursor stays on its place of the map"


async def test_another_size_shows_the_same_part_and_the_cursor_stays_on_it(project: Path) -> None:
    app = MiddoApp(project, preferences=Preferences())
    async with app.run_test(size=(80, 24)) as pilot:
        await settle_all(pilot)
        await pilot.press("7", "plus")
        await until(pilot, "1.6×")
        await settle_all(pilot)
        before = screen(app)._window
        assert before is not None
        place = before.center(*screen(app)._at)
        await pilot.resize_terminal(140, 40)
        await settle_all(pilot)
        after = screen(app)._window
        assert after is not None
        assert after.box == before.box
        assert after.width > before.width
        assert after.place(*place) == screen(app)._at
        assert "1.6×" in screen_text(app)


async def test_one_class_letters_and_escape(project: Path) -> None:
    app = MiddoApp(project, preferences=Preferences())
    async with app.run_test(size=(80, 24)) as pilot:
        await settle_all(pilot)
        await pilot.press("7", "c")
        await until(pilot, "C ")
        await settle_all(pilot)
        await pilot.press("m", "tab", "tab")
        await settle_all(pilot)
        text = await until(pilot, "C 12 complexity")
        rows = text.splitlines()[2:-8]
        assert {sign for row in rows for sign in row} <= set(" C▸◂"), "only complexity, as letters"
        assert "600 samples by axis · only complexity" in text
        await pilot.press("escape")
        await settle_all(pilot)
        assert "D" in screen_text(app)
        await pilot.press("escape")
        await until(pilot, "loss")
        assert not isinstance(app.screen, MapScreen)


async def test_rounds_and_what_they_moved(project: Path) -> None:
    app = MiddoApp(project, preferences=Preferences())
    async with app.run_test(size=(140, 40)) as pilot:
        await settle_all(pilot)
        await pilot.press("7")
        await until(pilot, "Map · round 2")
        await settle_all(pilot)
        await pilot.press("t")
        text = await until(pilot, "that is taken out")
        assert set("→↗↑↖←↙↓↘•") & set(text)
        await pilot.press("left_square_bracket", "left_square_bracket")
        await until(pilot, "Map · round 0")
        await settle_all(pilot)
        await pilot.press("t")
        await until(pilot, "t is unavailable here")


async def test_a_click_moves_the_cursor_and_an_edge_moves_the_map(project: Path) -> None:
    app = MiddoApp(project, preferences=Preferences())
    async with app.run_test(size=(80, 24)) as pilot:
        await settle_all(pilot)
        await pilot.press("7")
        await until(pilot, "Under the cursor: ")
        await settle_all(pilot)
        await pilot.click("MapCanvas", offset=(78, 5))
        assert screen(app)._at == (5, 78)
        window = screen(app)._window
        assert window is not None
        place = window.center(5, 78)
        await pilot.press("right", "right")
        await settle_all(pilot)
        moved = screen(app)._window
        assert moved is not None
        assert moved.box[0] > window.box[0]
        row, column = screen(app)._at
        assert abs(moved.center(row, column)[0] - place[0]) < 2.1 * window.cell[0], "it stays where it was on the map"
        await pilot.press("escape", "7")
        await settle_all(pilot)
        assert screen(app)._window == moved, "it is as it was left"


async def test_a_sample_and_a_round_are_shown_on_it(project: Path) -> None:
    app = MiddoApp(project, preferences=Preferences())
    async with app.run_test(size=(120, 40)) as pilot:
        await settle_all(pilot)
        await pilot.press("2", "G", "m")
        await until(pilot, "Under the cursor: ")
        await settle_all(pilot)
        shown = screen(app)
        last = max(shown._pages.rows(shown._placed.ids, 2).values(), key=lambda row: row.seq) if shown._placed else None
        assert last is not None
        assert shown._placed is not None
        assert last.id in shown._placed.ids_within(shown.area())
        await pilot.press(*["plus"] * 8, "left", "2", "g", "m")
        await settle_all(pilot)
        first = min(shown._pages.rows(shown._placed.ids, 2).values(), key=lambda row: row.seq)
        assert first.id in shown._placed.ids_within(shown.area()), "outside of the window: the window goes there"
        await pilot.press("5", "g", "m")
        await until(pilot, "Map · round 0")


async def test_a_round_without_a_map_is_left_for_the_newest_that_has_one(project: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(project, copy)
    db = writer(copy)
    with transaction(db):
        db.execute("DELETE FROM artifact WHERE round=2")
    db.close()
    app = MiddoApp(copy, preferences=Preferences())
    async with app.run_test(size=(80, 24)) as pilot:
        await settle_all(pilot)
        await pilot.press("5", "G", "m")
        await until(pilot, "Round 2 has no map")
        await settle_all(pilot)
        await pilot.press("left_square_bracket")
        await until(pilot, "Map · round 1")


async def test_a_large_map_of_an_older_version_is_painted_before_its_samples_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = invented_project.make_hostile(tmp_path / "p", ESCAPE)
    maps.make_older(project / "artifacts" / "round-2" / "map" / "coordinates.map")
    monkeypatch.setattr(map_reading, "MANY", 1)
    painted: list[str] = []

    def slow(db: sqlite3.Connection, placed: PlacedSamples) -> PlacedSamples:
        assert shown.wait(30)
        return with_ids(db, placed)

    shown = threading.Event()
    monkeypatch.setattr(map_reading, "with_ids", slow)
    app = MiddoApp(project, preferences=Preferences())
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("7")
        painted.append(await until(pilot, "▸"))
        assert "600 samples" in painted[0]
        assert "Under the cursor" not in painted[0]
        shown.set()
        await until(pilot, "Under the cursor: ")
        await until(pilot, "undecided")


async def test_what_a_key_asks_for_is_not_written_out(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Textual describes a thread's work by the text of all that it is given, unless it is told otherwise."""
    described: list[str] = []
    add = WorkerManager.add_worker

    def noting(self: WorkerManager, worker: Worker[object], start: bool = True, exclusive: bool = True) -> None:
        described.append(worker.description)
        add(self, worker, start, exclusive)

    monkeypatch.setattr(WorkerManager, "add_worker", noting)
    app = MiddoApp(project, preferences=Preferences())
    async with app.run_test(size=(80, 24)) as pilot:
        for key in ("2", "slash", "a", "enter", "7", "l", "plus", "c"):
            await pilot.press(key)
            await settle_all(pilot)
    assert {"order", "pages", "search", "map", "cells", "look", "colour"} <= set(described)
    assert max(map(len, described)) < 200


async def test_cells_that_were_counted_for_another_colour_are_not_shown(project: Path) -> None:
    app = MiddoApp(project, preferences=Preferences())
    async with app.run_test(size=(80, 24)) as pilot:
        await settle_all(pilot)
        await pilot.press("7")
        await until(pilot, "undecided")
        await settle_all(pilot)
        shown = screen(app)
        number, placed, by, window = shown._count_number, shown._placed, shown._coloured, shown._window
        assert placed is not None
        assert by is not None
        assert window is not None
        await pilot.press("c")
        await until(pilot, "by axis")
        await settle_all(pilot)
        before = shown._glyphs
        late = CellsCounted(number, by, cells(placed, by.codes, window))
        shown.post_message(late)  # its thread was slow
        await pilot.pause()
        assert shown._glyphs == before
        shown._cells, shown._cells_by = late.found, late.by  # the count for the new colour is under way
        shown.draw_cells()
        assert shown._glyphs == glyphs_of(late.found, by.classes, marks=False) != before


async def test_a_project_without_a_map_says_what_makes_one(tmp_path: Path) -> None:
    Store(tmp_path / "P").plan().round(0, 1).db.close()
    app = MiddoApp(tmp_path / "P", preferences=Preferences())
    async with app.run_test(size=(80, 24)) as pilot:
        await settle_all(pilot)
        await pilot.press("7")
        await until(pilot, "Round 0 has no map yet: the score stage makes it.")


async def test_the_palette_finds_it(project: Path) -> None:
    app = MiddoApp(project, preferences=Preferences())
    async with app.run_test(size=(80, 24)) as pilot:
        await settle_all(pilot)
        await pilot.press("ctrl+p", *"map moved", "enter")
        await until(pilot, "that is taken out")
        assert isinstance(app.screen, MapScreen)


def test_a_rare_class_stands_out_among_few_and_where_it_is_more_than_chance() -> None:
    assert standing_out(MapCell(1, ((0, 7), (1, 1))), CLASSES) == 1
    assert standing_out(MapCell(1, ((0, 9),)), CLASSES) == 0
    assert standing_out(MapCell(1, ((0, 300), (1, 1))), CLASSES) == 0, "as many as there are anywhere"
    assert standing_out(MapCell(1, ((0, 300), (1, 4))), CLASSES) == 1
    even = tuple(MapClass(str(at), "", "", 100) for at in range(5))
    assert standing_out(MapCell(1, tuple((at, 20) for at in range(5))), even) is None
    assert standing_out(MapCell(1, ((0, 20), (1, 20), (2, 20), (3, 20), (4, 40))), even) == 4


def test_the_picture_without_colour() -> None:
    cells = {(0, 0): MapCell(0xFF, ((0, 3),)), (3, 7): MapCell(0x01, ((1, 1),))}
    picture = MapPicture(WINDOW, glyphs_of(cells, CLASSES, marks=True), (1, 4), (3, 1))
    assert plain(map_lines(picture, 8, 4)) == "·\n ┌─▸┐◂\n │  │\n └──┘  Q"
    dots = MapPicture(WINDOW, glyphs_of(cells, CLASSES, marks=False), (1, 4))
    assert plain(map_lines(dots, 8, 4)) == "⣿\n   ▸ ◂\n\n       ⠁"


def test_arrows_go_from_the_mean_of_a_cell_to_the_mean_of_where_its_samples_went() -> None:
    ways = (((0.5, 0.5), (6.5, 0.5)), ((0.6, 0.5), (6.5, 0.6)), ((2.1, 3.5), (2.2, 3.4)), ((90.0, 0.0), (0.0, 0.0)))
    found = arrows(ways, WINDOW)
    assert found[3, 6] == ("→", "active-strong")
    assert found[0, 2] == ("•", "active"), "it stayed in its cell"
    assert {row for row, _ in found} == {0, 3}, "what began outside of the window is left out"


def test_a_legend_gives_way_before_it_drops_a_class() -> None:
    many = tuple(MapClass(str(at), "a name that is rather long " * 2, "", at + 1) for at in range(6))
    rows = legend_lines(MapLegendState(many), 80)
    assert len(rows) == 2
    assert all(f" {at} {at + 1} a" in plain(rows) for at in range(6))
    assert len(legend_lines(MapLegendState(many, column=True), 40)) == 6


def test_a_class_alone_has_a_sign_in_the_legend() -> None:
    for column in (False, True):
        rows = legend_lines(MapLegendState(CLASSES, only=1, column=column), 80)
        assert "▸Q 4 quality" in plain(rows)
        assert " · 900 not selected" in plain(rows)


def test_the_rectangle_that_is_counted_is_the_one_that_is_written() -> None:
    area = (0.123456789, -1.0 / 3, 2.0 / 3, 1e-9)
    assert filter_of(rounded(area)) == filter_of(area) == "map:0.123457,-0.333333,0.666667,1e-09"
