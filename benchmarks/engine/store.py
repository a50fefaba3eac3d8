"""How long the store's one writer is held, and what is written: every large save, over invented rows.

``python -m benchmarks.engine.store [--samples 500000] [--births 50000] [--out docs/benchmarks/store.md]``: builds a
project in a temporary folder, and times every transaction from its first write to its commit. What is written are the
bytes that the kernel counts for this process, checkpoints of the write-ahead log included.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from msgspec.structs import replace

from engine.config.schema import Config, snapshot
from engine.loop import NAMES
from engine.stages.score import PART
from engine.store import commands, connect, journal, read, search, write
from engine.store import lock_wait as waiting
from engine.store.connect import writer
from engine.store.rows import (
    Losses,
    Message,
    Neighbourhood,
    Ratings,
    Rewrite,
    Row,
    Sample,
    content_id,
    dump_messages,
)
from engine.store.schema import migrate

WORDS = ("red", "green", "blue", "small", "large", "list", "sort", "name", "number", "every", "reply", "pear", "bread")


class Clock:
    """The transactions of one kind: how many, how long in all, and the longest."""

    def __init__(self) -> None:
        self.seconds: list[tuple[float, float]] = []
        """Wall clock and the processor's time of each."""

    @contextmanager
    def transaction(self, db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
        """``connect.transaction``, timed while it holds the writer."""
        with plain(db):
            began, busy = time.perf_counter(), time.process_time()
            yield db
        self.seconds.append((time.perf_counter() - began, time.process_time() - busy))


plain = connect.transaction
clock = Clock()


def timed(name: str, work: Callable[[], object]) -> str:
    """A row of the table."""
    global clock
    clock.seconds.clear()
    before, began = written(), time.perf_counter()
    work()
    whole, parts, size = time.perf_counter() - began, clock.seconds, written() - before
    longest, busy = max(parts)
    row = f"| {name} | {len(parts):,} | {longest:.2f} s | {busy:.2f} s | {whole:.1f} s | {size / 1e6:,.0f} MB |"
    print(row, flush=True)
    return row


def written() -> int:
    """Bytes that this process has had written so far, by the kernel's count."""
    lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    return int(dict(line.split(": ") for line in lines)["write_bytes"])


def chat(rng: random.Random, words: int) -> tuple[Message, ...]:
    """An invented exchange."""
    return Message("user", " ".join(rng.choices(WORDS, k=30))), Message(
        "assistant", " ".join(rng.choices(WORDS, k=words))
    )


def samples(rng: random.Random, count: int, first: int, born: int) -> list[Sample]:
    """Invented samples with places from ``first`` on."""
    chats = [chat(rng, 120) for _ in range(count)]
    return [Sample(content_id(c, i), c, first + i, born_round=born) for i, c in enumerate(chats)]


def rewritten(sample: Sample) -> Rewrite:
    """A rewrite with its texts, as a teacher's."""
    said = dump_messages(sample.messages)
    return Rewrite(0, sample.id, "quality", "proposed", prompt=sample.prompt, response=sample.response, messages=said)


def neighbourhoods(rng: random.Random, ids: Sequence[int]) -> list[Row]:
    """Invented neighbours and clusters of all samples, as they lie in the file."""
    return [
        Neighbourhood(0, id, rng.random(), json.dumps(rng.choices(ids, k=2)), rng.randrange(500), rng.random())
        for id in sorted(ids)
    ]


def save(db: sqlite3.Connection, rows: Sequence[Row], part: int) -> None:
    """In parts, as the score stage does."""
    for start in range(0, len(rows), part):
        write.save(db, 0, "score", rows[start : start + part], start)


def measure(project: Path, count: int, births: int) -> list[str]:
    """The table's rows."""
    rng = random.Random(7)
    migrate(project, create=True)
    db = writer(project)
    write.open_round(db, 0, snapshot(Config()), NAMES, closing=False, stopped=None)
    commands.set_plan(project, 1)
    data = samples(rng, count, 0, 0)
    out = []

    def add() -> None:
        connect.roomy(db)  # as an import does
        with clock.transaction(db):
            write.add_samples(db, data)

    out.append(timed(f"import of {count:,} rows (all or nothing, before the first round)", add))
    out.append(timed(f"index of the words of {count:,}", lambda: search.catch_up(db)))
    ids = [sample.id for sample in data]
    losses = [Losses(0, id, rng.random(), rng.random(), 30, 120) for id in ids]
    out.append(timed(f"losses of {count:,}", lambda: save(db, losses, PART)))
    ratings = [Ratings(0, id, 5, 5, 5, 5, 5, 5, rng.random() * 9, 1.0) for id in ids]
    out.append(timed(f"ratings of {count:,}", lambda: save(db, ratings, PART)))
    rows = neighbourhoods(rng, ids)
    out.append(timed(f"neighbours and clusters of {count:,}", lambda: save(db, rows, PART)))
    parents = data[:: count // births][:births]
    pending = [rewritten(sample) for sample in parents]
    out.append(timed(f"selection: {births:,} rewrites", lambda: write.save(db, 0, "select", pending, 1)))
    out.append(
        timed(
            f"decision of {births:,} rewrites, one step of undo", lambda: commands.decide_open(project, 0, "all", "app")
        )
    )
    out.append(timed("the same undone", lambda: commands.undo(project, 0)))
    new = samples(rng, births, count, 1)
    born = [replace(one, parent_id=old.id, axis="quality") for one, old in zip(new, parents, strict=True)]
    gone = [one.id for one in parents]
    out.append(timed(f"merge of {births:,} births, one transaction", lambda: write.replace(db, 0, born, gone, [])))
    out.append(timed(f"index of the words of {births:,}", lambda: search.catch_up(db)))
    out.append(timed("the same merge again", lambda: write.replace(db, 0, born, gone, [])))
    out.append(timed("`run --redo score`", lambda: write.reset(db, 0, ["score"])))
    assert len(read.dataset(db, 1)) == count
    db.close()
    return out


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=500_000)
    parser.add_argument("--births", type=int, default=50_000)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    for module in (connect, write, commands, journal, search, waiting):
        if hasattr(module, "transaction"):
            module.transaction = clock.transaction  # type: ignore[attr-defined]
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(Path(folder), asked.samples, asked.births)
    if asked.out:
        head = PAGE.format(machine=f"{platform.machine()}, SQLite {sqlite3.sqlite_version}")
        asked.out.write_text(head + "\n".join(rows) + FOOT, encoding="utf-8")


PAGE = """# How long the database is held

SQLite has one writer. While a transaction of ours holds it, a decision in the app waits, so none should take more
than 2 s. `python -m benchmarks.engine.store --out docs/benchmarks/store.md` times every transaction of the large
saves over invented rows ({machine}). Of the clock's figures go by the third column, what the processor worked, where
other work ran on the machine.

| what | transactions | the longest | of it at work | all | written |
|---|---|---|---|---|---|
"""

FOOT = """

Before, the neighbours of 500,000 rows were one transaction of 40 s, and a merge of 50,000 births held the database
for 30 s while their words were indexed. The merge itself stays one transaction, as do a person's decision of 50,000
rewrites and its undoing; the import is one before the first round, when nobody waits for it.

Samples lie in the order of their places, and who left stands in a narrow table. Before, they lay in the order of
their ids, which are hashes: a merge of 50,000 births into 500,000 rewrote nearly every page of them, 521 MB of write-
ahead log and as much again into the file, against 74 MB now (both without the texts of rewrites). Reading all
conversations in order takes a third of the time that it took (.63 s instead of 1.77 for 500,000); telling who is in a
round's dataset takes more (.23 s instead of .06), as each is looked up among those that left.

A merge marks no rewrites: what is accepted in a merged round is merged. Before, each became "merged", a shorter word
than "accepted", and SQLite writes a record in place only where its size stays, so every page of their texts was
written: 53 MB of log for 10,000 rewrites of .2 to 1.5 KB. A project of an older version is brought up to date once, in
7 CPU seconds and 1 GB of log for 200,000 such rewrites.

Signals come in the order of the texts' lengths, so a batch of 2,000 lies on nearly as many pages of the table and of
each index that has its figures. An index holds what is measured only; before, a new row had an entry in all ten, and
the losses of 500,000 wrote 21 GB, their ratings 8.
"""

if __name__ == "__main__":
    main()
