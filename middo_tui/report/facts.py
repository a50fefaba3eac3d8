"""What a report says, read from the store: rounds, curves, examples, flipped questions, what was left out, sources.

Paths are reduced to their last component, as in dataset cards, and URLs to their host: a report is sent to others.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections import Counter
from itertools import pairwise
from pathlib import Path

from msgspec import Struct

from engine.hub.names import SCHEME
from engine.plurals import counted
from engine.release.model_card import shown
from engine.store import flagging, flips, quarantine, read
from engine.store.connect import reader
from engine.store.rows import AXES
from middo_tui.feed.metrics import RoundCurve
from middo_tui.feed.rewrite import RewriteDetail, read_detail
from middo_tui.feed.round_config import Settings, defaults, differing
from middo_tui.feed.rounds import RoundDetail, RoundsReader
from middo_tui.feed.view import Curve
from middo_tui.text import reason_kind

REJECTED = 4
FLIPPED = 4
"""Examples of questions for each direction."""
MEASURED = {"complexity": "s.loss_before - r.new_loss_before", "quality": "r.new_quality - s.quality"}
"""What a rewrite of an axis gains, in SQL; one for diversity is a new sample."""
PRIVATE = ("notify.", "verify.command")
"""How settings begin that are nobody else's: a webhook's address is its key, and a command line may hold one."""
PLACES = ("largest gain", "median gain", "smallest gain")


class Example(Struct, frozen=True):
    """A rewrite, and why it is shown."""

    why: str
    rewrite: RewriteDetail


class ImportedFile(Struct, frozen=True):
    """A file or Hub dataset that was imported. ``digest``: BLAKE2 of its bytes, in hex."""

    file: str
    format: str
    rows: int
    rejected: int
    duplicates: int
    digest: str


class FlippedAnswers(Struct, frozen=True):
    """The held-out questions of the first and the last round that were evaluated."""

    comparison: flips.QuestionComparison
    steps: tuple[flips.QuestionComparison, ...]
    gained: tuple[flips.QuestionReplies, ...]
    lost: tuple[flips.QuestionReplies, ...]


class Facts(Struct, frozen=True):
    """A whole report. ``left_out``: (what, how many) of each step that leaves rows or rewrites out."""

    name: str
    model: str
    teacher: str
    rounds: tuple[RoundDetail, ...]
    curves: tuple[Curve, ...]
    examples: tuple[Example, ...]
    rejected: tuple[Example, ...]
    answers: FlippedAnswers | None
    left_out: tuple[tuple[str, int], ...]
    sources: tuple[ImportedFile, ...]
    heldout: int
    overlap: int
    settings: tuple[tuple[str, str, str], ...]


def gather(project: Path) -> Facts:
    """Everything, in one snapshot but for the rounds.

    Raises:
        StoreError: there is no project at ``project``.
    """
    rounds = RoundsReader(project).read().rounds
    db = reader(project)
    try:
        db.execute("BEGIN")
        meta = read.meta(db)
        used = dict(rounds[0].settings) if rounds else {}
        return Facts(
            name=meta.get("name") or project.resolve().name,
            model=shown(str(meta.get("model") or "")),
            teacher=_shown(used.get("teacher.model", '""').strip('"')),
            rounds=rounds,
            curves=tuple(RoundCurve(one.round).read(db, 1.0, 0) for one in rounds),
            examples=tuple(example for axis in AXES for example in _accepted(db, axis)),
            rejected=tuple(_rejected(db)),
            answers=_answers(db),
            left_out=tuple(_left_out(db)),
            sources=_sources(db),
            heldout=int(db.execute("SELECT count(*) FROM heldout").fetchone()[0]),
            overlap=read.overlap(db, rounds[-1].round) if rounds else 0,
            settings=_settings(rounds[0].settings if rounds else ()),
        )
    finally:
        db.close()


def _accepted(db: sqlite3.Connection, axis: str) -> list[Example]:
    """Of the accepted rewrites of an axis those with the largest, the median and the smallest gain."""
    gain = MEASURED.get(axis, "-r.new_similarity")
    sql = (
        "SELECT r.round, r.sample_id FROM rewrite r LEFT JOIN signal s ON s.round=r.round AND s.sample_id=r.sample_id"
        " WHERE r.axis=? AND r.state='accepted' AND r.messages IS NOT NULL"
    )
    found = db.execute(f"{sql} ORDER BY {gain} DESC, r.round, r.sample_id", (axis,)).fetchall()
    places = dict.fromkeys((0, len(found) // 2, len(found) - 1)) if found else {}
    names = PLACES if axis in MEASURED else ("farthest from the others", "in the middle", "nearest to another")
    picked = zip(names, places, strict=False)
    return [_example(db, why, found[at][0], found[at][1], axis) for why, at in picked]


def _rejected(db: sqlite3.Connection) -> list[Example]:
    """One rewrite for each of the most frequent reasons of a rejection."""
    found = db.execute(
        "SELECT round, sample_id, axis, coalesce(reason, verdict, '') AS why FROM rewrite WHERE state='rejected'"
        " AND messages IS NOT NULL ORDER BY round, sample_id, axis"
    ).fetchall()
    kinds = Counter(reason_kind.kind(row["why"]) for row in found)
    first = {reason_kind.kind(row["why"]): row for row in reversed(found)}
    picked = ((name, count, first[name]) for name, count in kinds.most_common(REJECTED))
    return [
        _example(db, f"{name} ({counted(count, 'rewrite')})", row["round"], row["sample_id"], row["axis"])
        for name, count, row in picked
    ]


def _example(db: sqlite3.Connection, why: str, round: int, sample: int, axis: str) -> Example:
    found = read_detail(db, round, (sample, axis))
    if found is None:
        raise LookupError(f"rewrite of sample {sample} in round {round} is gone")
    return Example(why, found)


def _answers(db: sqlite3.Connection) -> FlippedAnswers | None:
    rounds = flips.evaluated_rounds(db)
    if len(rounds) < 2:
        return None
    whole = flips.compare(db, rounds[0], rounds[-1])
    steps = tuple(flips.compare(db, *pair) for pair in pairwise(rounds))
    samples = flips.evaluated(db)
    gained, lost = (
        tuple(flips.replies(db, samples, whole.before, whole.after, one.item) for one in questions[:FLIPPED])
        for questions in (whole.gained, whole.lost)
    )
    return FlippedAnswers(whole, steps, gained, lost) if whole.questions else None


def _left_out(db: sqlite3.Connection) -> list[tuple[str, int]]:
    """Rows that were not imported, rewrites that were not merged, samples that were retired; by reason."""
    rows = [(f"row not imported: {one.reason}", one.rows) for one in quarantine.reasons(db)[:8]]
    copies = int(db.execute("SELECT coalesce(sum(duplicates), 0) FROM import").fetchone()[0])
    found = db.execute("SELECT state, coalesce(reason, verdict, '') FROM rewrite WHERE state IN ('rejected', 'failed')")
    why = Counter(f"rewrite {state}: {reason_kind.kind(reason)}" for state, reason in found)
    found = db.execute("SELECT coalesce(reason, '') FROM rewrite WHERE state='kept'")
    kept = Counter(f"original kept: {reason_kind.kind(row[0])}" for row in found)
    retired = db.execute("SELECT reason, count(*) FROM retirement GROUP BY reason ORDER BY 2 DESC").fetchall()
    flagged = flagging.count(db, read.newest_dataset(db))
    names = {reason: said.partition(" #")[0].removesuffix(" nearest to") for reason, said in read.RETIRED_AS.items()}
    return [
        *rows,
        *[("row not imported: exact copy of another", copies)] * bool(copies),
        *[("flagged as possible prompt injection", flagged)] * bool(flagged),
        *kept.most_common(12),
        *why.most_common(12),
        *((f"sample retired: {names.get(reason, reason)}", count) for reason, count in retired),
    ]


def _sources(db: sqlite3.Connection) -> tuple[ImportedFile, ...]:
    found = db.execute("SELECT file, format, rows, rejected, duplicates, digest FROM import ORDER BY id")
    return tuple(ImportedFile(_local(row[0]), *row[1:]) for row in found)


def _local(words: str) -> str:
    """A file without the folders that it lies in; a Hub dataset as it is."""
    return words if words.startswith(SCHEME) else Path(words).name


def _settings(used: Settings) -> tuple[tuple[str, str, str], ...]:
    """What the first round ran with where that is not the default: (key, value, default)."""
    found = differing(used, defaults())
    return tuple((key, _public(value), usual) for key, value, usual in found if not key.startswith(PRIVATE))


def _public(value: str) -> str:
    """A setting, as JSON, without the folders of this machine, and of a URL only the host."""
    try:
        found = json.loads(value)
    except ValueError:  # it was cut
        return _host(value)
    if isinstance(found, list):
        return json.dumps([_shown(one) if isinstance(one, str) else one for one in found], ensure_ascii=False)
    return json.dumps(_shown(found), ensure_ascii=False) if isinstance(found, str) else value


def _shown(value: str) -> str:
    return _host(shown(value))


def _host(value: str) -> str:
    """A URL's host and port, without user, path and query, which may be secrets; other text as it is."""
    _, found, rest = value.partition("://")
    return re.split(r"[/?#\\]", rest, maxsplit=1)[0].rpartition("@")[2] if found else value
