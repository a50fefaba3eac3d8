"""docs/benchmarks/flaws.md and its plot from the figures of each model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.measured import machine, table
from benchmarks.plots import saved
from benchmarks.world.planted_flaws import FREQUENT, KINDS, UNSEEN
from benchmarks.world.unseen_flaws import UNSEEN_KINDS

Found = Mapping[str, Mapping[str, Any]]
FALSE = "wrong answer"
"""The demo's own kind: a false answer in the right phrase."""
SEEN = [kind for kind in (*KINDS, FALSE) if kind not in UNSEEN]
GROUPS = {"frequent": FREQUENT, "seen": SEEN, "all": (*KINDS, FALSE), "later": tuple(UNSEEN_KINDS)}
"""Kinds that are also measured together."""
NAMED = {
    "frequent": "**nine frequent kinds**",
    "seen": "**all that a small model can see**",
    "all": "all, with wrong numbers and names",
    "later": "**all kinds written afterwards**",
}
LATER = "SmolLM2-135M-Instruct, other rows and kinds"
"""What nothing was chosen on."""
TRIED = Path(__file__).with_name("flaws_tried.md")
"""What was tried and left out, with its figures: measured once, not by this run."""


def page(found: Found, draws: int) -> str:
    """The page as Markdown."""
    text = [
        "# How well planted flaws are found",
        "",
        "`make bench-flaws`",
        "",
        f"{machine()}.",
        "",
        "Rows are spoilt on purpose (`benchmarks/world/planted_flaws.py`), so which ones are flawed is known. Each row"
        " is measured clean and with a few kinds of flaws by the project's own scoring pass; then"
        f" {draws} draws say which rows are flawed and how. A figure is the area under the ROC curve (how often a"
        " flawed row looks worse than a clean one), the mean of the draws. The clean rows are real and not perfect:"
        " some of them deserve a high score.",
        "",
        "![The area under the ROC curve by kind of flaw](flaws.png)",
        "",
        "With SmolLM2 the score misses most: prompts that are vague and still name their topic, prompts of which the"
        " second half is missing, and text that goes on after a whole answer (advert, run on). Wrong numbers and names"
        " it cannot see. What is selected is decided by the teacher's answers, so it is more precise than the score.",
        "",
    ]
    for name, own in found.items():
        text += [f"## {name}", "", *([_LATER, ""] if name == LATER else []), *_model(own)]
    return "\n".join([*text, TRIED.read_text(encoding="utf-8")])


_LATER = (
    "The lenses, the signs and the harmonic mean were chosen on the kinds above. These kinds were written afterwards"
    " (`benchmarks/world/unseen_flaws.py`), on other rows, and nothing was changed for them: expect this of flaws that"
    " nobody thought of. Two tasks, a beginning that is missing, and text that goes on with the next exchange are found"
    " worst."
)


def _model(own: Mapping[str, Any]) -> list[str]:
    out = [f"{own['rows']} rows. {own['clean rows that show a sign']} of the clean ones show a sign in their text.", ""]
    for share, figures in own["shares"].items():
        areas = figures["auc"]
        kinds = _kinds(areas)
        head = ("kind", *areas)
        lines = [[_named(kind), *(_cell(areas[name].get(kind)) for name in areas)] for kind in kinds]
        tops = figures["top"]
        out += [
            f"### {float(share):.0%} flawed",
            "",
            table(head, lines),
            "",
            f"Of as many rows as are flawed, the worst by the flaw score: {tops['precision']['mean']:.2f} are flawed"
            f" (± {tops['precision']['sd']:.2f} over draws).",
            "",
        ]
    return out + _default(own)


def _default(own: Mapping[str, Any]) -> list[str]:
    """What the default selects, by the share of flawed rows."""
    head = ("flawed", "calls", "selected", "precision", "recall", "of the clean rows selected")
    lines = []
    for share, figures in own.get("default", {}).items():
        counts = [f"{figures[name]['mean']:.0f}" for name in ("calls", "selected")]
        shares = [figures[name] for name in ("precision", "recall", "clean rows selected")]
        lines.append([f"{float(share):.0%}", *counts, *(f"{one['mean']:.1%}" if one else "" for one in shares)])
    if not lines:
        return []
    said = (
        "What the default selects (the stages select and rewrite with these flaw scores; the teacher gives back the"
        f" true row, right 95 % of the time), mean of {own['default']['0']['calls']['draws']} draws:"
    )
    return ["### What the default selects", "", said, "", table(head, lines), ""]


def _kinds(areas: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The rows of a table: groups of kinds, frequent kinds, others, then those that a small model cannot see."""
    known = {kind for own in areas.values() for kind, value in own.items() if value}
    others = sorted(kind for kind in SEEN if kind not in FREQUENT)
    order = ("frequent", "seen", *FREQUENT, *others, *UNSEEN, "all", "later", *UNSEEN_KINDS)
    return [kind for kind in order if kind in known]


def _named(kind: str) -> str:
    return NAMED.get(kind, kind)


def _cell(value: Mapping[str, float] | None) -> str:
    return f"{value['mean']:.3f}" if value else ""


def plot(found: Found, document: Path) -> None:
    """flaws.svg and flaws.png beside the page; nothing where matplotlib is not installed."""
    saved(document, lambda figure: _draw(figure, found), (6 * len(found), 6))


def _draw(figure: Any, found: Found) -> None:
    axes = figure.subplots(1, len(found), squeeze=False)
    for axis, (name, own) in zip(axes[0], found.items(), strict=True):
        areas = own["shares"]["0.4"]["auc"]
        kinds = _kinds(areas)[::-1]
        for signal, mark in (("base loss", "xC0"), ("judge", "+C2"), ("flaw score", "oC1")):
            points = [(areas[signal][k]["mean"], y) for y, k in enumerate(kinds) if areas.get(signal, {}).get(k)]
            axis.plot(*zip(*points, strict=True), mark, label=signal) if points else None
        axis.axvline(0.5, color="0.8")
        axis.set_yticks(range(len(kinds)), [_named(kind).strip("*") for kind in kinds])
        axis.set(title=f"{name}, 40 % flawed", xlabel="area under the ROC curve", xlim=(0, 1.02))
        axis.legend(loc="lower left")
