"""The samples that a person labels: reading them, and keeping what is said. Blocks: call it in a thread."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from engine.config import schema
from engine.plurals import counted
from engine.signals import judge_trust
from engine.signals.label_report import LabelReport, report
from engine.store import labels, read
from engine.store.connect import reader
from engine.store.labels import Labelled

DRAWN = 80


class LabelView(Struct, frozen=True):
    """The drawn samples in the order in which they are shown; ``round``: the newest scored one; ``scored``: samples
    have a flaw score, so that some can be drawn; the report on the labels given so far.
    """

    rows: tuple[Labelled, ...] = ()
    round: int = 0
    scored: bool = False
    report: LabelReport = report((), {}, {})

    @property
    def pending(self) -> int:
        """Samples without a label."""
        return sum(row.label is None for row in self.rows)


def read_labels(project: Path) -> LabelView:
    """All that the Label screen shows, but for the texts.

    Raises:
        StoreError, ConfigError: the project cannot be read.
    """
    db = reader(project)
    try:
        rows, round = labels.drawn(db), read.newest_scored(db)
        scored = db.execute("SELECT 1 FROM signal WHERE round=? AND flaw IS NOT NULL LIMIT 1", (round,)).fetchone()
        found = report(rows, labels.signals(db, round), labels.selected(db, round))
        found = replace(found, stale=judge_trust.outdated(db, round, schema.load(project).select) if rows else "")
        return LabelView(tuple(rows), round, scored is not None, found)
    finally:
        db.close()


def draw(project: Path) -> str:
    """Draw ``DRAWN`` samples; returns the sentence to show."""
    count = labels.draw(project, DRAWN, schema.load(project).project.seed)
    return f"{counted(count, 'sample')} drawn. Their signals are hidden while you label."


def give(project: Path, id: int, said: str | None, kind: str = "") -> str:
    """Keep one label, or take it back (None)."""
    labels.label(project, [(id, said, kind)])
    return ""
