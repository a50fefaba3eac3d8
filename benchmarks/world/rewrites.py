"""Invented rewrites of what an invented round selected: in every state, with verdicts, decisions, edits and notes."""

from __future__ import annotations

import json
import random
import sqlite3
from typing import Any

from benchmarks.world import texts
from benchmarks.world.dataset import HOUR, PRICE_IN, PRICE_OUT, ROUNDS, SIDES, START, Data
from engine.store.rows import AXES, Sample, dump_messages, load_messages


def rewrites(
    db: sqlite3.Connection,
    rng: random.Random,
    round: int,
    data: Data,
    found: dict[str, Any],
    chosen: dict[str, list[int]],
    marks: dict[str, tuple[float, float]],
) -> dict[tuple[int, str], tuple[str, str]]:
    """A rewrite of every selected sample (a replaced one once); returns state and messages by (place, axis)."""
    bad = set(chosen["quality"])
    pending = [(i, axis) for axis in AXES for i in chosen[axis] if axis != "complexity" or i not in bad]
    out: dict[tuple[int, str], tuple[str, str]] = {}
    rows, decisions = [], []
    at = START + round * 6 * HOUR + 4 * HOUR
    for number, (i, axis) in enumerate(pending):
        text = db.execute("SELECT messages FROM sample WHERE id=?", (int(data.id[i]),)).fetchone()[0]
        row = _rewrite(rng, round, i, axis, data, found, marks, text)
        if row["person"]:
            decisions.append(
                (number // 7, at + number * 3, row["source"], round, row["sample_id"], axis, *row["decided"])
            )
        out[i, axis] = row["state"], row["messages"] or ""
        rows.append(tuple(row[name] for name in REWRITE))
    slots = ",".join("?" * len(REWRITE))
    db.executemany(f"INSERT INTO rewrite ({', '.join(REWRITE)}) VALUES ({slots})", rows)  # noqa: S608
    first = db.execute("SELECT coalesce(max(batch), 0) + 1 FROM decision").fetchone()[0]
    db.executemany(
        "INSERT INTO decision (batch, at, source, round, sample_id, axis, before, after, reason, undone, note)"
        " VALUES (?,?,?,?,?,?,?,?,?,?,?)",
        [(first + batch, *rest) for batch, *rest in decisions],
    )
    return out


REWRITE = (
    "round", "sample_id", "axis", "state", "attempts", "answer_attempts", "prompt", "response", "messages", "raw",
    "reason", "tokens_in", "tokens_out", "cost", "new_loss_before", "new_loss_after", "new_similarity", "new_quality",
    "new_ratings", "improved", "verdict", "original", "note",
)  # fmt: skip
REFUSED = (
    "refusal: the teacher refused: \"I'm sorry, but I can't help\"",
    "duplicate: the prompt is nearly the same as (87% shared) that of another rewrite of this round",
    "loop: the response repeats itself without end: 'the the the'",
)
NOTES = ("check the year", "better than the original, but too long", "源 fehlt", None, None, None, None, None)


def _rewrite(
    rng: random.Random,
    round: int,
    place: int,
    axis: str,
    data: Data,
    found: dict[str, Any],
    marks: dict[str, tuple[float, float]],
    text: str,
) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(REWRITE)
    row |= {"round": round, "sample_id": int(data.id[place]), "axis": axis, "person": False, "source": "app"}
    row |= {"attempts": 1, "answer_attempts": 1, "tokens_in": 900 + len(text) // 4, "tokens_out": 300, "cost": 0.0}
    dice = rng.random()
    if dice < 0.015:
        return row | {"state": "failed", "raw": '{"prompt": ', "reason": "no JSON in the reply", "attempts": 3}
    if round == ROUNDS - 1 and dice < 0.03:
        return row | {"state": "owed", "attempts": 0, "answer_attempts": 0, "tokens_in": 0, "tokens_out": 0}
    sample = Sample(0, load_messages(text), 0)
    prompt, response = texts.rewritten(rng, sample.prompt, sample.response, int(data.topic[place]))
    row["prompt"] = prompt
    if round == ROUNDS - 1 and dice < 0.035:
        return row | {"state": "prompted", "answer_attempts": 0}
    row |= {"response": response, "messages": dump_messages(sample.with_last_exchange(prompt, response))}
    row |= {"tokens_out": (len(prompt) + len(response)) // 4}
    row["cost"] = row["tokens_in"] * PRICE_IN + row["tokens_out"] * PRICE_OUT
    if dice < 0.08:
        return row | {"state": "rejected", "reason": REFUSED[int(rng.random() * 3)]}
    _measure(rng, row, place, axis, found, marks)
    return _decide(rng, round, row, sample)


def _measure(
    rng: random.Random,
    row: dict[str, Any],
    place: int,
    axis: str,
    found: dict[str, Any],
    marks: dict[str, tuple[float, float]],
) -> None:
    old = {name: float(found[name][place]) for name in SIDES}
    ratings = [min(9.0, max(0.0, rng.gauss(7.2, 0.9))) for _ in range(6)]
    new = {"loss_before": old["loss_before"] * rng.lognormvariate(-0.35, 0.3), "quality": sum(ratings) / 6}
    after = new["loss_before"] * rng.uniform(0.5, 0.9)
    better = {
        "complexity": new["loss_before"] < old["loss_before"] and new["quality"] > old["quality"] - 0.5,
        "quality": new["quality"] > old["quality"] and after < marks["loss_after"][0] + 2 * marks["loss_after"][1],
        "diversity": new["quality"] > 6.2,
    }[axis]
    shown = (
        f"loss before training {old['loss_before']:.3f} → {new['loss_before']:.3f},"
        f" quality {old['quality']:.2f} → {new['quality']:.2f}"
    )
    row |= {
        "new_loss_before": new["loss_before"],
        "new_loss_after": after,
        "new_similarity": min(1.0, rng.gauss(0.8, 0.05)),
        "new_quality": new["quality"],
        "new_ratings": json.dumps(ratings),
        "improved": int(better),
        "verdict": f"improved: {shown}" if better else f"not improved: its quality is not higher ({shown})",
    }


def _decide(rng: random.Random, round: int, row: dict[str, Any], sample: Sample) -> dict[str, Any]:
    """Earlier rounds are decided and merged; the last one waits, a third of it is decided."""
    good = bool(row["improved"]) != (rng.random() < 0.06)
    open_ = round == ROUNDS - 1 and rng.random() > 0.3
    state = "proposed" if open_ else "accepted" if good else "rejected"
    reason = None if state != "rejected" else rng.choice(["wrong facts", "worse than before", row["verdict"]])
    note = rng.choice(NOTES) if rng.random() < 0.1 else None
    if state == "accepted" and rng.random() < 0.05:
        row["original"] = row["messages"]
        edited = f"{row['response']} (Corrected by hand.)"
        row |= {"response": edited, "messages": dump_messages(sample.with_last_exchange(row["prompt"], edited))}
    row["decided"] = ("proposed", state, reason, 0, note)
    row["person"] = not open_ and rng.random() < 0.7
    if open_ and rng.random() < 0.02:
        row["person"], row["decided"] = True, ("proposed", "rejected", "by mistake", 1, None)
    return row | {"state": state, "reason": reason, "note": note}
