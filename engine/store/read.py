"""Reading the store: plain SQL to frozen structs. Light imports only, for ``status`` and the app."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from engine.store.rows import (
    AXES,
    CachedLoss,
    EvalScore,
    Event,
    Flaw,
    Gauge,
    Job,
    Lenses,
    Losses,
    Neighbourhood,
    Plan,
    Ratings,
    RoundFacts,
    Row,
    Sample,
    Verdict,
    Worker,
    load_messages,
)

R = TypeVar("R", bound=Row)

# Kinds that share a wide row: when their own part of it is filled.
PRESENT: dict[type, str] = {
    Losses: "loss_after IS NOT NULL OR score_error IS NOT NULL",
    Lenses: "end_of_turn IS NOT NULL OR worst_window IS NOT NULL",
    Flaw: "flaw IS NOT NULL",
    Neighbourhood: "similarity IS NOT NULL",
    Ratings: "quality IS NOT NULL OR judge_error IS NOT NULL",
    Verdict: "verdict IS NOT NULL",
}


def rows(db: sqlite3.Connection, kind: type[R], round: int) -> list[R]:
    """All rows of ``kind`` in ``round``, ordered by key; a kind without a round ignores it."""
    names = kind.__struct_fields__
    table, key = kind.TABLE, kind.KEY
    where = "round=:round" if "round" in names else "1"
    if kind in PRESENT:
        where += f" AND ({PRESENT[kind]})"
    sql = f"SELECT {', '.join(names)} FROM {table} WHERE {where} ORDER BY {', '.join(key)}"  # noqa: S608
    booleans = [name for name in names if kind.__annotations__[name] in ("bool", "bool | None")]
    out = []
    for row in db.execute(sql, {"round": round}):
        values = dict(zip(names, row, strict=True))  # whatever rows the connection gives
        for name in booleans:
            values[name] = None if values[name] is None else bool(values[name])
        out.append(kind(**values))
    return out


def cached(db: sqlite3.Connection, model: str, ids: Sequence[int] | None = None) -> Iterator[CachedLoss]:
    """Losses under a model that does not change, of the samples ``ids`` (None: of all)."""
    sql = f"SELECT {', '.join(CachedLoss.__struct_fields__)} FROM loss_cache WHERE model=:model"  # noqa: S608
    sql += "" if ids is None else " AND sample_id IN (SELECT value FROM json_each(:ids))"
    return (CachedLoss(*row) for row in db.execute(sql, {"model": model, "ids": json.dumps(list(ids or ()))}))


def columns(db: sqlite3.Connection, table: str) -> set[str]:
    """The names of a table's columns."""
    return {row[0] for row in db.execute("SELECT name FROM pragma_table_info(?)", (table,))}


SAMPLE_COLUMNS = "id, messages, seq, parent_id, axis, born_round, source, input_chars, extra, injection"
IN_ROUND = (
    "born_round <= :round"
    " AND NOT EXISTS (SELECT 1 FROM departure d WHERE d.sample_id = sample.id AND d.round <= :round)"
)
"""Whether a ``sample`` is in D_round."""
UNFLAGGED = "EXISTS (SELECT 1 FROM unflagged u WHERE u.sample_id = sample.id)"
"""Whether a person said of a ``sample`` that it is no prompt injection."""
FLAGGED = f"injection<>'' AND NOT {UNFLAGGED}"
"""Whether a ``sample`` is flagged as a possible prompt injection."""


def to_sample(row: sqlite3.Row) -> Sample:
    """A row of ``SAMPLE_COLUMNS``."""
    id, messages, *others = row
    return Sample(id, load_messages(messages), *others)


def dataset(db: sqlite3.Connection, round: int) -> list[Sample]:
    """D_round in ``seq`` order."""
    return [
        to_sample(r)
        for r in db.execute(f"SELECT {SAMPLE_COLUMNS} FROM sample WHERE {IN_ROUND} ORDER BY seq", {"round": round})  # noqa: S608
    ]


def extras(db: sqlite3.Connection, round: int) -> Iterator[tuple[int, str]]:
    """``seq`` and the other columns of the samples of D_round that have any, in order."""
    sql = f"SELECT seq, extra FROM sample WHERE {IN_ROUND} AND extra<>'' ORDER BY seq"  # noqa: S608 - a constant
    return ((row[0], row[1]) for row in db.execute(sql, {"round": round}))


