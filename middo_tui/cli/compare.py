"""``middo-tui compare``: several projects side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from middo_tui.cli.arguments import FOLDER
from middo_tui.terminal.console import one_line, say, say_json

if TYPE_CHECKING:
    from middo_tui.feed.compare import ComparedProject, SideBySide

WIDEST = 40
"""Cells of a setting's value; the rest is cut."""


@click.command("compare")
@click.argument("folders", type=FOLDER, nargs=-1, required=True, metavar="FOLDER FOLDER...")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def compare_command(folders: tuple[Path, ...], as_json: bool) -> None:
    """Compare projects: scores with their errors, rounds, teacher calls, cost, and settings that differ.

    Each project's newest scores are compared with the first project's.
    """
    from middo_tui.feed.compare import compare

    found = compare(folders)
    if as_json:
        say_json(_facts(found))
        return
    for line in _lines(found):
        say(line)


def _lines(found: SideBySide) -> Iterator[str]:
    from middo_tui.cli.plain import rounds_table
    from middo_tui.text import number_format
    from middo_tui.text.status import gather

    yield from _table([("", *(one_line(one.label, WIDEST) for one in found.projects)), *_figures(found)])
    yield ""
    yield from _notes(found)
    for one in found.projects:
        yield f"\n{one.label}"
        yield rounds_table(gather(Path(one.folder)))
    yield "\nsettings that differ" if found.settings else "\nNo setting differs."
    yield from _table(
        [
            (f"  {key}", *(one_line(value, WIDEST) or number_format.NONE for value in values))
            for key, values in found.settings
        ]
    )


def _figures(found: SideBySide) -> Iterator[tuple[str, ...]]:
    from middo_tui.text import number_format, score_format

    def row(name: str, values: Iterator[str]) -> tuple[str, ...]:
        return (name, *values)

    projects = found.projects
    yield row("model", (one_line(one.model, WIDEST) for one in projects))
    yield row("newest scores", (number_format.NONE if one.round is None else f"round {one.round}" for one in projects))
    for task in found.tasks:
        scores = [one.scores.get(task) for one in projects]
        yield row(score_format.SHORT.get(task, one_line(task, WIDEST)), (_score(one) for one in scores))
        yield row("  difference", (_difference(one, found.comparable(task)) for one in scores))
    yield row("dataset", (number_format.count(one.rounds[-1].size) if one.rounds else "" for one in projects))
    yield row("accepted", (f"{one.accepted:,} of {one.rewritten:,}" for one in projects))
    yield row("teacher calls", (f"{one.calls:,}" for one in projects))
    yield row("tokens", (number_format.short(one.tokens) for one in projects))
    if any(one.cost for one in projects):
        yield row("cost", (number_format.money(one.cost) for one in projects))
    yield row("computing", (number_format.duration(one.seconds) for one in projects))


def _score(one: Any) -> str:
    from middo_tui.text import score_format

    if one is None:
        return ""
    return score_format.figure(one) + score_format.error(one, one.stderr)


def _difference(one: Any, marked: bool) -> str:
    from middo_tui.text import score_format

    if one is None or one.change is None:
        return ""
    error = score_format.error(one, one.combined)
    return f"{score_format.amount(one, one.change)}{error} {score_format.mark(one) if marked else ''}".rstrip()


def _notes(found: SideBySide) -> Iterator[str]:
    yield "Differences from the first project: ▲ better, ▼ worse by more than two standard errors; ≈ within them."
    if found.same_questions:
        yield "All were asked the same held-out questions: errors are those of the differences, question by question."
    else:
        yield "The projects hold out different samples: both errors are added up, and held-out scores get no mark."


def _table(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    if not rows:
        return
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    for name, *cells in rows:
        padded = (f"{cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True))
        yield "  ".join([f"{name:<{widths[0]}}", *padded]).rstrip()


def _facts(found: SideBySide) -> dict[str, Any]:
    settings = {key: list(values) for key, values in found.settings}
    projects = [_project(found, one) for one in found.projects]
    return {"projects": projects, "same_questions": found.same_questions, "settings": settings}


def _project(found: SideBySide, one: ComparedProject) -> dict[str, Any]:
    scores = {
        task: {
            "value": score.value,
            "stderr": score.stderr,
            "difference": score.change,
            "difference_stderr": score.combined,
            "paired": score.paired,
            "beyond_chance": score.beyond if found.comparable(task) else None,
            "better": score.better,
        }
        for task, score in one.scores.items()
    }
    rounds = [
        {
            "round": detail.round,
            "size": detail.size,
            "selected": detail.total("selected"),
            "rewritten": detail.total("rewritten"),
            "accepted": detail.total("accepted"),
            "scores": {score.task: score.value for score in detail.scores},
            "calls": detail.teacher.calls,
        }
        for detail in one.rounds
    ]
    figures = {"calls": one.calls, "tokens": one.tokens, "cost": one.cost, "seconds": one.seconds}
    whole = {"label": one.label, "folder": one.folder, "model": one.model, "round": one.round}
    return {**whole, "scores": scores, **figures, "rounds": rounds}
