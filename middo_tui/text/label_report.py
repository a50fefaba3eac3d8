"""The report on a person's labels, in words."""

from __future__ import annotations

from collections.abc import Iterator

from engine.plurals import counted
from engine.signals.label_report import LabelReport, too_wide
from middo_tui.text.number_format import fixed

WORDS = {
    "flaw": "flaw score",
    "loss_before": "base loss",
    "loss_after": "tuned loss",
    "similarity": "similarity",
    "quality": "quality (judge)",
    "end_of_turn": "end of turn",
    "ifd": "IFD",
    "worst_window": "worst window",
}


def report_lines(found: LabelReport) -> Iterator[str]:
    """The report in words, one line each."""
    if not found.labelled:
        none = "No samples are drawn yet. Draw some: --draw 80"
        yield f"No labels yet; {counted(found.pending, 'drawn sample')} pending." if found.pending else none
        return
    pending = f", {found.pending:,} pending" if found.pending else ""
    good = found.labelled - found.flawed
    yield f"{counted(found.labelled, 'label')}: {found.flawed:,} flawed, {good:,} good{pending}"
    if found.share is not None and found.low is not None and found.high is not None:
        interval = f"(95% interval: {found.low:.0%} to {found.high:.0%})"
        if too_wide(found.low, found.high):
            yield f"Too few labels to estimate how much of the whole dataset is flawed {interval}."
        else:
            yield f"flawed in the whole dataset: {found.share:.0%} {interval}"
    if found.kinds:
        yield "kinds: " + ", ".join(f"{kind} {count}" for kind, count in sorted(found.kinds.items()))
    if found.even is not None:
        yield f"more likely flawed than good from a flaw score of {found.even:.2f} on"
    if found.stale:
        yield from (f"{part.rstrip('.')}." for part in found.stale.split(". "))
    if not found.rankings:
        yield "Too few labels of one kind to rate the signals: at least 3 flawed and 3 good ones are needed."
        return
    yield "how well each signal ranks flawed before good (0.5: chance, 1: perfectly):"
    for one in sorted(found.rankings, key=lambda one: -one.auc):
        auc = f"{'too few labels' if too_wide(one.low, one.high) else f'{one.auc:.2f}':<4}"
        yield f"  {WORDS[one.signal]:<16} {auc}  ({one.low:.2f} to {one.high:.2f})"
    if found.kappa:
        kappas = ", ".join(f"{axis} {fixed(value, 2).replace('-', '−')}" for axis, value in found.kappa.items())
        yield f"agreement of the selection with the labels (Cohen's kappa): {kappas}"
