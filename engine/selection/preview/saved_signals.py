"""A round's signals as a preview wants them, kept beside the database by the select stage: what had to be read of half
a million rows is mapped. Light; ``engine.selection.preview.save_signals`` writes it.

Its row in the store goes in the transaction that resets the score or the judge stage, so that a file with a row is
never older than the signals. Without one the round is read anew, as slowly as ever.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from engine.files import mapped_file
from engine.files.mapped_file import Sections
from engine.selection.preview.build_process import FORM
from engine.signals import axes
from engine.store.rows import PREVIEW


def opened(db: sqlite3.Connection, project: Path, round: int, believed: bool, asked: str | None) -> Sections | None:
    """What is kept of ``round``; None where nothing is, or nothing that can be used.

    Args:
        believed: the quality axis may select; what was kept when it was otherwise does not count.
        asked: what the teacher would be asked with now (``engine.teacher.forecast.asked_with``); None: no matter.
    """
    laid = _laid(db, project, round)
    if laid is None or laid.head["believed"] != believed or asked not in (None, laid.head["asked"]):
        return None
    return laid


def sorted_values(db: sqlite3.Connection, project: Path, round: int) -> dict[str, Sequence[float]]:
    """The known values of every signal in rising order, as far as they are kept; ratings only of a judge that was
    believed.
    """
    laid = _laid(db, project, round)
    return {} if laid is None else {s.name: laid.floats(f"sorted {s.name}") for s in axes.SIGNALS}


def _laid(db: sqlite3.Connection, project: Path, round: int) -> Sections | None:
    row = db.execute("SELECT path FROM artifact WHERE round=? AND name=?", (round, PREVIEW)).fetchone()
    if row is None:
        return None
    path = (project / row[0]).resolve()
    if not path.is_relative_to(project.resolve()) or mapped_file.cut_off(path):
        return None
    laid = Sections(path.open("rb"))
    return laid if laid.head["form"] == FORM else None
