"""A large project to measure the app on: ``python -m benchmarks.world.project --samples 500000 OUT``.

Three rounds: two are merged, the third waits for review. Signals have the shapes that real ones have (log-normal
losses, a low tail of ratings, clusters with noise), thresholds and selections agree with them, rewrites are in every
state. The same seed gives the same rows. Written in bulk: indexes and the search index are made at the end, so half a
million samples take a minute or two.
"""

from __future__ import annotations

import argparse
import random
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.world import maps, rounds, texts
from benchmarks.world.dataset import MAX_LENGTH, PRICE_IN, PRICE_OUT, START, Data
from engine.errors import UsageError
from engine.store import write
from engine.store.connect import FILE, transaction, writer
from engine.store.newer_tables import CALLS_OF_REWRITES
from engine.store.rows import Message, content_id, dump_messages
from engine.store.schema import migrate

CHUNK = 20_000
HELDOUT_SHARE, HELDOUT_MAX = 0.01, 300
FLAWED = 0.15
# What SQLite makes more cheaply over a full table than row by row.
DERIVED = "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL AND type IN ('index', 'trigger')"


def make(out: Path, samples: int, seed: int = 0) -> None:
    """Make the project folder ``out`` with ``samples`` samples in round 0.

    Raises:
        UsageError: there is a project in ``out`` already.
    """
    if (out / FILE).exists():
        raise UsageError(f"{out}: holds a project already. Name another folder, or delete it.")
    for folder in (out, out / "logs", out / "artifacts"):
        folder.mkdir(parents=True, exist_ok=True)
    migrate(out, create=True)
    db = writer(out)
    try:
        _build(db, out, samples, seed)
    finally:
        db.close()


def _build(db: sqlite3.Connection, out: Path, samples: int, seed: int) -> None:
    db.execute("PRAGMA journal_mode=OFF")  # a build that is cut off is thrown away
    db.execute("PRAGMA synchronous=OFF")
    db.execute("PRAGMA cache_size=-400000")
    derived = db.execute(DERIVED).fetchall()
    for row in derived:
        db.execute(f"DROP {row['type']} {row['name']}")
    data = write_samples(db, samples, seed)
    db.execute("CREATE UNIQUE INDEX building ON sample(id)")
    settings = rounds.write_rounds(db, data, seed, config_for(out))
    maps.write_maps(db, out)
    db.execute(CALLS_OF_REWRITES)
    (out / "config.toml").write_text(settings, encoding="utf-8")
    db.execute("DROP INDEX building")
    for row in derived:
        db.execute(row["sql"])
    db.execute("INSERT INTO sample_fts (rowid, text) SELECT id, text FROM sample_text")
    db.execute("PRAGMA journal_mode=WAL")


def config_for(out: Path) -> dict[str, dict[str, object]]:
    """The settings, but for the thresholds that are found while the rounds are made."""
    return {
        "project": {"name": out.resolve().name},
        "model": {"name": "meta-llama/Llama-3.1-8B", "max_length": MAX_LENGTH},
        "teacher": {"prices": {"": {"input": PRICE_IN * 1e6, "output": PRICE_OUT * 1e6}}},
    }


def write_samples(db: sqlite3.Connection, samples: int, seed: int) -> Data:
    """The imported dataset: samples, held-out rows, the import itself and a few rows in quarantine."""
    rng = random.Random(seed)
    heldout = min(HELDOUT_MAX, int(samples * HELDOUT_SHARE))
    total = samples + heldout
    held = set(range(0, total, total // heldout)[:heldout]) if heldout else set()
    data = Data.empty(samples)
    made = _conversations(rng, total)
    at = 0
    with transaction(db):
        for start in range(0, total, CHUNK):
            rows, out = [], []
            for seq in range(start, min(start + CHUNK, total)):
                id, turns, topic, flawed = next(made)
                text, source = dump_messages(turns), f"instructions.jsonl:{seq + 1}"
                if seq in held:
                    out.append((text, source, seq))
                    continue
                data.put(at, id, seq, topic, flawed, turns)
                rows.append((id, text, seq, source))
                at += 1
            db.executemany("INSERT INTO sample (id, messages, seq, born_round, source) VALUES (?,?,?,0,?)", rows)
            db.executemany("INSERT INTO heldout (messages, source, seq) VALUES (?,?,?)", out)
        write.set_meta(db, name=f"invented-{samples:,}", model="meta-llama/Llama-3.1-8B")
        db.execute(
            "INSERT INTO import (file, digest, format, rows, rejected, duplicates, at) VALUES (?,?,?,?,?,?,?)",
            ("instructions.jsonl", f"{seed:032x}", "messages", total, 3, 0, START - 600),
        )
        db.executemany(
            "INSERT INTO quarantine (file, row, reason, raw) VALUES ('instructions.jsonl', ?, ?, ?)",
            [(total + i, reason, raw) for i, (reason, raw) in enumerate(QUARANTINED, start=1)],
        )
    return data


QUARANTINED = (
    ("no assistant turn", '{"messages": []}'),
    ("not JSON: line ends in a string", '{"messages": [{"role": "us'),
    ("longer than 8 MiB", ""),
)


def _conversations(rng: random.Random, total: int) -> Iterator[tuple[int, tuple[Message, ...], int, bool]]:
    """(id, turns, topic, flawed), without equal ids."""
    taken: set[int] = set()
    for _ in range(total):
        topic, flawed = int(rng.random() * len(texts.TOPICS)), rng.random() < FLAWED
        turns = texts.conversation(rng, topic, flawed)
        copy = 0
        while (id := content_id(turns, copy)) in taken:
            copy += 1
        taken.add(id)
        yield id, turns, topic, flawed


def main() -> None:
    """Make it and say how large it is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--samples", type=int, default=500_000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    begun = time.monotonic()
    make(asked.out, asked.samples, asked.seed)
    size = (asked.out / FILE).stat().st_size / 1e6
    print(f"{asked.out}: {asked.samples:,} samples, {size:,.0f} MB, {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
