"""Stores with samples that were rewritten over several rounds, for the Rounds and Lineage screens' tests."""

from __future__ import annotations

from pathlib import Path

from engine.store import search, write
from engine.store.connect import transaction
from engine.store.rows import (
    Cluster,
    Job,
    Losses,
    Message,
    Neighbourhood,
    Ratings,
    Rewrite,
    Sample,
    Threshold,
    Verdict,
    content_id,
    dump_messages,
)
from tests.support.stores import NOON, SIZE, Store, _sample

FIRST = _sample(3)
"""The sample that everything happens to."""


def text(prompt: str, response: str = "Here are 3 things.") -> tuple[Message, ...]:
    return (Message("user", prompt), Message("assistant", response))


def child(prompt: str, parent: Sample, axis: str, born: int, seq: int) -> Sample:
    messages = text(prompt)
    return Sample(content_id(messages), messages, seq=seq, parent_id=parent.id, axis=axis, born_round=born)


BETTER = child("Name 3 useful things.", FIRST, "quality", 1, SIZE)
SIMPLER = child("Name 3 very useful things.", BETTER, "complexity", 2, SIZE + 1)
INSPIRED = child("List 3 animals.", BETTER, "diversity", 2, SIZE + 2)


def rewrite(sample: Sample, round: int, axis: str, state: str, made: Sample | None, **more: str | None) -> list[object]:
    messages = dump_messages(made.messages) if made else None
    row = Rewrite(round, sample.id, axis, state, 1, messages=messages, reason=more.get("reason"), tokens_in=900,
                  tokens_out=300, cost=0.01, answer_attempts=1, original=more.get("original"))  # fmt: skip
    verdict = Verdict(round, sample.id, axis, 1.5, 1.0, 0.4, 8.0, None, True, "improved: quality 3 → 8")
    return [row, verdict] if made else [row]


def signals(number: int, samples: list[Sample], step: float = 0.0) -> list[object]:
    rows: list[object] = []
    for at, sample in enumerate(samples):
        loss = 1.0 + at * 0.01 - step
        rows.append(Losses(number, sample.id, loss, loss / 2, 10, 20))
        rows.append(Neighbourhood(number, sample.id, 0.5 + at * 0.001, "[]", 0 if at % 4 else -1, 0.1))
        rows.append(Ratings(number, sample.id, 5, 5, 5, 5, 5, 5, 4.0 + at * 0.02 + step, 0.9))
    return rows


def save(store: Store, number: int, stage: str, rows: list[object]) -> None:
    write.save(store.db, number, stage, rows, None)  # type: ignore[arg-type]  # a mixed list of rows


def decide(store: Store, number: int, sample: Sample, axis: str, after: str, source: str) -> None:
    with transaction(store.db):
        store.db.execute(
            "INSERT INTO decision (batch, at, source, round, sample_id, axis, before, after)"
            " VALUES (1,?,?,?,?,?,'proposed',?)",
            (NOON, source, number, sample.id, axis, after),
        )


def bear(store: Store, number: int, born: list[Sample], retired: list[Sample]) -> None:
    write.replace(store.db, number, born, [sample.id for sample in retired], [])
    search.catch_up(store.db)


def measured(project: Path, rounds: int = 2) -> Store:
    """Rounds that are merged, with signals, thresholds and clusters; the last round only when it is no first one."""
    store = Store(project).plan(rounds=rounds)
    samples = [_sample(i) for i in range(SIZE)]
    for number in range(rounds):
        store.round(number, 9)
        save(store, number, "score", signals(number, samples, 0.1 * number))
        cuts = [
            Threshold(number, "loss_before", "complexity", 1.6, 0.3, 1.0, 1.9, None),
            Threshold(number, "loss_after", "complexity", 0.8, 0.2, 1.0, 0.95, None),
            Threshold(number, "similarity", "diversity", 0.55, 0.03, 1.0, 0.51, 0.5 if number else None),
            Threshold(number, "quality", "quality", 5.0, 0.7, 1.5, 4.2, None, "mixture", "{}"),
        ]
        save(store, number, "select", list(cuts))
        change = ("born", "born") if not number else ("grew", "died")
        kinds = [
            Cluster(number, 0, 60 + number, samples[1].id, change[0], 0 if number else None, 60 if number else None),
            Cluster(number, 1 if not number else -3, 0 if number else 30, samples[2].id, change[1], None, 30),
        ]
        save(store, number, "score", list(kinds))
    return store


def family(project: Path) -> Store:
    """Three generations: a replaced sample, its child replaced in turn and copied from, with attempts that failed."""
    store = Store(project).plan(rounds=3).round(0, 9).round(1, 9).round(2, 3)
    save(store, 0, "score", signals(0, [FIRST]))
    rows = rewrite(FIRST, 0, "quality", "accepted", BETTER, original=dump_messages(text("Name 3 thing.")))
    rows += rewrite(FIRST, 0, "complexity", "rejected", BETTER, reason="changes the facts")
    save(store, 0, "verify", rows)
    decide(store, 0, FIRST, "quality", "accepted", "app")
    decide(store, 0, FIRST, "complexity", "rejected", "command line")
    bear(store, 0, [BETTER], [FIRST])
    save(store, 1, "score", signals(1, [BETTER], 0.3))
    rows = rewrite(BETTER, 1, "complexity", "accepted", SIMPLER) + rewrite(BETTER, 1, "diversity", "accepted", INSPIRED)
    save(store, 1, "verify", rows + rewrite(BETTER, 1, "quality", "failed", None, reason="no JSON in 3 replies"))
    bear(store, 1, [SIMPLER, INSPIRED], [BETTER])
    save(store, 2, "score", signals(2, [SIMPLER], 0.5))
    return store


def finish(store: Store, number: int, stage: str, seconds: float) -> None:
    """Let a stage have taken so long."""
    with transaction(store.db):
        store.db.execute(
            "UPDATE job SET state='done', started_at=?, finished_at=? WHERE round=? AND stage=?",
            (NOON, NOON + seconds, number, stage),
        )


def jobs(store: Store, number: int) -> list[Job]:
    return [Job(**dict(row)) for row in store.db.execute("SELECT * FROM job WHERE round=?", (number,))]
