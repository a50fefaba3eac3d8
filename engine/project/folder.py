"""Creates projects, adds data to them and exports datasets."""

from __future__ import annotations

import dataclasses
import shutil
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from time import time

from msgspec.structs import replace

from engine import formats
from engine.config import defaults
from engine.config import schema as configs
from engine.config.schema import Config
from engine.errors import DataError, UsageError
from engine.formats.reading import shown, why
from engine.hub.fetch import get
from engine.hub.names import HELDOUT_SPLIT
from engine.loop import NAMES, stages_of
from engine.project import heldout as heldouts
from engine.project import numbering
from engine.project.added import Added
from engine.release import dataset_card
from engine.store import permissions, prompt_keys, read, search, write
from engine.store.connect import FILE, reader, transaction, writer
from engine.store.rows import Sample, load_messages
from engine.store.schema import migrate


def _silent(text: str) -> None:
    """Ignore progress messages."""


def require_new(project: Path) -> None:
    """Raises UsageError when the folder holds a project or other files already, or its name is not UTF-8."""
    if (project / FILE).exists():
        raise UsageError(f"{project}: already a project. Add data with `middo-tui import {quote(str(project))} FILE`.")
    if project.exists() and (not project.is_dir() or any(project.iterdir())):
        raise UsageError(f"{project}: exists and is not empty. Choose a new folder.")
    _named(project)


def create(
    project: Path,
    data: Sequence[Path | formats.Source],
    settings: dict[str, dict[str, object]],
    say: Callable[[str], None] = _silent,
) -> list[Added]:
    """Make a project folder with its config, database and the first data. All or nothing. ``say`` hears what is done.

    Raises:
        UsageError: the folder holds a project or other files already, or a name is not UTF-8.
        DataError, ConfigError, StoreError: what is wrong with the data, the settings or the disk; nothing is left
        behind.
    """
    require_new(project)
    text = defaults.render(settings)
    config = configs.parse(text, "config.toml")
    batches = []
    for source in map(formats.source_of, data):  # before anything is written, so that bad data leaves nothing behind
        say(f"reading {source.files[0][0]} …")
        batches.append(_read(source, config))
    was_there = project.exists()
    try:
        for folder in (project, project / "artifacts", project / "logs"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (project / "config.toml").write_text(text, encoding="utf-8")
        migrate(project, create=True)
        name_project(project, config)
        say(f"writing {sum(len(batch.content.samples) for batch in batches):,} samples …")
        permissions.tighten(project)
        return _add(project, config, batches, heldout=_heldout_file(config))
    except BaseException:
        if was_there:
            for child in project.iterdir():
                shutil.rmtree(child) if child.is_dir() else child.unlink()
        else:
            shutil.rmtree(project, ignore_errors=True)
        raise


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
    project: Path, data: Sequence[Path | formats.Source], reading: Mapping[str, object] | None = None
) -> list[Added]:
    """More data into round 0. ``reading``: keys of [data] that hold for this import alone, e.g. its columns.

    Raises:
        UsageError: the first round has begun: its dataset is history; or a file's name is not UTF-8.
        DataError: a file cannot be read, or is in the project already; nothing is added.
    """
    migrate(project)
    config = configs.load(project)
    config = replace(config, data=replace(config.data, **(reading or {})))
    return _add(project, config, [_read(formats.source_of(one), config) for one in data], heldout=None)


@dataclass(frozen=True, slots=True)
class _Batch:
    source: formats.Source
    digest: str
    content: formats.Imported


def _named(path: Path) -> None:
    """A name that is no text cannot be kept in the store or a card.

    Raises:
        UsageError: it is not UTF-8.
    """
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError:
        raise UsageError(f"{path}: the file name is not UTF-8. Rename it, or use a link to it.") from None


def _read(source: formats.Source, config: Config) -> _Batch:
    for _, path in source.files:
        if not path.exists():
            raise DataError(f"{path}: no such file. Check the path; relative paths start in the current folder.")
        _named(path)
    return _Batch(source, source.digest(), formats.read(source, config.data))


def _heldout_file(config: Config) -> formats.Imported | None:
    if not config.data.heldout:
        return None
    return formats.read(get(config.data.heldout, HELDOUT_SPLIT), config.data)


