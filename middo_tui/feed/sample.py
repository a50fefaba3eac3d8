"""One sample in full, as the detail pane shows it: text, signals over the rounds, neighbours, why it was chosen."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from engine.store import read
from engine.store.rows import load_messages
from middo_tui.feed import doubtful
from middo_tui.feed.filters import NUMBERS
from middo_tui.feed.pages import OPENING, open_reader
from middo_tui.terminal import guard
from middo_tui.text import flaw_wording
from middo_tui.text.word_diff import Part

TURN_LIMIT = 20_000
LINE_LIMIT = 160


class Turn(Struct, frozen=True):
    """A turn of the conversation, clean. ``length``: characters in the store, of which the first are here.
    ``parts``: the same with what looks wrong in it; empty where nothing does.
    """

    role: str
    text: str
    length: int
    parts: tuple[Part, ...] = ()


class Neighbour(Struct, frozen=True):
    """A neighbour, nearest first; no text when it is gone."""

    id: int
    seq: int | None
    text: str


class SelectionReason(Struct, frozen=True):
    """Why a sample was selected: its value beyond the threshold that held. ``below``: small values are selected.
    ``flaw``: the value is the flaw score.
    """

    axis: str
    value: float
    threshold: float
    below: bool
    flaw: bool = False


class Written(Struct, frozen=True):
    """A rewrite of the sample: its state and what the signals say."""

    round: int
    axis: str
    state: str
    reason: str
    quality: float | None
    loss_before: float | None


class SampleDetail(Struct, frozen=True):
    """Everything about one sample, seen from ``round``. Texts are clean, ``hidden`` counts what was made visible.
    ``wrong``: what looks wrong with it. ``injection``: what speaks to its judge or teacher; ``unflagged``: when and
    where a person said that it is no prompt injection.
    """

    id: int
    seq: int
    round: int
    born: int
    retired: int | None
    parent: int | None
    axis: str
    source: str
    parent_seq: int | None
    turns: tuple[Turn, ...]
    hidden: int
    signals: Mapping[int, Mapping[str, float]]
    errors: tuple[str, ...]
    neighbours: tuple[Neighbour, ...]
    chosen: tuple[SelectionReason, ...]
    rewrites: tuple[Written, ...]
    cluster: int | None
    cluster_size: int | None
    why_retired: str = ""
    wrong: str = ""
    injection: str = ""
    unflagged: tuple[float, str] | None = None


def read_detail(project: Path, id: int, round: int) -> SampleDetail | None:
    """The sample ``id`` with its signals of all rounds; None when there is no such sample.

    Raises:
        StoreError, sqlite3.Error: the store cannot be read.
    """
    db = open_reader(project)
    try:
        row = db.execute(
            "SELECT id, seq, born_round, round, parent_id, axis, source, messages, injection FROM sample"
            " LEFT JOIN departure ON sample_id=id WHERE id=?",
            (id,),
        ).fetchone()
        return None if row is None else _detail(db, row, round)
    finally:
        db.close()


def _place(db: sqlite3.Connection, id: int) -> int | None:
    """The number by which a person knows the sample."""
    found = db.execute("SELECT seq FROM sample WHERE id=?", (id,)).fetchone()
    return None if found is None else int(found[0])


def _detail(db: sqlite3.Connection, row: Sequence[object], round: int) -> SampleDetail:
    id = int(str(row[0]))
    signals, errors, near = _signals(db, id, round)
    lens, window = _worst(db, id, round)
    wrong = flaw_wording.verdict(signals.get(round, {}).get("flaw"), lens)
    unflagged = db.execute("SELECT at, source FROM unflagged WHERE sample_id=?", (id,)).fetchone()
    turns, hidden = _turns(str(row[7]), lens if wrong else "", window, bool(row[8]) and unflagged is None)
    cluster = signals.get(round, {}).get("cluster")
    found = db.execute("SELECT size FROM cluster WHERE round=? AND cluster=?", (round, cluster)).fetchone()
    return SampleDetail(
        id=id,
        seq=int(str(row[1])),
        round=round,
        born=int(str(row[2])),
        retired=None if row[3] is None else int(str(row[3])),
        parent=None if row[4] is None else int(str(row[4])),
        axis=str(row[5] or ""),
        source=guard.one_line(str(row[6]), LINE_LIMIT),
        parent_seq=None if row[4] is None else _place(db, int(str(row[4]))),
        turns=turns,
        hidden=hidden,
        signals=signals,
        errors=errors,
        neighbours=_near(db, near),
        chosen=_chosen(db, id, round),
        rewrites=_rewrites(db, id),
        cluster=None if cluster is None else int(cluster),
        cluster_size=None if found is None else found[0],
        why_retired=read.why_retired(db, [id]).get(id, ""),
        wrong=wrong,
        injection=guard.one_line(str(row[8]), LINE_LIMIT),
        unflagged=unflagged,
    )


def _worst(db: sqlite3.Connection, id: int, round: int) -> tuple[str, tuple[int, int] | None]:
    """The lens that looks worst, and the characters of the answer's worst window."""
    sql = "SELECT flaw_lens, window_begin, window_end FROM signal WHERE round=? AND sample_id=?"
    lens, begin, end = db.execute(sql, (round, id)).fetchone() or (None, None, None)
    return lens or "", None if begin is None or end is None else (begin, end)


