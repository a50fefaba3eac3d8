"""The histogram: all values are in the picture, the cut is where it is said to be, and a move repaints little."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.app import App, ComposeResult

from middo_tui.feed.bins import Bins
from middo_tui.look import theme
from middo_tui.widgets.histogram import (
    BEYOND,
    FULL,
    LINE,
    Cutting,
    Histogram,
    ValueScale,
    axis_row,
    changed_cells,
    count_labels,
    histogram,
    levels,
    resample,
    selected_cells,
)
from middo_tui.widgets.lines import Line, Run, plain, width_of

COUNTS = st.lists(st.integers(0, 10_000), min_size=1, max_size=300).map(tuple)
HILL = Bins(0.0, 4.0, tuple(float(40 - abs(20 - i)) ** 2 for i in range(40)))


def cutting(cut: float | None, side: str = "above", floor: float | None = None) -> Cutting:
    return Cutting(HILL, side, "complexity", cut, floor)  # type: ignore[arg-type]


def test_a_hill_with_its_upper_side_selected() -> None:
    assert plain(histogram(cutting(2.65), 40, 6)).split("\n") == [
        "                 ⡀⡄⡆⡇⡆⡄⡀  │",
        "            ⡀⡄⡆⡇⡇⡇⡇⡇⡇⡇⡇⡇⡇⡇│▃▂",
        "      ⡀⡀⡄⡆⡆⡇⡇⡇⡇⡇⡇⡇⡇⡇⡇⡇⡇⡇⡇⡇│███▆▅▄▂▁",
        "⡀⡄⡄⡆⡆⡇⡇⡇⡇⡇⡇⡇⡇⡇⡇⡇⡇⡇⡇⡇⡇⡇⡇⡇⡇⡇│█████████▆▅▄▃",
        "⡇⡇⡇⡇⡇⡇⡇⡇⡇⡇⡇⡇⡇⡇⡇⡇⡇⡇⡇⡇⡇⡇⡇⡇⡇⡇│█████████████",
        "───────── 1 ─────── 2 ─────── 3 ────────",
    ]


@given(COUNTS, st.integers(1, 200))
def test_resampling_loses_no_value(counts: tuple[int, ...], width: int) -> None:
    cells = resample(tuple(map(float, counts)), width)
    assert len(cells) == width
    assert sum(cells) == pytest.approx(sum(counts), abs=1e-6 * max(1, sum(counts)))
    assert min(cells) >= -1e-6


def test_a_single_value_among_many_is_still_seen() -> None:
    assert levels([500_000.0, 1.0, 0.0], 500_000.0, 4) == [32, 1, 0]


@given(
    COUNTS,
    st.one_of(st.none(), st.floats(allow_nan=True)),
    st.one_of(st.none(), st.floats(allow_nan=True)),
    st.sampled_from(["above", "below"]),
    st.integers(12, 140),
    st.integers(2, 20),
)
def test_every_row_is_as_wide_as_the_widget_whatever_the_cut(
    counts: tuple[int, ...], cut: float | None, floor: float | None, side: str, width: int, height: int
) -> None:
    bins = Bins(-1.5, 7.25, tuple(map(float, counts)))
    data = Cutting(bins, side, "quality", cut, floor, bins.scaled(0.5))  # type: ignore[arg-type]
    rows = histogram(data, width, height)
    assert len(rows) == height
    assert {width_of(row) for row in rows} == {width}
    assert all(cell_len(c) == 1 for row in rows for run in row for c in run.text)
    assert {run.role for row in rows for run in row} <= set(theme.ROLES)
    assert rows == histogram(data, width, height)


@pytest.mark.parametrize(("side", "cut", "floor", "cells"), [
    ("above", 3.0, None, range(30, 40)),
    ("below", 1.0, None, range(10)),
    ("above", 2.0, 3.0, range(30, 40)),
    ("below", 2.0, 1.0, range(10)),
    ("above", 3.0, 2.0, range(30, 40)),
    ("above", math.inf, None, range(0)),
    ("below", -math.inf, None, range(0)),
    ("above", -math.inf, None, range(40)),
    ("above", math.nan, None, range(0)),
    ("above", None, 2.0, range(0)),
    ("above", -9.0, None, range(40)),
    ("above", 9.0, None, range(40, 40)),
])  # fmt: skip
def test_what_is_selected_lies_beyond_cut_and_floor(
    side: str, cut: float | None, floor: float | None, cells: range
) -> None:
    assert selected_cells(cutting(cut, side, floor), ValueScale(0.0, 4.0, 40)) == cells


def test_the_selected_side_has_its_colour_and_its_own_pattern() -> None:
    rows = histogram(cutting(2.0, "below"), 40, 8)[:-1]
    chosen = {c for row in rows for run in row if run.role == "complexity" for c in run.text}
    kept = {c for row in rows for run in row if run.role == "dim" for c in run.text}
    assert len(chosen) > 2
    assert len(kept) > 2
    assert chosen <= set(FULL)
    assert kept & set(FULL) == {" "}


def test_a_third_of_a_cell_shows() -> None:
    seen = [plain(histogram(cutting(2.015 + part / 30), 40, 4))[20] for part in range(3)]
    assert seen == list(LINE)


@pytest.mark.parametrize(("cut", "sign", "at"), [(-1.0, BEYOND[0], 0), (5.0, BEYOND[1], 39)])
def test_a_cut_outside_the_picture_points_there(cut: float, sign: str, at: int) -> None:
    rows = plain(histogram(cutting(cut), 40, 5)).split("\n")
    assert rows[-2].ljust(40)[at] == sign
    assert all(mark not in "".join(rows) for mark in LINE)


def test_the_floor_is_a_line_of_its_own() -> None:
    rows = plain(histogram(cutting(2.0, floor=3.0), 40, 5)).split("\n")[:-1]
    assert {row[30] for row in rows} == {"┊"}
    assert {row[20] for row in rows} == {LINE[0]}


def test_an_earlier_round_shows_only_where_it_is_higher() -> None:
    lower = Cutting(HILL, "above", "quality", earlier=HILL.scaled(0.5))
    assert not any(run.role == "faint" for row in histogram(lower, 40, 8)[:-1] for run in row)
    narrow = Bins(0.0, 4.0, (0.0,) * 20 + HILL.counts[20:])
    shown = histogram(Cutting(narrow, "above", "quality", earlier=HILL), 40, 8)[:-1]
    assert any(run.role == "faint" and run.text.strip() for row in shown for run in row)


def test_all_values_the_same() -> None:
    rows = plain(histogram(Cutting(Bins(0.7, 0.7, (0.0, 9.0, 0.0)), "below", "diversity", 0.7), 40, 5)).split("\n")
    assert " 0.7 " in rows[-1]
    assert "⡇" in rows[0]


def test_no_values_says_so_under_the_heading() -> None:
    data = Cutting(None, "below", "quality", heading=(Run("quality"),), empty="no rating yet")
    assert plain(histogram(data, 40, 6)) == "quality\n no rating yet"


def test_no_room_draws_only_the_heading() -> None:
    data = Cutting(HILL, "below", "quality", heading=(Run("quality"),))
    assert plain(histogram(data, 40, 2)) == "quality"
    assert plain(histogram(data, 8, 6)) == "quality"


def test_numbers_stand_under_their_place() -> None:
    row = plain([axis_row(ValueScale(-1.0, 1.0, 41))])
    assert row.index("0.0") == 19
    assert "−0.5" in row


@given(st.floats(-1.0, 5.0), st.floats(-1.0, 5.0))
def test_no_cell_outside_the_repainted_span_differs(a: float, b: float) -> None:
    for old, new in zip(histogram(cutting(a), 60, 8), histogram(cutting(b), 60, 8), strict=True):
        start, end = changed_cells(old, new) or (0, 0)
        before, after = cells(old), cells(new)
        assert [x for x in range(60) if not start <= x < end and before[x] != after[x]] == []


def test_a_small_move_repaints_a_cell_of_each_row() -> None:
    pairs = zip(histogram(cutting(2.02), 40, 8), histogram(cutting(2.05), 40, 8), strict=True)
    assert {changed_cells(old, new) for old, new in pairs} == {(20, 21), None}


def cells(row: Line) -> list[tuple[str, str]]:
    return [(c, run.role) for run in row for c in run.text]


class Alone(App[None]):
    """Nothing but a histogram."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[float] = []

    def compose(self) -> ComposeResult:
        yield Histogram(cutting(2.0))

    def on_histogram_dragged(self, message: Histogram.Dragged) -> None:
        self.asked.append(message.value)


