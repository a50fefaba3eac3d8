"""The log of a project: the events of its store, or the end of a file that one of its processes wrote. For threads."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from msgspec import Struct

from engine.errors import UsageError
from engine.store.connect import reader

Level = Literal["all", "warning", "error"]
LEVELS: tuple[Level, ...] = ("all", "warning", "error")
"""``warning`` includes errors."""
EVENTS = "events"
"""The source that is no file."""
TAIL = 512 * 1024
"""Bytes of a file that are read, from its end."""
SHOWN: dict[Level, tuple[str, ...]] = {
    "all": ("info", "warning", "error"),
    "warning": ("warning", "error"),
    "error": ("error",),
}
_ERROR = re.compile(r"\b(?i:error|exception|traceback|critical|fatal|killed)\b|[a-z](?:Error|Exception)\b")
_WARNING = re.compile(r"\b(?i:warn|warning|warnings)\b|[a-z]Warning\b")


class LogEntry(Struct, frozen=True):
    """A line. ``at``: wall time, None in a file; ``stage``: empty where none is meant. Clean the text before it is
    shown.
    """

    at: float | None
    level: str
    stage: str
    text: str


class RunLog(Struct, frozen=True):
    """The newest entries of ``source`` that were asked for, oldest first. ``sources``: what else can be read;
    ``found``: how many entries match; ``cut``: a file is longer than what was read of it.
    """

    sources: tuple[str, ...] = (EVENTS,)
    source: str = EVENTS
    found: int = 0
    entries: tuple[LogEntry, ...] = ()
    cut: bool = False
    problem: str = ""


def sources(project: Path) -> tuple[str, ...]:
    """The events, then the processes' files that are not empty, the last written first."""
    files = [path for path in (project / "logs").glob("*.log") if path.stat().st_size]
    return EVENTS, *(path.name for path in sorted(files, key=lambda path: (-path.stat().st_mtime, path.name)))


def load(project: Path, source: str = EVENTS, level: Level = "all", words: str = "", most: int = 1000) -> RunLog:
    """The newest ``most`` entries with ``words`` in them, in any case.

    Raises:
        UsageError: no such source; says which there are. StoreError: the store cannot be read.
    """
    there = sources(project)
    if source not in there:
        raise UsageError(f"{source}: no such log. Logs: {', '.join((EVENTS, *sorted(there[1:])))}.")
    if source == EVENTS:
        db = reader(project)
        try:
            found, entries = _events(db, level, words, most)
        finally:
            db.close()
        return RunLog(there, source, found, entries)
    path = project / "logs" / source
    kept = [entry for entry in _lines(path) if entry.level in SHOWN[level] and words.lower() in entry.text.lower()]
    return RunLog(there, source, len(kept), tuple(kept[-most:] if most else kept), path.stat().st_size > TAIL)


def _events(db: sqlite3.Connection, level: Level, words: str, most: int) -> tuple[int, tuple[LogEntry, ...]]:
    marks = ", ".join("?" * len(SHOWN[level]))
    where = f"FROM event WHERE level IN ({marks}) AND instr(lower(text), lower(?))"
    values = (*SHOWN[level], words)
    found = db.execute(f"SELECT count(*) {where}", values).fetchone()[0]
    newest = db.execute(f"SELECT at, level, stage, text {where} ORDER BY id DESC LIMIT ?", (*values, most or -1))
    return int(found), tuple(LogEntry(at, kind, stage or "", text) for at, kind, stage, text in newest)[::-1]


def _lines(path: Path) -> Iterator[LogEntry]:
    """The lines at the end of a file; what a progress bar wrote over is left out."""
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - TAIL))
        text = stream.read(TAIL).decode("utf-8", "replace")
    for line in text.split("\n"):
        last = line.rstrip("\r").rpartition("\r")[2]
        if last.strip():
            yield LogEntry(None, level_of(last), "", last)


def level_of(line: str) -> str:
    """``error``, ``warning`` or ``info``, by the words of a line."""
    return "error" if _ERROR.search(line) else "warning" if _WARNING.search(line) else "info"
