"""Small charts: as many as fit, the most important first, each with its value in words."""

from __future__ import annotations

import pytest

from middo_tui.feed.view import Curve, Series
from middo_tui.widgets.chart_view import ChartView
from middo_tui.widgets.lines import plain, width_of
from middo_tui.widgets.small_multiples import Multiples, multiples, title_of


def curve(round: int, values: list[float], last: int = 99, name: str = "", mark: str = "") -> Curve:
    return Curve(round, tuple((step, v, v) for step, v in enumerate(values)), last, name, mark)


CPU = Series("use", (curve(0, [20.0] * 300, 300, "CPU", "CPU"),))
RAM = Series("memory", (curve(0, [70.0] * 300, 300, "CPU", "CPU"),))
TRAINING = (
    Series("grad_norm", (curve(1, [2.0, 1.0, 0.5]), curve(0, [3.0] * 100))),
    Series("learning_rate", (curve(1, [2e-4, 1e-4, 5e-5]),)),
    Series("tokens_per_s", (curve(1, [41_000.0, 42_000.0, 42_400.0]),)),
)


def words(data: Multiples, width: int) -> str:
    return plain(multiples(data, width, 6)).split("\n")[0]


def test_each_says_its_newest_value_and_its_range() -> None:
    said = words(Multiples((*TRAINING, CPU, RAM), ChartView(smooth=0)), 199)
    assert said.split() == [
        *("grad", "norm", "0.5", "0.5–3"), *("learning", "rate", "5.0e-5", "5.0e-5–2.0e-4"),
        *("tokens/s", "42.4k", "41k–42.4k"), *("CPU", "use", "%", "20"), *("RAM", "%", "70"),
    ]  # fmt: skip


def test_under_the_cursor_every_round_says_its_value() -> None:
    said = words(Multiples(TRAINING[:1], ChartView(smooth=0, cursor=1)), 60)
    assert "grad norm 1━1 0╌3" in said


@pytest.mark.parametrize(("width", "shown"), [(30, 1), (60, 2), (80, 3), (120, 4), (139, 5), (199, 5)])
def test_the_most_important_ones_get_the_room(width: int, shown: int) -> None:
    rows = multiples(Multiples((*TRAINING, CPU, RAM)), width, 6)
    assert len(rows) == 6
    assert all(width_of(row) <= width for row in rows)
    titles = [title_of(one) for one in (*TRAINING, CPU, RAM)]
    assert [title for title in titles if title in plain(rows[:1])] == titles[:shown]


def test_several_devices_share_a_chart_and_have_their_marks() -> None:
    devices = Series("use", (curve(0, [97.0] * 9, 300, "GPU 0 H200", "0"), curve(1, [5.0] * 9, 300, "GPU 1 H200", "1")))
    assert words(Multiples((devices,)), 60).strip() == "GPU use % 0━97 1╌5"


def test_what_was_before_now_says_so() -> None:
    assert words(Multiples((CPU,), live=False), 60).strip() == "last run: CPU use % 20"


def test_a_machine_at_half_fills_half() -> None:
    half = Series("use", (curve(0, [50.0] * 301, 300, "CPU", "CPU"),))
    rows = plain(multiples(Multiples((half,)), 40, 9)).split("\n")[1:]
    assert [row.strip("⠀ ") != "" for row in rows] == [False] * 4 + [True] * 4


def test_nothing_to_show_takes_no_row() -> None:
    assert multiples(Multiples(), 80, 6) == []