async def test_the_mouse_drags_the_line() -> None:
    app = Alone()
    async with app.run_test(size=(40, 8)) as pilot:
        await pilot.mouse_down(Histogram, offset=(10, 3))
        await pilot.hover(Histogram, offset=(20, 3))
        await pilot.mouse_up(Histogram, offset=(20, 3))
    assert app.asked[0] == pytest.approx(1.05)


# ---------------------------------------------------------------------------------------------- counts


@pytest.mark.parametrize(("scale", "middle"), [("linear", "200"), ("sqrt", "100"), ("log", "19")])
def test_counts_stand_on_the_left(scale: str, middle: str) -> None:
    bins = Bins(0.0, 10.0, (4.0, 400.0) * 20)
    rows = plain(histogram(Cutting(bins, "above", "quality", counts=scale), 46, 9)).split("\n")  # type: ignore[arg-type]
    assert rows[0].startswith("  400┤")
    assert rows[4].startswith(f"{middle:>5}┤")
    assert rows[-1].startswith(f"{scale if scale != 'linear' else '':>5} ─")
    assert {len(row) for row in rows} <= set(range(40, 47))


def test_no_count_in_the_middle_where_it_would_be_none_or_the_one_above() -> None:
    for scale in ("linear", "log", "sqrt"):
        assert count_labels(1.0, 10, scale) == {0: "1"}


def test_the_cursor_counts_what_is_under_it() -> None:
    bins = Bins(0.0, 60.0, tuple(float(at) for at in range(60)))
    data = Cutting(bins, "above", "quality", heading=(Run("quality"),), counts="linear", cursor=12, earlier=bins)
    rows = histogram(data, 66, 8)
    assert plain(rows).split("\n")[0] == "quality  12.000 to 13.000: 12 of 1,770 (0.7 %)  round before 0.7 %"
    marked = [run for row in rows for run in row if run.role == "cursor"]
    assert len(marked) == 6
    assert all(len(run.text) == 1 for run in marked)


def test_a_logarithm_shows_what_a_linear_axis_hides() -> None:
    values = [1000.0, 10.0, 1.0, 0.0]
    assert levels(values, 1000.0, 4) == [32, 1, 1, 0]
    low = levels(values, 1000.0, 4, "log")
    assert low[0] == 32
    assert low[1] > 5
    assert low[3] == 0
    assert levels(values, 1000.0, 4, "sqrt")[1] == 3
