"""What a preview needs to know of a round beside its signals: settings, what is remembered, what rewrites took. Small,
and read whenever a preview is opened, because it changes while the signals stay.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Set
from dataclasses import dataclass, field

from engine.config.schema import Config
from engine.selection.earlier_rounds import FALSE_ALARMS, Earlier, Lineage, Try, blocked
from engine.signals import judge_trust
from engine.store import read
from engine.store.rows import Axis, Threshold
from engine.teacher.forecast import BegunRewrites, Usage


@dataclass(frozen=True, slots=True)
class PreviewFacts:
    """``believed``: the quality axis may select. ``tried``: sample ids that are not tried again, per axis (empty: all
    may be). ``held``: ids that no rule selects, by a person's word. ``earlier``, ``usage``: what earlier rounds and
    rewrites say.
    """

    config: Config
    believed: bool = True
    tried: Mapping[Axis, Set[int]] = field(default_factory=dict)
    held: Set[int] = frozenset()
    earlier: Earlier = field(default_factory=lambda: Earlier({}))
    usage: Usage = field(default_factory=Usage)


def of_round(db: sqlite3.Connection, round: int, config: Config) -> PreviewFacts:
    """As the select stage of ``round`` with ``config`` would see it."""
    select = config.select
    return PreviewFacts(
        config,
        judge_trust.uses_quality(select, judge_trust.of_round(db, round)),
        _tried(db, round) if select.parity == "ours" and select.remember and round else {},
        frozenset(row[0] for row in db.execute(HELD, (round,))),
        Earlier.of([_thresholds(db, r) for r in range(round)], config),
        _usage(db, round),
    )


HELD = "SELECT sample_id FROM override WHERE met_round IS NULL OR met_round=?"


def _tried(db: sqlite3.Connection, round: int) -> dict[Axis, Set[int]]:
    without, used = blocked(_lineages(db, round), _tries(db, round))
    return {"complexity": without, "diversity": used, "quality": without}


def _lineages(db: sqlite3.Connection, round: int) -> list[Lineage]:
    """Where the dataset's rewritten samples came from. By birth SQLite would look at every conversation."""
    sql = (
        "SELECT id, parent_id, axis, born_round FROM sample INDEXED BY sample_by_parent"  # noqa: S608
        f" WHERE parent_id IS NOT NULL AND {read.IN_ROUND}"
    )
    return [Lineage(*row) for row in db.execute(sql, {"round": round})]


def _tries(db: sqlite3.Connection, round: int) -> list[Try]:
    """All earlier rewrites."""
    found = db.execute(
        "SELECT round, sample_id, axis, state, attempts + answer_attempts, improved, coalesce(reason IN (?, ?, ?), 0)"
        " FROM rewrite WHERE round<?",
        (*FALSE_ALARMS, round),
    )
    return [Try(*row) for row in found]


def _thresholds(db: sqlite3.Connection, round: int) -> list[Threshold]:
    sql = "SELECT round, signal, axis, mean, sigma, m, cut, floor, rule, detail FROM threshold WHERE round=?"
    return [Threshold(*row) for row in db.execute(sql, (round,))]


def _usage(db: sqlite3.Connection, round: int) -> Usage:
    """What the rewrites of this and earlier rounds took. One that has no answer yet has not taken all."""
    found = db.execute(
        "SELECT axis, count(*), sum(attempts + answer_attempts), sum(tokens_in), sum(tokens_out) FROM rewrite"
        " WHERE round<=? AND attempts>0 AND state NOT IN ('owed', 'prompted') GROUP BY axis",
        (round,),
    )
    return Usage({axis: BegunRewrites(*figures) for axis, *figures in found})