def _add(project: Path, config: Config, batches: Sequence[_Batch], heldout: formats.Imported | None) -> list[Added]:
    db = writer(project)
    try:
        with transaction(db):
            _require_growing(db, project)
            if heldout is not None:
                write.add_heldout(db, heldout.samples, own_file=True)
                _set_aside(db, heldout)
            known = _known(db, drawing=_draws(config))
            done = [_add_batch(db, config, batch, known) for batch in batches]
            if heldout is not None:
                done[0] = dataclasses.replace(done[0], notes=(*done[0].notes, *_of_heldout(config, heldout)))
            if not read.size(db, 0):
                barred = sum(added.barred for added in done)
                raise DataError(f"{project}: no usable row: {_nothing(barred)}")
        search.catch_up(db)
        return done
    finally:
        db.close()


def _nothing(barred: int) -> str:
    """The error for an import without usable rows. ``barred``: rows whose prompts are held out."""
    if not barred:
        return "see the reasons above, or map your columns in [data]."
    return (
        f"the prompts of all {barred:,} are held out. Name other held-out data, or, to measure memorisation on"
        " purpose, give --allow-overlap."
    )


def _draws(config: Config) -> bool:
    """Whether a share of the data is held out."""
    return not config.data.heldout and config.data.heldout_share > 0 and config.data.heldout_max > 0


def _known(db: sqlite3.Connection, drawing: bool) -> heldouts.Known:
    """The prompts on both sides; those that are trained on only where somebody asks."""
    known = heldouts.Known()
    for row in db.execute("SELECT item, messages, seq FROM heldout ORDER BY item"):
        prompt = prompt_keys.key(load_messages(row["messages"]))
        known.held.setdefault(prompt, row["item"])
        if row["seq"] is None:
            known.own.add(prompt)
    if drawing:
        for row in db.execute("SELECT messages FROM sample"):
            known.trained |= prompt_keys.keys(load_messages(row["messages"]))
    return known


def _add_batch(db: sqlite3.Connection, config: Config, batch: _Batch, known: heldouts.Known) -> Added:
    twice = db.execute("SELECT file FROM import WHERE digest=?", (batch.digest,)).fetchone()
    if twice:
        raise DataError(f"{batch.source.name}: already in the project, with the same content (from {twice['file']}).")
    copies = numbering.copies(db, batch.content.samples)
    samples = numbering.numbered(db, batch.content.samples)
    most = min(round(len(samples) * config.data.heldout_share), config.data.heldout_max) if _draws(config) else 0
    made = heldouts.split(samples, known, most, config.project.seed, config.data.allow_overlap)
    known.learn(made)
    write.add_samples(db, made.trained)
    write.add_heldout(db, made.held, own_file=False)
    if made.both:
        _note_overlap(db, made.both)
    barred = [_barred(sample, item) for sample, item in made.barred]
    _set_aside(db, batch.content, barred)
    added = Added(
        batch.source.name,
        batch.content.format,
        len(made.trained),
        len(made.held),
        copies,
        len(batch.content.rejects) + len(barred),
        made.copies,
        len(made.barred),
        bool(most) and not made.held and not known.held,
        batch.content.notes(),
        batch.content.reasons(),
        len(made.both),
    )
    taken = added.rows + added.heldout
    db.execute(
        "INSERT INTO import (file, digest, format, rows, rejected, duplicates, at) VALUES (?,?,?,?,?,?,?)",
        (added.file, batch.digest, added.format, taken, added.rejected, added.duplicates, time()),
    )
    for text in added.overlaps():
        write.event(db, f"{added.file}: {text}", "warning")
    for text in added.notes:
        write.event(db, f"{added.file}: {text}")
    return added


def _note_overlap(db: sqlite3.Connection, both: Sequence[Sample]) -> None:
    """Keep which held-out items the samples of a batch have the prompts of: status and card name them."""
    items: dict[prompt_keys.Key, list[int]] = {}
    for row in db.execute("SELECT item, messages FROM heldout"):
        items.setdefault(prompt_keys.key(load_messages(row["messages"])), []).append(row["item"])
    found = [(s.id, item) for s in both for key in prompt_keys.keys(s.messages) for item in items.get(key, ())]
    db.executemany("INSERT OR IGNORE INTO overlap (sample_id, item) VALUES (?,?)", found)


