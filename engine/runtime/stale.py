"""Finds finished stages of the newest round whose inputs have changed since. A person decides whether to rerun them."""

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
"""The checkpoint's metadata key for a fingerprint of the base model's files."""
WORDED = {"judge": ("judge_prompt", "judge_response"), "rewrite": ("simplify", "diversify", "improve", "answer")}
"""The prompts that a stage's results depend on, which a project may override (``prompts/``)."""


def notes(db: sqlite3.Connection, project: Path, config: Config) -> Iterator[tuple[str, int, str]]:
    """For each such stage a sentence, its round and its name: settings, prompts or the base model have changed."""
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
    """Record the hashes of the prompts that ``stage`` starts with. A resumed stage keeps those it started with."""
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
        with suppress(ConfigError):  # the stage itself reports this
            found[name] = prompts.load(name, project).hash
    return found


def _other_wordings(project: Path, stage: str, known: dict[str, str] | None) -> str:
    """The first prompt of ``stage`` that has changed; "" for none, and for stages run by an older version."""
    now = _wordings(project, stage) if known else {}
    return next((name for name, mark in now.items() if known and known.get(name) != mark), "")


def _other_base(db: sqlite3.Connection, project: Path, name: str, round: int) -> bool:
    """Whether the base model's files differ from those that ``round`` was trained on."""
    kept = read.artifact(db, round, "checkpoint")
    known = kept and kept[1].get(CONTENT)  # older checkpoints have none
    folder = None
    with suppress(ModelError):  # reported by the model checks, which come next
        folder = locate.on_disk(name, project) if known else None
    return folder is not None and locate.content(folder) != known
