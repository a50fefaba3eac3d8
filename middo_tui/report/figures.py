"""Figures of a project as PNG or SVG: the map, the loss curves, the signals, the rounds. Drawn by matplotlib, headless.

The same project gives the same bytes: no date, fixed ids. Rounds and classes are told apart by dashes and shapes as
well as by colour. Text of the dataset is cleaned, and never read as a formula.
"""

from __future__ import annotations

import io
import sqlite3
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

from engine.errors import UsageError
from engine.plurals import counted
from engine.store.connect import reader
from engine.store.rows import AXES
from middo_tui.feed.distributions import SIGNALS, common, distribution
from middo_tui.feed.map_classes import Colour, coloured
from middo_tui.feed.map_places import mapped_rounds, open_map
from middo_tui.feed.metrics import RoundCurve
from middo_tui.feed.rounds import RoundDetail, RoundsReader
from middo_tui.feed.view import Curve
from middo_tui.look import theme
from middo_tui.report.charts import smoothed
from middo_tui.terminal.guard import clean
from middo_tui.text import score_format
from middo_tui.widgets.paragraph import wrap

Kind = Literal["map", "loss", "signals", "rounds"]
KINDS: tuple[Kind, ...] = ("map", "loss", "signals", "rounds")
SUFFIXES = (".png", ".svg")
DPI = 140
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = ("-", "--", "-.", ":")
ROUND_ROLES = ("active", "complexity", "diversity", "quality", "decide", "bad")
MANY = 20_000
"""So many points of an SVG are drawn as one picture: as shapes they would be tens of megabytes."""
NAMES = {"loss_before": "base loss", "loss_after": "tuned loss", "similarity": "similarity", "quality": "quality"}
LEGEND, LEGEND_ROWS = 30, 4
"""Cells and rows of an entry of a legend."""
NO_DATE: dict[str, dict[str, None]] = {".svg": {"Date": None}, ".png": {"Software": None}}


def picture(project: Path, kind: Kind, suffix: str, round: int | None = None, colour: Colour = "state") -> bytes:
    """The bytes of a ``.png`` or ``.svg``. ``round``: of the map (None: the newest), or the only one that is drawn.

    Raises:
        UsageError: there is nothing to draw, or matplotlib is not installed. StoreError: the project cannot be read.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError("Plots need matplotlib. Install it: pip install 'middo-tui[plots]'") from error
    with (
        mpl.rc_context({"svg.hashsalt": "middo-tui", "text.parse_math": False, "font.size": 9}),
        warnings.catch_warnings(),
        closing(reader(project)) as db,
    ):
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a script that the font has no letters for
        db.text_factory = lambda raw: raw.decode("utf-8", "replace")
        figure = Figure(figsize=(9.0, 6.0), layout="constrained")
        if kind == "map":
            _map(figure, db, project, round, colour)
        else:
            DRAWN[kind](figure, db, project, round)
        out = io.BytesIO()
        figure.savefig(out, format=suffix.removeprefix("."), dpi=DPI, metadata=NO_DATE[suffix])
        return out.getvalue()


def _colours() -> Callable[[str], str]:
    """A role's colour on white paper."""
    styles = theme.styles(theme.PALETTES["middo-light"])

    def of(role: str) -> str:
        found = styles[role].color
        return found.name if found is not None else "#1d2127"

    return of


# ------------------------------------------------------------------------------------------------- the map


def _map(figure: Any, db: sqlite3.Connection, project: Path, round: int | None, colour: Colour) -> None:
    there = mapped_rounds(db)
    placed = open_map(db, project, round if round is not None else there[-1] if there else 0)
    by = coloured(db, placed.round, placed.ids, placed.order, colour)
    paint, axes = _colours(), figure.add_subplot()
    places: list[tuple[list[float], list[float]]] = [([], []) for _ in by.classes]
    for at, code in enumerate(by.codes):
        for values, value in zip(places[code], placed.point(at), strict=True):
            values.append(value)
    size = max(1.0, min(26.0, 16_000 / max(1, len(placed))))
    for at, (one, (xs, ys)) in enumerate(zip(by.classes, places, strict=True)):
        if one.count:
            name = _wrapped(f"{clean(one.name).text} ({one.count:,})")
            look = {
                "s": size,
                "c": paint(one.role),
                "marker": MARKERS[at % len(MARKERS)],
                "linewidths": 0,
                "alpha": 0.8,
            }
            axes.scatter(xs, ys, label=name, rasterized=len(placed) > MANY, **look)
    first, second = placed.head.shares
    axes.set_xlabel(f"first component ({first:.0%} of the variance)")
    axes.set_ylabel(f"second component ({second:.0%})")
    title = f"Map of round {placed.round}: {counted(len(placed), 'sample')} by {colour}"
    axes.set_title(title, loc="left")
    axes.set_aspect("equal", adjustable="datalim")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, markerscale=max(1.0, 5 / size**0.5))


def _wrapped(name: str) -> str:
    """A legend's entry in rows: a long one in one row would leave no room for the picture."""
    return "\n".join(wrap(name, LEGEND, LEGEND_ROWS))


# ------------------------------------------------------------------------------------------------- the others


