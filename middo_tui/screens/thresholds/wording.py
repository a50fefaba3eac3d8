"""What the Thresholds screen says: the row above each histogram, and the one sentence about what a key would do."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from engine.config.schema import Select
from engine.signals import judge_trust
from engine.store.rows import Threshold
from middo_tui.feed import apply_thresholds
from middo_tui.feed.thresholds import SIGNALS, RoundState
from middo_tui.feed.turn import AT_WORK
from middo_tui.feed.view import LoopView
from middo_tui.keys.tables import press
from middo_tui.text import number_format
from middo_tui.text.notice import Notice
from middo_tui.widgets.lines import Line, Run


def digits(sigma: float) -> int:
    """Decimals that tell a hundredth of a sigma, at most six."""
    if not math.isfinite(sigma) or sigma <= 0:
        return 3
    return min(6, max(1, 2 - math.floor(math.log10(sigma))))


def fixed(value: float, places: int) -> str:
    """A number with a true minus sign."""
    return f"{value:.{places}f}".replace("-", "−")


def sigmas(m: float) -> str:
    """m without its sign: two decimals, or as many as it was given."""
    size = abs(m)
    return f"{size:.2f}" if abs(round(size, 2) - size) < 1e-9 else f"{size:.4g}"


def heading(name: str, mark: Threshold | None) -> Line:
    """``loss before  μ + 1.00σ = 1.234  floor 1.1``, or ``→ floor 1.3`` when that holds; or the mixture rule's cut."""
    signal = SIGNALS[name]
    title = Run(f"{signal.title}  ", f"{signal.axis}-strong")
    if mark is None:
        return (title,)
    places = digits(mark.sigma)
    if mark.rule == "mixture":
        found = math.isfinite(mark.cut)
        said = f"bimodal split at {fixed(mark.cut, places)}" if found else "no split found: selects nothing"
        return (title, Run(said, "strong" if found else "dim"), *_floor(mark, places))
    up = (mark.m >= 0) == (signal.side == "above")
    sum_ = Run(f"μ {'+' if up else '−'} {sigmas(mark.m)}σ = ", "dim")
    floor = _floor(mark, places)
    held = bool(floor) and floor[0].role == "strong"
    return (title, sum_, Run(fixed(mark.cut, places), "dim" if held else "strong"), *floor)


def _floor(mark: Threshold, places: int) -> Line:
    if mark.floor is None:
        return ()
    above = SIGNALS[mark.signal].side == "above"
    holds = mark.floor > mark.cut if above else mark.floor < mark.cut
    return (Run(f"{' → ' if holds else '  '}floor {fixed(mark.floor, places)}", "strong" if holds else "dim"),)


def empty(name: str, doubt: str = "") -> str:
    """In place of a histogram. ``doubt``: why the ratings are left out."""
    if doubt and name == "quality":
        return doubt
    return f"no sample has this signal: {SIGNALS[name].stage} has not run, or failed on every sample"


def absent(view: LoopView) -> Notice:
    """No round has its signals yet: what to do about it."""
    round = view.round or 0
    if not view.table or not view.table[0].size:
        return Notice("No data yet. Import some: middo-tui import DIR FILE", "decide")
    if view.state in AT_WORK:
        stage = view.current
        now = f"{stage.name} is at {stage.share:.0%}" if stage and stage.total else "the round has just started"
        return Notice(f"The score and judge stages compute the signals of round {round}; {now}.", "strong")
    how = f"Press {press('app.go-loop')}, then {press('loop.run')}, to compute them."
    return Notice(f"Round {round} has no signals yet. {how}", "decide")


def doubt(where: RoundState, select: Select) -> str:
    """A sentence on a judge that is not believed; empty while the quality axis selects."""
    trust = where.trust
    if judge_trust.uses_quality(select, trust):
        return ""
    said = judge_trust.verdict(select, trust)
    return f"{said[0].upper()}{said[1:]}."


def missing(names: Sequence[str], doubt: str = "") -> str:
    """A sentence on signals that no sample has; ``doubt``: why the ratings are left out."""
    if doubt and "quality" in names:
        return " ".join(filter(None, (doubt, missing([name for name in names if name != "quality"]))))
    titles = ", ".join(SIGNALS[name].title for name in names)
    axes = ", ".join(dict.fromkeys(SIGNALS[name].axis for name in names))
    return f"No sample has {titles}: {axes} selects nothing." if names else ""


def flat(marks: Mapping[str, Threshold], axis: str) -> str:
    """A sentence on a signal that is the same for all samples."""
    names = [SIGNALS[n].title for n, mark in marks.items() if mark.axis == axis and mark.sigma == 0]
    return f"All samples have the same {names[0]}: no threshold can separate them." if names else ""


def standing(where: RoundState, moved: bool, unlike: bool, verdict: str, rule: str) -> Notice:
    """What enter would do, or what there is: one sentence."""
    if where.running and not (moved or unlike):
        return Notice(f"These are the thresholds in config.toml. Round {where.round} is running.", "dim")
    if moved:
        saves = f"Not saved yet. Press {press('thresholds.apply')} to write to config.toml."
        return Notice(f"{saves} {apply_thresholds.consequence(where)}", "decide")
    if unlike and where.free:
        do = f"Press {press('thresholds.apply')} to redo the selection."
        return Notice(f"Round {where.round} was selected with thresholds unlike config.toml's. {do}", "decide")
    if unlike and where.begun and not where.history:
        cost = f" ({number_format.money(where.cost)})" if where.cost else ""
        how = f" Press {press('thresholds.redo')} to discard them{cost} and redo the selection."
        return Notice(f"{apply_thresholds.consequence(where)}{'' if where.running else how}", "decide")
    said = verdict or ("bimodal split" if rule == "mixture" else "")
    return Notice(f"These are the thresholds in config.toml{': ' + said if said else ''}.", "dim")


def by_evidence(verdict: str) -> Notice:
    """What selects instead of thresholds, and what the shown ones are for."""
    said = f"By evidence: {verdict}." if verdict else "The teacher's answers select (threshold = evidence)."
    return Notice(f"{said} For comparison, the sigma rule; {press('thresholds.apply')} switches to it.", "dim")


def leaving_evidence(where: RoundState, rule: str) -> Notice:
    """What enter does to thresholds that were moved while evidence selects."""
    name = "bimodal split" if rule == "mixture" else "sigma rule"
    saves = f"{press('thresholds.apply')} writes these and switches from evidence to the {name}."
    return Notice(f"Not saved yet. {saves} {apply_thresholds.consequence(where)}", "decide")


def beyond(marks: Sequence[Threshold]) -> str:
    """The selected side of these marks as a filter of the Samples screen, exact to the last digit."""
    parts = []
    for mark in marks:
        above = SIGNALS[mark.signal].side == "above"
        limit = mark.cut if mark.floor is None else (max if above else min)(mark.cut, mark.floor)
        if math.isfinite(limit):
            parts.append(f"{mark.signal}{'>' if above else '<'}{limit!r}")
    return " ".join(parts)
