"""A copy of a project as it was before a round selected: to try another way from there on, beside the project itself.

Models and measurements of the rounds up to then are shared by hard links where the disk allows it, so a fork costs
little more than its database.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from engine.config import edit
from engine.config import schema as configs
from engine.errors import ConfigError, UsageError
from engine.files.embedding_map_file import MAP
from engine.files.whole_folder import whole_folder
from engine.loop import NAMES
from engine.project.folder import require_new
from engine.store import permissions, search
from engine.store.connect import FILE, copy, reader, transaction, writer
from engine.store.read import columns
from engine.store.rows import PREVIEW
from engine.store.write import event

MEASURED = frozenset(("signal", "cluster", "judge_check", "score", "eval_item", "task_item", "metric", "artifact")) | {
    "job", "round", "event", "label", "departure", "retirement",
}  # fmt: skip
"""Tables whose rows of the round itself stay: they were there before it selected."""
PATHS = ("model.name", "model.chat_template", "teacher.model", "evaluate.include_path", "launch.accelerate_config")
"""Settings that may name something inside the project's folder."""
COMMANDS = ("verify.command", "notify.command")
"""Settings that are a program with its arguments; it is run in the project's folder."""
PROMPTS = "prompts"
"""The folder of a project's own prompts for its teacher and judge."""
ANEW = NAMES[NAMES.index("select") :]
RESET = (
    "DELETE FROM sample WHERE born_round>:round",
    "UPDATE round SET stopped=NULL, finished_at=NULL, closing=0 WHERE round=:round",
    "DELETE FROM event WHERE round IS NOT NULL AND round=:round AND stage IN (SELECT value FROM json_each(:anew))",
    "UPDATE job SET state='pending', done=0, total=0, started_at=NULL, finished_at=NULL, input_key=NULL, error=NULL,"
    " moved='[]' WHERE round=:round AND stage IN (SELECT value FROM json_each(:anew))",
    "UPDATE override SET met_round=NULL WHERE met_round>=:round",
    "DELETE FROM worker",
    "DELETE FROM plan",
    "DELETE FROM gauge",
)


def fork(project: Path, out: Path, round: int, changes: Mapping[str, object]) -> None:
    """Copy ``project`` to the new folder ``out`` as it was before ``round`` selected, with ``changes`` to its config.

    ``changes`` are dotted keys, e.g. ``{"merge.size": "grow"}``. A run of the copy goes on with the select stage. All
    or nothing.

    Raises:
        UsageError: the round has not been evaluated yet, a model of it is missing, or ``out`` is not a new folder.
        ConfigError: a change is invalid.
        StoreError: the project cannot be read or the copy not be written.
    """
    require_new(out)
    db = reader(project)
    try:
        states = dict(db.execute("SELECT stage, state FROM job WHERE round=?", (round,)).fetchall())
        if any(states.get(stage) != "done" for stage in ("score", "judge", "evaluate")):
            raise UsageError(f"{project}: round {round} is not evaluated yet, so there is nothing to start from.")
        with whole_folder(out) as new:
            for folder in (new / "artifacts", new / "logs"):
                folder.mkdir(mode=0o700)
            copy(db, new / FILE)
            _copy_config(project, new, changes)
            if (project / PROMPTS).is_dir():
                shutil.copytree(project / PROMPTS, new / PROMPTS)
            _reset(new, round)
            _copy_artifacts(project, new, round)
            permissions.tighten(new)
    finally:
        db.close()


def _copy_config(project: Path, out: Path, changes: Mapping[str, object]) -> None:
    """config.toml with ``changes``; what lies in the project's folder is named from there."""
    shutil.copyfile(project / "config.toml", out / "config.toml")
    config = configs.load(project)
    moved: dict[str, object] = {}
    for name in PATHS:
        section, _, key = name.partition(".")
        value = str(getattr(getattr(config, section), key))
        if value and not Path(value).is_absolute() and (project / value).exists():
            moved[name] = str((project / value).resolve())
    for name in COMMANDS:
        section, _, key = name.partition(".")
        command = getattr(getattr(config, section), key)
        if (there := _from_anywhere(command, project)) != command:
            moved[name] = list(there)
    try:
        edit.edit(out, {**moved, **changes})
    except ConfigError as error:  # not the place where the copy is being made, which nobody knows
        raise ConfigError(str(error).replace(str(out / "config.toml"), str(project / "config.toml"))) from None


def _from_anywhere(command: tuple[str, ...], project: Path) -> tuple[str, ...]:
    """The command with the project's files by their whole path; a program without a slash is one of PATH."""
    return tuple(
        str((project / part).resolve()) if (at or "/" in part) and _is_file(project / part) else part
        for at, part in enumerate(command)
    )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # too long for a name: a whole script, say
        return False


def _reset(out: Path, round: int) -> None:
    """Forget what the round's select stage and all later ones did."""
    db = writer(out)
    try:
        with transaction(db):
            for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type='table'").fetchall():
                if "round" in columns(db, table):
                    sign = ">" if table in MEASURED else ">="
                    db.execute(f"DELETE FROM {table} WHERE round{sign}?", (round,))  # noqa: S608
            for statement in RESET:
                db.execute(statement, {"round": round, "anew": json.dumps(ANEW)})
            db.execute("DELETE FROM retirement WHERE sample_id NOT IN (SELECT sample_id FROM departure)")
            event(db, f"forked before round {round} selected", round=round)
        search.catch_up(db)
    finally:
        db.close()


def _copy_artifacts(project: Path, out: Path, round: int) -> None:
    """The files of artifacts that the copy knows; it forgets those that were removed and that no later stage needs."""
    db = writer(out)
    try:
        for at, name, path in db.execute("SELECT round, name, path FROM artifact").fetchall():
            source, target = project / path, out / path
            if not source.exists():
                if at >= round - 1 and name not in (MAP, PREVIEW):
                    raise UsageError(
                        f"{source}: the {name} of round {at} is missing, and round {round} needs it. Restore it from a"
                        " backup, or fork at another round."
                    )
                db.execute("DELETE FROM artifact WHERE round=? AND name=?", (at, name))
                continue
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, copy_function=_linked)
            else:
                _linked(str(source), str(target))
    finally:
        db.close()


def _linked(source: str, target: str) -> str:
    """A hard link; a copy where the disk has none."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target
