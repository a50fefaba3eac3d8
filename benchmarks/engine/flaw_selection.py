"""Which rows the default selects in a draw: the product's own stages select and rewrite, with given flaw scores.

The teacher is a local endpoint that gives back the true row as often as it is told to. Nothing is trained or scored:
the signals of the rows are known, so a draw takes a second.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.world.planted_flaws import Row
from benchmarks.world.true_teacher import TrueTeacher
from engine.config.schema import Config
from engine.loop import NAMES
from engine.runtime.context import StoreCtx
from engine.stages import rewrite, select
from engine.store import commands, connect, read, write
from engine.store.rows import Flaw, Message, Rewrite, Sample, Selection, content_id
from engine.store.schema import migrate
from tests.support.chat_server import MODEL, Server

Floats = NDArray[np.float64]
RIGHT = 0.95
"""How often the teacher's answer is the true one."""


def selected(
    folder: Path,
    rows: Sequence[tuple[Row, Row]],
    scores: Floats,
    lenses: Sequence[str],
    seed: int,
    teacher: Callable[[str], str] | None = None,
) -> Mapping[str, float]:
    """What the default makes of rows with these flaw scores.

    Args:
        folder: a new folder for the project.
        rows: each row as the dataset has it, and as it was before it was spoilt.
        scores: their flaw scores, [n]; NaN where there is none. lenses: which lens is worst, [n].
        teacher: what replies to a request; None: the true row, right as often as ``RIGHT`` says.

    Returns:
        How many rows were asked about (``calls``), ``selected`` and truly flawed among them (``right``), and
        ``flawed`` in all.
    """
    samples: list[Sample] = []
    flaws: list[Flaw] = []
    flawed: set[int] = set()
    for i, ((row, true), score, lens) in enumerate(zip(rows, scores.tolist(), lenses, strict=True)):
        chat = (Message("user", row.prompt), Message("assistant", row.answer))
        id = content_id(chat)
        if any(id == other.id for other in samples):
            continue  # an import reads copies once
        samples.append(Sample(id, chat, i, source="rows"))
        if np.isfinite(score):
            flaws.append(Flaw(0, id, score, lens))
        if row != true:
            flawed.add(id)
    folder.mkdir(parents=True)
    migrate(folder, create=True)
    db = connect.writer(folder)
    try:
        with connect.transaction(db):
            write.add_samples(db, samples)
        write.open_round(db, 0, "{}", NAMES, closing=False, stopped=None)
        commands.set_plan(folder, 1)
        with Server(answer=teacher or TrueTeacher(rows, [], RIGHT).reply) as server:
            how = {"backend": "openai", "url": server.url, "model": MODEL, "concurrency": 8}
            config = msgspec.convert({"project": {"seed": seed}, "teacher": how}, Config)
            StoreCtx(db, folder, config, 0, "score").save(flaws)
            select.run(StoreCtx(db, folder, config, 0, "select"))
            rewrite.run(StoreCtx(db, folder, config, 0, "rewrite"))
            calls = sum(server.replied.values())
        chosen = {row.sample_id for row in read.rows(db, Selection, 0)}
        asked = {row.sample_id for row in read.rows(db, Rewrite, 0)}
    finally:
        db.close()
    return {
        "rows": len(samples),
        "calls": calls,
        "asked": len(asked),
        "selected": len(chosen),
        "right": len(chosen & flawed),
        "flawed": len(flawed),
    }
