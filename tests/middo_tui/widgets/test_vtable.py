"""The virtual table alone: what is read, what is painted, where the cursor is. Counts, never times."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from threading import Event
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from textual import on
from textual.app import App, ComposeResult
from textual.pilot import Pilot

from engine.errors import StoreError
from middo_tui.widgets import vtable_rows
from middo_tui.widgets.columns import Column, cells, widths
from middo_tui.widgets.row_pages import PAGE, PAGES_KEPT
from middo_tui.widgets.vtable import Moved, Ordered, VTable

COLUMNS: tuple[Column[str], ...] = (
    Column("id", 7, lambda row: row.split()[0], right=True),
    Column("axis", 1, lambda row: "C", lambda row: "complexity"),
    Column("text", 0, lambda row: row),
)


class Numbers:
    """Rows ``first`` to ``last``, with a record of what was read. ``wait``: hold rows back until it is set."""

    def __init__(self, ids: Sequence[int], wait: Event | None = None, version: str = "") -> None:
        self.ids = array("q", ids)
        self.version = version
        self.asked: list[list[int]] = []
        self.wait = wait
        self.problem = ""

    def held(self, ids: array[int]) -> array[int]:
        return ids

    def order(self) -> Iterator[array[int]]:
        yield self.ids[:128]
        yield self.ids[128:]

    def rows(self, ids: Sequence[int]) -> Mapping[int, str]:
        if self.problem:
            raise StoreError(self.problem)
        if self.wait is not None and self.asked:
            self.wait.wait(30)
        self.asked.append(list(ids))
        return {id: f"{id} row number {id}{self.version}" for id in ids}


class TableApp(App[None]):
    def __init__(self, source: Numbers) -> None:
        super().__init__()
        self.table: VTable[str] = VTable(COLUMNS)
        self.source = source
        self.moves: list[Moved] = []
        self.orders: list[Ordered] = []

    def compose(self) -> ComposeResult:
        yield self.table

    def on_mount(self) -> None:
        self.table.show(self.source)

    @on(Moved)
    def _moved(self, message: Moved) -> None:
        self.moves.append(message)

    @on(Ordered)
    def _ordered(self, message: Ordered) -> None:
        self.orders.append(message)


def painted(app: TableApp) -> list[str]:
    return ["".join(s.text for s in strip).rstrip() for strip in app.screen._compositor.render_strips()]


def cursor(app: TableApp) -> int | None:
    """The id under the cursor. mypy believes that the property stays what an assertion said it was."""
    return app.table.cursor_id


async def settle(pilot: Pilot[Any]) -> None:
    """Until all that was asked for has been read and painted."""
    while any(not worker.is_finished for worker in pilot.app.workers):
        await pilot.app.workers.wait_for_complete()
    await pilot.pause()
    if any(not worker.is_finished for worker in pilot.app.workers):
        await settle(pilot)


async def test_half_a_million_rows_cost_a_few_pages() -> None:
    app = TableApp(Numbers(range(1, 500_001)))
    async with app.run_test(size=(60, 24)) as pilot:
        await settle(pilot)
        rows = painted(app)
        assert rows[0].split() == ["id", "…", "text"]
        assert rows[1].startswith("▸")
        assert rows[1].endswith("1 row number 1")
        assert rows[23].endswith("23 row number 23")
        assert len(app.table.ids) == 500_000
        assert sum(map(len, app.source.asked)) <= 2 * PAGE
        app.table.go_to_share(73)
        await settle(pilot)
        assert app.table.cursor_id == 365_000
        assert any("365000 row number 365000" in row for row in painted(app))
        app.table.go_to(10**9)
        await settle(pilot)
        assert painted(app)[23].endswith("500000 row number 500000")
        assert sum(map(len, app.source.asked)) <= 9 * PAGE


async def test_the_view_moves_by_half_a_page_at_its_edge() -> None:
    app = TableApp(Numbers(range(1000)))
    async with app.run_test(size=(60, 24)) as pilot:
        await settle(pilot)
        tops = []
        for _ in range(40):
            app.table.move(1)
            await settle(pilot)
            tops.append(int(painted(app)[1].replace("▸", " ").split()[0]))
        assert app.table.at == 40
        assert len(set(tops)) <= 3
        assert app.table.cursor_id == 40
        for _ in range(40):
            app.table.move(-1)
        await settle(pilot)
        assert painted(app)[1].startswith("▸")


async def test_a_move_within_the_view_paints_two_rows() -> None:
    app = TableApp(Numbers(range(1000)))
    async with app.run_test(size=(60, 24)) as pilot:
        await settle(pilot)
        drawn: list[int] = []
        render = app.table.render_line

        def counted(y: int) -> Any:
            drawn.append(y)
            return render(y)

        app.table.render_line = counted  # type: ignore[method-assign]
        app.table.move(1)
        await settle(pilot)
        assert set(drawn) <= {1, 2}


async def test_pages_that_are_no_longer_near_are_dropped() -> None:
    app = TableApp(Numbers(range(100_000)))
    async with app.run_test(size=(60, 24)) as pilot:
        await settle(pilot)
        for share in range(0, 101, 2):
            app.table.go_to_share(share)
            await settle(pilot)
        assert len(app.table._rows._pages) <= PAGES_KEPT
        assert len(app.table._strips) <= 512


async def test_a_jump_waits_for_its_rows_with_the_old_view() -> None:
    gate = Event()
    app = TableApp(Numbers(range(10_000), wait=gate))
    async with app.run_test(size=(60, 24)) as pilot:
        await pilot.pause()
        while not painted(app)[1].endswith("0 row number 0"):
            await pilot.pause()
        app.table.go_to(5000)
        await pilot.pause()
        assert painted(app)[1].endswith("0 row number 0")
        assert app.table.cursor_id == 5000
        app.table.move(1)
        gate.set()
        await settle(pilot)
        assert app.table.cursor_id == 5001
        assert any(row.startswith("▸") and "5001 row" in row for row in painted(app))


async def test_the_cursor_stays_on_its_row_when_the_order_changes() -> None:
    app = TableApp(Numbers(range(1000)))
    async with app.run_test(size=(60, 24)) as pilot:
        await settle(pilot)
        app.table.go_to(700)
        await settle(pilot)
        app.table.show(Numbers(range(999, -1, -1)), keep=True)
        await settle(pilot)
        assert (app.table.cursor_id, app.table.at) == (700, 299)
        assert any(row.startswith("▸") and "700 row" in row for row in painted(app))
        app.table.show(Numbers(range(999, -1, -1)))
        await settle(pilot)
        assert (app.table.cursor_id, app.table.at) == (999, 0)


async def test_a_newer_order_replaces_one_that_is_still_read() -> None:
    app = TableApp(Numbers(range(1000)))
    async with app.run_test(size=(60, 24)) as pilot:
        app.table.show(Numbers(range(5)))
        app.table.show(Numbers(range(7)))
        await settle(pilot)
        assert len(app.table.ids) == 7
        assert app.orders[-1].total == 7


async def test_stale_rows_are_read_again_and_the_order_stays() -> None:
    source = Numbers(range(1000))
    app = TableApp(source)
    async with app.run_test(size=(60, 24)) as pilot:
        await settle(pilot)
        app.table.go_to(500)
        await settle(pilot)
        source.version, source.asked = " new", []
        app.table.stale()
        await settle(pilot)
        assert sum(map(len, source.asked)) <= 2 * PAGE
        assert any(row.startswith("▸") and row.endswith("500 row number 500 new") for row in painted(app))
        assert app.table.at == 500


async def test_marks_and_ranges() -> None:
    app = TableApp(Numbers(range(1000)))
    async with app.run_test(size=(60, 24)) as pilot:
        await settle(pilot)
        app.table.toggle_mark()
        app.table.go_to(10)
        app.table.toggle_range()
        app.table.go_to(15)
        app.table.go_to(12)
        app.table.toggle_mark()
        app.table.go_to(20)
        assert app.table.marks == {0, 10, 11, 12}
        assert not app.table.marking
        await settle(pilot)
        assert [at for at, row in enumerate(painted(app)[1:]) if row[1:2] == "●"] == [0, 10, 11, 12]
        app.table.clear_marks()
        assert app.table.marks == set()


async def test_an_empty_order_and_one_row() -> None:
    app = TableApp(Numbers([]))
    async with app.run_test(size=(60, 24)) as pilot:
        await settle(pilot)
        for move in (app.table.move, app.table.page, app.table.go_to):
            move(1)
        app.table.toggle_mark()
        app.table.toggle_range()
        assert cursor(app) is None
        assert painted(app)[1:] == [""] * 23
        app.table.show(Numbers([42]))
        await settle(pilot)
        app.table.move(1)
        app.table.page(-1)
        assert cursor(app) == 42
        assert painted(app)[2:] == [""] * 22


async def test_what_cannot_be_read_is_said() -> None:
    source = Numbers(range(1000))
    source.problem = "p/middo.db: gone\x1b[2J"
    app = TableApp(source)
    async with app.run_test(size=(60, 24)) as pilot:
        await settle(pilot)
        assert [o.problem for o in app.orders] == ["p/middo.db: gone␛[2J"]
        source.problem = ""
        app.table.show(source)
        await settle(pilot)
        assert app.table.cursor_id == 0


@pytest.mark.parametrize("size", [(60, 24), (60, 5), (20, 2), (200, 60)])
async def test_the_cursor_stays_in_view_at_every_size(size: tuple[int, int]) -> None:
    app = TableApp(Numbers(range(1000)))
    async with app.run_test(size=(60, 24)) as pilot:
        await settle(pilot)
        app.table.go_to(990)
        await settle(pilot)
        await pilot.resize_terminal(*size)
        await settle(pilot)
        assert any(row.startswith("▸") and "990" in row for row in painted(app))
        assert max(map(cell_len, painted(app))) <= size[0]


async def test_the_wheel_and_a_click_move_the_cursor() -> None:
    app = TableApp(Numbers(range(1000)))
    async with app.run_test(size=(60, 24)) as pilot:
        await settle(pilot)
        await pilot.click(VTable, offset=(10, 5))
        assert app.table.at == 4


@given(st.text(max_size=30), st.text(max_size=10), st.integers(20, 120))
@settings(max_examples=100, deadline=None)
def test_a_row_is_exactly_as_wide_as_the_table(text: str, short: str, width: int) -> None:
    from middo_tui.terminal.guard import one_line

    row = one_line(text)
    columns: tuple[Column[str], ...] = (
        Column("a", 6, lambda _: one_line(short), lambda _: "quality", right=True),
        Column("b", 4, lambda _: one_line(short)),
        Column("c", 0, lambda row: row),
    )
    runs = cells(row, columns, width)
    assert sum(cell_len(part) for part, _ in runs) == width
    assert sum(widths(columns, width)) + 2 == width
    assert all(a[1] != b[1] for a, b in pairwise(runs))


async def test_the_beginning_of_an_order_is_painted_before_the_rest_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vtable_rows, "PAINT_S", 30.0)
    drawn: list[int] = []
    before_the_rest: list[int] = []

    class Noting(Numbers):
        def order(self) -> Iterator[array[int]]:
            yield self.ids[:128]
            before_the_rest.extend(drawn)
            yield self.ids[128:]

    app = TableApp(Noting(range(1, 1001)))
    strip = app.table._strip

    def counted(id: int, *how: Any) -> Any:
        drawn.append(id)
        return strip(id, *how)

    monkeypatch.setattr(app.table, "_strip", counted)
    async with app.run_test(size=(60, 24)) as pilot:
        await settle(pilot)
        assert before_the_rest[:23] == list(range(1, 24))


async def test_an_order_that_is_held_elsewhere_is_held_once() -> None:
    class Holding(Numbers):
        def held(self, ids: array[int]) -> array[int]:
            assert ids == self.ids
            return self.ids

    app = TableApp(Holding(range(1, 1001)))
    async with app.run_test(size=(60, 24)) as pilot:
        await settle(pilot)
        assert app.table.ids is app.source.ids
        app.table.show(Holding(range(1, 2001)), keep=True)
        await settle(pilot)
        assert len(app.table.ids) == 2000
        assert app.source.ids == array("q", range(1, 1001)), "what another holds is not changed"
