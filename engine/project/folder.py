"""Creates projects, adds data to them and exports datasets."""

from __future__ import annotations

import dataclasses
import shutil
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from shlex import quote

from msgspec.structs import replace

from engine import formats
from engine.config import defaults
from engine.config import schema as configs
from engine.config.schema import Config
from engine.errors import DataError, UsageError
from engine.files.path_text import require_text
from engine.files.progress import TaskMeter, TaskProgress
from engine.loop import NAMES, stages_of
from engine.plurals import counted
from engine.project import atomic_create, importing, redo_discards
from engine.project.exported import ExportedSamples
from engine.project.import_report import Added
from engine.release import dataset_card
from engine.store import controls, flagging, permissions, read, search, write
from engine.store.connect import FILE, database, reader, roomy, transaction, unshared, writer
from engine.store.schema import migrate


def _silent(said: object) -> None:
    """Ignore what is told."""


def require_new(project: Path, to_grow: bool = False) -> None:
    """Clear away what a killed ``create`` left in the folder; there must be nothing else in it. ``to_grow``: whoever
    asks has data, which a project that is there already could take.

    Raises:
        UsageError: the folder holds a project or other files already, or its name is not UTF-8.
    """
    if (project / FILE).exists():
        if not to_grow:
            raise UsageError(f"{project}: already holds a project. Choose a new folder.")
        raise UsageError(f"{project}: already a project. Add data with `middo-tui import {quote(str(project))} FILE`.")
    atomic_create.clear(project)
    if project.exists() and (not project.is_dir() or any(project.iterdir())):
        raise UsageError(f"{project}: exists and is not empty. Choose a new folder.")
    require_text(project)


def create(
    project: Path,
    data: Sequence[Path | formats.Source],
    settings: dict[str, dict[str, object]],
    say: Callable[[str], None] = _silent,
    progress: Callable[[TaskProgress], None] = _silent,
) -> list[Added]:
    """Make a project folder with its config, database and the first data. All or nothing, also when it is killed.
    ``say`` hears what is done, ``progress`` how far it is.

    Raises:
        UsageError: the folder holds a project or other files already, or a name is not UTF-8.
        DataError, ConfigError, StoreError: what is wrong with the data, the settings or the disk; nothing is left
        behind.
    """
    require_new(project, to_grow=True)
    text = defaults.render(settings)
    config = configs.parse(text, "config.toml")
    sources = _sources(data)
    meter = TaskMeter(progress)
    with atomic_create.aside(project) as place, ExitStack() as stack:
        for folder in (place / "artifacts", place / "logs"):
            folder.mkdir(mode=0o700)
        (place / "config.toml").write_text(text, encoding="utf-8")
        migrate(place, create=True)
        name_project(place, config)
        batches = _gathered(sources, config, place, stack, meter, say)
        heldout = importing.heldout_file(config)
        say(f"writing {counted(sum(len(batch.rows) for batch in batches), 'sample')} …")
        with unshared(place) as db:
            with transaction(db):
                done = importing.add_rows(db, str(project), config, batches, heldout, meter)
            search.catch_up(db, meter.step("indexing words", importing.INDEXING))
    permissions.tighten(project)
    return done


def _sources(data: Sequence[Path | formats.Source]) -> list[formats.Source]:
    """What is read; everything is there."""
    sources = [formats.source_of(one) for one in data]
    for _, path in (file for source in sources for file in source.files):
        if not path.exists():
            raise DataError(f"{path}: no such file. Check the path; relative paths start in the current folder.")
        require_text(path)
    return sources


def _gathered(
    sources: Sequence[formats.Source],
    config: Config,
    folder: Path,
    stack: ExitStack,
    meter: TaskMeter,
    say: Callable[[str], None],
) -> list[importing.FileRows]:
    batches = []
    for source in sources:
        name = source.files[0][0]
        say(f"reading {name} …")
        seen = meter.step(f"reading {name}", importing.READING / len(sources))
        batches.append(importing.gather(source, config, folder, stack, seen))
    return batches


def name_project(project: Path, config: Config) -> None:
    """Keep the names that the screens show: readers need no config for them. Without a name the folder's is shown."""
    db = writer(project)
    try:
        with transaction(db):
            write.set_meta(db, name=config.project.name, model=config.model.name)
    finally:
        db.close()


def require_growing(project: Path) -> None:
    """Raises UsageError when the first round has begun: its dataset is history. StoreError: there is no project."""
    db = reader(project)
    try:
        _require_growing(db, project)
    finally:
        db.close()


def _require_growing(db: sqlite3.Connection, project: Path) -> None:
    if db.execute("SELECT 1 FROM job").fetchone():
        raise UsageError(
            f"{project}: round 0 has started, so no data can be added. Create a new project with all files."
        )


