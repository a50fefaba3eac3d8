"""The braille chart: deterministic, nothing lost, nothing outside."""

from __future__ import annotations

import math
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from middo_tui.feed.view import Curve
from middo_tui.widgets.line_chart import (
    Canvas,
    Chart,
    columns,
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
    roles = {run.role for row in rows[1:-1] for run in row}
    assert "series-0" in roles
    assert "series-1" not in roles


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
    text = x_axis(60, 1625, "step")
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
    rows = line_chart(Chart("loss", (curve,), log=True, smooth=0), 80, 20)
    text = plain(rows)
    assert text.split("\n")[0] == " loss  round 0 ━  log, not smoothed"
    labels = [float(row.split("┤")[0]) for row in text.split("\n") if "┤" in row]
    ratios = [a / b for a, b in pairwise(labels)]
    assert len(labels) > 3
    assert max(ratios) / min(ratios) < 1.3, "equal steps are equal ratios"


def test_without_a_logarithm_the_axis_stays_linear() -> None:
    curve = Curve(0, ((1, 0.0, 0.0), (2, 1.0, 1.0)), 2)
    assert "log" not in plain(line_chart(Chart("loss", (curve,), log=True), 80, 10)).split("\n")[0]


def test_smoothing_is_less_or_none_when_asked() -> None:
    curve = Curve(0, tuple((step, float(step % 2), float(step % 2)) for step in range(1, 401)), 400)
    spread = [max(line) - min(line) for line in ([y for _, y in smoothed(curve, s)[200:]] for s in (10, 40, 0))]
    assert spread[0] < spread[1] < spread[2] == 1.0
