"""One rewrite in full, for reading: what changed, by which signals, why it was selected, what is known beside it.

Everything that is said of it is a ``TextBlock`` of clean text. The differences are found here, in the reading thread.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from msgspec import Struct

from engine.plurals import counted
from engine.store import read
from engine.store.connect import reader
from engine.store.rows import DIMENSIONS, RATING_COLUMNS, Message, Sample, load_messages
from middo_tui.feed import doubtful
from middo_tui.feed.review import STATE_WORDS, Key
from middo_tui.feed.thresholds import SIGNALS
from middo_tui.terminal import guard
from middo_tui.text import flaw_wording, number_format
from middo_tui.text.word_diff import Part, diff

LONGEST = 60_000
"""Characters of a text that are shown; a longer one is cut, and that is said."""
AROUND = 160
"""Characters of an answer that are shown on both sides of what looks wrong in it."""
VERDICT = "verdict"
"""The block that says again what the row above the text says, for where it does not fit there."""
Parts = tuple[Part, ...]


class TextBlock(Struct, frozen=True):
    """A titled stretch: a difference, or a text in one role."""

    title: str
    parts: Parts
    role: str = ""


class Delta(Struct, frozen=True):
    """A signal before and after. ``better``: None when it is the same, or means nothing for this axis."""

    name: str
    old: float | None
    new: float | None
    digits: int
    better: bool | None


class RewriteDetail(Struct, frozen=True):
    """A rewrite. ``messages``: its text as the store has it, which a decision is checked against."""

    round: int
    key: Key
    seq: int = 0
    state: str = ""
    reason: str = ""
    verdict: str = ""
    improved: bool | None = None
    edited: bool = False
    note: str = ""
    deltas: tuple[Delta, ...] = ()
    blocks: tuple[TextBlock, ...] = ()
    hidden: int = 0
    prompt: str = ""
    response: str = ""
    messages: str | None = None
    born: int = 0
    parent: int | None = None


def load(project: Path, round: int, keys: Sequence[Key]) -> tuple[RewriteDetail, ...]:
    """These rewrites, in this order; those that are gone are left out."""
    db = reader(project)
    try:
        found = (read_detail(db, round, key) for key in keys)
        return tuple(detail for detail in found if detail is not None)
    finally:
        db.close()


@lru_cache(64)
def cached_diff(old: str, new: str) -> Parts:
    """``diff``, remembered: a queue is gone through forth and back."""
    return diff(old, new)


def read_detail(db: sqlite3.Connection, round: int, key: Key) -> RewriteDetail | None:
    """One rewrite with everything beside it."""
    row = db.execute("SELECT * FROM rewrite WHERE round=? AND sample_id=? AND axis=?", (round, *key)).fetchone()
    sample = read.sample(db, key[0])
    if row is None or sample is None:
        return None
    signal = db.execute("SELECT * FROM signal WHERE round=? AND sample_id=?", (round, key[0])).fetchone()
    cleaner = _Cleaner()
    blocks = [
        *_texts(row, sample, cleaner),
        *_remarks(db, row, sample, signal, cleaner),
        *_beside(db, row, sample, signal, cleaner),
    ]
    edited = row["original"] is not None and row["original"] != row["messages"]
    return RewriteDetail(
        round=round,
        key=key,
        seq=sample.seq,
        state=row["state"],
        reason=guard.one_line(row["reason"] or ""),
        verdict=guard.one_line(row["verdict"] or ""),
        improved=None if row["improved"] is None else bool(row["improved"]),
        edited=edited,
        note=row["note"] or "",
        deltas=_deltas(row, signal),
        blocks=tuple(blocks),
        hidden=cleaner.hidden,
        prompt=row["prompt"] or "",
        response=row["response"] or "",
        messages=row["messages"],
        born=sample.born_round,
        parent=sample.parent_id,
    )


class _Cleaner:
    """Cleans texts and counts what was hidden in them."""

    def __init__(self) -> None:
        self.hidden = 0

    def __call__(self, text: str) -> str:
        cleaned = guard.clean(text[:LONGEST])
        self.hidden += cleaned.hidden
        rest = len(text) - LONGEST
        return cleaned.text + (f"\n… {counted(rest, 'more character')}" if rest > 0 else "")

    def block(self, title: str, text: str, role: str = "") -> TextBlock:
        """Text that is no difference."""
        return TextBlock(title, (Part("same", self(text)),), role)


def _texts(row: sqlite3.Row, sample: Sample, clean: _Cleaner) -> list[TextBlock]:
    """Prompt and response: what changed, or for diversity what is new and what it was inspired by."""
    out: list[TextBlock] = []
    if row["messages"] is None:
        if row["raw"]:
            out.append(clean.block("unusable teacher reply", row["raw"]))
        out += [clean.block("prompt", sample.prompt, "dim"), clean.block("response", sample.response, "dim")]
        return out
    if row["axis"] == "diversity":
        out += [TextBlock(name, (Part("new", clean(row[name] or "")),)) for name in ("prompt", "response")]
        out.append(clean.block("inspired by", sample.prompt, "dim"))
        return out
    for name, old in (("prompt", sample.prompt), ("response", sample.response)):
        out.append(TextBlock(name, cached_diff(clean(old), clean(row[name] or ""))))
    earlier = load_messages(row["messages"])[:-2]
    if earlier:
        out.append(clean.block("earlier turns", _turns(earlier), "dim"))
    return out


def _turns(messages: Sequence[Message]) -> str:
    return "\n".join(f"{message.role}: {message.content}" for message in messages)


def _remarks(
    db: sqlite3.Connection, row: sqlite3.Row, sample: Sample, signal: sqlite3.Row | None, clean: _Cleaner
) -> list[TextBlock]:
    """What the signals, a person and the journal say."""
    out: list[TextBlock] = []
    if row["note"]:
        out.append(clean.block("note", row["note"], "strong"))
    if row["original"] is not None and row["original"] != row["messages"] and row["messages"] is not None:
        first, now = load_messages(row["original"])[-2:], load_messages(row["messages"])[-2:]
        for name, a, b in zip(("prompt", "response"), first, now, strict=True):
            if a.content != b.content:
                out.append(TextBlock(f"edits to the {name}", cached_diff(clean(a.content), clean(b.content))))
    if row["verdict"]:
        out.append(clean.block(VERDICT, row["verdict"]))
    out += _looks_wrong(row, sample, signal)
    why = _why(db, row, signal)
    if why:
        out.append(clean.block("why it was selected", why))
    return out


def _looks_wrong(row: sqlite3.Row, sample: Sample, signal: sqlite3.Row | None) -> list[TextBlock]:
    """What looks wrong with the sample that is replaced, and the place in its answer."""
    place = doubtful.answer(sample.messages)
    if signal is None or row["axis"] == "diversity" or place < 0:
        return []
    lens = signal["flaw_lens"] or ""
    said = flaw_wording.verdict(signal["flaw"], lens)
    found = signal["window_begin"], signal["window_end"]
    text, window = doubtful.around(sample.messages[place].content, None if None in found else found, lens, AROUND)
    shown = doubtful.parts(text, lens, window)
    return [TextBlock("what looks wrong", (Part("same", f"{said}\n" if shown else said), *shown))] if said else []


def _why(db: sqlite3.Connection, row: sqlite3.Row, signal: sqlite3.Row | None) -> str:
    """The signals beyond their cuts, and for quality the six ratings."""
    found = db.execute("SELECT * FROM threshold WHERE round=? AND axis=?", (row["round"], row["axis"])).fetchall()
    evidence = db.execute("SELECT * FROM threshold WHERE round=? AND rule='evidence'", (row["round"],)).fetchall()
    parts = []
    key = (row["round"], row["sample_id"], row["axis"])
    if db.execute("SELECT 1 FROM override WHERE met_round=? AND sample_id=? AND axis=?", key).fetchone():
        found, parts = [], ["requested by hand"]
    elif row["probe"]:  # the flaw score alone selects, whatever the axis
        found = evidence
    elif evidence and row["axis"] == "diversity":  # the weakest regions of all, no threshold
        found, parts = [], _weak(signal)
    for mark in found:
        value = None if signal is None else signal[mark["signal"]]
        if value is not None:
            sign = ">" if mark["signal"].startswith(("loss", "flaw")) else "<"
            title = SIGNALS[mark["signal"]].title if mark["signal"] in SIGNALS else mark["signal"]
            parts.append(f"{title} {value:.3f} {sign} threshold {mark['cut']:.3f}")
    text = " · ".join(parts)
    if row["axis"] == "quality" and signal is not None and signal["prompt_clarity"] is not None:
        old = [signal[name] for name in RATING_COLUMNS]
        new = json.loads(row["new_ratings"]) if row["new_ratings"] else None
        text += "\n" + "\n".join(_ratings(old, new))
    return text


def _weak(signal: sqlite3.Row | None) -> list[str]:
    """What makes the region of a new sample a weak one."""
    similarity, loss = (None, None) if signal is None else (signal["similarity"], signal["loss_after"])
    known = [("similarity", similarity), ("tuned loss", loss)]
    facts = [f"{name} {value:.3f}" for name, value in known if value is not None]
    return [f"few samples lie near it and the tuned model is weak there ({', '.join(facts)})"] if facts else []


def _ratings(old: Sequence[float], new: Sequence[float] | None) -> list[str]:
    """``prompt: clarity 2.4 → 7.0  completeness …``."""
    out = []
    for at, subject in enumerate(("prompt", "response")):
        pairs = []
        for i, dimension in enumerate(DIMENSIONS):
            place = at * len(DIMENSIONS) + i
            now = f" → {new[place]:.1f}" if new and len(new) > place else ""
            pairs.append(f"{dimension} {number_format.fixed(old[place], 1)}{now}")
        out.append(f"{subject + ':':<10}{'  '.join(pairs)}")
    return out


def _beside(
    db: sqlite3.Connection, row: sqlite3.Row, sample: Sample, signal: sqlite3.Row | None, clean: _Cleaner
) -> list[TextBlock]:
    """Neighbours for diversity, where the sample comes from, and who decided."""
    out: list[TextBlock] = []
    if row["axis"] == "diversity" and signal is not None and signal["neighbours"]:
        near = (read.sample(db, id) for id in json.loads(signal["neighbours"]))
        texts = [f"#{one.seq} {guard.one_line(one.prompt, 200)}" for one in near if one is not None]
        out.append(clean.block("nearest neighbours (shown to the teacher)", "\n".join(texts), "dim"))
    origin = f"#{sample.seq}, " + (
        f"imported from {sample.source}"
        if sample.parent_id is None
        else f"{sample.axis} rewrite of round {sample.born_round - 1}"
    )
    out.append(clean.block("origin", origin, "dim"))
    sql = (
        "SELECT at, source, before, after, reason, messages, note, undone FROM decision WHERE round=? AND sample_id=?"
        " AND axis=? ORDER BY id DESC LIMIT 8"
    )
    found = db.execute(sql, (row["round"], row["sample_id"], row["axis"])).fetchall()
    if found:
        out.append(clean.block("history", "\n".join(map(_entry, found)), "dim"))
    return out


def _entry(row: sqlite3.Row) -> str:
    """One line of the journal."""
    if row["messages"] is not None:
        what = "edited"
    elif row["note"] is not None:
        what = "note changed"
    elif row["after"] == "owed":
        what = "sent back to the teacher"
    else:
        before, after = (STATE_WORDS.get(row[name], row[name]) for name in ("before", "after"))
        what = f"{before} → {after}" + (f" ({row['reason']})" if row["reason"] else "")
    return f"{number_format.clock(row['at'])} {what}, by {row['source']}" + (", undone" if row["undone"] else "")


JUDGED = {"complexity": ("loss_before", -1), "quality": ("quality", 1)}
"""The signal that an axis is judged by, and whether more (1) or less (-1) of it is better. A rewrite for diversity is
another sample, not a better one: it is held against what is usual, never against the core that inspired it."""


def direction(axis: str | None, signal: str) -> int:
    """Whether more of ``signal`` is better (1) or worse (-1) for a rewrite of ``axis``; 0 where neither is said."""
    judged, sign = JUDGED.get(axis or "", ("", 0))
    return sign if signal == judged else 0


def _deltas(row: sqlite3.Row, signal: sqlite3.Row | None) -> tuple[Delta, ...]:
    """The axis' own signal first."""
    names = (
        ("quality", "quality", 1),
        ("base loss", "loss_before", 2),
        ("tuned loss", "loss_after", 2),
        ("sim", "similarity", 2),
        ("flaw", "flaw", 2),
    )
    first = {"complexity": "base loss", "diversity": "sim", "quality": "quality"}[row["axis"]]
    out = []
    for name, column, digits in sorted(names, key=lambda item: item[0] != first):
        old = None if signal is None else signal[column]
        new = row[f"new_{column}"]
        if old is None and new is None:
            continue
        better = None
        sign = direction(row["axis"], column)
        if name == "sim" and row["axis"] == "diversity":
            old, digits, sign = row["usual_similarity"], 3, -1
            name = name if old is None else "sim vs most"
        if old is not None and new is not None and sign and round(old, digits) != round(new, digits):
            better = (new - old) * sign > 0
        out.append(Delta(name, old, new, digits, better))
    return tuple(out)