def _loss(figure: Any, db: sqlite3.Connection, project: Path, round: int | None) -> None:
    drawn = [curve for number in _rounds(db, round) if (curve := RoundCurve(number).read(db, 1.0, 0)).points]
    if not drawn:
        raise UsageError(f"{project}: no training step was logged{_of(round)}, so there is no loss to draw.")
    axes = figure.add_subplot()
    for number, look, curve in _looks(drawn, lambda curve: curve.round):
        points = smoothed(_middles(curve))
        axes.plot([x for x, _ in points], [y for _, y in points], label=f"round {number}", **look)
    axes.set_xlabel("step")
    axes.set_ylabel("training loss (running mean)")
    axes.legend(frameon=False)


def _middles(curve: Curve) -> list[tuple[float, float]]:
    return [(float(step), (low + high) / 2) for step, low, high in curve.points]


def _signals(figure: Any, db: sqlite3.Connection, project: Path, round: int | None) -> None:
    numbers = _rounds(db, round)
    drawn = False
    for at, (axes, signal) in enumerate(zip(figure.subplots(2, 2).flat, SIGNALS, strict=True)):
        found = {number: shape for number in numbers if (shape := distribution(db, number, signal)) is not None}
        drawn = drawn or bool(found)
        for number, look, bins in _looks(list(common(found).items()), lambda item: item[0]):
            counts = bins[1].counts
            width = (bins[1].high - bins[1].low) / len(counts)
            edges = [bins[1].low + width * part for part in range(len(counts) + 1)]
            axes.stairs(counts, edges, label=f"round {number}", **look)
        axes.set_title(NAMES[signal], loc="left")
        axes.set_ylabel("samples")
        if at == 0 and found:
            axes.legend(frameon=False)
    if not drawn:
        raise UsageError(f"{project}: nothing was measured{_of(round)}, so there are no signals to draw.")


def _every_round(figure: Any, db: sqlite3.Connection, project: Path, round: int | None) -> None:
    if round is not None:
        raise UsageError("--round: this plot shows all rounds. Leave --round out.")
    rounds = RoundsReader(project).read().rounds
    if not rounds:
        raise UsageError(f"{project}: no round has run yet, so there is nothing to draw.")
    (upper, lower), (counts, tokens) = figure.subplots(2, 2)
    _scores(upper, rounds, True)
    _scores(lower, rounds, False)
    _by_axis(counts, rounds)
    numbers = [one.round for one in rounds]
    asked = [one.teacher.tokens_in + one.teacher.tokens_out for one in rounds]
    tokens.bar(numbers, asked, color=_colours()("series-1"))
    tokens.set_title("teacher tokens", loc="left")
    for axes in (upper, lower, counts, tokens):
        axes.set_xticks(numbers)
        axes.set_xlabel("round")


def _scores(axes: Any, rounds: Sequence[RoundDetail], higher: bool) -> None:
    """Figures with their standard errors: those of which more is better, or the others."""
    tasks = sorted({one.task for detail in rounds for one in detail.scores if one.main and one.higher == higher})
    for _, look, task in _looks(tasks, lambda task: 0):
        found = [(detail.round, score) for detail in rounds if (score := detail.score(task)) is not None]
        scale = score_format.scale(found[0][1])
        errors = [(score.stderr or 0.0) * scale for _, score in found]
        axes.errorbar([number for number, _ in found], [score.value * scale for _, score in found], errors,
                      label=_wrapped(clean(task).text), marker="o", capsize=3, **look)  # fmt: skip
    axes.set_title("scores, more is better (% or points)" if higher else "losses, less is better", loc="left")
    if tasks:
        axes.legend(frameon=False)


def _by_axis(axes: Any, rounds: Sequence[RoundDetail]) -> None:
    """Selected (light) and accepted (full) of each axis."""
    paint = _colours()
    for place, axis in enumerate(AXES):
        found = [(one.round, each) for one in rounds for each in one.axes if each.axis == axis]
        at = [number + (place - 1) * 0.27 for number, _ in found]
        axes.bar(at, [each.selected for _, each in found], 0.25, color=paint(axis), alpha=0.3)
        axes.bar(at, [each.accepted for _, each in found], 0.25, color=paint(axis), label=axis,
                 hatch=("", "//", "..")[place])  # fmt: skip
    axes.set_title("selected (light) and accepted", loc="left")
    axes.legend(frameon=False)


def _rounds(db: sqlite3.Connection, round: int | None) -> list[int]:
    """All rounds, or the one that was asked for."""
    there = [row[0] for row in db.execute("SELECT round FROM round ORDER BY round")]
    if round is not None and round not in there:
        known = f"The project has rounds {there[0]} to {there[-1]}." if there else "No round has run yet."
        raise UsageError(f"--round {round}: no such round. {known}")
    return there if round is None else [round]


def _of(round: int | None) -> str:
    return "" if round is None else f" in round {round}"


def _looks(found: Sequence[Any], number: Callable[[Any], int]) -> Iterator[tuple[int, dict[str, Any], Any]]:
    """Each with a colour and a dash of its own."""
    paint = _colours()
    for at, one in enumerate(found):
        look = {"color": paint(ROUND_ROLES[at % len(ROUND_ROLES)]), "linestyle": DASHES[at % len(DASHES)]}
        yield number(one), look, one


DRAWN: Mapping[str, Callable[[Any, sqlite3.Connection, Path, int | None], None]] = {
    "loss": _loss,
    "signals": _signals,
    "rounds": _every_round,
}
