"""The invented rounds' maps: a cloud for each topic, and what belongs to none spread between them."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.files.embedding_map_file import MAP, NAME
from engine.signals.embedding_map import Basis, MapPlaces, save

SCORED = (0, 1, 2)
SHARES = (0.11, 0.06)
PLACED = (
    "SELECT s.id, coalesce(g.cluster, -1) FROM sample s LEFT JOIN signal g ON g.round=:round AND g.sample_id=s.id"
    " LEFT JOIN departure d ON d.sample_id=s.id WHERE s.born_round<=:round AND (d.round IS NULL OR d.round>:round)"
    " ORDER BY s.seq"
)


def write_maps(db: sqlite3.Connection, out: Path) -> None:
    """A map for each round, as the score stage would have left it."""
    basis = Basis(0, np.zeros(2), np.eye(2))
    for round in SCORED:
        found = db.execute(PLACED, {"round": round}).fetchall()
        ids, topics = (np.array([row[at] for row in found], dtype=np.int64) for at in (0, 1))
        path = out / "artifacts" / f"round-{round}" / MAP / NAME
        path.parent.mkdir(parents=True, exist_ok=True)
        save(path, ids.tolist(), MapPlaces(_places(ids, topics, round), SHARES), basis, "invented mean")
        db.execute(
            "INSERT INTO artifact (round, name, path, meta) VALUES (?,?,?,?)",
            (round, MAP, str(path.relative_to(out)), json.dumps({"basis_round": 0, "variance": sum(SHARES)})),
        )


def _places(ids: NDArray[np.int64], topics: NDArray[np.int64], round: int) -> NDArray[np.float64]:
    """[N, 2]: noise that an id stands for, around the middle of its topic, which drifts a little by round."""
    bits = np.stack([ids & 0xFFFFF, (ids >> 20) & 0xFFFFF]) / 0x100000
    far = np.sqrt(-2 * np.log(1 - bits[0]))
    noise = np.stack([far * np.cos(2 * np.pi * bits[1]), far * np.sin(2 * np.pi * bits[1])], axis=1)
    turn = topics * 2.4 + 0.02 * round
    middle = np.stack([np.cos(turn), 0.7 * np.sin(turn)], axis=1) * (0.25 + 0.05 * (topics % 5))[:, None]
    lone = (topics < 0)[:, None]
    return np.where(lone, 0.22 * noise, middle + 0.035 * noise)
