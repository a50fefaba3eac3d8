"""What is told of one round below the table: scores, axes, clusters, times and costs, settings. Pure functions."""

from __future__ import annotations

from msgspec import Struct

from engine.plurals import counted
from engine.store.rows import AXES
from middo_tui.feed.round_config import defaults, differing
from middo_tui.feed.rounds import AxisCounts, RoundDetail, RoundsView, StageTime
from middo_tui.feed.view import MARKS
from middo_tui.look.theme import LETTERS
from middo_tui.terminal import guard
from middo_tui.text import number_format
from middo_tui.text.score_changes import ScoreChange
from middo_tui.text.score_format import amount, error, figure, mark, scale
from middo_tui.widgets.lines import Line, Lines, Run, window
from middo_tui.widgets.paragraph import wrap

TABS = ("scores", "curves", "shapes", "clusters", "time", "settings")
CUT_SIGN = {"loss_before": ">", "loss_after": ">", "similarity": "<", "quality": "<"}
NAMES = {"loss_before": "base loss", "loss_after": "tuned", "similarity": "similarity", "quality": "quality"}
COUNTS = (("selected", 10), ("rewritten", 10), ("accepted", 10), ("rejected", 9), ("failed", 8), ("open", 7))
CHANGES = ("born", "died", "grew", "shrank", "split", "merged", "kept")
SIGNS = {"born": "+", "died": "−", "grew": "▲", "shrank": "▼", "split": "⑂", "merged": "⑃", "kept": "="}
RATE = "accept %"
"""The title of the acceptance rate."""
BAR, SHORT_BAR = 24, 4
WIDE = 100  # cells in which bars and costs both have room


class Panel(Struct, frozen=True):
    """A tab about ``round``. ``before``: the settings are held against the round before; ``top``: rows scrolled off."""

    view: RoundsView
    round: int | None
    tab: str
    before: bool = False
    top: int = 0


MOST_ROWS = 4
"""Rows of a sentence."""


def panel_lines(panel: Panel, width: int) -> list[Line]:
    """All rows of a tab."""
    one = panel.view.at(panel.round) if panel.round is not None else None
    if one is None:
        return []
    earlier = panel.view.at(one.round - 1)
    if panel.tab == "scores":
        return [*_scores(one, earlier), (), *_axes(one, width)]
    if panel.tab == "clusters":
        return _clusters(one, width)
    if panel.tab == "time":
        return _times(one, width)
    return _settings(one, earlier, panel.before, width) if panel.tab == "settings" else []


def _scores(one: RoundDetail, earlier: RoundDetail | None) -> list[Line]:
    if not one.scores:
        why = ": no sample is held out" if one.done("evaluate") else " yet: the evaluate stage has not run"
        return [(Run(f" no scores{why}", "dim"),)]
    was = f"round {earlier.round}" if earlier else ""
    head = f" {'task':<18}{f'round {one.round}':>10}{'stderr':>9}{was:>11}{'change':>9}{'±':>9}"
    return [(Run(head if earlier else head[:38], "dim"),), *(_score(score, earlier) for score in one.scores)]


def _score(score: ScoreChange, earlier: RoundDetail | None) -> Line:
    name = guard.fit(f"{_label(score)} %" if scale(score) > 1 else _label(score), 18)
    stderr = error(score, score.stderr).lstrip()
    first = Run(f" {name}{figure(score):>10}{stderr:>9}")
    was = earlier.score(score.task) if earlier else None
    if score.change is None or was is None:
        return (first,) if earlier is None else (first, Run("   not measured in the previous round", "dim"))
    combined = error(score, score.combined).lstrip()
    words, role = _verdict(score)
    numbers = Run(f"{figure(was):>11}{amount(score, score.change):>9}{combined:>9}")
    return (first, numbers, Run(f"  {mark(score)} {words}" if mark(score) else f"  {words}", role))


def _label(score: ScoreChange) -> str:
    """The task; of a further figure what it is, below its task: ``gsm8k_cot:exact_match,strict-match``."""
    if score.main:
        return score.task
    metric, _, kept = score.task.rpartition(":")[2].partition(",")
    return f"  {metric if kept in ('', 'none') else kept}"


