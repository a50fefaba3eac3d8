"""A whole training under an environment full of leftovers: the same losses as without, and a line that names them."""

from __future__ import annotations

import json
from pathlib import Path

import psutil
import pytest

from engine.project import folder as project
from engine.runtime import launch
from engine.store import commands, read
from engine.store.connect import reader
from tests.support import tiny

LEFTOVERS = {"ACCELERATE_MIXED_PRECISION": "bf16", "WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "10.0.0.1"}
HOW: dict[str, dict[str, object]] = {
    "model": {"max_length": 96, "device": "cpu", "threads": 1},
    "train": {"batch_size": 4, "gradient_accumulation": 1, "learning_rate": 0.01},
}


def trained(folder: Path, model: Path) -> tuple[list[float], list[str]]:
    """The losses of a training, step by step, and the lines for a person."""
    rows = [{"instruction": chat[0].content, "output": chat[1].content} for chat in tiny.chats(16)]
    folder.mkdir()
    (folder / "rows.json").write_text(json.dumps(rows))
    home = folder / "P"
    project.create(home, [folder / "rows.json"], HOW | {"model": HOW["model"] | {"name": str(model)}})
    commands.set_plan(home, 1, until=(0, "train"))
    psutil.wait_procs([psutil.Process(launch.start(home))], timeout=120)
    db = reader(home)
    try:
        assert [job.state for job in read.jobs(db) if job.stage == "train"] == ["done"]
        losses = [float(row[0]) for row in db.execute("SELECT loss FROM metric ORDER BY step")]
        return losses, [row[0] for row in db.execute("SELECT text FROM event ORDER BY id")]
    finally:
        db.close()


def test_leftovers_change_no_loss(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clean, _ = trained(tmp_path / "clean", tiny_model)
    for name, value in LEFTOVERS.items():
        monkeypatch.setenv(name, value)
    stranger = tmp_path / "stranger"
    (stranger / "engine").mkdir(parents=True)
    for name in ("engine/__init__.py", "datasets.py"):
        (stranger / name).write_text("raise SystemExit(77)\n")
    monkeypatch.chdir(stranger)
    losses, said = trained(tmp_path / "left", tiny_model)
    assert losses == clean
    assert len(losses) > 2
    (line,) = (text for text in said if text.startswith("environment: "))
    assert all(name in line for name in LEFTOVERS)
