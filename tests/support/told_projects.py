"""Projects of which the Flips and the Writing screen have something to tell, with fixed times."""

from __future__ import annotations

from pathlib import Path

from engine.store import write
from engine.store.connect import transaction
from engine.store.conversation import dump_messages
from engine.store.rows import EvalItem, Message, Rewrite, Sample, content_id
from engine.store.teacher import TeacherCall
from tests.support.stores import NOON, Store

QUESTIONS = (
    ("What is 7 times 6?", "42", ("7 times 6 is 36.", "7 times 6 is 42.")),
    ("Name the largest planet.", "Jupiter", ("Jupiter.", "Saturn, by its rings.")),
    ("Which gas do plants take in?", "carbon dioxide", ("Plants take in oxygen.", "They take in carbon dioxide.")),
    ("Who wrote Faust?", "Goethe", ("Goethe wrote it.", "Goethe.")),
)
RIGHT = ((False, True), (True, False), (False, True), (True, True))
OLD = (
    ("Explain rust.", "Rust is when metal is old."),
    ("Sort these numbers: 3 1 2", "3 2 1"),
    ("Translate good morning.", "Bonjour"),
    ("Write a haiku on rain.", "It rains."),
)


def flipped(project: Path) -> Path:
    """Two evaluated rounds: two questions went from wrong to right, one back, one stayed."""
    store = Store(project).plan().round(0, 9).round(1, 9)
    with transaction(store.db):
        for item, (prompt, answer, _) in enumerate(QUESTIONS):
            text = dump_messages([Message("user", prompt), Message("assistant", answer)])
            store.db.execute("INSERT INTO heldout (item, messages, source) VALUES (?, ?, '')", (item, text))
    for round in (0, 1):
        items = [
            EvalItem(round, item, 1.2 - 0.3 * round, 4, replies[round], RIGHT[item][round])
            for item, (_, _, replies) in enumerate(QUESTIONS)
        ]
        write.save(store.db, round, "evaluate", items, None)
    store.db.close()
    return project


def sample(at: int) -> Sample:
    turns = tuple(Message(role, text) for role, text in zip(("user", "assistant"), OLD[at], strict=True))
    return Sample(content_id(turns), turns, 5_000 + at)


def written(project: Path) -> Path:
    """A round that is being rewritten: one done, one refused, one a false alarm, one of which the prompt is there."""
    store = Store(project).plan().round(0, 5).worker()
    store.job(0, "rewrite", "running", 3, 20)
    with transaction(store.db):
        write.add_samples(store.db, [sample(at) for at in range(len(OLD))])
    new = "Explain how rust forms on iron.", "Iron reacts with water and oxygen: it oxidises."
    messages = dump_messages([Message("user", new[0]), Message("assistant", new[1])])
    why = "duplicate: nearly that of #112: 68%"
    rows: list[Rewrite | TeacherCall] = [
        Rewrite(0, sample(0).id, "quality", "proposed", 1, *new, messages),
        Rewrite(0, sample(1).id, "quality", "failed", 3, raw="1 2 3", reason=why),
        Rewrite(0, sample(2).id, "complexity", "kept", 1, "p", "r", reason="false alarm: the teacher's answer agrees"),
        Rewrite(0, sample(3).id, "diversity", "prompted", 1, "Write a limerick on snow."),
    ]
    for at, axis in enumerate(("quality", "quality", "complexity", "diversity")):
        rows.append(TeacherCall(0, sample(at).id, axis, "answer", NOON + 2.0 * at, "t", 1.5, 100, 40, 0.0))
    write.save(store.db, 0, "rewrite", rows, None)
    store.db.close()
    return project