def sample(db: sqlite3.Connection, id: int) -> Sample | None:
    """One sample by id."""
    row = db.execute(f"SELECT {SAMPLE_COLUMNS} FROM sample WHERE id=?", (id,)).fetchone()  # noqa: S608
    return to_sample(row) if row else None


# All there are, less those born later and those that have left: both are few and found in the index, and a whole table
# SQLite counts by its pages. Asking each of half a million samples takes five times as long.
SIZE = (
    "SELECT (SELECT count(*) FROM sample) - (SELECT count(*) FROM sample WHERE born_round > :round)"
    " - (SELECT count(*) FROM departure WHERE round <= :round)"
)


DECIDED = "(SELECT max(id) FROM decision), (SELECT count(*) FROM decision WHERE undone=1)"
"""Another one whenever something is decided, undone or redone; it costs the same however many decisions there are."""


def size(db: sqlite3.Connection, round: int) -> int:
    """How many samples D_round has."""
    return int(db.execute(SIZE, {"round": round}).fetchone()[0])


def heldout(db: sqlite3.Connection) -> list[Sample]:
    """The held-out samples in file order; ``id`` and ``seq`` are the item number."""
    found = db.execute("SELECT item, messages, input_chars, source, extra FROM heldout ORDER BY item")
    return [
        Sample(
            r["item"],
            load_messages(r["messages"]),
            seq=r["item"],
            source=r["source"],
            input_chars=r["input_chars"],
            extra=r["extra"],
        )
        for r in found
    ]


def overlap(db: sqlite3.Connection, round: int) -> int:
    """How many held-out prompts D_round is trained on too: 0 but for [data] allow_overlap and older versions."""
    sql = f"SELECT count(DISTINCT item) FROM overlap JOIN sample ON id=sample_id WHERE {IN_ROUND}"  # noqa: S608
    return int(db.execute(sql, {"round": round}).fetchone()[0])


RETIRED_AS = {
    "copy": "redundant: exact copy of #{}",
    "near": "redundant: nearest to #{}",
    "dropped": "dropped by hand",
    "flawed": "flawed, and its rewrite was refused",
}


def why_retired(db: sqlite3.Connection, ids: Iterable[int]) -> dict[int, str]:
    """Why samples among ``ids`` were retired, in words; older merges did not keep it."""
    found = db.execute(
        "SELECT sample_id, reason, k.seq FROM retirement JOIN departure USING (sample_id, round)"
        " JOIN sample k ON k.id=kept WHERE sample_id IN (SELECT value FROM json_each(?))",
        (json.dumps(list(ids)),),
    )
    return {id: RETIRED_AS[reason].format(f"{seq:,}") for id, reason, seq in found}


def jobs(db: sqlite3.Connection) -> list[Job]:
    """All jobs, by round; the order within a round is the loop's, not this function's."""
    names = ", ".join(Job.__struct_fields__)
    return [Job(**dict(r)) for r in db.execute(f"SELECT {names} FROM job ORDER BY round")]  # noqa: S608


def plan(db: sqlite3.Connection) -> Plan:
    """What the worker is asked for; the default when nothing was asked yet."""
    row = db.execute("SELECT rounds, until_round, until_stage, auto, want, hold_s FROM plan WHERE id=1").fetchone()
    if row is None:
        return Plan()
    return Plan(
        row["rounds"], row["until_round"], row["until_stage"], bool(row["auto"]), row["want"], float(row["hold_s"])
    )


def closing_rounds(db: sqlite3.Connection) -> dict[int, str | None]:
    """The closing rounds, each with why the stop rule opened it."""
    return {r["round"]: r["stopped"] for r in db.execute("SELECT round, stopped FROM round WHERE closing=1")}


def worker(db: sqlite3.Connection) -> Worker | None:
    """The last worker that registered, alive or not (``engine.runtime.launch.alive`` tells)."""
    row = db.execute("SELECT pid, started, boot, heartbeat, child_pid, holds_until FROM worker WHERE id=1").fetchone()
    return Worker(**dict(row)) if row else None


def events(db: sqlite3.Connection, after: int = 0, limit: int = 200) -> list[Event]:
    """The newest ``limit`` log lines with an id beyond ``after``, oldest first."""
    found = db.execute(
        "SELECT id, at, level, round, stage, text FROM event WHERE id>? ORDER BY id DESC LIMIT ?",
        (after, limit),
    ).fetchall()
    return [Event(**dict(r)) for r in reversed(found)]


