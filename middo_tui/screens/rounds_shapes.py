"""What the shapes tab of the Rounds screen draws: a signal's distribution over that of the round before."""

from __future__ import annotations

from middo_tui.feed.bins import Bins, Side
from middo_tui.feed.distributions import MADE_BY
from middo_tui.feed.rounds import RoundDetail, RoundsView
from middo_tui.text import number_format
from middo_tui.widgets.chart_view import AxisScale
from middo_tui.widgets.histogram import Cutting
from middo_tui.widgets.lines import Line, Run, width_of

WORDS = {
    "loss_before": "base loss",
    "loss_after": "tuned loss",
    "similarity": "similarity",
    "quality": "quality",
}
AXIS = {"loss_before": "complexity", "loss_after": "complexity", "similarity": "diversity", "quality": "quality"}
SIDE: dict[str, Side] = {"loss_before": "above", "loss_after": "above", "similarity": "below", "quality": "below"}


def shape(
    view: RoundsView, chosen: RoundDetail | None, signal: str, width: int, scale: AxisScale, cursor: int | None
) -> Cutting:
    """The chosen round's distribution over the one before it. ``scale``: of the counts; ``cursor``: a part."""
    if chosen is None:
        return Cutting(None, SIDE[signal], AXIS[signal])
    shapes = view.overlaid(signal)
    bins, earlier = shapes.get(chosen.round), shapes.get(chosen.round - 1)
    if bins is not None and earlier is not None:
        total, was = sum(bins.counts), sum(earlier.counts)
        earlier = earlier.scaled(total / was) if was else None
    cut = chosen.cut(signal)
    return Cutting(
        bins,
        SIDE[signal],
        AXIS[signal],
        cut=None if cut is None else cut.cut,
        floor=None if cut is None else cut.floor,
        earlier=earlier,
        heading=_heading(view, chosen, signal, earlier, width),
        empty=_no_shape(view, chosen, signal),
        counts=scale,
        cursor=cursor,
    )


def _heading(view: RoundsView, chosen: RoundDetail, signal: str, earlier: Bins | None, width: int) -> Line:
    """The signal's name, its middle and how that has moved."""
    now, was = view.shape(chosen.round, signal), view.shape(chosen.round - 1, signal)
    runs = [Run(WORDS[signal], AXIS[signal])]
    if now is not None:
        runs += [Run(f"  mean {_with_change(now.mean, was.mean if was else None)}")]
        runs += [Run(f"  median {_with_change(now.median, was.median if was else None)}")]
    if earlier is not None:
        runs += [Run(f"  round {chosen.round - 1} ", "dim"), Run("⠒⠒", "faint")]
    if now is not None:
        runs += [Run(f"   5–95 %: {now.low:.2f} to {now.high:.2f}", "dim")]
    fits = [width_of(tuple(runs[: n + 1])) <= width - 2 for n in range(len(runs))]
    return tuple(run for run, fit in zip(runs, fits, strict=True) if fit)


def _no_shape(view: RoundsView, chosen: RoundDetail, signal: str) -> str:
    if chosen.closing:
        return "the final evaluation only trains and measures: it has no signals"
    stage = MADE_BY[signal]
    done = any(one.name == stage and one.state == "done" for one in chosen.stages)
    if done:
        return "no sample has this signal" if view.complete else "counting …"
    return f"not computed yet: the {stage} stage has not run"


def _with_change(now: float, was: float | None) -> str:
    return f"{now:.3f}" + ("" if was is None else f" ({number_format.change(now - was, 3)})")
