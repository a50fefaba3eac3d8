"""The signals of a family over the rounds, along the line of versions that the chosen one is in."""

from __future__ import annotations

from msgspec import Struct

from middo_tui.feed.lineage import Family, Version
from middo_tui.feed.view import Curve
from middo_tui.widgets.chart_view import ChartView
from middo_tui.widgets.line_chart import Chart, line_chart
from middo_tui.widgets.lines import Line, Lines, beside

FIGURES = (
    ("losses", (("loss_before", "base", "b"), ("loss_after", "tuned", "t"))),
    ("quality", (("quality", "", ""),)),
    ("similarity", (("similarity", "", ""),)),
    ("flaw", (("flaw", "", ""),)),
)
"""Title, and per curve the field, its name and its letter; the most important first."""
LEAST_WIDTH = 30
GAP = 1


class FamilySignals(Struct, frozen=True):
    """``chosen``: the version that is looked at."""

    family: Family | None = None
    chosen: int | None = None


def line_of(family: Family, chosen: int) -> list[Version]:
    """From the first ancestor over ``chosen`` to what took its place, and so on: one version per round."""
    out: list[Version] = []
    version = family.at(chosen)
    while version is not None:
        out.insert(0, version)
        version = family.at(version.parent)
    newest = out[-1] if out else None
    while newest is not None and newest.replaced:
        heir = replacement(family, newest)
        if heir is None or heir in out:
            break
        out.append(heir)
        newest = heir
    return out


def replacement(family: Family, version: Version) -> Version | None:
    """The version that took its place."""
    own = (one for one in family.versions if one.parent == version.id and one.axis != "diversity")
    return next((one for one in own if one.born == version.retired), None)


def charts(data: FamilySignals) -> list[Chart]:
    """Those that have a value in two rounds or more."""
    if data.family is None or data.chosen is None:
        return []
    line = line_of(data.family, data.chosen)
    found = []
    for title, fields in FIGURES:
        curves = [Curve(at, _points(line, field), 0, name, mark) for at, (field, name, mark) in enumerate(fields)]
        rounds = [step for curve in curves for step, _, _ in curve.points]
        if len(set(rounds)) < 2:
            continue
        own = data.family.at(data.chosen)
        at = own.signals[-1].round if own is not None and own.signals else None
        whole = tuple(Curve(one.round, one.points, max(rounds), one.name or title, one.mark) for one in curves)
        found.append(Chart(title, whole, "round", view=ChartView(cursor=at)))
    return found


def _points(line: list[Version], field: str) -> tuple[tuple[int, float, float], ...]:
    """By round; where two versions were measured in one round, the later of them."""
    values: dict[int, float] = {}
    for version in line:
        for one in version.signals:
            value = getattr(one, field)
            if value is not None:
                values[one.round] = value
    return tuple((round, value, value) for round, value in sorted(values.items()))


def lineage_charts(data: FamilySignals, width: int, height: int) -> list[Line]:
    """As many as fit beside each other."""
    found = charts(data)[: max(1, (width + GAP) // (LEAST_WIDTH + GAP))]
    if not found:
        return []
    each = (width - GAP * (len(found) - 1)) // len(found)
    return beside([line_chart(chart, each, height) for chart in found], each, height, GAP)


class LineageCharts(Lines[FamilySignals]):
    """``lineage_charts`` as a widget."""

    DEFAULT_CSS = """
    LineageCharts { height: 9; }
    """

    def draw(self, data: FamilySignals, width: int, height: int) -> list[Line]:
        """A row of charts."""
        return lineage_charts(data, width, height)
