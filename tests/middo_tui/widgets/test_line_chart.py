"""The braille chart: deterministic, nothing lost, nothing outside."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from middo_tui.feed.view import Curve
from middo_tui.widgets.braille import Canvas, columns
from middo_tui.widgets.chart_view import AxisScale, ChartView
from middo_tui.widgets.line_chart import (
    Chart,
    line_chart,
    nice_step,
    scale_for,
    smoothed,
    x_axis,
    y_labels,
)
from middo_tui.widgets.lines import Run, plain, width_of

LOSSES = st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=300)


def curve(values: list[float], round: int = 0) -> Curve:
    return Curve(round, tuple((step, v, v) for step, v in enumerate(values)), len(values) - 1)


def test_a_falling_line() -> None:
    chart = Chart("loss", (curve([4.0 - step / 10 for step in range(41)], 2),))
    assert plain(line_chart(chart, 40, 8)).split("\n") == [
        " loss  round 2 ━",
        " 4 ┤⣀",
        "   │ ⠉⠉⠑⠢⠤⠤⣀",
        "   │        ⠉⠉⠑⠒⠤⠤⣀⡀",
        " 2 ┤               ⠈⠉⠑⠒⠤⠤⣀⡀",
        "   │                      ⠈⠉⠑⠒⠤⠤⣀⡀",
        " 0 ┤                             ⠈⠉⠑⠒⠤⠤⢄",
        "    0                20             step",
    ]


def test_the_peak_of_a_column_is_never_lost() -> None:
    values = [1.0] * 5000
    values[3210] = 9.0
    values[77] = -3.0
    found = columns(curve(values).points, 80, 4999)
    assert max(high for _, _, high in found) == 9.0
    assert min(low for _, low, _ in found) == -3.0
    assert len(found) == 80


@given(LOSSES, st.integers(20, 120), st.integers(3, 20))
def test_every_row_has_the_same_width_and_stays_inside(values: list[float], width: int, height: int) -> None:
    rows = line_chart(Chart("loss", (curve(values),)), width, height)
    assert len(rows) == height
    assert all(width_of(row) <= width for row in rows[1:])
    assert rows == line_chart(Chart("loss", (curve(values),)), width, height)


@given(LOSSES)
def test_the_axis_holds_the_whole_line(values: list[float]) -> None:
    line = list(enumerate(values))
    scale = scale_for([line], values, 8)
    slack = 1e-6 * max(1.0, *(abs(v) for v in values))
    assert scale.low <= min(values) + slack
    assert scale.high >= max(values) - slack
    assert scale.step > 0


def test_one_spike_does_not_flatten_the_curve() -> None:
    values = [1.0 + step % 7 / 10 for step in range(400)]
    values[200] = 500.0
    shown = curve(values)
    scale = scale_for([smoothed(shown)], values, 8)
    assert scale.high >= max(value for _, value in smoothed(shown))
    assert scale.high < 100.0


def test_the_running_mean_is_calm_and_starts_where_the_losses_start() -> None:
    ripple = curve([2.0 + (-1.0) ** step for step in range(400)])
    means = [value for _, value in smoothed(ripple)]
    assert means[0] == 3.0
    assert max(abs(value - 2.0) for value in means[40:]) < 0.1


def test_what_was_drawn_stays_as_the_curve_grows() -> None:
    values = [3.0 / (1 + step / 50) + (step * 7 % 11) / 20 for step in range(400)]
    half = Curve(0, curve(values[:200]).points, 399)
    assert smoothed(half) == smoothed(curve(values))[:200]


def test_single_losses_lie_behind_the_line() -> None:
    values = [2.0 + (-1.0) ** step for step in range(400)]
    rows = line_chart(Chart("loss", (curve(values),)), 60, 12)
    roles = {run.role for row in rows[1:-1] for run in row}
    assert {"faint", "series-0"} <= roles
    middle = [row for row in rows[1:-1] if any(run.role == "series-0" for run in row[-40:])]
    assert 0 < len(middle) < len(rows) - 4


def test_this_round_lies_over_earlier_ones() -> None:
    same = [2.0, 1.0, 0.5]
    rows = line_chart(Chart("loss", (curve(same, 1), curve(same, 0))), 40, 8)
    drawn = {run.role for row in rows[1:-1] for run in row if any(ord(c) > 0x2800 for c in run.text)}
    assert "series-0" in drawn
    assert "series-1" not in drawn


def test_no_points_says_what_to_expect() -> None:
    assert "first step" in plain(line_chart(Chart("loss", (), empty="after the first step"), 60, 8))


def test_no_room_draws_nothing() -> None:
    assert line_chart(Chart("loss", (curve([1.0, 2.0]),)), 10, 8) == []
    assert line_chart(Chart("loss", (curve([1.0, 2.0]),)), 60, 2) == []


@given(st.floats(1e-6, 1e6), st.integers(1, 20))
def test_nice_steps_are_one_two_or_five(span: float, most: int) -> None:
    step = nice_step(span, most)
    assert span / step <= most * (1 + 1e-6)
    assert round(step / 10 ** math.floor(math.log10(step) + 1e-9), 6) in (1, 2, 5)


def test_labels_keep_a_row_between_them() -> None:
    rows = sorted(y_labels(0.0, 2.0, 0.1, 10))
    assert all(b - a > 1 for a, b in pairwise(rows))


def test_the_x_axis_ends_with_what_it_counts() -> None:
    text = x_axis(60, (0, 1625), "step")
    assert cell_len(text) == 60
    assert text.startswith("0")
    assert text.endswith("step")
    assert "1e+03" not in text
    assert "1k" in text


def test_dots_of_one_cell_join() -> None:
    canvas = Canvas(1, 1)
    canvas.column(0, 0, 3, "a")
    canvas.column(1, 3, 0, "a")
    assert plain([canvas.row(0)]) == "⣿"


def test_a_line_takes_a_cell_for_itself() -> None:
    canvas = Canvas(1, 1)
    canvas.column(0, 0, 3, "faint")
    canvas.column(1, 0, 0, "series-0")
    assert canvas.row(0) == (Run("⠈", "series-0"),)


def test_a_logarithmic_axis_has_powers_and_says_so() -> None:
    curve = Curve(0, tuple((step, 100.0 * 0.9**step, 100.0 * 0.9**step) for step in range(1, 100)), 99)
    rows = line_chart(Chart("loss", (curve,), view=ChartView("log", 0)), 80, 20)
    text = plain(rows)
    assert text.split("\n")[0] == " loss  round 0 ━  log, not smoothed"
    labels = [float(row.split("┤")[0]) for row in text.split("\n") if "┤" in row]
    ratios = [a / b for a, b in pairwise(labels)]
    assert len(labels) > 3
    assert max(ratios) / min(ratios) < 1.3, "equal steps are equal ratios"


@pytest.mark.parametrize(
    ("values", "rows", "shown"),
    [
        ((0.2, 3.0), 16, {0.2, 0.5, 1.0, 2.0}),
        ((0.02, 7.0), 8, {0.1, 1.0}),  # three decades: no room for 2 and 5
        ((1e-9, 1.0), 8, {1e-9, 1e-6, 1e-3, 1.0}),  # nor for every power of ten
        ((2.0, 2.5), 12, {2.0, 2.1, 2.2, 2.3, 2.4, 2.5}),  # nothing but 2 falls inside: multiples of a step
    ],
)
def test_a_logarithmic_axis_is_labelled_at_round_values(
    values: tuple[float, float], rows: int, shown: set[float]
) -> None:
    low, high = map(math.log10, values)
    labels = {float(text) for text in y_labels(low, high, nice_step(high - low, rows // 2), rows, "log").values()}
    assert len(labels) > 1
    assert labels <= shown


def test_an_axis_of_square_roots_is_labelled_at_round_values() -> None:
    labels = y_labels(0.0, 10.0, 2.0, 12, "sqrt")
    assert {float(text) for text in labels.values()} <= {0.0, 20.0, 40.0, 60.0, 80.0, 100.0}
    assert len(labels) > 3


@given(st.floats(-6, 6), st.floats(0.01, 12), st.integers(2, 40), st.sampled_from(["log", "sqrt"]))
def test_every_axis_has_a_label(low: float, span: float, rows: int, scale: AxisScale) -> None:
    low = low if scale == "log" else abs(low)
    labels = y_labels(low, low + span, nice_step(span, max(2, rows // 2)), rows, scale)
    assert labels
    assert all(0 <= row < rows for row in labels)


def test_without_a_logarithm_the_axis_stays_linear() -> None:
    curve = Curve(0, ((1, 0.0, 0.0), (2, 1.0, 1.0)), 2)
    assert "log" not in plain(line_chart(Chart("loss", (curve,), view=ChartView("log")), 80, 10)).split("\n")[0]


def test_smoothing_is_less_or_none_when_asked() -> None:
    curve = Curve(0, tuple((step, float(step % 2), float(step % 2)) for step in range(1, 401)), 400)
    spread = [max(line) - min(line) for line in ([y for _, y in smoothed(curve, s)[200:]] for s in (10, 40, 0))]
    assert spread[0] < spread[1] < spread[2] == 1.0


def falling(round: int, high: float, steps: int = 100, of: int = 100) -> Curve:
    return Curve(round, tuple((step, high - step / of, high - step / of) for step in range(steps)), of)


def test_rounds_are_told_apart_by_pattern_and_by_the_number_at_their_end() -> None:
    rows = line_chart(Chart("loss", (falling(2, 2.0, 50), falling(1, 2.5), falling(0, 3.0))), 80, 20)
    text = plain(rows).split("\n")
    assert text[0] == " loss  round 2 ━  round 1 ╌  round 0 ┈"
    ends = {row.rstrip()[-1] for row in text[1:-1] if row.rstrip()[-1].isdigit()}
    assert ends == {"0", "1"}, "at the right edge"
    assert any("2" in row[20:60] for row in text[1:-1]), "the present round ends in the middle"
    dots = {
        at: sum(bin(ord(c) - 0x2800).count("1") for row in rows for run in row for c in run.text if run.role == role
                and ord(c) > 0x2800)
        for at, role in enumerate(("series-0", "series-1", "series-2"))
    }  # fmt: skip
    assert dots[1] < dots[0] * 2, "twice as long, and dashed"
    assert dots[2] < dots[1], "dotted"


def test_labels_at_one_place_stand_under_each_other() -> None:
    rows = plain(line_chart(Chart("loss", (falling(1, 2.0), falling(0, 2.0))), 60, 10)).split("\n")[1:-1]
    assert sorted(row.rstrip()[-1] for row in rows if row.rstrip()[-1].isdigit()) == ["0", "1"]


def test_labels_of_curves_that_end_beside_each_other_do_not_read_as_one_number() -> None:
    chart = Chart("loss", (falling(1, 2.0, 100), falling(0, 2.0, 98)))
    rows = plain(line_chart(chart, 60, 10)).split("\n")[1:-1]
    assert not any("10" in row or "01" in row for row in rows), "of round 0 and round 1, not of round 10"
    assert sum(row.rstrip().endswith(("0", "1")) for row in rows) == 2


def test_the_cursor_says_its_step_and_every_curves_value() -> None:
    chart = Chart("loss", (falling(1, 2.0, 50), falling(0, 3.0)), view=ChartView(smooth=0, cursor=60))
    assert plain(line_chart(chart, 80, 10)).startswith(" loss  step 60  round 1 ━ —  round 0 ╌ 2.4")


def test_a_legend_gets_shorter_before_it_is_cut() -> None:
    chart = Chart("loss", tuple(falling(n, 2.0 + n) for n in (3, 2, 1, 0)), view=ChartView("log", 10, cursor=60))
    for width in (40, 48, 60, 80, 140):
        rows = line_chart(chart, width, 10)
        assert width_of(rows[0]) <= width
        assert all(f"{n}{mark}" in plain(rows[:1]) or f"round {n} {mark}" in plain(rows[:1])
                   for n, mark in ((3, "━"), (2, "╌"))) or width == 40  # fmt: skip


def test_zoom_shows_the_steps_around_the_cursor_with_the_same_smoothing() -> None:
    values = [3.0 / (1 + step / 50) + (step * 7 % 11) / 20 for step in range(800)]
    whole = Chart("loss", (curve(values),), view=ChartView(cursor=400))
    near = Chart("loss", (curve(values),), view=whole.zoomed(2))
    low, high = near.view.window(near.last)
    assert (low, high) == (300, 500)
    assert plain(line_chart(near, 80, 10)).split("\n")[0].endswith("×4")
    assert (
        plain(line_chart(near, 80, 10)).split("\n")[0].split()[-2]
        == plain(line_chart(whole, 80, 10)).split("\n")[0].split()[-1]
    ), "the value at the cursor is the same mean"


def test_the_cursor_begins_at_the_newest_step_and_the_picture_follows_it() -> None:
    chart = Chart("loss", (falling(1, 2.0, 50),))
    assert chart.moved(-1, 50).cursor == 49
    near = Chart("loss", (falling(1, 2.0, 50),), view=ChartView(zoom=3, left=40, cursor=41))
    moved = near.moved(-10, 50)
    assert moved.cursor == 31
    assert moved.window(near.last)[0] == 31
    assert near.moved(10_000, 50).cursor == 49
    assert near.moved(-10_000, 50).cursor == 0


@given(st.integers(0, 5000), st.lists(st.sampled_from(["in", "out", "left", "right", "whole"]), max_size=30))
def test_whatever_keys_come_the_window_lies_within_the_chart(last: int, keys: list[str]) -> None:
    points = tuple((step, 1.0, 1.0) for step in range(0, last + 1, max(1, last // 50)))
    view = ChartView()
    for key in keys:
        chart = Chart("loss", (Curve(0, points, last),), view=view)
        view = {
            "in": lambda c=chart: c.zoomed(1), "out": lambda c=chart: c.zoomed(-1),
            "left": lambda c=chart: c.moved(-7, 40), "right": lambda c=chart: c.moved(7, 40),
            "whole": lambda c=chart: c.view.whole(),
        }[key]()  # fmt: skip
        low, high = view.window(last)
        assert 0 <= low <= high <= last
        assert view.cursor is None or low <= view.cursor <= high
        assert line_chart(Chart("loss", (Curve(0, points, last),), view=view), 60, 8)


def test_a_root_axis_has_squares() -> None:
    chart = Chart("counts", (falling(0, 100.0),), view=ChartView("sqrt", 0))
    assert "sqrt" in plain(line_chart(chart, 80, 10)).split("\n")[0]
    assert "sqrt" not in plain(line_chart(Chart("x", (curve([-1.0, 1.0]),), view=ChartView("sqrt")), 80, 10))


def test_time_counts_back_from_now() -> None:
    parts = Curve(0, tuple((part, 50.0, 50.0) for part in range(300)), 300, "GPU 0", "0")
    rows = plain(line_chart(Chart("GPU 0 use %", (parts,), "min", zero=300, per=15), 80, 10)).split("\n")
    assert rows[0] == " GPU 0 use %  ━"
    assert rows[-1].split() == ["−20", "−15", "−10", "−5", "min"]


def test_a_share_lies_between_its_bounds() -> None:
    full = Curve(0, tuple((part, 99.0, 99.5) for part in range(300)), 300, "CPU", "CPU")
    rows = plain(line_chart(Chart("CPU use %", (full,), "min", bounds=(0.0, 100.0)), 80, 14)).split("\n")
    assert [row.split("┤")[0].strip() for row in rows if "┤" in row] == ["100", "80", "60", "40", "20", "0"]
    assert any(ord(c) > 0x2800 for c in rows[1])
    assert not any(ord(c) > 0x2800 for row in rows[3:-1] for c in row)


def test_a_legend_gives_up_its_step_before_a_value() -> None:
    chart = Chart("losses", (falling(1, 2.0), falling(0, 3.0)), view=ChartView(smooth=0, cursor=50))
    assert plain(line_chart(chart, 34, 8)[:1]) == " losses  step 50  1━1.5  0╌2.5"
    assert plain(line_chart(chart, 28, 8)[:1]) == " losses  1━1.5  0╌2.5"


def test_nothing_but_zeros_has_plain_labels() -> None:
    labels = [row.split("┤")[0].strip() for row in plain(line_chart(Chart("$", (curve([0.0] * 3),)), 60, 9)).split("\n")
              if "┤" in row]  # fmt: skip
    assert "0.0" in labels
    assert all(len(label) <= 3 for label in labels)
