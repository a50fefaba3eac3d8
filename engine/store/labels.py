"""A person's labels of samples, given blind: which are drawn, what was said, and reading them back with their signals.

The draw is stratified: the round's samples, sorted by flaw score, are divided into ten strata of equal size, and from
each as many are drawn at random. So every part of the score is seen, and the share of flawed samples can still be
estimated without bias. Standard library only.
"""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

from msgspec import Struct

from engine.errors import UsageError
from engine.store import read
from engine.store.connect import transaction, writer
from engine.store.rows import Row

STRATA = 10
LABELS = ("good", "flawed")
KINDS = ("wrong answer", "cut off", "vague prompt", "off topic", "broken text", "other")
SIGNALS = ("flaw", "loss_before", "loss_after", "similarity", "quality", "end_of_turn", "ifd", "worst_window")


class Labelled(Struct, frozen=True):
    """A drawn sample. ``label``: one of ``LABELS``, None until a person has said it; ``kind``: one of ``KINDS`` or "".
    ``stratum`` counts from the least suspicious one; ``share`` is its part of the dataset.
    """

    sample_id: int
    seq: int
    place: int
    stratum: int
    share: float
    label: str | None
    kind: str


class SampleLabel(Row, frozen=True):
    """What a person said of a drawn sample, for stages; None: nothing yet. It outlives the round of the draw."""

    TABLE: ClassVar[str] = "label"
    KEY: ClassVar[tuple[str, ...]] = ("sample_id",)
    sample_id: int
    label: str | None


def flawed(rows: Iterable[SampleLabel]) -> dict[int, bool]:
    """Whether each labelled sample is flawed, by sample id."""
    return {row.sample_id: row.label == "flawed" for row in rows if row.label is not None}


def rated(db: sqlite3.Connection, round: int) -> tuple[dict[int, float], dict[int, bool]]:
    """The mean ratings in ``round`` of labelled samples, and whether each is flawed, by sample id."""
    sql = (
        "SELECT sample_id, quality, label='flawed' FROM label JOIN signal USING (sample_id)"
        " WHERE signal.round=? AND label IS NOT NULL AND quality IS NOT NULL"
    )
    found = db.execute(sql, (round,)).fetchall()
    return {row[0]: row[1] for row in found}, {row[0]: bool(row[2]) for row in found}


def draw(project: Path, count: int, seed: int, fresh: bool = False) -> int:
    """Draw ``count`` samples of the newest scored round to be labelled; returns how many are drawn altogether.

    A draw that is there is kept, unless ``fresh``: then its samples without a label are given up.

    Raises:
        UsageError: nothing is scored yet, or a draw is there.
    """
    db = writer(project, durable=True)
    try:
        with transaction(db):
            if db.execute("SELECT 1 FROM label").fetchone() and not fresh:
                raise UsageError("samples are drawn already. Label them, or draw again with --fresh.")
            round = read.newest_scored(db)
            sql = (
                "SELECT sample_id FROM signal JOIN sample ON id=sample_id"
                " WHERE round=? AND flaw IS NOT NULL ORDER BY flaw, seq"
            )
            ids = [row[0] for row in db.execute(sql, (round,))]
            if not ids:
                raise UsageError(f"{project}: no sample has a flaw score yet. Run until the score stage: --until score")
            db.execute("DELETE FROM label WHERE label IS NULL")
            rows = _drawn(ids, count, random.Random(f"{seed} labels {round}"))
            db.executemany(
                "INSERT INTO label (sample_id, round, place, stratum, share) VALUES (?,?,?,?,?)"
                " ON CONFLICT (sample_id) DO UPDATE SET round=excluded.round, place=excluded.place,"
                " stratum=excluded.stratum, share=excluded.share",
                [(id, round, place, stratum, share) for place, (id, stratum, share) in enumerate(rows)],
            )
            return len(rows)
    finally:
        db.close()


def _drawn(ids: Sequence[int], count: int, chance: random.Random) -> list[tuple[int, int, float]]:
    """(id, stratum, its share) of the drawn samples in the order in which they are shown, which says nothing."""
    out = []
    edges = [len(ids) * i // STRATA for i in range(STRATA + 1)]
    for stratum in range(STRATA):
        inside = ids[edges[stratum] : edges[stratum + 1]]
        each = count * (stratum + 1) // STRATA - count * stratum // STRATA
        out += [(id, stratum, len(inside) / len(ids)) for id in chance.sample(inside, min(each, len(inside)))]
    chance.shuffle(out)
    return out


def label(project: Path, given: Iterable[tuple[int, str | None, str]]) -> int:
    """Keep labels: (sample id, one of ``LABELS`` or None to take it back, one of ``KINDS`` or ""), in one transaction.

    Returns:
        How many drawn samples have been given another label.

    Raises:
        UsageError: a label or a kind is unknown.
    """
    rows = list(given)
    for _, said, kind in rows:
        if said not in (*LABELS, None) or kind not in (*KINDS, "") or (kind and said != "flawed"):
            raise UsageError(f"{said} {kind}: a label is good or flawed; a flawed one may say {', '.join(KINDS)}.")
    db = writer(project, durable=True)
    try:
        with transaction(db):
            sql = (
                "UPDATE label SET label=:label, kind=:kind, at=:at"
                " WHERE sample_id=:id AND (label IS NOT :label OR kind<>:kind)"
            )
            now = time.time()
            return sum(
                db.execute(sql, {"id": id, "label": said, "kind": kind, "at": now}).rowcount for id, said, kind in rows
            )
    finally:
        db.close()


def drawn(db: sqlite3.Connection) -> list[Labelled]:
    """The drawn samples in the order in which they are shown."""
    sql = (
        "SELECT sample_id, seq, place, stratum, share, label, label.kind FROM label CROSS JOIN sample ON id=sample_id"
        " ORDER BY place, sample_id"
    )
    return [Labelled(*tuple(row)) for row in db.execute(sql)]


def signals(db: sqlite3.Connection, round: int) -> dict[int, dict[str, float]]:
    """The signals of labelled samples in ``round``, by sample id."""
    sql = (
        f"SELECT sample_id, {', '.join(SIGNALS)} FROM signal"  # noqa: S608
        " WHERE round=? AND sample_id IN (SELECT sample_id FROM label WHERE label IS NOT NULL)"
    )
    found = (tuple(row) for row in db.execute(sql, (round,)))
    return {id: {n: v for n, v in zip(SIGNALS, values, strict=True) if v is not None} for id, *values in found}


def selected(db: sqlite3.Connection, round: int) -> dict[str, set[int]]:
    """Which labelled samples ``round`` selected, by axis."""
    sql = "SELECT axis, sample_id FROM selection WHERE round=? AND sample_id IN (SELECT sample_id FROM label)"
    out: dict[str, set[int]] = {}
    for axis, id in db.execute(sql, (round,)):
        out.setdefault(axis, set()).add(id)
    return out
