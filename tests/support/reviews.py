"""Rounds that wait for a person, with real texts, verdicts and neighbours, for the Review screen's tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from engine.store import search, write
from engine.store.connect import transaction
from engine.store.rows import (
    AXES,
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
from tests.support.stores import Store

PER_AXIS = 4
Key = tuple[int, str]


def old_text(i: int) -> tuple[str, str]:
    return f"Tell me number {i} about volcanoes", f"Volcano {i} is hot.\nIt is very hot."


def new_text(i: int) -> tuple[str, str]:
    return f"Tell me fact {i} about active volcanoes", f"Volcano {i} is hot inside.\nIt is very hot."


def reviewing(project: Path, count: int = 3 * PER_AXIS, old: Any = old_text, new: Any = new_text) -> list[Key]:
    """Round 0 waits for decisions on ``count`` rewrites, a third per axis; every second one is better. Their keys."""
    store = Store(project).plan().round(0, 5)
    samples = []
    for i in range(count):
        prompt, response = old(i)
        messages = (Message("user", prompt), Message("assistant", response))
        samples.append(Sample(content_id(messages), messages, seq=1000 + i, source=f"data.json:{i + 1}"))
    with transaction(store.db):
        write.add_samples(store.db, samples)
    search.catch_up(store.db)
    rows: list[Any] = [
        Threshold(0, "loss_before", "complexity", 1.0, 0.5, 1.0, 1.5, None),
        Threshold(0, "loss_after", "complexity", 1.0, 0.5, 1.0, 1.4, None),
        Threshold(0, "similarity", "diversity", 0.8, 0.1, 1.0, 0.7, None),
        Threshold(0, "quality", "quality", 6.0, 1.0, 1.0, 5.0, None),
    ]
    keys: list[Key] = []
    for i, sample in enumerate(samples):
        axis = AXES[i * 3 // max(count, 3)]
        prompt, response = new(i)
        text = dump_messages((Message("user", prompt), Message("assistant", response)))
        keys.append((sample.id, axis))
        rows += [
            Losses(0, sample.id, 3.2, 2.8, 5, 9),
            Neighbourhood(0, sample.id, 0.61, json.dumps([samples[(i + 1) % count].id])),
            Ratings(0, sample.id, 2.4, 2.9, 4.0, 2.8, 2.2, 4.1, 3.1, 0.9),
            Rewrite(0, sample.id, axis, "proposed", 1, prompt, response, text, None, None, 90, 31, 0.0, 1),
            Verdict(
                *(0, sample.id, axis, 1.4, 1.1, 0.66, 8.2, "[7,7,7,8,8,8]", i % 2 == 0),
                f"{'improved' if i % 2 == 0 else 'not improved'}: number {i}",
            ),
        ]
    write.save(store.db, 0, "verify", rows, None)
    for name in ("rewrite", "verify"):
        store.job(0, name, "done", count, count)
    store.job(0, "review", "waiting", 0, count)
    store.db.close()
    return keys