def add(
    project: Path,
    data: Sequence[Path | formats.Source],
    reading: Mapping[str, object] | None = None,
    progress: Callable[[TaskProgress], None] = _silent,
) -> list[Added]:
    """More data into round 0. ``reading``: keys of [data] that hold for this import alone, e.g. its columns.

    Raises:
        UsageError: the first round has begun: its dataset is history; or a file's name is not UTF-8.
        DataError: a file cannot be read, or is in the project already; nothing is added.
    """
    migrate(project)
    config = configs.load(project)
    config = replace(config, data=replace(config.data, **(reading or {})))
    sources = _sources(data)
    meter = TaskMeter(progress)
    db = writer(project)
    try:
        with ExitStack() as stack:
            searched = _search_again(db, progress)
            batches = _gathered(sources, config, database(project).parent, stack, meter, _silent)
            roomy(db)
            with transaction(db):
                _require_growing(db, project)
                done = importing.add_rows(db, str(project), config, batches, None, meter)
            search.catch_up(db, meter.step("indexing words", importing.INDEXING))
        return [dataclasses.replace(done[0], notes=(*searched, *done[0].notes)), *done[1:]]
    finally:
        db.close()


def _search_again(db: sqlite3.Connection, progress: Callable[[TaskProgress], None]) -> list[str]:
    """Search for prompt injection what newer rules have not seen; returns the notes on that."""
    step = TaskMeter(progress).step("searching for prompt injection", 1.0)
    found = flagging.catch_up(db, lambda done, total: step(done / max(1, total)))
    if not found.read:
        return []
    write.event(db, str(found), "warning" if found.new else "info")
    return [str(found)]


def export(project: Path, out: Path, round: int | None, format: str, provenance: bool = False) -> int:
    """Write the dataset of ``round`` (the newest when None) with the rows that were held out of it, in its order.

    Returns:
        How many rows were written.

    Raises:
        UsageError: there is no such round, or a name is not UTF-8.
        DataError: the format cannot hold a sample; nothing is written.
    """
    require_text(out)
    db = reader(project)
    try:
        db.execute("BEGIN")  # all is read as it is now
        newest = read.newest_dataset(db)
        wanted = newest if round is None else round
        if not 0 <= wanted <= newest:
            raise UsageError(f"--round {round}: the project has rounds 0 to {newest}.")
        samples = ExportedSamples(db, wanted)
        story = dataset_card.story(db, project, wanted) if format in formats.FOLDERS else ""
        flaws = read.FlawsByRound(db, wanted) if provenance else None
        formats.write(samples, out, format, provenance, story, flaws)
        return len(samples)
    finally:
        db.close()


def export_ids(project: Path, ids: Sequence[int], out: Path, format: str) -> int:
    """Write the samples ``ids``, of whatever round, in that order; one that is not there is left out.

    Returns:
        How many rows were written.

    Raises:
        UsageError, DataError: as ``export``.
    """
    require_text(out)
    db = reader(project)
    try:
        samples = [found for id in ids if (found := read.sample(db, id)) is not None]
        formats.write(samples, out, format, True, flaws=read.FlawsByRound(db, read.newest_dataset(db)))
        return len(samples)
    finally:
        db.close()


def redo(project: Path, stage: str, say: Callable[[str], None]) -> None:
    """Forget what ``stage`` and those after it wrote in the newest round, so that the next run does them anew.

    Raises:
        UsageError: no such stage, or the round is merged already, and made another dataset.
    """
    db = writer(project)
    try:
        newest, again = _rerun(db, stage)
        for lost in redo_discards.discarded(db, newest, again):
            say(f"! {lost}")
            write.event(db, lost, "warning", newest, again[0])
        write.reset(db, newest, again)
        if "train" in again:
            shutil.rmtree(project / "artifacts" / f"round-{newest}", ignore_errors=True)
        say(f"round {newest}: {', '.join(again)} will be rerun")
    finally:
        db.close()


def would_discard(project: Path, stage: str) -> list[str]:
    """What ``redo`` would discard that a person did or that was paid for, a sentence each.

    Raises:
        UsageError: as ``redo``.
    """
    db = reader(project)
    try:
        return redo_discards.discarded(db, *_rerun(db, stage))
    finally:
        db.close()


def _rerun(db: sqlite3.Connection, stage: str) -> tuple[int, Sequence[str]]:
    """The newest round, and its stages from ``stage`` on.

    Raises:
        UsageError: they cannot be run again.
    """
    if stage not in NAMES:
        raise UsageError(f"--redo {stage}: no such stage. Stages: {', '.join(NAMES)}.")
    newest = max((job.round for job in read.jobs(db)), default=0)
    names = stages_of(newest in read.closing_rounds(db))
    if stage not in names:
        raise UsageError(f"--redo {stage}: round {newest} is the final evaluation and only has {', '.join(names)}.")
    merged = read.round_facts(db, newest)
    if merged is not None and (merged.accepted or merged.dropped):
        raise UsageError(
            f"--redo {stage}: round {newest} is already merged. Run the next round, or create a new project."
        )
    arm = controls.arm(db)
    if stage == "rewrite" and arm is not None and (arm.round, arm.kind) == (newest, "random"):
        stage = "select"  # which drew what the teacher is asked about; it draws the same again
    return newest, names[names.index(stage) :]