def gauges(db: sqlite3.Connection, after: int = 0) -> list[Gauge]:
    """Machine readings with an id beyond ``after`` (the newest 500), oldest first."""
    found = db.execute("SELECT * FROM gauge WHERE id>? ORDER BY id DESC LIMIT 500", (after,)).fetchall()
    return [Gauge(**dict(r)) for r in reversed(found)]


def meta(db: sqlite3.Connection) -> dict[str, Any]:
    """Facts of the project."""
    return {r["key"]: json.loads(r["value"]) for r in db.execute("SELECT key, value FROM meta")}


def artifact(db: sqlite3.Connection, round: int, name: str) -> tuple[str, dict[str, Any]] | None:
    """Path (relative to the project) and meta of a finished artifact."""
    row = db.execute("SELECT path, meta FROM artifact WHERE round=? AND name=?", (round, name)).fetchone()
    return (row["path"], json.loads(row["meta"])) if row else None


def scores(db: sqlite3.Connection, round: int) -> dict[str, EvalScore]:
    """Evaluation figures of a round by task."""
    return {score.task: score.with_error() for score in rows(db, EvalScore, round)}


def main_task(db: sqlite3.Connection, round: int) -> EvalScore | None:
    """The figure to show where there is room for one: accuracy, else the first of the round's [evaluate] tasks."""
    found = scores(db, round)
    return next((found[name] for name in main_scores(asked_tasks(db, round))[:-1] if name in found), None)


def main_scores(tasks: Sequence[str]) -> tuple[str, ...]:
    """The scores that can tell how good a round's model is, the first that is there: accuracy, the [evaluate]
    ``tasks`` in their order, the held-out loss.
    """
    return "accuracy", *tasks, "heldout_loss"


def asked_tasks(db: sqlite3.Connection, round: int) -> list[str]:
    """[evaluate] tasks as ``round`` ran with them."""
    kept = db.execute("SELECT config FROM round WHERE round=?", (round,)).fetchone()
    return list(json.loads(kept["config"]).get("evaluate", {}).get("tasks", [])) if kept else []


def gain(now: Mapping[str, EvalScore], before: Mapping[str, EvalScore], tasks: Sequence[str]) -> float | None:
    """By how much the main score got better; None where both rounds have none that was measured alike."""
    for name in main_scores(tasks):
        one, two = now.get(name), before.get(name)
        if one is not None and two is not None and one.comparable(two):
            return one.better - two.better
    return None


def selected(db: sqlite3.Connection, round: int) -> dict[str, int]:
    """How many samples each axis selected."""
    found = dict(db.execute("SELECT axis, count(*) FROM selection WHERE round=? GROUP BY axis", (round,)).fetchall())
    return {axis: int(found.get(axis, 0)) for axis in AXES}


def evidence(db: sqlite3.Connection, round: int) -> dict[str, Any] | None:
    """What the answers of a round said about flaws (``engine.selection.probing``); None where nobody asked.

    Keys: ``verdict`` (words), ``stopped`` (why; absent while it goes on), ``calls``, ``flawed``, ``kept`` (false alarms
    and random samples), ``share`` (of the dataset: about, from, to), ``control`` (random samples that look fine, and of
    them those whose answer differs), ``batches``, ``samples``.
    """
    row = db.execute("SELECT detail FROM threshold WHERE round=? AND rule='evidence'", (round,)).fetchone()
    return None if row is None else dict(json.loads(row[0]))


def asking(db: sqlite3.Connection, round: int) -> bool:
    """Whether a round selects by evidence that is still coming: nobody knows yet what it selects."""
    return "stopped" not in (evidence(db, round) or {"stopped": ""})


def rewrites(db: sqlite3.Connection, round: int) -> dict[str, dict[str, int]]:
    """Rewrites by axis and state, without answers that changed nothing."""
    out: dict[str, dict[str, int]] = {axis: {} for axis in AXES}
    sql = "SELECT axis, state, count(*) AS n FROM rewrite WHERE round=? AND state<>'kept' GROUP BY axis, state"
    found = db.execute(sql, (round,))
    for row in found:
        out[row["axis"]][row["state"]] = row["n"]
    return out


def clusters(db: sqlite3.Connection, round: int) -> dict[str, int] | None:
    """How many clusters a round has, how many samples are in none, and how many clusters were born, died, grew and
    shrank; None when nobody looked for clusters.
    """
    if db.execute("SELECT 1 FROM signal WHERE round=? AND cluster IS NOT NULL LIMIT 1", (round,)).fetchone() is None:
        return None
    noise = db.execute("SELECT count(*) FROM signal WHERE round=? AND cluster=-1", (round,)).fetchone()[0]
    found = db.execute("SELECT change, count(*) FROM cluster WHERE round=? GROUP BY change", (round,)).fetchall()
    changes = {change: int(count) for change, count in found}
    count = sum(n for change, n in changes.items() if change != "died")
    told = {change: changes.get(change, 0) for change in ("born", "died", "grew", "shrank")}
    return {"count": count, "noise": noise, **told}


