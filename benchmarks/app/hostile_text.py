"""Projects in which every text is hostile, looked at on every screen: what of it reaches the terminal as it is.

The corpus is the tests' (``tests/support/hostile.py``). Every column of free text in the store holds all of it:
samples, rewrites, reasons, notes, names, errors, events, devices, scores, files; so do the settings of the rounds. The
wizard is shown a folder of hostile names with a hostile file and a hostile model.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import sys
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.structs import replace

from benchmarks.app.timed_terminal import Timed
from engine.store.connect import transaction, writer
from engine.store.rows import dump_messages, load_messages
from tests.support import families, stores
from tests.support.hostile import CORPUS, NEVER
from tests.support.reviews import reviewing
from tests.support.terminal import Terminal

EVIL = [text.encode("utf-8", "replace").decode() for text in CORPUS.values()]
EVERYTHING = " ".join(EVIL)
SIZES = ((80, 24), (140, 60))
QUIET_S = 0.35
OWN = re.compile(rb"\x1b\]22;[a-z-]+\x07")  # Textual's own pointer shapes
PASTED = b"\x1b[200~a\xc2\x9b31mb \xe2\x80\xaetxt \x1b[201~"  # as a terminal passes on what is pasted
TEXTS = {
    "import": ("file", "format"),
    "quarantine": ("file", "reason", "raw"),
    "heldout": ("source",),
    "round": ("stopped",),
    "job": ("error",),
    "rewrite": ("reason", "verdict", "note", "raw"),
    "decision": ("source", "reason", "note"),
    "eval_item": ("reply",),
    "event": ("stage", "text"),
    "gauge": ("device",),
}
TOUR: dict[str, tuple[bytes, ...]] = {
    "Loop": (b"?", b"\x1b", b"\x10", PASTED, b"\x1b", b"c", b"n"),
    "Samples": (
        *(b"2", b"\r", b"j", b"j", b"j", b"J", b"G", b"o", b"\x1b", b"f", b"flag:hidden\r", b"\x1b", b"v", b"x"),
        *(b"/", PASTED, b"\r", b"\x1b"),
    ),
    "Thresholds": (b"3", b"\t", b"\t", b"l", b"m"),
    "Review": (b"4", b"j", b"]", b"\t", b"\t", b"t", b"w", b"e", b"\x1b", b"c", b"\x1b", b"r", b"3", b"u", b"a"),
    "Rounds": (b"5", b"\t", b"\t", b"\t", b"\t", b"j", b"t", b"d", b"l"),
    "Lineage": (b"2", b"g", b"l", b"j", b"\r", b"j", b"\t", b"j", b"\x04"),
    "Map": (b"7", *[b"c"] * 7, b"m", b"\t", b"v", b"l", b"\r", b"1"),
    "Settings": (b"1", b",", b"j", b"j", b"\r", PASTED, b"\r", b"\x1b", b"\x1b"),
}
WIZARD = (b"\x1b[B", b"\r", b"\x1b[C", b"\r", b"\x1b[B", b"\x1b[B", PASTED, b"\r", b"\x1b", b"\x1b", b"\x1b")
"""The keys of a tour, in order; one that does nothing in a project does no harm."""


@dataclass
class Found:
    """Hostile sequences by screen, bytes that were looked at, and whether the samples were said to hide something."""

    hostile: dict[str, int] = field(default_factory=dict)
    painted: int = 0
    screens: int = 0
    pictured: bool = False
    marked: bool = False


def poison(project: Path) -> None:
    """Put the corpus into every text of the store."""
    db = writer(project)
    with transaction(db):
        for table, columns in TEXTS.items():
            for column in columns:
                _spoil(db, table, column)
        _spoil_conversations(db)
        db.execute("UPDATE sample SET source=?", (EVERYTHING,))
        db.execute("UPDATE meta SET value=? WHERE key IN ('name', 'model')", (json.dumps(EVERYTHING),))
        db.execute("UPDATE signal SET judge_error=? WHERE sample_id % 3 = 0", (EVERYTHING,))
        db.execute("UPDATE threshold SET detail=?", (json.dumps({"verdict": EVERYTHING}),))
        db.execute("UPDATE score SET task=? WHERE task='accuracy'", (EVERYTHING,))
        settings = db.execute("SELECT round, config FROM round").fetchall()
        for row in settings:
            config = json.loads(row["config"])
            config["model"]["name"] = config["project"]["name"] = EVERYTHING
            db.execute("UPDATE round SET config=? WHERE round=?", (json.dumps(config), row["round"]))
    db.close()


def _spoil(db: sqlite3.Connection, table: str, column: str) -> None:
    """One entry of the corpus in each row, all of it in the last one."""
    rows = [row[0] for row in db.execute(f"SELECT {_key(table)} FROM {table}")]  # noqa: S608 - own names
    for at, key in enumerate(rows):
        text = EVERYTHING if at == len(rows) - 1 else EVIL[at % len(EVIL)]
        db.execute(f"UPDATE {table} SET {column}=? WHERE {_key(table)}=?", (text, key))  # noqa: S608 - own names


def _key(table: str) -> str:
    return {"round": "round", "job": "round || stage", "eval_item": "round || '.' || item"}.get(
        table, "round || sample_id || axis" if table == "rewrite" else "rowid"
    )


def _spoil_conversations(db: sqlite3.Connection) -> None:
    """Every turn of every sample and rewrite; the words before stay, so that there is a difference."""
    for table, columns in (
        ("sample", ("messages",)),
        ("heldout", ("messages",)),
        ("rewrite", ("messages", "original")),
    ):
        for column in columns:
            for key, text in db.execute(f"SELECT {_key(table)}, {column} FROM {table} WHERE {column} IS NOT NULL"):  # noqa: S608 - own names
                turns = [
                    replace(turn, content=f"{EVERYTHING} {turn.content}\n{EVERYTHING}") for turn in load_messages(text)
                ]
                db.execute(f"UPDATE {table} SET {column}=? WHERE {_key(table)}=?", (dump_messages(turns), key))  # noqa: S608 - own names
    db.execute("UPDATE rewrite SET prompt=? || prompt, response=response || ?", (EVERYTHING, EVERYTHING))


def projects(scratch: Path) -> list[Path]:
    """A run, a review, rounds with clusters, and a family of versions; all of it poisoned."""
    names = [scratch / name for name in ("running", "reviewing", "measured", "family")]
    stores.running(names[0]).db.close()
    reviewing(names[1], 2 * len(EVIL))
    families.measured(names[2]).db.close()
    families.family(names[3]).db.close()
    for project in names:
        poison(project)
    return names


def hostile_folder(folder: Path) -> Path:
    """A folder whose names and texts are hostile: data, a model, what is neither."""
    folder.mkdir()
    rows = [
        {"instruction": EVERYTHING, "output": EVERYTHING, "x\x1b]0;owned\x07\u202e": 1},
        {"instruction": "", "output": ""},
    ]
    (folder / "d\x1b]52;c;cm0=\x07\u202e.json").write_text(json.dumps(rows), encoding="utf-8")
    (folder / os.fsdecode(b"bad\xff\x9b31m.json")).write_text("[]", encoding="utf-8")
    model = folder / "model\x1b[2J\u202e"
    model.mkdir()
    (model / "config.json").write_text(json.dumps({"model_type": EVERYTHING}), encoding="utf-8")
    return folder


def look_at_the_wizard(folder: Path, columns: int, rows: int) -> bytes:
    """What the wizard writes while it walks through ``folder``."""
    command = [
        "env",
        "-C",
        str(folder),
        f"XDG_CONFIG_HOME={folder}/none",
        f"XDG_STATE_HOME={folder}/none",
        sys.executable,
        "-m",
        "middo_tui.cli",
    ]
    terminal = Terminal(command, columns=columns, rows=rows)
    terminal.wait_for("try the demo")
    for key in WIZARD:
        terminal.send(key)
        terminal.settle(QUIET_S)
    terminal.send(b"\x11")
    terminal.wait()
    return terminal.seen


def look_everywhere(scratch: Path, quick: bool = False) -> Found:
    """Every screen of every project in two sizes; ``quick``: of one project in one size."""
    found = Found()
    for project in projects(scratch)[1:2] if quick else projects(scratch):
        for columns, rows in SIZES[:1] if quick else SIZES:
            terminal = Timed(project, columns=columns, rows=rows)
            terminal.wait_for("quit")
            since = 0
            for screen, keys in TOUR.items():
                for key in keys:
                    terminal.send(key)
                    terminal.settle(QUIET_S)
                painted = OWN.sub(b"", terminal.seen[since:])
                found.hostile[screen] = found.hostile.get(screen, 0) + sum(painted.count(bad) for bad in NEVER)
                since = len(terminal.seen)
                found.screens += 1
            found.painted += len(terminal.seen)
            found.pictured |= "␛]0;owned␇".encode() in terminal.seen
            found.marked |= b"hidden character" in terminal.seen
            terminal.leave()
    folder = hostile_folder(scratch / "wizard")
    for columns, rows in SIZES:
        painted = OWN.sub(b"", look_at_the_wizard(folder, columns, rows))
        found.hostile["Wizard"] = found.hostile.get("Wizard", 0) + sum(painted.count(bad) for bad in NEVER)
        found.painted += len(painted)
        found.screens += 1
    return found
