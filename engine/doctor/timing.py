"""The doctor's line on time: about how long the next round and the run will take, and on what that is based."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from engine.config import schema as configs
from engine.config.schema import Config
from engine.doctor import cost_model, data_facts, duration
from engine.doctor.cost_model import RoundWork
from engine.doctor.data_facts import DataFacts
from engine.doctor.duration import Duration, LoopState
from engine.doctor.finding import Finding
from engine.doctor.model_check_process import ModelCheckResult
from engine.errors import MiddoError
from engine.store import read, write
from engine.store.connect import reader, transaction, writer

TRIED = "estimated from a short trial of the model on this machine, without other work on it"
SOME = DataFacts(rows=1_000, prompt=100.0, response=150.0)
"""What is said before there are samples."""


def sizes(config: Config, data: DataFacts) -> dict[str, int]:
    """What the models are tried with (``engine.doctor.speed_probe.Sizes``)."""
    data = data if data.rows else SOME
    tokens = max(8, min(round(data.mean), config.model.max_length))
    return {"tokens": tokens, "prompt": max(1, min(round(data.prompt), tokens - 1))}


@dataclass(frozen=True, slots=True)
class TriedModels:
    """What was measured, by role. width: numbers of an embedding. recomputes: training computes activations again."""

    roles: Mapping[str, ModelCheckResult] = field(default_factory=dict)
    width: int = 0
    recomputes: bool = False

    def speeds(self, config: Config, reply: Mapping[str, float]) -> dict[str, float]:
        """Seconds by unit.

        Args:
            reply: seconds and tokens of an endpoint's reply to the doctor; empty: it was not asked.
        """
        found = {unit: took for role in self.roles.values() for unit, took in role.speeds.items()}
        if self.recomputes and cost_model.LEARNED in found:
            found[cost_model.LEARNED] += found[cost_model.READ]
        found = {
            unit: took if unit in cost_model.OF_MACHINE else took / config.launch.total for unit, took in found.items()
        }
        if reply and not config.teacher.batch:
            slots = config.teacher.concurrency * (1 + len(config.teacher.more_urls))
            each = reply["seconds"] / max(reply["tokens"], 1) / slots
            found |= {cost_model.ASKED: 0.0, cost_model.REPLIED: each}
        return found

    @property
    def why_not(self) -> str:
        """Why the model that is trained was not measured."""
        return self.roles["model"].untimed if "model" in self.roles else ""


def expected(config: Config, data: DataFacts, tried: TriedModels, reply: Mapping[str, float]) -> Duration:
    """The stages' seconds by what was measured."""
    padding = cost_model.padding(data.lengths, config)
    facts = RoundWork(
        data.rows, data.prompt, data.response, data.heldout, fresh=data.rows, width=tried.width, padding=padding
    )
    return duration.expected(facts, config, tried.speeds(config, reply), data.selected, TRIED)


def planned(config: Config, tried: TriedModels) -> Iterator[Finding]:
    """For a project that is not there yet: by a thousand samples."""
    found = expected(config, SOME, tried, {})
    left = duration.remaining(LoopState(1, False, SOME.rows), found, {})
    if left is not None:
        said = f"with 1,000 samples of {SOME.mean:.0f} tokens, {duration.sentence(left)}"
        yield Finding("time", said, facts=duration.as_json(left) or {})
    elif tried.why_not:
        yield Finding("time", f"not known before the first round has run ({tried.why_not})")


def of_project(
    project: Path, config: Config, data: DataFacts, tried: TriedModels, reply: Mapping[str, float]
) -> Iterator[Finding]:
    """For a project: by what was just measured, which is kept for ``status``, and by the stages that it has run."""
    found, fix = expected(config, data, tried, reply), ""
    if data.rows and found.first:
        try:
            _note(project, found)
        except (MiddoError, sqlite3.Error, OSError) as error:
            fix = f"this could not be kept in the project ({error})"
    db = reader(project)
    try:
        left = duration.of_project(db, project, read.jobs(db))
    finally:
        db.close()
    if left is not None:
        yield Finding("time", duration.sentence(left), fix=fix, facts=duration.as_json(left) or {})
    elif tried.why_not:
        yield Finding("time", f"not known before the first round has run ({tried.why_not})")


def keep(project: Path, config: Config, tried: TriedModels) -> None:
    """Note in a project that was just created what was measured before, if that was with its own settings.

    Args:
        config: what it was measured with.

    Raises:
        MiddoError, sqlite3.Error, OSError: it cannot be kept.
    """
    own = configs.load(project)
    if duration.settings_key(own) != duration.settings_key(config):
        return
    found = expected(own, data_facts.of_project(project, own), tried, {})
    if found.first:
        _note(project, found)


def _note(project: Path, found: Duration) -> None:
    """Keep it in the project."""
    db = writer(project)
    try:
        with transaction(db):
            write.set_meta(db, **{duration.NOTE: msgspec.to_builtins(found)})
    finally:
        db.close()
