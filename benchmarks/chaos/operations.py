"""What is disturbed: every kind of write of a person's command, and every stage, each as small as it can be."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from engine.errors import DataError, UsageError
from engine.project import folder as projects
from engine.project.fork import fork
from engine.store import commands, labels, overrides, read
from engine.store.connect import reader
from engine.store.schema import migrate
from engine.upkeep.backup import backup, restore
from engine.upkeep.check import check
from engine.upkeep.prune import prune

# Times, the log, progress, and who runs: they may differ.
VOLATILE_TABLES = {
    "event",
    "gauge",
    "worker",
    "call",
    "sent_call",
    "underway",
    "projection",
    "question",
    "meta",
    "unindexed",
    "unlisted",
}
VOLATILE = {
    "done",
    "total",
    "at",
    "started_at",
    "finished_at",
    "moved",
    "resumed_at",
    "tokens_per_s",
    "made",
    "id",
    "error",
    "input_key",
    "seconds",
    "cpu_seconds",
    "peak_bytes",
}
KEPT_IDS = {"sample"}


class Operation(NamedTuple):
    """``act`` changes the project in the folder and returns how it ended (None or ``ok``: done).

    ``atomic``: after a disturbance everything is as before or as after; otherwise it goes on when it is done again.
    ``again``: what a person does then, ``act`` by default. ``broken``: what is wrong in the folder.
    """

    name: str
    act: Callable[[Path], str | None]
    state: Callable[[Path], dict[str, Any]]
    atomic: bool = True
    again: Callable[[Path], str | None] | None = None
    broken: Callable[[Path], list[str]] = lambda folder: damage(folder / "P")


def damage(project: Path) -> list[str]:
    """What ``check`` calls damage."""
    return [f"{one.name} {one.where}: {one.what}" for one in check(project).faults if one.level == "damage"]


def rows(project: Path) -> dict[str, Any]:
    """A hash of every table's rows, without what may differ, and of every artifact that a row names."""
    db = sqlite3.connect(f"file:{project / 'middo.db'}?mode=ro", uri=True)
    try:
        tables = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type='table' AND sql NOT NULL")]
        out = {}
        for table in tables:
            if table in VOLATILE_TABLES or table.startswith(("sqlite_", "_sqlite", "sample_fts")):
                continue
            names = [r[1] for r in db.execute(f"SELECT * FROM pragma_table_info('{table}')")]  # noqa: S608
            kept = [n for n in names if n not in VOLATILE or (n == "id" and table in KEPT_IDS)]
            found = sorted(db.execute(f"SELECT {', '.join(kept)} FROM {table}"), key=repr)  # noqa: S608
            out[table] = f"{len(found)} rows {hashlib.blake2b(repr(found).encode(), digest_size=8).hexdigest()}"
        if "artifact" not in tables:  # a project that was not created whole
            return {"tables": sorted(tables)}
        for name, path in db.execute("SELECT name || round, path FROM artifact"):
            out[f"artifact {name}"] = tree(project / path)
        return out
    finally:
        db.close()


def tree(path: Path) -> str:
    """A hash of a file, or of a folder's files."""
    digest = hashlib.blake2b(digest_size=8)
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            digest.update(f"{file.relative_to(path)}\n".encode() + file.read_bytes())
    return digest.hexdigest()


def of_project(folder: Path) -> dict[str, Any]:
    """The state of the project in ``folder``, settings included."""
    return {**rows(folder / "P"), "config.toml": tree(folder / "P" / "config.toml")}


def of_output(name: str) -> Callable[[Path], dict[str, Any]]:
    """The state of what is written beside the project: not there, a file, or a project of its own."""

    def state(folder: Path) -> dict[str, Any]:
        out = folder / name
        if not out.exists():
            return {"output": "none"}
        return rows(out) if (out / "middo.db").exists() else {"output": tree(out)}

    return state


def sound_output(name: str) -> Callable[[Path], list[str]]:
    """What is wrong with the project, and with the one that was made of it."""

    def broken(folder: Path) -> list[str]:
        made = folder / name
        return damage(folder / "P") + (damage(made) if (made / "middo.db").exists() else [])

    return broken