def _set_aside(
    db: sqlite3.Connection, content: formats.Imported, more: Sequence[tuple[str, int, str, str]] = ()
) -> None:
    """Write rejected rows to the quarantine table. ``more``: (file, row, reason, text) of further rows."""
    rows = [(reject.file, reject.row, reject.reason, reject.raw) for reject in content.rejects]
    db.executemany("INSERT INTO quarantine (file, row, reason, raw) VALUES (?,?,?,?)", [*rows, *more])


def _of_heldout(config: Config, heldout: formats.Imported) -> list[str]:
    """Notes on the held-out file."""
    name = config.data.heldout
    out = [f"held out: {len(heldout.samples):,} rows of {name}"]
    if heldout.rejects:
        refused = len(heldout.rejects)
        out.append(f"{refused:,} of its rows were quarantined: {why(heldout.reasons(), refused)}")
    return out


def _barred(sample: Sample, item: int) -> tuple[str, int, str, str]:
    """A row for the quarantine whose prompt is in the held-out file."""
    file, _, row = sample.source.rpartition(":")
    reason = f"its prompt is held out (item {item} of [data] heldout), so it is excluded from training"
    return file, int(row), reason, shown([[m.role, m.content] for m in sample.messages])


def export(project: Path, out: Path, round: int | None, format: str, provenance: bool = False) -> int:
    """Write the dataset of ``round`` (the newest when None) with the rows that were held out of it, in its order.

    Returns:
        How many rows were written.

    Raises:
        UsageError: there is no such round.
        DataError: the format cannot hold a sample; nothing is written.
    """
    db = reader(project)
    try:
        newest = read.newest_dataset(db)
        wanted = newest if round is None else round
        if not 0 <= wanted <= newest:
            raise UsageError(f"--round {round}: the project has rounds 0 to {newest}.")
        held = {r["item"]: r["seq"] for r in db.execute("SELECT item, seq FROM heldout WHERE seq IS NOT NULL")}
        samples = read.dataset(db, wanted)
        away = [replace(s, seq=held[s.seq]) for s in read.heldout(db) if s.seq in held]
        samples += numbering.with_ids(away, {s.id for s in samples})
        samples.sort(key=lambda s: s.seq)
        story = dataset_card.story(db, project, wanted) if format in formats.FOLDERS else ""
        flaws = read.flaws(db, wanted) if provenance else None
    finally:
        db.close()
    formats.write(samples, out, format, provenance, story, flaws)
    return len(samples)


def export_ids(project: Path, ids: Sequence[int], out: Path, format: str, provenance: bool = True) -> int:
    """Write the samples ``ids``, of whatever round, in that order; one that is not there is left out.

    Returns:
        How many rows were written.

    Raises:
        UsageError, DataError: as ``export``.
    """
    db = reader(project)
    try:
        samples = [found for id in ids if (found := read.sample(db, id)) is not None]
        flaws = read.flaws(db, read.newest_dataset(db)) if provenance else None
    finally:
        db.close()
    formats.write(samples, out, format, provenance, flaws=flaws)
    return len(samples)


def redo(project: Path, stage: str, say: Callable[[str], None]) -> None:
    """Forget what ``stage`` and those after it wrote in the newest round, so that the next run does them anew.

    Raises:
        UsageError: no such stage, or the round is merged already, and made another dataset.
    """
    if stage not in NAMES:
        raise UsageError(f"--redo {stage}: no such stage. Stages: {', '.join(NAMES)}.")
    db = writer(project)
    try:
        jobs = read.jobs(db)
        newest = max((job.round for job in jobs), default=0)
        names = stages_of(newest in read.closing_rounds(db))
        if stage not in names:
            raise UsageError(f"--redo {stage}: round {newest} is the final evaluation and only has {', '.join(names)}.")
        merged = read.round_facts(db, newest)
        if merged is not None and merged.accepted:
            raise UsageError(
                f"--redo {stage}: round {newest} is already merged. Run the next round, or create a new project."
            )
        again = names[names.index(stage) :]
        write.reset(db, newest, again)
        if stage == "train":
            shutil.rmtree(project / "artifacts" / f"round-{newest}", ignore_errors=True)
        say(f"round {newest}: {', '.join(again)} will be rerun")
    finally:
        db.close()