def newest_merged(db: sqlite3.Connection) -> int | None:
    """The last round that is merged; None before the first merge."""
    found = db.execute("SELECT max(round) FROM job WHERE stage='merge' AND state='done'").fetchone()[0]
    return None if found is None else int(found)


def newest_dataset(db: sqlite3.Connection) -> int:
    """The number of the newest dataset: the last merged round plus one."""
    merged = newest_merged(db)
    return 0 if merged is None else merged + 1


def newest_scored(db: sqlite3.Connection) -> int:
    """The newest round whose samples have been scored; 0 when none has."""
    found = db.execute("SELECT max(round) FROM job WHERE stage='score' AND state='done'").fetchone()[0]
    return int(found or 0)


class FlawsByRound:
    """By sample: flaw score, the lens that looks worst, the lenses; of the newest scored round up to ``round``."""

    def __init__(self, db: sqlite3.Connection, round: int) -> None:
        newest = "SELECT max(round) FROM job WHERE stage='score' AND state='done' AND round<=?"
        self._db = db
        self._round = db.execute(newest, (round,)).fetchone()[0]

    def get(self, id: int, default: Sequence[Any]) -> Sequence[Any]:
        """What is known of one sample."""
        sql = (
            "SELECT flaw, flaw_lens, end_of_turn, ifd, worst_window FROM signal"
            " WHERE round=? AND sample_id=? AND flaw IS NOT NULL"
        )
        row = self._db.execute(sql, (self._round, id)).fetchone()
        return default if row is None else tuple(row)


def flaw_counts(db: sqlite3.Connection, round: int, least: float) -> dict[str, Any] | None:
    """How many samples of a round have a flaw score, and of those from ``least`` on how many by the lens that looks
    worst; None where none has.
    """
    scored = db.execute("SELECT count(*) FROM signal WHERE round=? AND flaw IS NOT NULL", (round,)).fetchone()[0]
    sql = "SELECT flaw_lens, count(*) FROM signal WHERE round=? AND flaw>=? GROUP BY flaw_lens ORDER BY 2 DESC"
    found = {row[0]: int(row[1]) for row in db.execute(sql, (round, least))}
    return {"scored": int(scored), "from": least, "looks_wrong": found} if scored else None


def mean_losses(db: sqlite3.Connection, round: int) -> tuple[float | None, float | None]:
    """Mean loss before and after training over the round's dataset; each from its index, a tenth of the rows' bytes."""
    of = "(SELECT avg({0}) FROM signal WHERE round=:round AND {0} IS NOT NULL)"
    sql = f"SELECT {of.format('loss_before')}, {of.format('loss_after')}"
    row = db.execute(sql, {"round": round}).fetchone()
    return row[0], row[1]


def round_facts(db: sqlite3.Connection, round: int) -> RoundFacts | None:
    """What the stop rule looks at, once the merge of ``round`` is done."""
    merged = db.execute("SELECT 1 FROM job WHERE round=? AND stage='merge' AND state='done'", (round,)).fetchone()
    if merged is None:
        return None
    counts = rewrites(db, round).values()
    made = sum(sum(states.values()) for states in counts)
    accepted = sum(states.get("accepted", 0) for states in counts)
    sql = "SELECT count(*) FROM retirement WHERE round=? AND reason IN ('flawed', 'dropped')"
    dropped = int(db.execute(sql, (round + 1,)).fetchone()[0])
    gained = gain(scores(db, round), scores(db, round - 1), asked_tasks(db, round))
    control = db.execute("SELECT 1 FROM control_arm WHERE round=?", (round,)).fetchone() is not None
    return RoundFacts(made, accepted, gained, dropped, control, overridden(db))


def overridden(db: sqlite3.Connection) -> int:
    """How many samples of the newest dataset are to be dropped or rewritten, as a person asked."""
    asked = "met_round IS NULL AND (action='drop' OR (action='rewrite' AND unwritable=''))"
    sql = f"SELECT count(*) FROM override JOIN sample ON id=sample_id WHERE {asked} AND {IN_ROUND}"  # noqa: S608
    return int(db.execute(sql, {"round": newest_dataset(db)}).fetchone()[0])