def _verdict(score: ScoreChange) -> tuple[str, str]:
    if score.beyond is None:
        return "± unknown", "dim"
    if not score.beyond or score.better is None:
        return "chance", "dim"
    return ("better", "strong") if score.better else ("worse", "bad")


def _axes(one: RoundDetail, width: int) -> list[Line]:
    if one.closing:
        return [(Run(" The final evaluation only trains and measures; it selects nothing.", "dim"),)]
    if not one.selected() and not one.total("rewritten"):
        why = "the answers are still coming" if one.asking else "the select stage has not run"
        return [(Run(f" nothing selected yet: {why}", "dim"),)]
    head = Run(
        f" {'axis':<13}" + "".join(f"{title:>{width}}" for title, width in COUNTS) + f"{RATE:>{len(RATE) + 2}}", "dim"
    )
    rows: list[Line] = [(head,)]
    rows += [(Run(f" {LETTERS[axis.axis]} {axis.axis:<11}", axis.axis), Run(_counts(axis))) for axis in one.axes]
    rows.append((Run(f" {'total':<13}{_counts(one)}", "strong"),))
    said = [(Run(f" {line}", "strong"),) for text in one.controls for line in wrap(text, width - 2, MOST_ROWS)]
    if said:
        rows += [(), *said]
    if one.evidence:
        return [*rows, (), *((Run(f" {line}", "dim"),) for line in wrap(one.evidence, width - 2, MOST_ROWS))]
    return [*rows, *([()] if one.cuts else []), *(_cuts(axis, one) for axis in AXES if any(one.cuts_of(axis)))]


def _counts(one: RoundDetail | AxisCounts) -> str:
    def count(name: str) -> int:
        return one.total(name) if isinstance(one, RoundDetail) else int(getattr(one, name))

    share = number_format.NONE if one.gain is None else f"{one.gain:.0%}"
    return "".join(f"{count(name):>{width},}" for name, width in COUNTS) + f"{share:>{len(RATE) + 2}}"


def _cuts(axis: str, one: RoundDetail) -> Line:
    """What was selected on an axis, in numbers: ``base loss > 2.47, tuned > 1.89   μ + 1.82 σ``."""
    cuts = one.cuts_of(axis)
    said = ", ".join(f"{NAMES[cut.signal]} {CUT_SIGN[cut.signal]} {cut.cut:.3f}" for cut in cuts)
    sign = "+" if CUT_SIGN[cuts[0].signal] == ">" else "−"
    rule = "bimodal split" if cuts[0].rule == "mixture" else f"μ {sign} {cuts[0].m:g} σ"
    floor = ", ".join(f"{cut.floor:.3f}" for cut in cuts if cut.floor is not None)
    held = f"   floor {floor} (round 0)" if floor else ""
    return (Run(f" {LETTERS[axis]} ", axis), Run(f"{said}   "), Run(rule + held, "dim"))


def _clusters(one: RoundDetail, width: int) -> list[Line]:
    if not one.clusters:
        why = "the final evaluation is not scored" if one.closing else "no clusters yet: the score stage has not run"
        why = "no clusters: too few samples, or score.clusters = false" if one.done("score") else why
        return [(Run(f" {why}", "dim"),)]
    there = sum(cluster.size > 0 for cluster in one.clusters)
    if all(cluster.change == "born" for cluster in one.clusters):
        said = "first clustering"
    else:
        said = ", ".join(f"{one.changed(change):,} {change}" for change in CHANGES if one.changed(change))
    head = f" {counted(there, 'cluster')}, {one.noise:,} unclustered: {said}"
    if not there:
        head = f" No clusters ({one.noise:,} unclustered)"
    rows: list[Line] = [(Run(guard.fit(head, width).rstrip(), "strong"),)]
    rows.append((Run(f" {'':<9}{'samples':>9}{'previous':>9}{'change':>9}  representative sample", "dim"),))
    for cluster in sorted(one.clusters, key=lambda c: c.change == "kept"):
        was = cluster.previous_size
        difference = "" if was is None else number_format.change(cluster.size - was, 0)
        numbers = f"{cluster.size:>9,}{'' if was is None else f'{was:,}':>9}{difference:>9}"
        text = guard.fit(cluster.text, max(0, width - 41)).rstrip()
        sign = SIGNS.get(cluster.change, "?")
        rows.append((Run(f" {sign} {cluster.change:<7}", "strong"), Run(numbers), Run(f"  {text}", "dim")))
    return rows


