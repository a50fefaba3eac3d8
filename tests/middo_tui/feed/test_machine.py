"""The machine's history: read on from where it was, half an hour long, by device."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from engine.store.tables import TABLES
from middo_tui.feed.machine import PART_S, PARTS, MachineHistory


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    with sqlite3.connect(":memory:") as connection:
        connection.execute(next(part for part in TABLES.split(";") if "CREATE TABLE gauge" in part))
        yield connection


def reading(db: sqlite3.Connection, at: float, use: float, device: str = "cpu") -> None:
    db.execute(
        "INSERT INTO gauge (at, device, util, memory_used, memory_total) VALUES (?,?,?,?,?)",
        (at, device, use, 3, 4),
    )


def test_readings_become_parts_of_time_that_end_now(db: sqlite3.Connection) -> None:
    history = MachineHistory(str.upper)
    assert history.read(db) == ()
    for at, use in ((1000.0, 10.0), (1001.0, 30.0), (1000.0 + PART_S, 50.0)):
        reading(db, at, use)
    figure, memory = history.read(db)
    assert (figure.name, memory.name) == ("use", "memory")
    assert figure.curves[0].points == ((PARTS - 1, 10.0, 30.0), (PARTS, 50.0, 50.0))
    assert memory.curves[0].points[-1] == (PARTS, 75.0, 75.0)
    assert history.read(db)[0] is figure


def test_what_is_older_than_the_picture_is_forgotten(db: sqlite3.Connection) -> None:
    history = MachineHistory(str.upper)
    reading(db, 0.0, 10.0, "gone")
    history.read(db)
    reading(db, float(PART_S * PARTS), 20.0)
    assert [curve.name for curve in history.read(db)[0].curves] == ["CPU"]


def test_devices_are_curves_with_marks(db: sqlite3.Connection) -> None:
    for device in ("GPU 1 H200", "GPU 0 H200", "GPU 10 H200"):
        reading(db, 8.0, 1.0, device)
    use, _ = MachineHistory(str).read(db)
    assert [(curve.name, curve.mark) for curve in use.curves] == [
        ("GPU 0 H200", "0"), ("GPU 1 H200", "1"), ("GPU 10 H200", "10"),
    ]  # fmt: skip
