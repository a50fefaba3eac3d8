"""The report as HTML: one page with its style inside, no script and nothing loaded from anywhere."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

from engine.plurals import counted
from middo_tui.feed.rounds import TeacherUsage
from middo_tui.report import charts, examples
from middo_tui.report.facts import Facts
from middo_tui.report.html import Markup, table, tag
from middo_tui.text import number_format, score_format
from middo_tui.text.score_changes import ScoreChange

STYLE = Path(__file__).parent / "style.css"
RATE = "Rate: accepted of all rewrites asked for, also those that failed."
ERRORS = (
    "± is one standard error over the held-out questions; it excludes the variance between training runs. ▲ and ▼ mark"
    " changes of more than two standard errors, question by question; ≈ is within chance."
)


def page(facts: Facts, now: float) -> str:
    """The whole file. ``now``: wall time in seconds, for the footer."""
    style = STYLE.read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", f"{facts.name} · middo-tui report"),
        tag("style", Markup(style)),
    )
    body = tag("body", *_header(facts), tag("main", *_sections(facts)), _footer(now))
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _sections(facts: Facts) -> Iterator[Markup]:
    yield _section("Rounds", _rounds(facts))
    yield _section("Scores", _scores(facts))
    yield _section("Training loss", _losses(facts))
    yield _section("Did it help?", examples.answers(facts))
    yield _section("Rewrites", examples.rewrites(facts))
    yield _section("Left out", _left_out(facts))
    yield _section("Costs", _costs(facts))
    yield _section("Provenance", _provenance(facts))


def _section(title: str, body: Iterable[str]) -> Markup:
    return tag("section", tag("h2", title), *body)


# ---------------------------------------------------------------------------------------------------- the top


def _header(facts: Facts) -> Iterator[Markup]:
    by = f", with rewrites by {facts.teacher}" if facts.teacher else ""
    done = sum(one.merged for one in facts.rounds)
    yield tag("h1", facts.name)
    over = counted(done, "round")
    yield tag("p", f"An instruction dataset improved for {facts.model or 'its model'} over {over}{by}.", class_="dim")
    yield tag("ul", *(tag("li", tag("b", value), name) for value, name in _tiles(facts)), class_="tiles")


def _tiles(facts: Facts) -> Iterator[tuple[str, str]]:
    accepted, made = (sum(one.total(name) for one in facts.rounds) for name in ("accepted", "rewritten"))
    made += sum(one.total("failed") for one in facts.rounds)
    for task in _tasks(facts)[:2]:
        found = [score for one in facts.rounds if (score := one.score(task)) is not None]
        unit = " %" if score_format.scale(found[-1]) > 1 else ""
        name = score_format.SHORT.get(task, task) + (" loss" if task == "heldout_loss" else "")
        values = f"{score_format.figure(found[0])} → {score_format.figure(found[-1])}{unit}"
        yield values, f"{name}, first and last round"
    yield f"{accepted:,} of {made:,}", "rewrites accepted"
    calls, tokens = _asked(facts)
    cost = sum(one.teacher.cost for one in facts.rounds)
    paid = f", {number_format.money(cost)}" if cost else ""
    yield f"{calls:,}", f"teacher {'call' if calls == 1 else 'calls'}, {number_format.short(tokens)} tokens{paid}"
    yield number_format.duration(sum(one.seconds or 0 for one in facts.rounds)), "of computing"


def _asked(facts: Facts) -> tuple[int, int]:
    used = [one.teacher for one in facts.rounds]
    return sum(one.calls for one in used), sum(one.tokens_in + one.tokens_out for one in used)


# --------------------------------------------------------------------------------------------------- sections


def _rounds(facts: Facts) -> Iterator[Markup]:
    tasks = _tasks(facts)
    head = ["round", "samples", "selected", "rewritten", "failed", "accepted", "rate"]
    for task in tasks:
        head += [score_format.SHORT.get(task, task), "change"]
    rows = []
    for one in facts.rounds:
        names = ("selected", "rewritten", "failed", "accepted")
        made = [""] * 5 if one.closing else [f"{one.total(name):,}" for name in names]
        if not one.closing:
            made.append(number_format.NONE if one.gain is None else f"{one.gain:.0%}")
        scores = [cell for task in tasks for cell in _score(one.score(task))]
        rows.append([f"{one.round}{' (final)' if one.closing else ''}", f"{one.size:,}", *made, *scores])
    yield table(head, rows)
    yield tag("p", f"{RATE} {ERRORS}", class_="dim")
    for one in facts.rounds:
        if one.evidence:
            yield tag("p", f"Round {one.round}: {one.evidence}.", class_="dim")


def _tasks(facts: Facts) -> list[str]:
    """The scores of all rounds, the main ones first."""
    found = {score.task for one in facts.rounds for score in one.scores if score.main}
    return sorted(found, key=lambda task: (task not in score_format.MAIN_TASKS, task))


def _score(one: ScoreChange | None) -> list[str]:
    if one is None:
        return ["", ""]
    error = score_format.error(one, one.stderr)
    changed = "" if one.change is None else f"{score_format.amount(one, one.change)} {score_format.mark(one)}"
    kind = {score_format.BETTER: "good", score_format.WORSE: "bad"}.get(score_format.mark(one), "")
    return [f"{score_format.figure(one)}{error}", tag("span", changed, class_=kind) if kind else changed]


def _scores(facts: Facts) -> Iterator[Markup]:
    yield tag("div", *(tag("div", *_score_chart(facts, task)) for task in _tasks(facts)), class_="charts")


def _score_chart(facts: Facts, task: str) -> Iterator[Markup]:
    """One score by round, with bars of one standard error."""
    found = [(one.round, score) for one in facts.rounds if (score := one.score(task)) is not None]
    points = tuple((float(at), one.value * score_format.scale(one)) for at, one in found)
    errors = tuple((one.stderr or 0.0) * score_format.scale(one) for _, one in found)
    yield tag("h3", f"{task}{' in %' if score_format.scale(found[-1][1]) > 1 else ''}")
    yield charts.chart([charts.Line(task, points, errors)], "round", "", whole=True, width=charts.NARROW)


def _losses(facts: Facts) -> Iterator[Markup]:
    lines = [
        charts.Line(
            f"round {curve.round}",
            charts.smoothed([(float(step), (low + high) / 2) for step, low, high in curve.points]),
        )
        for curve in facts.curves
    ]
    yield charts.chart(lines, "step", "", whole=True)
    start = dict(facts.rounds[0].settings).get("train.init", "")
    begins = {'"base"': "the base model", '"previous"': "the previous round's model"}.get(start)
    said = f" Each round starts from {begins}." if begins else ""
    yield tag("p", f"Running mean of the loss per training step.{said}", class_="dim")


def _left_out(facts: Facts) -> Iterator[Markup]:
    if not facts.left_out:
        yield tag("p", "Nothing.")
        return
    yield table(("what", "count"), [(what, f"{count:,}") for what, count in facts.left_out])


def _costs(facts: Facts) -> Iterator[Markup]:
    head = ("round", "teacher calls", "tokens in", "tokens out", "cost")
    asked = [(str(one.round), one.teacher) for one in facts.rounds if not one.closing]
    counts = ((name, (used.calls, used.tokens_in, used.tokens_out), _cost(used)) for name, used in asked)
    yield table(head, ((name, *(f"{number:,}" for number in numbers), cost) for name, numbers, cost in counts))
    names = list(dict.fromkeys(stage.name for one in facts.rounds for stage in one.stages))
    yield tag("h3", "Time by stage")
    took = ((one, {stage.name: stage.seconds for stage in one.stages}) for one in facts.rounds)
    rows = ((str(one.round), *(_time(by.get(name)) for name in names), _time(one.seconds)) for one, by in took)
    yield table(("round", *names, "total"), rows)


def _cost(used: TeacherUsage) -> str:
    return number_format.money(used.cost) if used.cost else number_format.NONE


def _time(seconds: float | None) -> str:
    return "" if seconds is None else number_format.duration(seconds)


def _provenance(facts: Facts) -> Iterator[Markup]:
    rows = [
        (one.file, one.format, f"{one.rows:,}", f"{one.rejected:,}", f"{one.duplicates:,}", one.digest[:16])
        for one in facts.sources
    ]
    yield table(("file", "format", "rows", "not imported", "copies", "BLAKE2"), rows, words=2)
    both = f" {facts.overlap:,} of their prompts are also in the training data, so scores partly measure memorisation."
    held = counted(facts.heldout, "sample was", "samples were")
    yield tag("p", f"{held} held out and never trained on.{both if facts.overlap else ''}")
    if facts.settings:
        yield tag("h3", "Settings that differ from the defaults")
        yield table(("setting", "value", "default"), facts.settings, words=3)


def _footer(now: float) -> Markup:
    at = time.strftime("%Y-%m-%d %H:%M", time.localtime(now))
    version = metadata.version("middo-tui")
    return tag("footer", tag("p", f"Written by middo-tui {version} on {at}. Method: Middo, EMNLP 2025."))