def _times(one: RoundDetail, width: int) -> list[Line]:
    bar = SHORT_BAR if width < WIDE and any(stage.cpu_seconds for stage in one.stages) else BAR
    longest = max((stage.seconds or 0.0 for stage in one.stages), default=0.0)
    rows: list[Line] = [_time(stage, longest, bar) for stage in one.stages]
    total = number_format.NONE if one.seconds is None else number_format.duration(one.seconds)
    cost = number_format.cost(
        sum(stage.cpu_seconds or 0.0 for stage in one.stages), max(stage.peak_bytes or 0 for stage in one.stages)
    )
    rows.append((Run(f"   {'total':<12}{total:>13}", "strong"), Run(f"  {cost}" if cost else "", "dim")))
    if one.closing:
        return rows
    asked = one.teacher
    rows += [(), (Run(f"   {'teacher':<12}{asked.calls:>13,} {'call' if asked.calls == 1 else 'calls'}"),)]
    words = f"{asked.tokens_in:,} tokens in, {asked.tokens_out:,} out"
    rows.append(
        (Run(f"   {'':<12}{number_format.short(asked.tokens_in + asked.tokens_out):>13} tokens  "), Run(words, "dim"))
    )
    each = one.total("accepted")
    price = f"  ${asked.cost / each:.4f} per accepted rewrite" if each and asked.cost else ""
    rows.append((Run(f"   {'':<12}{number_format.money(asked.cost):>13}"), Run(price, "dim")))
    return rows


def _time(stage: StageTime, longest: float, length: int) -> Line:
    took = number_format.NONE if stage.seconds is None else number_format.duration(stage.seconds)
    bar = "━" * round(length * stage.seconds / longest) if stage.seconds and longest else ""
    units = f"{stage.done:,} / {stage.total:,}" if stage.total else ""
    name = Run(f" {MARKS.get(stage.state, '?')} {stage.name:<12}", "" if stage.state == "done" else "strong")
    cost = number_format.cost(stage.cpu_seconds or 0.0, stage.peak_bytes or 0)
    return (name, Run(f"{took:>13}"), Run(f"  {bar:<{length}}", "active"), Run(f"{units:>22}  {cost}".rstrip(), "dim"))


def _settings(one: RoundDetail, earlier: RoundDetail | None, before: bool, width: int) -> list[Line]:
    if not one.settings:
        return [(Run(" the settings of this round cannot be read", "dim"),)]
    against = earlier.settings if before and earlier else defaults()
    word = f"round {earlier.round}" if before and earlier else "default"
    rows = differing(one.settings, against)
    if not (before and earlier):  # what a round of an older version did not know cannot differ from its default
        rows = tuple(row for row in rows if row[1])
    if not rows:
        same = f"same settings as round {earlier.round}" if before and earlier else "all settings are at their defaults"
        return [(Run(f" {same}", "dim"),)]
    wide = max((width - 36) // 2, 12)
    out: list[Line] = [(Run(f" {'setting':<30}  {guard.fit(f'round {one.round}', wide)}  {word}", "dim"),)]
    for key, now, then in rows:
        value = guard.fit(now or number_format.NONE, wide)
        out.append((Run(f" {guard.fit(key, 30)}  "), Run(value, "strong"), Run(f"  {guard.fit(then, wide)}", "dim")))
    return out


class RoundPanel(Lines[Panel]):
    """``panel_lines`` as a widget; fills what it is given and scrolls by ``top``."""

    DEFAULT_CSS = """
    RoundPanel { height: 1fr; }
    """

    def draw(self, data: Panel, width: int, height: int) -> list[Line]:
        """The rows from ``top`` on; the last one says when there are more."""
        return window(panel_lines(data, width), data.top, height, ": page down")
