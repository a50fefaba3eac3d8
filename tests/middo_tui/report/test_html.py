"""HTML that escapes by default, and the charts in it."""

from __future__ import annotations

import pytest

from middo_tui.report import charts
from middo_tui.report.html import Markup, table, tag, text
from middo_tui.text.reason_kind import kind


def test_text_is_escaped_and_what_it_hides_is_visible() -> None:
    assert text("<b>&amp;\"'") == "&lt;b&gt;&amp;amp;&quot;&#x27;"
    assert text("a\u202eb\x1b[2J") == "a⟨U+202E⟩b␛[2J"
    assert tag("p", "<i>", tag("b", "x")) == "<p>&lt;i&gt;<b>x</b></p>"


def test_an_attribute_cannot_be_left() -> None:
    assert tag("p", class_='a" onclick="b', aria_label="<x>") == (
        '<p class="a&quot; onclick=&quot;b" aria-label="&lt;x&gt;"></p>'
    )
    assert tag("meta", name="a", content="b") == '<meta name="a" content="b"/>'


def test_only_markup_is_passed_on() -> None:
    assert table(("a",), [(Markup("<b>1</b>"),), ("<b>",)]).count("<b>") == 1


@pytest.mark.parametrize(("low", "high", "found"), [
    (0, 10, [0, 2, 4, 6, 8, 10]), (0.13, 0.17, [0.13, 0.14, 0.15, 0.16, 0.17]), (-1, 1, [-1, -0.5, 0, 0.5, 1]),
    (5, 5, [5]), (0, float("inf"), [0]),
])  # fmt: skip
def test_ticks_are_round_numbers_within_the_axis(low: float, high: float, found: list[float]) -> None:
    assert charts.ticks(low, high) == found


def test_a_chart_tells_lines_apart_by_class_and_names_them() -> None:
    lines = [charts.Line(f"round {at}", ((0.0, 1.0), (1.0, float(at)))) for at in range(charts.STYLES + 1)]
    drawn = charts.chart(lines, "step", "loss")
    assert {f'class="line c{at}"' in drawn for at in range(charts.STYLES)} == {True}
    assert "round 3" in drawn
    assert "Nothing was measured" in charts.chart([], "step", "loss")


def test_one_point_and_a_flat_line_can_be_drawn() -> None:
    for points in (((3.0, 2.0),), ((1.0, 0.0), (2.0, 0.0))):
        drawn = charts.chart([charts.Line("x", points, (0.0,) * len(points))], "round", "")
        assert "nan" not in drawn
        assert drawn.count("<circle") == len(points)


def test_a_long_curve_is_thinned_and_keeps_its_ends() -> None:
    points = [(float(step), 1.0) for step in range(10_000)]
    thin = charts.smoothed(points)
    assert len(thin) <= charts.POINTS + 1
    assert (thin[0][0], thin[-1][0]) == (0.0, 9_999.0)


@pytest.mark.parametrize(("reason", "same"), [
    ("not improved: its loss is above 2.655; its quality is low", "not improved: its loss is above …"),
    ("not improved: 11% of random samples share (similarity 0.959)", "not improved: …% of random samples share"),
    ("duplicate: the prompt is nearly that of #112: 68% of the words", "duplicate: the prompt is nearly that of …"),
    ("too long", "too long"),
    ("", "no reason was given"),
])  # fmt: skip
def test_reasons_are_counted_without_their_figures(reason: str, same: str) -> None:
    assert kind(reason) == same
