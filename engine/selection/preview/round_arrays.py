"""A round of the store as arrays, in one pass: for looking at 500k samples at once, where objects would be too slow.

The queries touch only indexes and the signal table, never the conversations; what belongs together is matched in
numpy.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.config import schema as configs
from engine.selection import choose
from engine.signals.nearest import Bools
from engine.store import flagging, read
from engine.store.connect import reader
from engine.store.rows import Axis, load_messages
from engine.teacher import forecast
from engine.teacher.forecast import RequestTokens

Ints = NDArray[np.int64]
Requests = Mapping[Axis, RequestTokens]
# Floats are read three times as fast flat as in rows, a missing value as infinity (SQLite has no NaN). Whole numbers
# come three times as fast again as one JSON array (floats would lose digits so).
FLOATS = (
    "SELECT ifnull(loss_before, 9e999), ifnull(loss_after, 9e999), ifnull(similarity, 9e999), ifnull(quality, 9e999)"
    " FROM signal WHERE round=? ORDER BY sample_id"
)
INTEGERS = (
    "SELECT json_group_array(sample_id), json_group_array(prompt), json_group_array(response) FROM (SELECT sample_id,"
    " ifnull(prompt_tokens, 0) AS prompt, ifnull(response_tokens, 0) AS response FROM signal WHERE round=?"
    " ORDER BY sample_id)"
)


@dataclass(frozen=True, slots=True)
class Round:
    """One round in dataset order: sample ids ([N]), the four signals ([N] each, NaN: missing), the tokens of every
    prompt (all before the last answer) and response ([2, N]), what is sent for a rewrite per axis, and which samples no
    rule selects, as a rewrite would lose something or they are held back (None: none). ``flagged``: the ids of the
    samples that are flagged as possible prompt injections, rising.
    """

    round: int
    ids: Ints
    values: choose.Values
    tokens: Ints
    requests: Requests
    unwritable: Bools | None = None
    flagged: Sequence[int] = ()


def read_round(project: Path, round: int, believed: bool, config: configs.Config) -> Round:
    """``round`` of the project in ``project``. ``believed``: the quality axis may select.

    Raises:
        StoreError: there is no project, or its database cannot be read.
        ConfigError: an overridden rewrite prompt lacks a placeholder.
    """
    db = reader(project)
    db.row_factory = None
    try:
        db.execute("BEGIN")  # one snapshot for all queries, whatever is written meanwhile
        ids = _ids(db, round)
        table = _signals(db, round, ids)
        if not believed:
            table[[s.name for s in choose.SIGNALS].index("quality")] = np.nan
        values = {s.name: table[i] for i, s in enumerate(choose.SIGNALS)}
        tokens = table[4:].astype(np.int64)
        sent = forecast.requests(mean_prompt(tokens), config, project, _examples(db, round, ids))
        fixed = _unwritable(db, ids, config.data.injection == "hold")
        return Round(round, ids, values, tokens, sent, fixed, flagging.flagged(db, round))
    finally:
        db.close()


def mean_prompt(tokens: Ints) -> float:
    """Tokens of a prompt on average, of ``tokens`` as in ``Round``."""
    return float(tokens[0].mean()) if tokens.size else 0.0


def _examples(db: sqlite3.Connection, round: int, ids: Ints) -> list[tuple[str, int]]:
    """What stands before the last answer of the first samples, and its tokens."""
    out = []
    for id in ids[: forecast.EXAMPLES].tolist():
        sql = (
            "SELECT messages, prompt_tokens FROM sample JOIN signal ON sample_id=id"
            " WHERE id=? AND round=? AND prompt_tokens>0"
        )
        for text, tokens in db.execute(sql, (id, round)):
            out.append((forecast.before_answer(load_messages(text)), int(tokens)))
    return out


def _ids(db: sqlite3.Connection, round: int) -> Ints:
    """The dataset's sample ids in dataset order: one pass over a covering index."""
    inside = f"SELECT id FROM sample INDEXED BY sample_by_place WHERE {read.IN_ROUND} ORDER BY seq"  # noqa: S608
    return _array(db.execute(f"SELECT json_group_array(id) FROM ({inside})", {"round": round}).fetchone()[0])  # noqa: S608


def _unwritable(db: sqlite3.Connection, ids: Ints, hold: bool) -> Bools:
    flagged = f" UNION SELECT id FROM sample WHERE {read.FLAGGED}" if hold else ""  # noqa: S608
    return np.isin(ids, _column(db.execute(f"SELECT id FROM sample WHERE unwritable<>''{flagged}")))  # noqa: S608


def _column(rows: Iterable[tuple[int]]) -> Ints:
    return np.fromiter(chain.from_iterable(rows), np.int64)


def _array(text: str) -> Ints:
    """A JSON array of whole numbers."""
    return np.array(msgspec.json.decode(text, type=list[int]), dtype=np.int64)


def _signals(db: sqlite3.Connection, round: int, ids: Ints) -> NDArray[np.float64]:
    """Loss before and after, similarity, quality, prompt and response tokens ([6, N]) in the order of ``ids``: no value
    is NaN, no row is 0 tokens.
    """
    there, *tokens = map(_array, db.execute(INTEGERS, (round,)).fetchone())
    floats = np.fromiter(chain.from_iterable(db.execute(FLOATS, (round,))), np.float64).reshape(-1, 4)
    out = np.full((6, len(ids)), np.nan)
    out[4:] = 0
    if len(there):
        at = np.minimum(np.searchsorted(there, ids), len(there) - 1)
        known = there[at] == ids
        out[:4, known] = floats[at[known]].T
        out[4:, known] = np.stack(tokens)[:, at[known]]
    out[np.isinf(out)] = np.nan
    return out
