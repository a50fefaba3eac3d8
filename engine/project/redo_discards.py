"""What is lost when stages of a round run again that a person did, or that was paid for."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from engine.plurals import counted

_ENTRY = "SELECT 1 FROM decision d WHERE d.round=w.round AND d.sample_id=w.sample_id AND d.axis=w.axis AND NOT d.undone"
_BY_HAND = (
    f"SELECT count(*), coalesce(sum(edited), 0) FROM (SELECT state, EXISTS ({_ENTRY} AND d.messages=w.messages) edited"  # noqa: S608
    f" FROM rewrite w WHERE round=? AND EXISTS ({_ENTRY})) WHERE edited OR state IN ('accepted', 'rejected')"
)
# The calls of earlier tries stay in the books; those since the stage began are what its results were made of. A local
# teacher's cost nothing but time.
_CALLS = (
    "SELECT count(*), coalesce(sum(cost), 0) FROM call JOIN job USING (round) JOIN round USING (round)"
    " WHERE round=:round AND stage IN (SELECT value FROM json_each(:again)) AND call.error IS NULL AND NOT lost"
    " AND at>=job.started_at AND CASE stage WHEN 'judge' THEN step='judge' WHEN 'rewrite' THEN step<>'judge'"
    " AND (cost>0 OR json_extract(round.config, '$.teacher.backend')='openai') ELSE 0 END"
)


def discarded(db: sqlite3.Connection, round: int, again: Sequence[str]) -> list[str]:
    """A sentence for a person's decisions, and one for an endpoint's replies, that are lost if the stages ``again`` of
    ``round`` run again.
    """
    out = []
    decided, edited = db.execute(_BY_HAND, (round,)).fetchone() if "verify" in again else (0, 0)
    if decided:
        text = f"what was decided in review of round {round} is discarded: {counted(decided, 'rewrite')}"
        out.append(text + (f", {edited:,} of them edited by hand" if edited and "rewrite" in again else ""))
    calls, cost = db.execute(_CALLS, {"round": round, "again": json.dumps(list(again))}).fetchone()
    if calls:
        paid = f" (${cost:,.2f})" if cost else ""
        out.append(f"what endpoints answered in round {round} is discarded: {counted(calls, 'call')}{paid}")
    return out
