"""Reads dataset files into a project: row by row onto the disk, then in one transaction into the store."""

from __future__ import annotations

import dataclasses
import sqlite3
from array import array
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import time
from typing import NamedTuple

from engine import formats
from engine.config.schema import Config
from engine.errors import DataError
from engine.files.progress import Seen, TaskMeter, ignore
from engine.formats.reading import FileFacts, Reject, RowReader, shown, why
from engine.hub.fetch import get
from engine.hub.names import HELDOUT_SPLIT
from engine.injection.detect import suspect
from engine.plurals import counted
from engine.project import heldout as heldouts
from engine.project.asked_prompts import Asked
from engine.project.import_report import Added
from engine.project.row_spool import RowSpool
from engine.store import prompt_keys, read, write
from engine.store.numbering import Numbering
from engine.store.rows import content_id, content_id_of, load_messages, unwritable

READING, WRITING, INDEXING = 0.6, 0.2, 0.2
"""Shares of an import's time (500,000 rows of a JSON array)."""
EVERY = 5000
"""Rows between two readings of the progress."""


class SpooledRow(NamedTuple):
    """A sample's columns that its file has."""

    text: str
    chars: int
    source: str
    extra: str
    unwritable: str
    injection: str


@dataclass(frozen=True, slots=True)
class FileRows:
    """A source that was read: its usable rows in order, their content ids and prompts, and the rejected rows.

    flagged: how many of them are possible prompt injections.
    """

    source: formats.Source
    digest: str
    rows: RowSpool[SpooledRow]
    firsts: array[int]
    asked: Asked
    rejects: RowSpool[Reject]
    facts: FileFacts
    flagged: int = 0


def gather(source: formats.Source, config: Config, folder: Path, stack: ExitStack, seen: Seen = ignore) -> FileRows:
    """Read a source onto the disk, into nameless files in ``folder`` that ``stack`` closes.

    Raises:
        DataError: it cannot be read, or no row of it can be used.
        ConfigError: [data] columns names a part that there is not.
    """
    rows = stack.enter_context(RowSpool(folder, SpooledRow))
    rejects = stack.enter_context(RowSpool(folder, Reject))
    firsts, asked, suspicious = array("q"), Asked(), 0
    reader = RowReader(source, config.data, seen)
    for one in reader:
        if isinstance(one, Reject):
            rejects.append(one)
            continue
        whole, flagged = unwritable(one.messages), suspect(one.messages)
        suspicious += bool(flagged)
        rows.append(SpooledRow(one.text, one.chars, one.source, one.extra, whole, flagged))
        firsts.append(content_id_of(one.text))
        asked.append(prompt_keys.last_first(one.messages))
    return FileRows(source, source.digest(), rows, firsts, asked, rejects, reader.facts(), suspicious)


def heldout_file(config: Config) -> formats.Imported | None:
    """The rows of [data] heldout."""
    if not config.data.heldout:
        return None
    return formats.read(get(config.data.heldout, HELDOUT_SPLIT), config.data)


def add_rows(
    db: sqlite3.Connection,
    name: str,
    config: Config,
    batches: Sequence[FileRows],
    heldout: formats.Imported | None,
    meter: TaskMeter,
) -> list[Added]:
    """Take what was read into round 0, inside the caller's transaction. ``name``: what errors call the project.

    Raises:
        DataError: a file is in the project already, or no row is left to train on.
    """
    if heldout is not None:
        write.add_heldout(db, heldout.samples, own_file=True)
        _set_aside(db, ((r.file, r.row, r.reason, r.raw) for r in heldout.rejects))
    known = _known(db, drawing=_draws(config))
    done = []
    for number, batch in enumerate(batches, start=1):
        added, asked = _add_file(db, config, batch, known, meter.step("writing samples", WRITING / len(batches)))
        done.append(added)
        if number < len(batches):
            known.learn(batch.asked, asked)
    if heldout is not None:
        done[0] = dataclasses.replace(done[0], notes=(*done[0].notes, *_of_heldout(config, heldout)))
    if not read.size(db, 0):
        raise DataError(f"{name}: no usable row: {_nothing(sum(added.barred for added in done))}")
    return done


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
            known.trained.append(prompt_keys.last_first(load_messages(row["messages"])))
    return known


def _numbered(db: sqlite3.Connection, batch: FileRows) -> tuple[array[int], int, int]:
    """The rows' ids, the ``seq`` of the first, and how many have the content of an earlier one."""
    held = {
        content_id(load_messages(row["messages"]))
        for row in db.execute("SELECT messages FROM heldout WHERE seq IS NOT NULL")
    }
    numbers = Numbering({row[0] for row in db.execute("SELECT id FROM sample")}, held)

    def text(at: int) -> str:
        return batch.rows[at].text

    ids = array("q", (numbers.next(first, partial(text, at)) for at, first in enumerate(batch.firsts)))
    top = db.execute(
        "SELECT max(m) FROM (SELECT max(seq) AS m FROM sample UNION ALL SELECT max(seq) FROM heldout)"
    ).fetchone()[0]
    return ids, 0 if top is None else top + 1, numbers.duplicates


