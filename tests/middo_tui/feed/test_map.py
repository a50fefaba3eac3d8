"""The embedding map as the app reads it: windows and rectangles, cells of the terminal, classes, moves."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import UsageError
from engine.store.connect import reader, transaction, writer
from middo_tui.feed.filters import FilterError, parse
from middo_tui.feed.map_cells import DOTS, MapWindow, cells, magnification, may_zoom, whole
from middo_tui.feed.map_classes import COLOURS, STATES, coloured
from middo_tui.feed.map_moves import Affine, fitted, moves
from middo_tui.feed.map_places import mapped_rounds, open_map
from middo_tui.feed.orders import Order
from middo_tui.feed.pages import Pages
from tests.support import invented_project, maps
from tests.support.stores import Store

CORNERS = [(0.0, 0.0), (0.0, 3.0), (4.0, 0.0), (4.0, 3.0), (1.0, 2.0), None]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return invented_project.make(tmp_path_factory.mktemp("map") / "p")


def test_a_rectangle_has_its_left_and_lower_edges_but_not_the_others(tmp_path: Path) -> None:
    found = maps.placed(tmp_path / "m.map", CORNERS)
    assert len(found) == 5
    assert sorted(found.ids_within((-1, -1, 9, 9))) == [10, 11, 12, 13, 14]
    assert found.ids_within((0.0, 0.0, 4.0, 3.0)) == [10, 14]
    assert found.ids_within((1.0, 2.0, 1.1, 2.1)) == [14]
    assert found.ids_within((2.0, 0.0, 3.0, 9.0)) == []
    x, y = found.points([14, 15, 99])[14]
    assert (round(x, 3), round(y, 3)) == (1.0, 2.0)
    assert found.points([15, 99]) == {}, "no embedding, no such sample"


def test_samples_are_counted_by_cell_dot_and_class(tmp_path: Path) -> None:
    found = maps.placed(tmp_path / "m.map", [(0.1, 0.1), (0.1, 0.1), (3.9, 2.9), (9.0, 9.0), (1.4, 2.9)])
    window = MapWindow((0.0, 0.0, 4.0, 3.0), 4, 3)
    codes = bytes([{10: 1, 11: 2, 12: 1, 13: 1, 14: 2}[found.id(at)] for at in range(5)])
    by_cell = cells(found, codes, window)
    assert {at: cell.counts for at, cell in by_cell.items()} == {
        (2, 0): ((1, 1), (2, 1)), (0, 3): ((1, 1),), (0, 1): ((2, 1),),
    }  # fmt: skip
    assert by_cell[0, 3].bits == DOTS[0][1], "the upper right dot of the upper right cell"
    assert by_cell[2, 0].bits == DOTS[3][0], "the lower left dot"
    assert by_cell[0, 1].bits == DOTS[0][0], "in the left half of its cell"
    assert set(cells(found, codes, window, only=2)) == {(2, 0), (0, 1)}
    assert cells(found, codes, window, only=2)[2, 0].total == 1


def test_a_sketch_counts_some_for_all(tmp_path: Path) -> None:
    found = maps.placed(tmp_path / "m.map", [(at % 10 + 0.5, at % 3 + 0.5) for at in range(300)])
    window = MapWindow((0.0, 0.0, 10.0, 3.0), 10, 3)
    all, some = (cells(found, bytes(300), window, every=every) for every in (1, 7))
    assert set(some) == set(all)
    assert all[0, 0].total == 10
    assert 240 <= sum(cell.total for cell in some.values()) <= 360
    wide = cells(found, bytes(300), MapWindow((0.0, 0.0, 10.0, 3.0), 10, 3), every=90)
    assert sum(cell.total for cell in wide.values()) == 360, "not one of each column of dots"


def test_of_a_crowded_cell_the_dots_with_the_most_samples_are_lit(tmp_path: Path) -> None:
    """The left cell has seven samples in one dot and one in each other; the right one a hundred times as many."""
    grid = [(x / 4 + 0.05, y / 4 + 0.05) for x in range(4) for y in range(4)]
    left, right = ([place for place in grid if (place[0] > 0.5) is over] for over in (False, True))
    found = maps.placed(tmp_path / "m.map", left + [left[2]] * 6 + right * 10_000)
    cell = cells(found, bytes(len(found)), MapWindow((0.0, 0.0, 1.0, 1.0), 2, 1))[0, 0]
    assert cell.bits.bit_count() < 8
    assert cell.bits & DOTS[1][0], "the third from below"


def test_every_cell_agrees_with_its_rectangle(tmp_path: Path) -> None:
    """What is painted in a cell, what is counted under the cursor and what the list shows are the same samples."""
    spread = [((at * 37 % 101) / 101, (at * 61 % 89) / 89) for at in range(400)]
    found = maps.placed(tmp_path / "m.map", spread)
    window = whole(found, 13, 7).zoomed(2.0, 3, 6)
    by_cell = cells(found, bytes(len(found)), window)
    inside = {(row, column): len(found.within(window.area((row, column), (row, column))))
              for row in range(7) for column in range(13)}  # fmt: skip
    assert {at: cell.total for at, cell in by_cell.items()} == {at: count for at, count in inside.items() if count}


def test_a_crowded_cell_stays_apart_from_a_full_one(tmp_path: Path) -> None:
    """Each dot of both cells has samples; the emptier one lights fewer."""
    grid = [(x / 4 + 0.05, y / 4 + 0.05) for x in range(4) for y in range(4)]
    few = [place for place in grid if place[0] < 0.5]
    many = [place for place in grid if place[0] > 0.5] * 50
    found = maps.placed(tmp_path / "m.map", few + many)
    by_cell = cells(found, bytes(len(found)), MapWindow((0.0, 0.0, 1.0, 1.0), 2, 1))
    assert by_cell[0, 1].bits == 0xFF
    assert 1 <= by_cell[0, 0].bits.bit_count() < 5


def test_zooming_keeps_the_cell_under_the_cursor_and_ends(tmp_path: Path) -> None:
    found = maps.placed(tmp_path / "m.map", CORNERS)
    window = whole(found, 10, 8)
    near = window.zoomed(4.0, 2, 7)
    assert near.center(2, 7) == pytest.approx(window.center(2, 7), abs=0.3)
    assert magnification(found, near) == pytest.approx(4.0)
    assert near.place(*near.center(5, 3)) == (5, 3)
    assert not may_zoom(found, window, 1e6)
    assert not may_zoom(found, window, 0.01)
    assert window.moved(3, -2).moved(-3, 2).box == pytest.approx(window.box)


def test_a_window_is_kept_on_the_map(tmp_path: Path) -> None:
    found = maps.placed(tmp_path / "m.map", CORNERS)
    frame, window = found.head.frame, whole(found, 10, 8)
    for corner in ((0, 0), (7, 9), (0, 9)):
        beyond = window.zoomed(0.5, *corner).kept_on(frame)
        middle = [(low + high) / 2 for low, high in zip(beyond.box[:2], beyond.box[2:], strict=True)]
        assert middle == pytest.approx([(frame[0] + frame[2]) / 2, (frame[1] + frame[3]) / 2])
        back = window.zoomed(4.0, *corner).zoomed(0.25, 4, 4).kept_on(frame)
        assert back.box == pytest.approx(frame), "nearer and back is where it was"
        near = window.zoomed(4.0, *corner).moved(20, -20).kept_on(frame)
        assert near.box[2] <= frame[2] + 1e-9
        assert near.box[1] >= frame[1] - 1e-9
    inside = window.zoomed(4.0, 3, 4)
    assert inside.kept_on(frame).box == pytest.approx(inside.box)


@pytest.mark.parametrize("colour", COLOURS)
def test_every_sample_has_one_class(project: Path, colour: str) -> None:
    db = reader(project)
    try:
        found = open_map(db, project, 1)
        by = coloured(db, 1, found.ids, found.order, colour)  # type: ignore[arg-type]
        assert sum(one.count for one in by.classes) == len(found) == by.total
        assert len({one.mark for one in by.classes}) == len(by.classes), "told apart without a colour"
        if colour in ("base loss", "quality"):
            assert all(100 < one.count < 140 for one in by.classes[1:]), "fifths"
    finally:
        db.close()


def test_classes_are_those_of_the_store(project: Path) -> None:
    db = reader(project)
    try:
        found = open_map(db, project, 1)
        state = {row[0]: row[1] for row in db.execute("SELECT sample_id, max(state) FROM rewrite WHERE round=1 AND"
                 " state IN ('accepted', 'rejected') GROUP BY sample_id HAVING count(*)=1")}  # fmt: skip
        by = coloured(db, 1, found.ids, found.order, "state")
        named = {found.id(at): STATES[code][1] for at, code in enumerate(by.codes)}
        wanted = {"accepted": "accepted", "rejected": "rejected"}
        assert state
        assert {id: named[id] for id in state} == {id: wanted[one] for id, one in state.items()}
        worst = coloured(db, 1, found.ids, found.order, "quality")
        fifth = {found.id(at) for at, code in enumerate(worst.codes) if code == 5}
        lowest = db.execute(
            "SELECT sample_id FROM signal WHERE round=1 AND quality IS NOT NULL ORDER BY quality LIMIT 50"
        )
        assert {row[0] for row in lowest} <= fifth
    finally:
        db.close()


def test_a_filter_lists_what_lies_in_a_rectangle(project: Path) -> None:
    db = reader(project)
    found = open_map(db, project, 1)
    db.close()
    pages = Pages(project)
    where = "map:-0.2,-0.2,0.1,0.3"
    inside = {id for block in pages.order(Order(1, where)) for id in block}
    assert inside == set(found.ids_within((-0.2, -0.2, 0.1, 0.3)))
    outside = {id for block in pages.order(Order(1, f"-{where}")) for id in block}
    assert inside | outside == set(found.ids)
    assert not inside & outside
    worse = {id for block in pages.order(Order(1, f"{where} quality<6")) for id in block}
    assert worse < inside
    pages.close()


@pytest.mark.parametrize("text", ["map:1,2,3", "map:a,b,c,d", "map:1", "map<1,2,3,4"])
def test_a_rectangle_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(FilterError, match=r"four numbers|use a colon"):
        parse(text)


def test_what_the_model_did_to_everybody_is_taken_out_of_the_moves(tmp_path: Path) -> None:
    """Everybody is turned and shifted; one of them is rewritten as well."""
    old = [(at % 5 / 5, at // 5 / 5) for at in range(25)]
    model = Affine((0.9, -0.2, 0.3), (0.2, 0.9, -0.1))
    new: list[tuple[float, float] | None] = [model.of(place) for place in old]
    new[24] = None  # retired: its rewrite follows
    after_places = [*new, (model.of(old[24])[0] + 0.4, model.of(old[24])[1])]
    store = Store(tmp_path / "P").plan().round(0, 26)
    store.db.execute("UPDATE sample SET id=1000+id")
    store.db.execute("INSERT INTO sample (id, messages, seq, parent_id, axis, born_round) SELECT 35, messages, 999, 34,"
                     " 'quality', 1 FROM sample LIMIT 1")  # fmt: skip
    before = maps.placed(tmp_path / "a.map", [*old, None])
    after = maps.placed(tmp_path / "b.map", after_places, round=1)
    found = moves(store.db, before, after)
    assert len(found.ways) == 1
    assert found.rewritten == pytest.approx(0.4, abs=2e-3)
    assert found.noise < 1e-3
    assert found.model > 0.1
    with pytest.raises(UsageError, match="different axes"):
        moves(store.db, before, maps.placed(tmp_path / "c.map", after_places, round=1, basis=1))


def test_too_few_samples_or_a_line_of_them_tell_nothing_about_the_model() -> None:
    line = [((float(at), 2.0 * at), (float(at) + 1, 2.0 * at)) for at in range(20)]
    assert fitted(line) == fitted(line[:3]) == Affine()


@pytest.mark.parametrize("older", [False, True])
def test_a_map_knows_its_samples_and_whether_they_are_those_of_the_dataset(tmp_path: Path, older: bool) -> None:
    folder = invented_project.make(tmp_path / "p")
    path = folder / "artifacts" / "round-2" / "map" / "coordinates.map"
    db = writer(folder)
    if older:
        maps.make_older(path)
    left = "SELECT sample_id FROM departure WHERE round<=2"
    ids = [
        row[0] for row in db.execute(f"SELECT id FROM sample WHERE born_round<=2 AND id NOT IN ({left}) ORDER BY id")
    ]
    assert list(open_map(db, folder, 2).ids) == ids
    with transaction(db):
        db.execute("INSERT INTO departure VALUES (?, 2)", (ids[5],))
    with pytest.raises(UsageError, match=r"of another dataset. Rerun the score stage"):
        open_map(db, folder, 2)
    db.close()


def test_a_round_without_a_map_says_why(project: Path, tmp_path: Path) -> None:
    db = reader(project)
    assert mapped_rounds(db) == (0, 1, 2)
    db.close()
    store = Store(tmp_path / "P").plan().round(0, 1)
    with pytest.raises(UsageError, match="no map yet: the score stage makes it"):
        open_map(store.db, tmp_path / "P", 0)
    store.job(0, "score", "done", 1, 1)
    with pytest.raises(UsageError, match="none of its samples could be embedded"):
        open_map(store.db, tmp_path / "P", 0)
    store.db.execute("INSERT INTO artifact (round, name, path, meta) VALUES (0, 'embeddings', 'x', '{}')")
    with pytest.raises(UsageError, match="fewer than two of its samples have an embedding"):
        open_map(store.db, tmp_path / "P", 0)
    store.db.execute("INSERT INTO signal (round, sample_id, similarity) SELECT 0, min(id), 0.5 FROM sample")
    with pytest.raises(UsageError, match=r"middo-tui plot .* map"):
        open_map(store.db, tmp_path / "P", 0)
    (tmp_path / "P" / "cut.map").write_bytes(b"\x08\0\0\0\0\0\0\0{}")
    store.db.execute("INSERT INTO artifact (round, name, path, meta) VALUES (0, 'map', 'cut.map', '{}')")
    with pytest.raises(UsageError, match=r"The map of round 0 cannot be read"):
        open_map(store.db, tmp_path / "P", 0)
