"""What a merge would do, for a last look: what was accepted, the riskiest of it, what it has cost. Read-only."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from engine.config import schema as configs
from engine.config.schema import Config
from engine.store import overrides, read
from engine.store import teacher as calls
from engine.store.connect import reader
from engine.store.rows import AXES
from engine.verification import retirement
from middo_tui.feed.review import HEAD, Key
from middo_tui.feed.review_order import DOUBT, WORST
from middo_tui.terminal import guard

RISKIEST = 3
EVIDENCE = "evidence"
"""The rule of selection that asks the teacher."""


class Risk(Struct, frozen=True):
    """An accepted rewrite that the signals doubt most. ``why``: its verdict, clean, on one line."""

    key: Key
    seq: int
    why: str
    doubt: str = ""


class MergeCard(Struct, frozen=True):
    """``by_axis``: accepted and decided, in the order of the axes. ``size``: of the dataset now. ``room``: how many
    redundant samples are retired at most. ``flawed``: dropped as nothing repaired them; ``by_hand``:
    dropped by a person.
    """

    round: int
    by_axis: tuple[tuple[int, int], ...] = ((0, 0), (0, 0), (0, 0))
    not_improved: int = 0
    risks: tuple[Risk, ...] = ()
    size: int = 0
    room: int = 0
    flawed: int = 0
    by_hand: int = 0
    calls: int = 0
    tokens: int = 0
    cost: float = 0.0

    @property
    def accepted(self) -> int:
        """Rewrites that go in."""
        return sum(accepted for accepted, _ in self.by_axis)

    @property
    def replaces(self) -> int:
        """Samples that are replaced."""
        return self.by_axis[AXES.index("complexity")][0] + self.by_axis[AXES.index("quality")][0]

    @property
    def adds(self) -> int:
        """Samples that are added."""
        return self.by_axis[AXES.index("diversity")][0]

    @property
    def drops(self) -> int:
        """Samples that leave without a successor, but for redundant ones."""
        return self.flawed + self.by_hand


def read_card(project: Path, round: int) -> MergeCard:
    """The card of ``round``; a few short queries.

    Raises:
        StoreError, ConfigError: the project cannot be read.
    """
    config = configs.load(project)
    db = reader(project)
    try:
        states = read.rewrites(db, round)
        asked = calls.asked(db, round)
        doubted = db.execute(
            f"SELECT r.sample_id, r.axis, s.seq, coalesce(r.verdict, r.reason, '') AS why, {DOUBT} AS doubt,"  # noqa: S608
            " r.improved FROM rewrite r JOIN sample s ON s.id=r.sample_id"
            " WHERE r.round=? AND r.state='accepted' AND r.improved IS NOT 1"
            f" ORDER BY {WORST}, s.seq",
            (round,),
        ).fetchall()
        card = MergeCard(
            round=round,
            by_axis=tuple(
                (states[axis].get("accepted", 0), sum(states[axis].get(s, 0) for s in ("accepted", "rejected")))
                for axis in AXES
            ),
            not_improved=sum(row["improved"] == 0 for row in doubted),
            risks=tuple(
                Risk((row["sample_id"], row["axis"]), row["seq"], _why(row["why"]), row["doubt"])
                for row in doubted[:RISKIEST]
            ),
            size=read.size(db, round),
            calls=asked["calls"],
            tokens=asked["tokens_in"] + asked["tokens_out"],
            cost=asked["cost"],
        )
        return _with_leaving(db, config, card)
    finally:
        db.close()


def _with_leaving(db: sqlite3.Connection, config: Config, card: MergeCard) -> MergeCard:
    """The card with what leaves, found as the merge stage finds it."""
    asked = {id: one.action for id, one in overrides.current(db).items()}
    suspects = _flawed(db, card.round, config.merge.flawed == "drop")
    among = json.dumps(sorted(suspects | {id for id, action in asked.items() if action == "drop"}))
    inside = f"SELECT id FROM sample WHERE {read.IN_ROUND} AND id IN (SELECT value FROM json_each(:among)) AND id"  # noqa: S608
    inside += " NOT IN (SELECT sample_id FROM rewrite WHERE round=:round AND state='accepted'"
    inside += " AND axis<>'diversity' AND messages IS NOT NULL)"
    staying = {row[0] for row in db.execute(inside, {"round": card.round, "among": among})}
    by_hand = {id for id in staying if asked.get(id) == "drop"}
    flawed = suspects & staying - by_hand
    flawed = {id for id in flawed if asked.get(id) != "protect"}
    card = replace(card, flawed=len(flawed), by_hand=len(by_hand))
    if config.merge.size != "fixed":
        return card
    target = _target(db, card.round, card.size) if config.select.rule == EVIDENCE else None
    return replace(card, room=retirement.room(card.size, card.adds, card.drops, target))


def _flawed(db: sqlite3.Connection, round: int, all_selected: bool) -> set[int]:
    """Samples that are dropped for being flawed, whoever else has a word on them."""
    mark = db.execute("SELECT detail FROM threshold WHERE round=? AND rule=?", (round, EVIDENCE)).fetchone()
    found = db.execute(
        "SELECT s.sample_id, s.threshold, r.state, coalesce(r.attempts, 0), r.reason, coalesce(r.probe, 0)"
        " FROM selection s LEFT JOIN rewrite r USING (round, sample_id, axis)"
        " WHERE s.round=? AND s.axis<>'diversity'",
        (round,),
    )
    evidence = None if mark is None else mark[0] or "{}"
    return retirement.flawed((retirement.Suspect(*row) for row in found), evidence, all_selected)


def _target(db: sqlite3.Connection, round: int, size: int) -> int:
    """How many samples the dataset should have where evidence selects."""
    sql = "SELECT round, detail FROM threshold WHERE signal='flaw' AND round<=? ORDER BY round LIMIT 1"
    first = db.execute(sql, (round,)).fetchone()
    if first is None:
        return size
    sql = f"SELECT count(*) FROM sample WHERE {read.IN_ROUND} AND parent_id IS NULL AND born_round>:first"  # noqa: S608
    since = db.execute(sql, {"round": round, "first": first[0]}).fetchone()[0]
    return int(json.loads(first[1] or "{}")["samples"]) + int(since)


def _why(verdict: str) -> str:
    """A verdict without the numbers behind it."""
    return guard.one_line(verdict.partition(" (")[0].removeprefix("not improved: "), HEAD) or "edited, not rechecked"