def _add_file(
    db: sqlite3.Connection, config: Config, batch: FileRows, known: heldouts.Known, seen: Seen
) -> tuple[Added, heldouts.HeldoutSplit]:
    twice = db.execute("SELECT file FROM import WHERE digest=?", (batch.digest,)).fetchone()
    if twice:
        raise DataError(f"{batch.source.name}: already in the project, with the same content (from {twice['file']}).")
    ids, start, copies = _numbered(db, batch)
    most = min(round(len(ids) * config.data.heldout_share), config.data.heldout_max) if _draws(config) else 0
    made = heldouts.split(batch.asked, ids, known, most, config.project.seed, config.data.allow_overlap)
    write.insert_samples(db, _trained(batch.rows, ids, start, made, seen))
    held = ((batch.rows[at], start + at) for at in sorted(made.held))
    write.insert_heldout(db, ((row.text, row.chars, row.source, seq, row.extra) for row, seq in held))
    if made.both:
        _note_overlap(db, batch, ids, made.both)
    _set_aside(db, ((reject.file, reject.row, reject.reason, reject.raw) for reject in batch.rejects))
    _set_aside(db, (_barred(batch.rows[at], item) for at, item in sorted(made.barred.items())))
    added = Added(
        batch.source.name,
        batch.facts.format,
        len(ids) - len(made.held) - len(made.barred),
        len(made.held),
        copies,
        len(batch.rejects) + len(made.barred),
        made.copies,
        len(made.barred),
        bool(most) and not made.held and not known.held,
        (*batch.facts.notes(), *_injections(batch.flagged, config)),
        batch.facts.reasons(),
        len(made.both),
    )
    _record(db, added, batch.digest)
    return added, made


def _injections(flagged: int, config: Config) -> list[str]:
    """The note on flagged rows."""
    rows = f"{counted(flagged, 'row is', 'rows are')} flagged as possible prompt injection"
    held = ": not rated, and sent to the teacher only on request" if config.data.injection == "hold" else ""
    return [rows + held] if flagged else []


def _trained(
    rows: RowSpool[SpooledRow], ids: array[int], start: int, made: heldouts.HeldoutSplit, seen: Seen
) -> Iterator[tuple[object, ...]]:
    """The columns of the rows that are trained on, by place: the table's own order, in which it is written once."""
    for at, row in enumerate(rows):
        if at % EVERY == 0:
            seen(at / len(ids))
        if made.trains(at):
            origin = (None, None, 0)
            yield (
                ids[at],
                row.text,
                start + at,
                *origin,
                row.source,
                row.chars,
                row.extra,
                row.unwritable,
                row.injection,
            )


def _record(db: sqlite3.Connection, added: Added, digest: str) -> None:
    """The import's own row, and what is to be said of it as log lines."""
    taken = added.rows + added.heldout
    db.execute(
        "INSERT INTO import (file, digest, format, rows, rejected, duplicates, at) VALUES (?,?,?,?,?,?,?)",
        (added.file, digest, added.format, taken, added.rejected, added.duplicates, time()),
    )
    for text in added.overlaps():
        write.event(db, f"{added.file}: {text}", "warning")
    for text in added.notes:
        write.event(db, f"{added.file}: {text}")


def _note_overlap(db: sqlite3.Connection, batch: FileRows, ids: Sequence[int], both: set[int]) -> None:
    """Keep which held-out items the samples of a batch have the prompts of: status and card name them."""
    items: dict[prompt_keys.Key, list[int]] = {}
    for row in db.execute("SELECT item, messages FROM heldout"):
        items.setdefault(prompt_keys.key(load_messages(row["messages"])), []).append(row["item"])
    found = ((ids[at], item) for at in sorted(both) for key in batch.asked[at] for item in items.get(key, ()))
    db.executemany("INSERT OR IGNORE INTO overlap (sample_id, item) VALUES (?,?)", found)


def _set_aside(db: sqlite3.Connection, rows: Iterator[tuple[str, int, str, str]]) -> None:
    """Write rejected rows to the quarantine table: file, row, reason, text."""
    db.executemany("INSERT INTO quarantine (file, row, reason, raw) VALUES (?,?,?,?)", rows)


def _of_heldout(config: Config, heldout: formats.Imported) -> list[str]:
    """Notes on the held-out file."""
    name = config.data.heldout
    out = [f"held out: {counted(len(heldout.samples), 'row')} of {name}"]
    if heldout.rejects:
        refused = len(heldout.rejects)
        out.append(f"{counted(refused, 'row')} of it quarantined: {why(heldout.facts.reasons(), refused)}")
    return out


def _barred(row: SpooledRow, item: int) -> tuple[str, int, str, str]:
    """A row for the quarantine whose prompt is in the held-out file."""
    file, _, number = row.source.rpartition(":")
    reason = f"its prompt is held out (item {item} of [data] heldout), so it is excluded from training"
    return file, int(number), reason, shown([[m.role, m.content] for m in load_messages(row.text)])