def _turns(messages: str, lens: str, window: tuple[int, int] | None, flagged: bool) -> tuple[tuple[Turn, ...], int]:
    """``lens``: what looks wrong; ``window``: the worst window's characters in the last answer that is learned.
    ``flagged``: a turn with a prompt injection is shown with its place.
    """
    out, hidden = [], 0
    turns = load_messages(messages)
    place = doubtful.answer(turns)
    for at, turn in enumerate(turns):
        cleaned, rest = guard.clean(turn.content[:TURN_LIMIT]), turn.content[TURN_LIMIT:]
        hidden += cleaned.hidden + (guard.clean(rest).hidden if rest else 0)
        parts = doubtful.parts(turn.content[:TURN_LIMIT], lens, window) if at == place and lens else ()
        parts = (flagged and doubtful.injected(turn.content[:TURN_LIMIT])) or parts
        role = f"{turn.role} ({turn.kind})" if turn.kind else turn.role
        out.append(Turn(guard.one_line(role, 40), cleaned.text, len(turn.content), parts))
    return tuple(out), hidden


def _signals(
    db: sqlite3.Connection, id: int, round: int
) -> tuple[dict[int, dict[str, float]], tuple[str, ...], list[int]]:
    """Signals by round, the errors of ``round``, and its neighbours."""
    columns = ", ".join(NUMBERS.values())
    # by round and id: a range of rounds would read every signal in it
    found = db.execute(
        f"SELECT g.round, g.score_error, g.judge_error, g.neighbours, {columns} FROM signal g"  # noqa: S608
        " WHERE g.round IN (SELECT round FROM round WHERE round<=?) AND g.sample_id=? ORDER BY g.round",
        (round, id),
    )
    signals: dict[int, dict[str, float]] = {}
    errors: tuple[str, ...] = ()
    near: list[int] = []
    for number, score_error, judge_error, neighbours, *values in found:
        signals[number] = {name: value for name, value in zip(NUMBERS, values, strict=True) if value is not None}
        if number == round:
            errors = tuple(guard.one_line(e, LINE_LIMIT) for e in (score_error, judge_error) if e)
            near = json.loads(neighbours) if neighbours else []
    return signals, errors, near


def _near(db: sqlite3.Connection, ids: Sequence[int]) -> tuple[Neighbour, ...]:
    sql = f"SELECT s.id, s.seq, substr({OPENING}, 1, {LINE_LIMIT + 1}) FROM sample s WHERE s.id=?"  # noqa: S608
    out = []
    for id in ids:
        row = db.execute(sql, (id,)).fetchone()
        out.append(
            Neighbour(id, None, "") if row is None else Neighbour(id, row[1], guard.one_line(row[2] or "", LINE_LIMIT))
        )
    return tuple(out)


def _chosen(db: sqlite3.Connection, id: int, round: int) -> tuple[SelectionReason, ...]:
    sql = "SELECT axis, value, threshold FROM selection WHERE round=? AND sample_id=? ORDER BY axis"
    evidence = read.evidence(db, round) is not None
    out = []
    for axis, value, cut in db.execute(sql, (round, id)):
        flaw = evidence and axis != "diversity"
        out.append(SelectionReason(axis, value, cut, axis != "complexity" and not flaw, flaw))
    return tuple(out)


def _rewrites(db: sqlite3.Connection, id: int) -> tuple[Written, ...]:
    found = db.execute(
        "SELECT round, axis, state, reason, verdict, new_quality, new_loss_before FROM rewrite WHERE sample_id=?"
        " ORDER BY round, axis",
        (id,),
    )
    return tuple(
        Written(number, axis, state, guard.one_line(reason or verdict or "", LINE_LIMIT), quality, loss)
        for number, axis, state, reason, verdict, quality, loss in found
    )
