"""Torn files: every artifact cut at every block, the database and its log at every page, config.toml all over.

``check`` must say it, and how to mend it. A stage that reads a cut file ends in a sentence, or does not need what is
missing; it never goes on with half of it. With the file whole again, or made anew, everything is as undisturbed.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.chaos import starts, trial
from benchmarks.chaos.operations import Operation
from benchmarks.chaos.trial import Outcome, States
from engine.errors import MiddoError
from engine.loop import NAMES
from engine.store.connect import FILE, reader, transaction, writer
from engine.upkeep.check import check

BLOCK = 4096
FAULT = "torn file"
Known = Mapping[tuple[str, str, int], Outcome]


def trials(folder: Path, known: Known) -> Iterator[Outcome]:
    """All of them."""
    work = folder / "torn"
    for operation, cases in (
        ("check: artifacts", _artifacts(folder / "stages" / "end", work)),
        ("check: database", _database(folder / "stages" / "end", work)),
        ("check: config.toml", _config(folder / "stages" / "end", work)),
        ("decisions: log cut", _log(folder / "stages" / "end", work)),
        *((f"{stage} reads", _read_by(stage, folder / "stages" / stage, work)) for stage in NAMES[1:]),
    ):
        for at, act in enumerate(cases, 1):
            if (operation, FAULT, at) not in known:
                yield _outcome(operation, at, trial.in_child(act))


def _outcome(operation: str, at: int, found: dict[str, Any]) -> Outcome:
    if "ended" in found:
        return Outcome(operation, FAULT, at, found["ended"], found.get("said", ""), tuple(found.get("faults", ())))
    return Outcome(operation, FAULT, at, "unhandled", "", (str(found.get("trace") or found),))


def cuts(size: int, block: int = BLOCK) -> list[int]:
    """Where a file is cut: at every block, and just before its end."""
    return sorted({*range(0, size, block), max(0, size - 1)})


def files(project: Path) -> list[Path]:
    """The files that a stage has published: what only people read and a note of what is done are not missed."""
    found = (project / "artifacts").rglob("*")
    return sorted(f for f in found if f.is_file() and f.suffix != ".md" and f.name != "work.json")


def _artifacts(start: Path, work: Path) -> Iterator[Callable[[], dict[str, Any]]]:
    for file in files(start / "P"):
        name, size = file.relative_to(start / "P"), file.stat().st_size
        for cut in cuts(size, BLOCK if size > BLOCK else max(1, size // 8)):

            def act(name: Path = name, cut: int = cut) -> dict[str, Any]:
                project = _copied(start, work)
                (project / name).write_bytes((project / name).read_bytes()[:cut])
                told = [one for one in check(project).faults if one.where == str(name)]
                mended = all(one.mend for one in told)
                wrong = [] if told and mended else [f"{name} cut at {cut}: check says nothing of it"]
                return {"ended": "error", "said": told[0].what if told else "", "faults": wrong}

            yield act


def _database(start: Path, work: Path) -> Iterator[Callable[[], dict[str, Any]]]:
    for cut in cuts((start / "P" / FILE).stat().st_size)[:-1]:

        def act(cut: int = cut) -> dict[str, Any]:
            project = _copied(start, work)
            (project / FILE).write_bytes((project / FILE).read_bytes()[:cut])
            return _told(project)

        yield act


def _config(start: Path, work: Path) -> Iterator[Callable[[], dict[str, Any]]]:
    """Cut off, it may still be valid with fewer keys: then it must be read."""
    for cut in range(0, (start / "P" / "config.toml").stat().st_size, 250):

        def act(cut: int = cut) -> dict[str, Any]:
            project = _copied(start, work)
            (project / "config.toml").write_bytes((project / "config.toml").read_bytes()[:cut])
            found = [one for one in check(project).faults if one.name == "config"]
            return {"ended": "error" if found else "ok", "said": found[0].what if found else ""}

        yield act


def _told(project: Path) -> dict[str, Any]:
    """Damage is found, with a way out, by ``check`` or by whoever opens the store."""
    try:
        found = [one for one in check(project).faults if one.level == "damage"]
    except (MiddoError, sqlite3.Error) as error:
        return {"ended": "error", "said": str(error)}
    wrong = [] if found and all(one.mend for one in found) else ["check finds nothing"]
    return {"ended": "error", "said": found[0].what if found else "", "faults": wrong}


# ------------------------------------------------------------------------------------- the write-ahead log

DECISIONS = 8


def _log(start: Path, work: Path) -> Iterator[Callable[[], dict[str, Any]]]:
    """Overrides of eight samples, one commit each; the log is cut at every page, and in the middle of it."""
    project = _copied(start, work / "whole")
    db = writer(project, durable=True)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.execute("PRAGMA wal_autocheckpoint=0")
    ids = [row[0] for row in db.execute("SELECT id FROM sample ORDER BY seq LIMIT ?", (DECISIONS,))]
    for id in ids:
        with transaction(db):
            db.execute("INSERT INTO override (sample_id, action, at) VALUES (?, 'protect', 0)", (id,))
    base, log = (project / FILE).read_bytes(), (project / f"{FILE}-wal").read_bytes()
    db.close()
    for cut in cuts(len(log), (BLOCK + 24) // 2):

        def act(cut: int = cut) -> dict[str, Any]:
            made = _copied(start, work)
            (made / FILE).write_bytes(base)
            (made / f"{FILE}-wal").write_bytes(log[:cut])
            faults = [one.what for one in check(made).faults if one.level == "damage"]
            reading = reader(made)
            kept = [row[0] for row in reading.execute("SELECT sample_id FROM override ORDER BY rowid")]
            reading.close()
            if sorted(kept) != sorted(ids[: len(kept)]):
                faults.append(f"{kept} are not the first decisions of {ids}")
            if cut == len(log) - 1 and len(kept) < DECISIONS - 1:
                faults.append("more than the last decision is lost")
            return {"ended": "ok" if len(kept) == DECISIONS else "error", "said": f"{len(kept)} kept", "faults": faults}

        yield act


# ---------------------------------------------------------------------------------------- a stage reads it


def _read_by(stage: str, start: Path, work: Path) -> Iterator[Callable[[], dict[str, Any]]]:
    operation = next(one for one in starts.stage_operations() if one.name == stage)
    states: States | None = None
    for file in files(start / "P"):
        size = file.stat().st_size
        states = states or trial.undisturbed(operation, start, work / "P")
        for cut in sorted({0, min(BLOCK, size // 2), size // 2, size - 1}):
            yield partial(_cut_before, operation, start, work, file.relative_to(start / "P"), cut, states)


def _cut_before(operation: Operation, start: Path, work: Path, name: Path, cut: int, states: States) -> dict[str, Any]:
    trial.quiet()
    project = _copied(start, work)
    whole = (project / name).read_bytes()
    (project / name).write_bytes(whole[:cut])
    try:
        said = operation.act(work) or "ok"
    except trial.TYPED as error:
        said = f"{type(error).__name__}: {error}"
    faults: list[str] = []
    if "See the traceback" in said:
        faults.append(f"{name} cut at {cut}: no sentence of ours: {said[:300]}")
    if (project / name).exists() and (project / name).stat().st_size == cut:
        (project / name).write_bytes(whole)
    if said != "ok":
        again = operation.act(work)
        if again != "ok":
            faults.append(f"{name} cut at {cut}: with the file whole again it {again}")
    if operation.state(work) != states[1]:
        faults.append(f"{name} cut at {cut}: {trial.difference(operation.state(work), states[1])}")
    return {"ended": "ok" if said == "ok" else "error", "said": said[:300], "faults": faults}


def _copied(start: Path, work: Path) -> Path:
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(start, work, symlinks=True)
    return work / "P"
