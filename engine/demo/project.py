"""The embedded default as an ordinary project: a folder with a config, prompts and data, and nothing special beyond."""

from __future__ import annotations

import shutil
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

from engine.config import defaults
from engine.demo import seed as world
from engine.project import folder as project
from engine.store import permissions

HERE = Path(__file__).parent
ROWS, HELDOUT = 600, 480


def settings(heldout: Path) -> dict[str, dict[str, object]]:
    """The demo's settings: ``demo.toml`` with the held-out file put in."""
    found: dict[str, dict[str, object]] = tomllib.loads((HERE / "demo.toml").read_text(encoding="utf-8"))
    found.setdefault("data", {})["heldout"] = str(heldout)
    return found


def create_demo(folder: Path, rows: int = ROWS, heldout: int = HELDOUT, seed: int = 0) -> Iterator[str]:
    """Make the demo project; yields lines that say what it is.

    Raises:
        UsageError: the folder is in use for something else.
    """
    with tempfile.TemporaryDirectory(prefix="middo-demo-") as scratch:
        world.write(Path(scratch), rows, heldout, seed)
        made = settings(Path(scratch) / "heldout.jsonl")
        made.setdefault("project", {})["seed"] = seed
        added = project.create(folder, [Path(scratch) / "seed.jsonl"], made)
        shutil.copytree(scratch, folder / "data")
    made["data"]["heldout"] = "data/heldout.jsonl"
    (folder / "config.toml").write_text(defaults.render(made), encoding="utf-8")
    shutil.copytree(HERE / "prompts", folder / "prompts")
    permissions.tighten(folder)
    yield f"{folder}: the built-in demo, {added[0].rows:,} samples of a small world, about 40 % of them flawed;"
    yield f"  {heldout:,} clean held-out questions; a base model to fine-tune, and a teacher model"
