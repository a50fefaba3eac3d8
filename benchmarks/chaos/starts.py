"""The projects that are disturbed: the first release's (for what a person does), and a tiny one with real models."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.chaos.operations import LIGHT, Operation
from engine.backends import Generation
from engine.config import schema as configs
from engine.loop import NAMES
from engine.project import folder as projects
from engine.runtime import run_stage
from engine.stages import rewrite
from engine.store import commands, search, write
from engine.store.connect import patient, transaction, writer
from engine.store.lock_wait import FULL
from engine.store.rows import Message, content_id
from engine.store.unmerge import undo_merge
from engine.upkeep.backup import backup
from tests.support import tiny
from tests.support.first_release import unpack
from tests.support.whole_project import add_models, whole

STARTS = {"upgrade": "old", "import": "new", "create": "new"}
"""The start of an operation; ``review`` for all others."""


def person_starts(folder: Path) -> None:
    """``review``: rewrites wait for a decision; ``new``: data can be added; ``old``: an older version's database."""
    review = folder / "review"
    whole(review / "P")
    undo_merge(review / "P", lambda _: False)
    db = writer(review / "P")
    with transaction(db):
        db.execute("UPDATE rewrite SET state='proposed' WHERE state='accepted' AND sample_id % 2")
        db.execute("UPDATE signal SET flaw=loss_before, flaw_lens='loss'")
        db.execute("UPDATE sample SET unwritable='' WHERE 0")
    search.catch_up(db)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    (review / "P" / "artifacts" / "round-0" / "ratings").mkdir()
    backup(review / "P", review / "kept")
    commands.decide(review / "P", 0, [_proposed(review / "P")], "accepted")
    rows = [{"instruction": f"name {i} things", "output": f"here are {i}"} for i in range(30)]
    for name in ("new", "old"):
        (folder / name).mkdir()
        (folder / name / "more.json").write_text(json.dumps(rows), encoding="utf-8")
    first = folder / "first.json"
    first.write_text(json.dumps([{"instruction": f"say {i}", "output": f"said {i}"} for i in range(20)]))
    projects.create(folder / "new" / "P", [first], {"model": {"name": "demo:base"}})
    add_models(unpack(folder / "old" / "P"))


def _proposed(project: Path) -> tuple[int, str]:
    db = writer(project)
    try:
        row = db.execute("SELECT sample_id, axis FROM rewrite WHERE state='proposed' ORDER BY 1 DESC").fetchone()
        return row[0], row[1]
    finally:
        db.close()


# ------------------------------------------------------------------------------------------------- stages

SETTINGS: dict[str, dict[str, object]] = {
    "train": {"batch_size": 4, "epochs": 1, "gradient_checkpointing": False, "checkpoint_steps": 1, "method": "lora"},
    "score": {"token_budget": 200, "min_cluster_size": 2},
    "judge": {"min_digit_mass": 0.0, "token_budget": 4096},
    "select": {"threshold": "sigma"},
    "teacher": {"batch_size": 2},
    "review": {"policy": "auto"},
    "evaluate": {"max_new_tokens": 4, "batch_size": 4},
    "data": {"heldout_share": 0.2},
}
SAMPLES = 12


class ObedientTeacher:
    """A teacher that always does what it is asked; a reply depends on the request and its seed alone."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def write(self, calls: Sequence[object], *, rows: int, watch: object, keep: Path) -> list[Generation]:
        """See ``engine.backends.Writes``."""
        return [self._reply(call.chat, call.seed) for call in calls]  # type: ignore[attr-defined]

    def _reply(self, chat: Sequence[Message], seed: int) -> Generation:
        words = random.Random(f"{content_id(chat)} {seed}").sample(tiny.WORDS, 6)
        text = " ".join(words)
        asked = "<prompt>" in chat[-1].content
        return Generation(f"<prompt>sort {text} {seed}</prompt>" if asked else f"sorted: {text}", "stop", 10, 5, None)


def stage_starts(folder: Path) -> None:
    """One start per stage: a tiny project as it is before that stage, in ``folder/STAGE``."""
    import shutil

    model = tiny.make_model(folder / "model")
    data = folder / "tiny.json"
    chats = tiny.chats(SAMPLES)
    data.write_text(json.dumps([{"instruction": c[0].content, "output": c[1].content} for c in chats]))
    own: dict[str, object] = {"name": str(model), "max_length": 96, "device": "cpu", "threads": 1}
    place = folder / NAMES[0]
    projects.create(place / "P", [data], {**SETTINGS, "model": own})
    commands.set_plan(place / "P", 1, auto=True)
    db = writer(place / "P")
    write.open_round(db, 0, configs.snapshot(configs.load(place / "P")), NAMES, closing=False, stopped=None)
    db.close()
    for stage, after in zip(NAMES, (*NAMES[1:], "end"), strict=True):
        shutil.copytree(folder / stage, folder / after)
        if (ended := run(folder / after, stage)) != "ok":
            raise RuntimeError(f"{stage} {ended} without a disturbance")


def run(folder: Path, stage: str) -> str | None:
    """Run one stage as its child does; ``ok``, or how else it ended."""
    rewrite.open_teacher = lambda _: ObedientTeacher()  # type: ignore[assignment]
    db = patient(folder / "P", None)
    try:
        write.interrupt(db)
        state = run_stage.run_all(db, folder / "P", 0, [stage])
        while search.index(db):
            pass
        if state == FULL:
            return "full"
        row = db.execute("SELECT state, error FROM job WHERE round=0 AND stage=?", (stage,)).fetchone()
        return "ok" if row["state"] == "done" else f"error: {row['error']}"
    finally:
        db.close()


def stage_operations() -> tuple[Operation, ...]:
    """Each stage; a disturbed one goes on when it is run again."""
    light = {one.name: one for one in LIGHT}
    like = light["prune"]
    return tuple(like._replace(name=stage, act=partial(run, stage=stage), atomic=False) for stage in NAMES)