# ------------------------------------------------------------------------------------- what a person does


def _decide(folder: Path) -> None:
    commands.decide_open(folder / "P", 0, "improved", "command line")


def _undo(folder: Path) -> None:
    commands.undo(folder / "P")


def _edit(folder: Path) -> None:
    commands.edit(folder / "P", 0, _key(folder), "an edited prompt", "an edited answer")


def _send_back(folder: Path) -> None:
    commands.send_back(folder / "P", 0, [_key(folder)])


def _key(folder: Path) -> tuple[int, str]:
    db = reader(folder / "P")
    try:
        row = db.execute("SELECT sample_id, axis FROM rewrite WHERE state='proposed' ORDER BY 1, 2").fetchone()
        if row is None:
            row = db.execute("SELECT sample_id, axis FROM rewrite ORDER BY 1, 2").fetchone()
        return row[0], row[1]
    finally:
        db.close()


def _override(folder: Path) -> None:
    overrides.set_overrides(folder / "P", _ids(folder)[:5], "protect")


def _label(folder: Path) -> None:
    labels.draw(folder / "P", 10, seed=0)


def _ids(folder: Path) -> tuple[int, ...]:
    db = reader(folder / "P")
    try:
        return tuple(sample.id for sample in read.dataset(db, 0))
    finally:
        db.close()


def _plan(folder: Path) -> None:
    commands.set_plan(folder / "P", 7, auto=True)


def _settings(folder: Path) -> None:
    from engine.config.edit import edit

    edit(folder / "P", {"train.epochs": 5, "project.name": "another name"})


def _import(folder: Path) -> str | None:
    try:
        projects.add(folder / "P", [folder / "more.json"])
    except DataError as error:
        if "already in the project" not in str(error):
            raise
    return None


def _create(folder: Path) -> None:
    projects.create(folder / "Q", [folder / "more.json"], {"model": {"name": "demo:base"}})


def _create_again(folder: Path) -> None:
    """A person removes what a killed ``init`` left, as its message says, and repeats it."""
    try:
        _create(folder)
    except UsageError:
        _clear(folder / "Q")
        _create(folder)


def _clear(path: Path) -> None:
    import shutil

    shutil.rmtree(path)


def _export(folder: Path) -> None:
    projects.export(folder / "P", folder / "out.jsonl", None, "messages", provenance=True)


def _migrate(folder: Path) -> None:
    migrate(folder / "P")


def _backup(folder: Path) -> None:
    backup(folder / "P", folder / "B")


def _backed_up(folder: Path) -> dict[str, Any]:
    """A backup without its manifest counts as none."""
    manifest = folder / "B" / "MANIFEST.json"
    if not manifest.exists():
        return {"output": "none"}
    files = json.loads(manifest.read_bytes())["files"]
    return {**rows(folder / "B"), **{n: e["blake2b"] for n, e in files.items() if n != "middo.db"}}


def _restore(folder: Path) -> None:
    restore(folder / "kept", folder / "R")


def _fork(folder: Path) -> None:
    fork(folder / "P", folder / "F", 0, {"merge.size": "grow"})


def _prune(folder: Path) -> None:
    prune(folder / "P")


LIGHT = (
    Operation("decide", _decide, of_project),
    Operation("undo", _undo, of_project),
    Operation("edit", _edit, of_project),
    Operation("send back", _send_back, of_project),
    Operation("override", _override, of_project),
    Operation("label", _label, of_project),
    Operation("plan", _plan, of_project),
    Operation("settings", _settings, of_project),
    Operation("prune", _prune, of_project),
    Operation("import", _import, of_project),
    Operation("create", _create, of_output("Q"), atomic=False, again=_create_again, broken=lambda _: []),
    Operation("export", _export, of_output("out.jsonl")),
    Operation("upgrade", _migrate, of_project, atomic=False),
    Operation("backup", _backup, _backed_up),
    Operation("restore", _restore, of_output("R"), broken=sound_output("R")),
    Operation("fork", _fork, of_output("F"), broken=sound_output("F")),
)
