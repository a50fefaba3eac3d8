"""Which finished stages of the newest round would give something else by now. A person decides what to do about it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from engine import loop
from engine.chat import prompts
from engine.config import schema as configs
from engine.config.schema import Config
from engine.errors import ConfigError, ModelError
from engine.models import locate
from engine.store import read, write
from engine.store.connect import transaction
from engine.store.lock_wait import outlasting

CONTENT = "base_content"
"""What the train stage keeps of the base model's files, beside its checkpoint."""
WORDED = {"judge": ("judge_prompt", "judge_response"), "rewrite": ("simplify", "diversify", "improve", "answer")}
"""The wordings that a stage's results depend on, which a project may have of its own (``prompts/``)."""


def notes(db: sqlite3.Connection, project: Path, config: Config) -> Iterator[tuple[str, int, str]]:
    """A sentence for each such stage, with its round and name: it ran with other settings or wordings, or on another
    model.
    """
    worded = read.meta(db).get("prompts", {})
    now, jobs = configs.placed(config, project), read.jobs(db)
    newest = max((job.round for job in jobs), default=0)
    for job in jobs:
        if job.round != newest or job.state != "done" or not job.input_key:
            continue
        again = f"`run --redo {job.stage}` reruns it"
        if loop.outdated(job, now):
            sections = "], [".join(loop.spec(job.stage).config)
            yield f"stale: [{sections}] changed since {job.stage} ran; {again}", job.round, job.stage
        elif job.stage == "train" and _other_base(db, project, config.model.name, newest):
            yield f"stale: the files of {config.model.name} changed since train ran; {again}", job.round, job.stage
        elif other := _other_wordings(project, job.stage, worded.get(f"{job.stage} {newest}")):
            yield f"stale: prompts/{other}.txt changed since {job.stage} ran; {again}", job.round, job.stage


@outlasting
def keep_wordings(db: sqlite3.Connection, project: Path, round: int, stage: str) -> None:
    """Note the wordings that ``stage`` begins with. A resumed one keeps what it began with."""
    if stage not in WORDED:
        return
    key, known = f"{stage} {round}", read.meta(db).get("prompts", {})
    started = any(job.started_at for job in read.jobs(db) if (job.round, job.stage) == (round, stage))
    if not (started and key in known):
        with transaction(db):
            write.set_meta(db, prompts={**known, key: _wordings(project, stage)})


def _wordings(project: Path, stage: str) -> dict[str, str]:
    found = {}
    for name in WORDED[stage]:
        with suppress(ConfigError):  # the stage itself says what is wrong with it
            found[name] = prompts.load(name, project).hash
    return found


def _other_wordings(project: Path, stage: str, known: dict[str, str] | None) -> str:
    """The first wording of ``stage`` that is another now; "" for none, and for stages of an older version."""
    now = _wordings(project, stage) if known else {}
    return next((name for name, mark in now.items() if known and known.get(name) != mark), "")


def _other_base(db: sqlite3.Connection, project: Path, name: str, round: int) -> bool:
    """Whether the base model's files are others than those that ``round`` was trained on."""
    kept = read.artifact(db, round, "checkpoint")
    known = kept and kept[1].get(CONTENT)  # older checkpoints have none
    folder = None
    with suppress(ModelError):  # the checks of models, which come next, say what is wrong with it
        folder = locate.on_disk(name, project) if known else None
    return folder is not None and locate.content(folder) != known
